/*
 * Buffers that no driver gives and backends that no host has: what the card
 * takes of them, and for how long.
 */
#include "net_card.h"

#include "util/clock.h"
#include "util/counter.h"

#define MERGED  (1ull << VIRTIO_NET_F_MRG_RXBUF)
#define ENTRIES 64

static void a_broken_ring_needs_a_reset(void **state)
{
	(void)state;
	log_set_level(LOG_ERR);
	for (unsigned queue = RX; queue <= TX; queue++) {
		struct bench bench;
		struct wire wire;

		wire_up(&bench, &wire, FEATURES);
		driver_offer(&bench.queues[queue], SIZE);
		virtio_notify(bench.virtio, queue);
		assert_true(bench_breaks(&bench));
		bench_end(&bench);
	}
}

static void a_frame_may_fill_its_buffers_to_the_end(void **state)
{
	static const struct {
		uint64_t features;
		uint32_t buffer, frame;
		int together; /* frames that are asked for by one call */
	} cases[] = {
		{ FEATURES, 100, 100, 1 },
		{ FEATURES, 100, 100, 4 },
		{ FEATURES, 100, 400, 1 },
		{ FEATURES & ~MERGED, 100, 100, 1 },
		{ FEATURES, 2500, 10000, 1 },
	};
	uint8_t frame[10000];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t n = cases[i].frame, got = 0;
		struct virtio_net *net;
		struct bench bench;
		struct wire wire;

		wire_create(&bench, &wire);
		net = card_start(&bench, SIZE, cases[i].features);
		net->pairs[0].rx->batch = cases[i].together;
		rx_give(&bench, 4, cases[i].buffer);
		frame_fill(frame, n, i);
		for (uint32_t k = 0; k < 4 * cases[i].buffer / n; k++)
			wire_put(&wire, n, i);
		bench.virtio->ops->queue(bench.virtio, RX);
		for (int k = 0; k < 4; k++) {
			uint32_t len = card_took(&bench, RX);
			uint32_t skip = got % n ? 0 : NET_HEADER;

			assert_int_equal(len, cases[i].buffer);
			assert_memory_equal(
				guest(&bench, BENCH_DATA + k * 4096 + skip),
				frame + got % n + skip, len - skip);
			got += len;
		}
		card_down(&bench);
	}
}

/* The driver says it has more, but has got none back. */
static void no_more_buffers_are_taken_than_a_queue_has(void **state)
{
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_up(&bench, &wire, NET_QUEUE_SIZE);

	(void)state;
	for (int i = 0; i < 2; i++) {
		for (int k = 0; k < NET_QUEUE_SIZE; k++)
			rx_add(&bench, BENCH_DATA, NET_HEADER);
		net_window_fill(net, 0);
		assert_int_equal(net->pairs[0].rx->count, NET_QUEUE_SIZE);
	}
	card_down(&bench);
}

/* A buffer of @pieces, in a table of its own. */
static void rx_add_pieces(struct bench *bench, gpa_t at, unsigned pieces)
{
	const uint16_t next = VRING_DESC_F_NEXT;
	struct driver *driver = &bench->queues[RX];
	uint16_t head = driver->next_desc++ % driver->size;
	struct vring_desc *table = (void *)guest(bench, at + 0x2000);

	for (unsigned i = 0; i < pieces; i++)
		table[i] = (struct vring_desc){
			.addr = at + 10 * i,
			.len = 10,
			.flags = VRING_DESC_F_WRITE |
				 (i + 1 < pieces ? next : 0),
			.next = i + 1,
		};
	*driver_desc(driver, head) = (struct vring_desc){
		.addr = at + 0x2000,
		.len = pieces * sizeof(*table),
		.flags = VRING_DESC_F_INDIRECT,
	};
	driver_offer(driver, head);
}

