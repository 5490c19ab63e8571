#include "devices/virtio/net_parts.h"
#include "wire.h"

#include "util/clock.h"

#define CTRL(bench) ((bench)->virtio->nr_queues - 1)
#define REQUEST     (BENCH_DATA + 0x80000)
#define ACK         (REQUEST + 0x8000)
#define F(name)     (1ull << VIRTIO_NET_F_##name)
#define CONTROLS                                                               \
	(FEATURES | F(CTRL_VQ) | F(CTRL_RX) | F(CTRL_MAC_ADDR) | F(STATUS) |   \
	 F(GUEST_ANNOUNCE) | F(CTRL_GUEST_OFFLOADS) | F(GUEST_CSUM) |          \
	 F(GUEST_TSO4))
#define LINK_STATUS(bench) virtio_config_read((bench)->virtio, 6, 2)

/* Sends a command in two pieces, as drivers do; the answer. */
static uint8_t command(struct bench *bench, const uint8_t *bytes, uint32_t len)
{
	const struct segment segments[] = {
		{ REQUEST, 2, false },
		{ REQUEST + 2, len - 2, false },
		{ ACK, 1, true },
	};
	struct vring_used_elem elem;

	memcpy(guest(bench, REQUEST), bytes, len);
	*guest(bench, ACK) = 0x55;
	driver_add(&bench->queues[CTRL(bench)], segments, 3);
	virtio_notify(bench->virtio, CTRL(bench));
	assert_true(driver_wait(&bench->queues[CTRL(bench)], &elem));
	assert_int_equal(elem.len, 1);
	return *guest(bench, ACK);
}
#define COMMAND(bench, ...)                                                    \
	command(bench, (const uint8_t[]){ __VA_ARGS__ },                       \
		sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void a_command_is_answered(void **state)
{
	struct vring_used_elem elem;
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, CONTROLS);
	assert_int_equal(COMMAND(&bench, 0, 0, 0), VIRTIO_NET_OK);
	assert_int_equal(COMMAND(&bench, 0, 9, 0), VIRTIO_NET_ERR);
	assert_int_equal(COMMAND(&bench, 0, 0, 0), VIRTIO_NET_OK);
	/* Nowhere to put an answer; and nothing to answer. */
	driver_add(&bench.queues[CTRL(&bench)],
		   &(struct segment){ REQUEST, 3, false }, 1);
	driver_add(&bench.queues[CTRL(&bench)],
		   &(struct segment){ ACK, 1, true }, 1);
	virtio_notify(bench.virtio, CTRL(&bench));
	assert_true(driver_wait(&bench.queues[CTRL(&bench)], &elem));
	assert_int_equal(elem.len, 0);
	assert_true(driver_wait(&bench.queues[CTRL(&bench)], &elem));
	assert_int_equal(elem.len, 1);
	assert_int_equal(*guest(&bench, ACK), VIRTIO_NET_ERR);
	assert_false(bench_needs_reset(&bench));
	bench_end(&bench);
}

static void another_mac_shows_until_a_reset(void **state)
{
	struct bench bench;
	struct wire wire;
	uint32_t generation;

	(void)state;
	wire_up(&bench, &wire, CONTROLS);
	generation = bench.virtio->generation;
	assert_int_equal(COMMAND(&bench, 1, 1, 6, 5, 4, 3, 2, 1),
			 VIRTIO_NET_OK);
	assert_int_equal(virtio_config_read(bench.virtio, 0, 4), 0x03040506);
	assert_int_not_equal(bench.virtio->generation, generation);
	virtio_status_write(bench.virtio, 0);
	assert_int_equal(virtio_config_read(bench.virtio, 0, 4), 2);
	bench_end(&bench);
}

/* A frame to @mac, 60 bytes and its header. */
static void wire_put_to(struct wire *wire, const uint8_t *mac)
{
	uint8_t frame[NET_HEADER + 60] = { 0 };

	memcpy(frame + NET_HEADER, mac, NET_MAC);
	wire_carry(wire, frame, sizeof(frame));
}

