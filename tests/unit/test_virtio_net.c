/*
 * Frames on their way from the guest, and the life of the card. The other way
 * is in test_virtio_net_rx.c, the control queue in test_virtio_net_control.c.
 */
#include "said.h"
#include "util/clock.h"
#include "wire.h"

#define MS 1000000ull

static uint64_t now; /* atomic; 0: as it really is */

/* In place of the library's. */
uint64_t clock_ns(clockid_t clock)
{
	uint64_t set = __atomic_load_n(&now, __ATOMIC_SEQ_CST);
	struct timespec real;

	clock_gettime(clock, &real);
	return set ? set : real.tv_sec * 1000 * MS + real.tv_nsec;
}

static void frames_leave_in_order_and_whole(void **state)
{
	struct segment segments[] = { { BENCH_DATA, NET_HEADER, false },
				      { BENCH_DATA + 0x800, 14, false },
				      { BENCH_DATA + 0x1000, 86, false } };
	struct vring_used_elem elem;
	struct bench bench;
	struct wire wire;
	uint8_t got[200];

	(void)state;
	wire_up(&bench, &wire, FEATURES);
	memset(guest(&bench, BENCH_DATA + 0x800), 1, 14);
	memset(guest(&bench, BENCH_DATA + 0x1000), 2, 86);
	driver_add(&bench.queues[TX], segments, 3);
	driver_add(&bench.queues[TX], segments, 2);
	virtio_notify(bench.virtio, TX);
	for (int i = 0; i < 2; i++) {
		assert_true(driver_wait(&bench.queues[TX], &elem));
		assert_int_equal(elem.len, 0);
	}
	assert_int_equal(read(wire.other, got, sizeof(got)), NET_HEADER + 100);
	assert_int_equal(got[NET_HEADER + 13], 1);
	assert_int_equal(got[NET_HEADER + 14], 2);
	assert_int_equal(read(wire.other, got, sizeof(got)), NET_HEADER + 14);
	bench_end(&bench);
}

static void malformed_frames_are_dropped_and_given_back(void **state)
{
	static const struct segment malformed[] = {
		{ BENCH_DATA, 0, false },
		{ BENCH_DATA, NET_HEADER, false },
		{ BENCH_DATA, NET_HEADER + 13, false },
		{ BENCH_DATA, 2048, true },
		{ BENCH_DATA, 0x20000, false },
	};
	struct vring_used_elem elem;
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, FEATURES);
	for (size_t i = 0; i < ARRAY_SIZE(malformed); i++) {
		driver_add(&bench.queues[TX], &malformed[i], 1);
		virtio_notify(bench.virtio, TX);
		assert_true(driver_wait(&bench.queues[TX], &elem));
	}
	assert_int_equal(wire.sends, 0);
	assert_false(bench_needs_reset(&bench));
	bench_end(&bench);
}

static void a_full_backend_drops_nothing(void **state)
{
	static const struct segment frame = { BENCH_DATA, 100, false };
	struct vring_used_elem elem;
	struct bench bench;
	struct wire wire;
	uint8_t got[200];

	(void)state;
	wire_up(&bench, &wire, FEATURES);
	__atomic_store_n(&wire.send_err, -EAGAIN, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 3; i++)
		driver_add(&bench.queues[TX], &frame, 1);
	virtio_notify(bench.virtio, TX);
	assert_true(bench_reaches(&wire.sends, 2));
	assert_false(driver_take(&bench.queues[TX], &elem));
	__atomic_store_n(&wire.send_err, 0, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 3; i++) {
		assert_true(driver_wait(&bench.queues[TX], &elem));
		assert_int_equal(read(wire.other, got, sizeof(got)), 100);
	}
	bench_end(&bench);
}