/* Three buffers fill it, and a fourth could not come into it. */
static void a_window_without_room_is_not_waited_for(void **state)
{
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_up(&bench, &wire, NET_QUEUE_SIZE);

	(void)state;
	log_set_level(LOG_ERR);
	net->pairs[0].rx->most = NET_QUEUE_SIZE;
	rx_add_pieces(&bench, BENCH_DATA, 200);
	net_window_fill(net, 0);
	for (int i = 1; i < 5; i++)
		rx_add_pieces(&bench, BENCH_DATA + i * 0x4000, 200);
	wire_put(&wire, 6001, 1);
	assert_false(bench.virtio->ops->queue(bench.virtio, RX));
	for (int i = 0; i < 3; i++)
		assert_int_equal(card_took(&bench, RX), 0);
	assert_int_equal(counter_read(&net->pairs[0].received.drops), 1);
	card_down(&bench);
}

static void a_call_asks_for_no_more_frames_than_there_are_buffers(void **state)
{
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_up(&bench, &wire, SIZE);

	(void)state;
	net->pairs[0].rx->batch = 4;
	for (int i = 0; i < 4; i++)
		wire_put(&wire, 100 + i, i);
	for (int i = 0; i < 4; i++) {
		if (i % 2 == 0) {
			rx_give(&bench, 2, 2048);
			bench.virtio->ops->queue(bench.virtio, RX);
		}
		assert_int_equal(card_took(&bench, RX), 100 + i);
	}
	card_down(&bench);
}

static void as_many_frames_are_asked_for_as_came_before(void **state)
{
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_up(&bench, &wire, ENTRIES);
	struct rx_window *rx = net->pairs[0].rx;
	const struct virtio_device_ops *ops = bench.virtio->ops;

	(void)state;
	rx_give(&bench, ENTRIES, 2048);
	for (int i = 0; i < 20; i++)
		wire_put(&wire, 100, i);
	/* 1, 2, 4, 8, and 5 of 16; then there are none. */
	ops->queue(bench.virtio, RX);
	assert_int_equal(wire.most, 16);
	for (unsigned asked = 8; asked; asked /= 2) {
		assert_int_equal(rx->batch, asked);
		ops->queue(bench.virtio, RX);
	}
	assert_int_equal(rx->batch, 1);
	/* Long ones come one by one, but for the first. */
	rx->batch = 4;
	for (unsigned most = 4; most <= 4; most -= 4) {
		wire.most = 0;
		for (int i = 0; i < 4; i++)
			wire_put(&wire, 5000, i);
		ops->queue(bench.virtio, RX);
		assert_int_equal(wire.most, most);
	}
	card_down(&bench);
}

static void frames_that_come_together_find_buffers_of_many_pieces(void **state)
{
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_up(&bench, &wire, 32);
	uint8_t frame[100];

	(void)state;
	net->pairs[0].rx->batch = 4;
	for (int i = 0; i < 4; i++) {
		rx_add_pieces(&bench, BENCH_DATA + i * 0x4000, i < 2 ? 10 : 4);
		wire_put(&wire, i < 2 ? 100 : 40, i);
	}
	bench.virtio->ops->queue(bench.virtio, RX);
	for (int i = 0; i < 4; i++) {
		size_t len = card_took(&bench, RX);

		assert_int_equal(len, i < 2 ? 100 : 40);
		frame_fill(frame, len, i);
		assert_memory_equal(
			guest(&bench, BENCH_DATA + i * 0x4000 + NET_HEADER),
			frame + NET_HEADER, len - NET_HEADER);
	}
	card_down(&bench);
}

/* The others are in the window as well. */
static void without_merging_only_the_first_buffer_is_written(void **state)
{
	struct virtio_net *net;
	struct bench bench;
	struct wire wire;

	(void)state;
	log_set_level(LOG_ERR);
	wire_create(&bench, &wire);
	net = card_start(&bench, 32, FEATURES & ~MERGED);
	net->pairs[0].rx->batch = 4;
	for (int i = 0; i < 4; i++)
		rx_add_pieces(&bench, BENCH_DATA + i * 0x4000, 10);
	wire_put(&wire, 101, 1);
	bench.virtio->ops->queue(bench.virtio, RX);
	assert_int_equal(card_took(&bench, RX), 0);
	assert_int_equal(*guest(&bench, BENCH_DATA + 0x4000), 0);
	card_down(&bench);
}