static void frames_for_others_leave_the_buffers_to_the_next(void **state)
{
	static const uint8_t own[] = { 2, 0, 0, 0, 0, 1 };
	static const uint8_t other[] = { 2, 0, 0, 0, 0, 2 };
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, CONTROLS);
	assert_int_equal(COMMAND(&bench, 0, 0, 0), VIRTIO_NET_OK);
	rx_give(&bench, 1, 2048);
	wire_put_to(&wire, other);
	wire_put_to(&wire, own);
	assert_int_equal(rx_wait(&bench), NET_HEADER + 60);
	assert_int_equal(*guest(&bench, BENCH_DATA + NET_HEADER + 5), 1);
	assert_true(rx_none(&bench));
	/* And when many come together. */
	for (int i = 0; i < 16; i++)
		wire_put_to(&wire, i % 2 ? other : own);
	rx_give(&bench, 8, 2048);
	for (int i = 0; i < 8; i++) {
		struct vring_used_elem elem = { 0 };

		assert_true(driver_wait(&bench.queues[RX], &elem));
		assert_int_equal(elem.len, NET_HEADER + 60);
	}
	for (int i = 0; i < 8; i++)
		assert_int_equal(
			*guest(&bench, BENCH_DATA + i * 4096 + NET_HEADER + 5),
			1);
	/* And promiscuous again. */
	assert_int_equal(COMMAND(&bench, 0, 0, 1), VIRTIO_NET_OK);
	rx_give(&bench, 1, 2048);
	wire_put_to(&wire, other);
	assert_int_equal(rx_wait(&bench), NET_HEADER + 60);
	bench_end(&bench);
}

static void offloads_change_at_run_time(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, CONTROLS);
	assert_int_equal(wire.offloads, TUN_F_CSUM | TUN_F_TSO4);
	assert_int_equal(
		COMMAND(&bench, 5, 0, F(GUEST_CSUM), 0, 0, 0, 0, 0, 0, 0),
		VIRTIO_NET_OK);
	assert_int_equal(wire.offloads, TUN_F_CSUM);
	assert_int_equal(COMMAND(&bench, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0),
			 VIRTIO_NET_ERR);
	assert_int_equal(wire.offloads, TUN_F_CSUM);
	bench_end(&bench);
}

static void the_driver_hears_of_the_cable(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_create(&bench, &wire);
	/* Out and in before there is a driver: nothing to tell. */
	virtio_net_link(bench.virtio, false);
	virtio_net_link(bench.virtio, true);
	assert_int_equal(bench.config_interrupts, 0);
	bench_up(&bench, CONTROLS, SIZE);
	assert_int_equal(LINK_STATUS(&bench), VIRTIO_NET_S_LINK_UP);
	virtio_net_link(bench.virtio, true); /* it is */
	assert_int_equal(bench.config_interrupts, 0);
	virtio_net_link(bench.virtio, false);
	assert_int_equal(bench.config_interrupts, 1);
	assert_int_equal(LINK_STATUS(&bench), 0);
	virtio_net_link(bench.virtio, true);
	assert_int_equal(bench.config_interrupts, 2);
	assert_int_equal(LINK_STATUS(&bench),
			 VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	/* The driver has made itself known. */
	assert_int_equal(COMMAND(&bench, 3, 0), VIRTIO_NET_OK);
	assert_int_equal(LINK_STATUS(&bench), VIRTIO_NET_S_LINK_UP);
	bench_end(&bench);
}

static void a_receive_that_fails_is_not_the_last(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, CONTROLS);
	__atomic_store_n(&wire.receive_err, -EINVAL, __ATOMIC_SEQ_CST);
	rx_give(&bench, 1, 2048);
	wire_put(&wire, 100, 1);
	assert_int_equal(rx_wait(&bench), 100);
	assert_int_equal(wire.receive_err, 0);
	assert_int_equal(LINK_STATUS(&bench), VIRTIO_NET_S_LINK_UP);
	bench_end(&bench);
}

static void a_backend_that_is_gone_is_a_cable_that_is_out(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, CONTROLS);
	rx_give(&bench, 1, 2048);
	shutdown(wire.other, SHUT_RDWR);
	assert_true(bench_reaches(&bench.config_interrupts, 1));
	assert_int_equal(LINK_STATUS(&bench), 0);
	bench_end(&bench);
}

static uint64_t counter(struct bench *bench, unsigned queue, const char *name)
{
	struct virtio_counter counters[VIRTIO_COUNTERS_MAX];
	int n = virtio_counters(bench->virtio, queue, counters);

	for (int i = 0; i < n; i++) {
		if (!strcmp(counters[i].name, name))
			return counters[i].value;
	}
	fail_msg("no counter %s", name);
	return 0;
}