static void many_frames_leave_in_order(void **state)
{
	struct vring_used_elem elem;
	struct bench bench;
	struct wire wire;
	uint8_t got[2048];
	int n = 0;

	(void)state;
	wire_create(&bench, &wire);
	bench_up(&bench, FEATURES, 128);
	/* Every tenth has no bytes; these are dropped where they stand. */
	for (int i = 0; i < 100; i++) {
		gpa_t at = BENCH_DATA + i * 2048;

		memset(guest(&bench, at + NET_HEADER), i, 100);
		driver_add(&bench.queues[TX],
			   &(struct segment){
				   at, NET_HEADER + (i % 10 ? 100 : 0), false },
			   1);
	}
	virtio_notify(bench.virtio, TX);
	for (int i = 0; i < 100; i++) {
		assert_true(driver_wait(&bench.queues[TX], &elem));
		assert_int_equal(elem.id, i);
	}
	while (read(wire.other, got, sizeof(got)) > 0) {
		n += n % 10 == 0;
		assert_int_equal(got[NET_HEADER], n++);
	}
	assert_int_equal(n, 100);
	/* One interrupt for what was given back together. */
	assert_in_range(bench.interrupts[TX], 1, 4);
	bench_end(&bench);
}

static void each_direction_has_a_limit_of_its_own(void **state)
{
	static const struct segment frame = { BENCH_DATA + 0x80000, 100,
					      false };
	static const uint8_t mac[NET_MAC] = { 2, 0, 0, 0, 0, 1 };
	struct virtio_device *virtio;
	struct vring_used_elem elem;
	struct bench bench;
	struct wire wire;

	(void)state;
	now = 1000 * MS; /* and stays so, however long this takes */
	bench_memory(&bench);
	wire_init(&wire);
	wire.net.rate = 10000; /* one frame in 10 ms */
	wire.net.burst = 1;
	assert_int_equal(virtio_net_create("net0", &wire.net, mac,
					   &bench.memory, &virtio),
			 0);
	bench_attach(&bench, virtio);
	bench_up(&bench, FEATURES, SIZE);
	for (int i = 0; i < 2; i++) {
		driver_add(&bench.queues[TX], &frame, 1);
		wire_put(&wire, 100, i);
	}
	virtio_notify(virtio, TX);
	rx_give(&bench, 2, 2048);
	assert_true(driver_wait(&bench.queues[TX], &elem));
	assert_int_equal(rx_wait(&bench), 100);
	/* The second of each waits. */
	assert_int_equal(__atomic_load_n(&wire.sends, __ATOMIC_SEQ_CST), 1);
	assert_false(driver_take(&bench.queues[RX], &elem));
	__atomic_fetch_add(&now, 10 * MS, __ATOMIC_SEQ_CST);
	assert_int_equal(rx_wait(&bench), 100);
	assert_true(driver_wait(&bench.queues[TX], &elem));
	bench_end(&bench);
	now = 0;
}

static void a_frame_the_host_refuses_is_dropped(void **state)
{
	static const struct segment frame = { BENCH_DATA, 100, false };
	static const struct {
		int err;
		bool told; /* of a cable that is out nothing is */
	} cases[] = { { -EIO, false }, { -EINVAL, true } };
	struct vring_used_elem elem;
	struct bench bench;
	struct said said;
	struct wire wire;
	char text[200];

	(void)state;
	wire_up(&bench, &wire, FEATURES);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		__atomic_store_n(&wire.send_err, cases[i].err,
				 __ATOMIC_SEQ_CST);
		said = said_begin();
		driver_add(&bench.queues[TX], &frame, 1);
		virtio_notify(bench.virtio, TX);
		assert_true(driver_wait(&bench.queues[TX], &elem));
		said_end(said, text, sizeof(text));
		assert_int_equal(!!strstr(text, "was dropped"), cases[i].told);
	}
	assert_false(bench_needs_reset(&bench));
	bench_end(&bench);
}