static void frames_that_come_together_find_buffers_for_longer_ones(void **state)
{
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_up(&bench, &wire, SIZE);

	(void)state;
	net->pairs[0].rx->batch = 2;
	for (int i = 0; i < 2; i++) {
		rx_add(&bench, BENCH_DATA + i * 0x20000, 0x20000);
		wire_put(&wire, 100 + i, i);
	}
	bench.virtio->ops->queue(bench.virtio, RX);
	for (int i = 0; i < 2; i++)
		assert_int_equal(card_took(&bench, RX), 100 + i);
	assert_int_equal(counter_read(&net->pairs[0].received.drops), 0);
	assert_int_equal(wire.most, 2);
	card_down(&bench);
}

/* The driver has more buffers, which would not help. */
static void a_frame_longer_than_any_is_not_waited_for(void **state)
{
	(void)state;
	log_set_level(LOG_ERR);
	for (int over = 0; over < 2; over++) {
		struct bench bench;
		struct wire wire;
		struct virtio_net *net = card_up(&bench, &wire, SIZE);

		net->pairs[0].rx->most = SIZE;
		rx_give(&bench, 1, 100);
		wire_put(&wire, NET_HEADER + FRAME_MAX + over, 1);
		bench.virtio->ops->queue(bench.virtio, RX);
		assert_int_equal(counter_read(&net->pairs[0].received.drops),
				 over);
		card_down(&bench);
	}
}

/* What every receive() returns, and how many there were. */
static ssize_t always;
static unsigned calls;
static int most_pieces;              /* that one was offered */
static const struct driver *watched; /* its used index at the last of them */
static uint16_t shown;

static ssize_t receive_always(struct net_backend *net, const struct iovec *iov,
			      int iovcnt)
{
	(void)net;
	calls++;
	if (iovcnt > most_pieces)
		most_pieces = iovcnt;
	if (watched)
		shown = driver_ring_used(watched)->idx;
	if (always > 0)
		memset(iov->iov_base, 0, always);
	return always;
}

static const struct net_ops always_ops = {
	.receive = receive_always,
	.set_offloads = wire_offloads,
	.close = wire_close,
};

static struct virtio_net *card_of_always(struct bench *bench, struct wire *wire,
					 ssize_t result)
{
	struct virtio_net *net;

	log_set_level(LOG_ERR);
	wire_create(bench, wire);
	wire->net.ops = &always_ops;
	always = result;
	calls = 0;
	most_pieces = 0;
	net = card_start(bench, ENTRIES, FEATURES);
	net_ring(net, RX)->event_idx = true;
	rx_give(bench, 2, 2048);
	return net;
}

static void frames_without_end_leave_time_to_stop(void **state)
{
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_of_always(&bench, &wire, 100);

	(void)state;
	/* They need no buffer: nobody wants them. */
	net->control.filter = (struct net_filter){ .nouni = true };
	assert_true(bench.virtio->ops->queue(bench.virtio, RX));
	assert_int_equal(calls, NET_BUDGET);
	card_down(&bench);
}

/* Each costs the kernel a look; and a spill is behind them. */
static void a_long_frame_is_offered_more_pieces_than_a_short_one(void **state)
{
	(void)state;
	for (int lengths = 0; lengths < 2; lengths++) {
		struct bench bench;
		struct wire wire;

		card_of_always(&bench, &wire, lengths ? 5000 : 100);
		rx_give(&bench, ENTRIES - 2, 2048);
		bench.virtio->ops->queue(bench.virtio, RX);
		assert_in_range(most_pieces, lengths ? 33 : 3,
				lengths ? 34 : 3);
		card_down(&bench);
	}
}

static void the_driver_sees_some_frames_before_the_last(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	card_of_always(&bench, &wire, 100);
	rx_give(&bench, ENTRIES - 2, 2048);
	watched = &bench.queues[RX];
	bench.virtio->ops->queue(bench.virtio, RX);
	watched = NULL;
	assert_int_equal(calls, ENTRIES);
	assert_in_range(shown, ENTRIES - NET_PUBLISH, ENTRIES - 1);
	card_down(&bench);
}