static void what_passes_is_counted(void **state)
{
	static const struct segment frame = { BENCH_DATA, 100, false };
	static const struct segment bad = { BENCH_DATA, 5, false };
	struct vring_used_elem elem;
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, CONTROLS);
	rx_give(&bench, 1, 2048);
	wire_put(&wire, 200, 1);
	assert_int_equal(rx_wait(&bench), 200);
	memset(guest(&bench, BENCH_DATA), 0, 100);
	driver_add(&bench.queues[TX], &frame, 1);
	driver_add(&bench.queues[TX], &bad, 1);
	virtio_notify(bench.virtio, TX);
	for (int i = 0; i < 2; i++)
		assert_true(driver_wait(&bench.queues[TX], &elem));
	virtio_status_write(bench.virtio, 0);
	assert_int_equal(counter(&bench, RX, "packets"), 1);
	assert_int_equal(counter(&bench, RX, "bytes"), 200 - NET_HEADER);
	assert_int_equal(counter(&bench, TX, "packets"), 1);
	assert_int_equal(counter(&bench, TX, "bytes"), 100 - NET_HEADER);
	assert_int_equal(counter(&bench, TX, "drops"), 1);
	assert_in_range(counter(&bench, TX, "kicks"), 1, 1);
	assert_in_range(counter(&bench, TX, "interrupts"), 1, 2);
	bench_end(&bench);
}

static void more_pairs_are_used_when_the_driver_says_so(void **state)
{
	struct vring_used_elem elem;
	struct wire wires[3];
	struct bench bench;

	(void)state;
	wires_create(&bench, wires, 3);
	assert_int_equal(virtio_config_read(bench.virtio, 8, 2), 3);
	bench_up(&bench, CONTROLS | F(MQ), SIZE);
	assert_true(wires[0].enabled && !wires[1].enabled && !wires[2].enabled);
	/* Buffers in the second pair, but no one has asked for it. */
	driver_add(&bench.queues[2], &(struct segment){ BENCH_DATA, 512, true },
		   1);
	virtio_notify(bench.virtio, 2);
	wire_put(&wires[1], 100, 1);
	usleep(2000);
	assert_false(driver_take(&bench.queues[2], &elem));
	assert_int_equal(COMMAND(&bench, 4, 0, 2, 0), VIRTIO_NET_OK);
	assert_true(wires[1].enabled && !wires[2].enabled);
	assert_true(driver_wait(&bench.queues[2], &elem));
	assert_int_equal(elem.len, 100);
	/* And out of it. */
	memset(guest(&bench, BENCH_DATA), 0, 100);
	driver_add(&bench.queues[3],
		   &(struct segment){ BENCH_DATA, 100, false }, 1);
	virtio_notify(bench.virtio, 3);
	assert_true(driver_wait(&bench.queues[3], &elem));
	assert_int_equal(__atomic_load_n(&wires[1].sends, __ATOMIC_SEQ_CST), 1);
	assert_int_equal(COMMAND(&bench, 4, 0, 1, 0), VIRTIO_NET_OK);
	assert_false(wires[1].enabled);
	assert_int_equal(COMMAND(&bench, 4, 0, 4, 0), VIRTIO_NET_ERR);
	/* The next driver starts with one. */
	assert_int_equal(COMMAND(&bench, 4, 0, 3, 0), VIRTIO_NET_OK);
	bench_up(&bench, CONTROLS | F(MQ), SIZE);
	assert_true(wires[0].enabled && !wires[1].enabled && !wires[2].enabled);
	bench_end(&bench);
}

static void a_command_that_the_host_refuses_changes_nothing(void **state)
{
	struct vring_used_elem elem;
	struct wire wires[2];
	struct bench bench;

	(void)state;
	wires_create(&bench, wires, 2);
	bench_up(&bench, CONTROLS | F(MQ), SIZE);
	wires[1].enable_err = -EBUSY;
	assert_int_equal(COMMAND(&bench, 4, 0, 2, 0), VIRTIO_NET_ERR);
	assert_true(wires[0].enabled && !wires[1].enabled);
	/* The second pair is not in use: its frames stay where they are. */
	driver_add(&bench.queues[3],
		   &(struct segment){ BENCH_DATA, 100, false }, 1);
	virtio_notify(bench.virtio, 3);
	usleep(2000);
	assert_false(driver_take(&bench.queues[3], &elem));
	wires[1].enable_err = 0;
	assert_int_equal(COMMAND(&bench, 4, 0, 2, 0), VIRTIO_NET_OK);
	assert_true(driver_wait(&bench.queues[3], &elem));
	bench_end(&bench);
}

/* The host was changed once more: a millisecond after *@last, if not later. */
static void assert_changed(struct bench *bench, uint64_t *last)
{
	const struct virtio_net *net =
		container_of(bench->virtio, struct virtio_net, virtio);

	assert_true(net->host_changed >= *last + 1000000);
	*last = net->host_changed;
}