static void the_backend_learns_what_the_guest_accepts(void **state)
{
#define F(name) (1ull << VIRTIO_NET_F_##name)
	static const struct {
		uint64_t features;
		unsigned offloads;
	} cases[] = {
		{ 0, 0 },
		{ F(GUEST_CSUM), TUN_F_CSUM },
		{ F(GUEST_CSUM) | F(GUEST_TSO4), TUN_F_CSUM | TUN_F_TSO4 },
		{ F(GUEST_CSUM) | F(GUEST_TSO4) | F(GUEST_TSO6),
		  TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 },
		/* Segments without checksums make no sense. */
		{ F(GUEST_TSO4), 0 },
	};
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_create(&bench, &wire);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bench_up(&bench, FEATURES | cases[i].features, SIZE);
		assert_true(bench.virtio->running);
		assert_int_equal(wire.offloads, cases[i].offloads);
	}
	/* What the backend cannot do is not offered. */
	assert_false(virtio_features_read(bench.virtio, 0) & F(HOST_ECN));
	assert_true(virtio_features_read(bench.virtio, 0) & F(HOST_TSO6));
	bench_end(&bench);
}

static void a_reset_gives_unused_buffers_up(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, FEATURES);
	rx_give(&bench, 4, 2048);
	wire_put(&wire, 100, 1);
	assert_int_equal(rx_wait(&bench), 100);
	virtio_status_write(bench.virtio, 0);
	memset(guest(&bench, BENCH_DATA), 0x33, 4 * 4096);
	wire_put(&wire, 200, 1);
	assert_false(bench.virtio->has_worker);
	for (int i = 0; i < 4 * 4096; i++)
		assert_int_equal(*guest(&bench, BENCH_DATA + i), 0x33);
	/* The frame waits for the next driver. */
	bench_up(&bench, FEATURES, SIZE);
	rx_give(&bench, 4, 2048);
	assert_int_equal(rx_wait(&bench), 200);
	bench_end(&bench);
}

static void taking_one_queue_back_keeps_the_buffers_of_the_other(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, FEATURES);
	rx_give(&bench, 2, 2048);
	wire_put(&wire, 100, 1);
	assert_int_equal(rx_wait(&bench), 100);
	virtio_queue_disable(bench.virtio, TX);
	wire_put(&wire, 101, 1);
	assert_int_equal(rx_wait(&bench), 101);
	bench_end(&bench);
}

static void a_backend_that_dies_is_left_alone(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, FEATURES);
	rx_give(&bench, 2, 2048);
	shutdown(wire.other, SHUT_RDWR);
	assert_true(bench_reaches(&wire.deaths, 1));
	virtio_status_write(bench.virtio, 0);
	assert_false(bench_needs_reset(&bench));
	/* Not watched either, or the worker would spin. */
	assert_int_equal(bench.virtio->watched[0].events, 0);
	/* Whatever else happens to the host's cables. */
	virtio_net_check_link(bench.virtio);
	assert_int_equal(virtio_config_read(bench.virtio, 6, 2), 0);
	bench_end(&bench);
}

static void the_configuration_names_the_card(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_create(&bench, &wire);
	assert_int_equal(virtio_config_read(bench.virtio, 0, 1), 2);
	assert_int_equal(virtio_config_read(bench.virtio, 5, 1), 1);
	assert_int_equal(virtio_config_read(bench.virtio, 6, 2),
			 VIRTIO_NET_S_LINK_UP);
	assert_int_equal(virtio_config_read(bench.virtio, 10, 2), 1500);
	bench_end(&bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(frames_leave_in_order_and_whole),
	cmocka_unit_test(malformed_frames_are_dropped_and_given_back),
	cmocka_unit_test(a_full_backend_drops_nothing),
	cmocka_unit_test(many_frames_leave_in_order),
	cmocka_unit_test(each_direction_has_a_limit_of_its_own),
	cmocka_unit_test(a_frame_the_host_refuses_is_dropped),
	cmocka_unit_test(the_backend_learns_what_the_guest_accepts),
	cmocka_unit_test(a_reset_gives_unused_buffers_up),
	cmocka_unit_test(taking_one_queue_back_keeps_the_buffers_of_the_other),
	cmocka_unit_test(a_backend_that_dies_is_left_alone),
	cmocka_unit_test(the_configuration_names_the_card),
};

UNIT_MAIN(tests)