/* And goes on: with buffers enough no kick would come to try again. */
static void the_worker_rests_when_a_backend_keeps_failing(void **state)
{
	uint64_t before = clock_ns(CLOCK_MONOTONIC);
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_of_always(&bench, &wire, -EINVAL);

	(void)state;
	*net_events(net, 0) = POLLIN;
	assert_true(bench.virtio->ops->queue(bench.virtio, RX));
	assert_int_equal(calls, NET_BUDGET);
	assert_in_range(clock_ns(CLOCK_MONOTONIC) - before,
			NET_BUDGET / 64 * 1000000, UINT64_MAX);
	assert_int_equal(*net_events(net, 0), POLLIN);
	assert_int_equal(counter_read(&net->pairs[0].received.drops), calls);
	/* Others do not count that come before a silence. */
	always = -EAGAIN;
	assert_false(bench.virtio->ops->queue(bench.virtio, RX));
	assert_int_equal(net->pairs[0].failures, 0);
	card_down(&bench);
}

static void a_backend_that_has_gone_is_not_asked_again(void **state)
{
	static const int errors[] = { -EBADFD, -EBADF,    -ENODEV,    -EPIPE,
				      0,       -ENOTCONN, -ECONNRESET };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct bench bench;
		struct wire wire;
		struct virtio_net *net =
			card_of_always(&bench, &wire, errors[i]);

		/* What waits for room goes on waiting for it. */
		*net_events(net, 0) = POLLIN | POLLOUT;
		for (int kicks = 0; kicks < 2; kicks++)
			assert_false(
				bench.virtio->ops->queue(bench.virtio, RX));
		assert_int_equal(calls, 1);
		assert_int_equal(*net_events(net, 0), POLLOUT);
		assert_int_equal(virtio_config_read(bench.virtio, 6, 2), 0);
		card_down(&bench);
	}
}

static void what_was_not_used_goes_back_to_the_ring(void **state)
{
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_up(&bench, &wire, SIZE);
	const struct rx_window *rx = net->pairs[0].rx;

	(void)state;
	net->pairs[0].rx->batch = 4;
	rx_give(&bench, 6, 2048);
	wire_put(&wire, 100, 1);
	bench.virtio->ops->queue(bench.virtio, RX);
	assert_in_range(rx->count, 2, 5);
	net->pairs[0].rx->held = 100;
	bench.virtio->ops->drain(bench.virtio);
	assert_int_equal(rx->count, 0);
	assert_int_equal(rx->bytes, 0);
	assert_int_equal(rx->held, 0);
	assert_int_equal(rx->end, rx->first);
	assert_int_equal(net_ring(net, RX)->next_avail, 1);
	card_down(&bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_broken_ring_needs_a_reset),
	cmocka_unit_test(a_frame_may_fill_its_buffers_to_the_end),
	cmocka_unit_test(no_more_buffers_are_taken_than_a_queue_has),
	cmocka_unit_test(a_window_without_room_is_not_waited_for),
	cmocka_unit_test(a_call_asks_for_no_more_frames_than_there_are_buffers),
	cmocka_unit_test(as_many_frames_are_asked_for_as_came_before),
	cmocka_unit_test(frames_that_come_together_find_buffers_of_many_pieces),
	cmocka_unit_test(without_merging_only_the_first_buffer_is_written),
	cmocka_unit_test(
		frames_that_come_together_find_buffers_for_longer_ones),
	cmocka_unit_test(a_frame_longer_than_any_is_not_waited_for),
	cmocka_unit_test(frames_without_end_leave_time_to_stop),
	cmocka_unit_test(a_long_frame_is_offered_more_pieces_than_a_short_one),
	cmocka_unit_test(the_driver_sees_some_frames_before_the_last),
	cmocka_unit_test(the_worker_rests_when_a_backend_keeps_failing),
	cmocka_unit_test(a_backend_that_has_gone_is_not_asked_again),
	cmocka_unit_test(what_was_not_used_goes_back_to_the_ring),
};

UNIT_MAIN(tests)