static void changes_of_the_host_come_a_millisecond_apart(void **state)
{
	struct bench bench;
	struct wire wire;
	uint64_t last = 0;

	(void)state;
	wire_up(&bench, &wire, CONTROLS);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(COMMAND(&bench, 5, 0, F(GUEST_CSUM), 0, 0, 0,
					 0, 0, 0, 0),
				 VIRTIO_NET_OK);
		assert_changed(&bench, &last);
	}
	bench_end(&bench);
}

static int slow_offloads(struct net_backend *net, unsigned flags)
{
	(void)net, (void)flags;
	return usleep(3000);
}

/* Or the next one would follow at once, and everybody else wait. */
static void the_host_rests_after_a_change_that_takes_long(void **state)
{
	struct net_ops slow = wire_ops;
	struct bench bench;
	struct wire wire;
	uint64_t begin;

	(void)state;
	slow.set_offloads = slow_offloads;
	wire_create(&bench, &wire);
	wire.net.ops = &slow;
	bench_up(&bench, CONTROLS, SIZE);
	begin = clock_ns(CLOCK_MONOTONIC);
	for (int i = 0; i < 5; i++)
		assert_int_equal(COMMAND(&bench, 5, 0, F(GUEST_CSUM), 0, 0, 0,
					 0, 0, 0, 0),
				 VIRTIO_NET_OK);
	assert_true(clock_ns(CLOCK_MONOTONIC) - begin >=
		    5 * 3000000 + 4 * 1000000);
	bench_end(&bench);
}

static void drivers_that_come_and_go_do_so_a_millisecond_apart(void **state)
{
	struct bench bench;
	struct wire wire;
	uint64_t last = 0;

	(void)state;
	wire_create(&bench, &wire);
	for (int i = 0; i < 6; i++) {
		bench_up(&bench, CONTROLS, SIZE);
		virtio_status_write(bench.virtio, 0);
		assert_changed(&bench, &last);
	}
	bench_end(&bench);
}

static void without_multiqueue_the_third_queue_is_for_control(void **state)
{
	const struct segment segments[] = { { REQUEST, 3, false },
					    { ACK, 1, true } };
	struct vring_used_elem elem;
	struct wire wires[2];
	struct bench bench;

	(void)state;
	wires_create(&bench, wires, 2);
	bench_up(&bench, CONTROLS, SIZE);
	memcpy(guest(&bench, REQUEST), "\0\0\1", 3);
	driver_add(&bench.queues[2], segments, 2);
	virtio_notify(bench.virtio, 2);
	assert_true(driver_wait(&bench.queues[2], &elem));
	assert_int_equal(*guest(&bench, ACK), VIRTIO_NET_OK);
	bench_end(&bench);
}

static void a_cable_that_is_out_at_the_start_is_shown(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_create(&bench, &wire);
	__atomic_store_n(&wire.down, true, __ATOMIC_SEQ_CST);
	virtio_net_check_link(bench.virtio);
	bench_up(&bench, CONTROLS, SIZE);
	assert_int_equal(LINK_STATUS(&bench), 0);
	__atomic_store_n(&wire.down, false, __ATOMIC_SEQ_CST);
	virtio_net_check_link(bench.virtio);
	assert_true(LINK_STATUS(&bench) & VIRTIO_NET_S_LINK_UP);
	assert_int_equal(bench.config_interrupts, 1);
	bench_end(&bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_command_is_answered),
	cmocka_unit_test(another_mac_shows_until_a_reset),
	cmocka_unit_test(frames_for_others_leave_the_buffers_to_the_next),
	cmocka_unit_test(offloads_change_at_run_time),
	cmocka_unit_test(the_driver_hears_of_the_cable),
	cmocka_unit_test(a_receive_that_fails_is_not_the_last),
	cmocka_unit_test(a_backend_that_is_gone_is_a_cable_that_is_out),
	cmocka_unit_test(what_passes_is_counted),
	cmocka_unit_test(more_pairs_are_used_when_the_driver_says_so),
	cmocka_unit_test(a_command_that_the_host_refuses_changes_nothing),
	cmocka_unit_test(changes_of_the_host_come_a_millisecond_apart),
	cmocka_unit_test(the_host_rests_after_a_change_that_takes_long),
	cmocka_unit_test(drivers_that_come_and_go_do_so_a_millisecond_apart),
	cmocka_unit_test(without_multiqueue_the_third_queue_is_for_control),
	cmocka_unit_test(a_cable_that_is_out_at_the_start_is_shown),
};

UNIT_MAIN(tests)
