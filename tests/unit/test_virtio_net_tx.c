/*
 * Frames on their way from the guest, by a card without a worker: what is taken
 * together, what waits, and when the driver hears of it.
 */
#include "net_card.h"

#include "util/clock.h"
#include "util/counter.h"
#include "util/iov.h"

#define US 1000ull

static uint64_t now;        /* 0: as it really is */
static struct driver *late; /* offers a frame when the time is asked for */
static unsigned lates;      /* so many times more */
static uint32_t late_bytes = 100;
static const struct bench *watched;

/* In place of the library's. */
uint64_t clock_ns(clockid_t clock)
{
	const struct segment frame = { BENCH_DATA, late_bytes, false };
	struct timespec real;

	if (late && lates) {
		driver_add(late, &frame, 1);
		lates--;
	}
	if (now)
		return now;
	clock_gettime(clock, &real);
	return real.tv_sec * 1000000 * US + real.tv_nsec;
}

/* Frames of @len bytes, header included, the first of which begins with the
 * byte @seed. */
static void tx_give(struct bench *bench, int n, uint32_t len, uint8_t seed)
{
	for (int i = 0; i < n; i++) {
		gpa_t at = BENCH_DATA + (uint8_t)(seed + i) * 512;

		*guest(bench, at + NET_HEADER) = seed + i;
		driver_add(&bench->queues[TX],
			   &(struct segment){ at, len, false }, 1);
	}
}

/* What the next frame begins with; -1 if there is none. */
static int tx_next(struct wire *wire)
{
	uint8_t got[512];

	return read(wire->other, got, sizeof(got)) > 0 ? got[NET_HEADER] : -1;
}

static void as_many_frames_leave_together_as_there_is_room_for(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	card_up(&bench, &wire, 256);
	tx_give(&bench, 100, 100, 0);
	assert_true(bench.virtio->ops->queue(bench.virtio, TX));
	for (int i = 0; i < 100; i++)
		assert_int_equal(tx_next(&wire), i);
	card_down(&bench);
}

static void frames_of_the_most_pieces_leave_one_by_one(void **state)
{
	enum { PIECES = 256, FRAMES = 8 };
	struct bench bench;
	struct wire wire;
	uint8_t got[PIECES + 1];

	(void)state;
	card_up(&bench, &wire, 256);
	for (int i = 0; i < FRAMES; i++) {
		gpa_t at = BENCH_DATA + i * 0x2000;
		struct vring_desc *table = (void *)guest(&bench, at + 0x1000);

		memset(guest(&bench, at + NET_HEADER), i + 1, PIECES);
		for (int k = 0; k < PIECES; k++)
			table[k] = (struct vring_desc){ at + k, 1,
							VRING_DESC_F_NEXT,
							k + 1 };
		table[PIECES - 1].flags = 0;
		*driver_desc(&bench.queues[TX], i) =
			(struct vring_desc){ at + 0x1000,
					     PIECES * sizeof(*table),
					     VRING_DESC_F_INDIRECT, 0 };
		driver_offer(&bench.queues[TX], i);
	}
	assert_true(bench.virtio->ops->queue(bench.virtio, TX));
	for (int i = 0; i < FRAMES; i++) {
		assert_int_equal(read(wire.other, got, sizeof(got)), PIECES);
		for (int k = NET_HEADER; k < PIECES; k++)
			assert_int_equal(got[k], i + 1);
	}
	card_down(&bench);
}

static void the_longest_frame_leaves_and_none_longer(void **state)
{
	const uint32_t most = NET_HEADER + FRAME_MAX;
	struct bench bench;
	struct wire wire;
	int room = 1 << 18;

	(void)state;
	log_set_level(LOG_ERR);
	card_up(&bench, &wire, SIZE);
	setsockopt(wire.net.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	tx_give(&bench, 1, most + 1, 0);
	tx_give(&bench, 1, most, 0);
	while (bench.virtio->ops->queue(bench.virtio, TX))
		;
	assert_int_equal(wire.sends, 1);
	card_down(&bench);
}

static void a_checksum_lies_within_its_frame(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	log_set_level(LOG_ERR);
	wire_create(&bench, &wire);
	card_start(&bench, SIZE, FEATURES | 1ull << VIRTIO_NET_F_CSUM);
	for (int over = 0; over < 2; over++) {
		struct virtio_net_hdr_v1 *header =
			(void *)guest(&bench, BENCH_DATA + over * 512);

		header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		header->csum_start = 100 - 2 + over;
		tx_give(&bench, 1, NET_HEADER + 100, over);
	}
	while (bench.virtio->ops->queue(bench.virtio, TX))
		;
	assert_int_equal(tx_next(&wire), 0);
	assert_int_equal(tx_next(&wire), -1);
	card_down(&bench);
}

/* Kicks bring nothing in between, nor does a worker that is replaced. */
static void what_waits_for_room_leaves_in_its_turn(void **state)
{
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_up(&bench, &wire, 32);
	struct virtio_device *virtio = bench.virtio;

	(void)state;
	for (int ends = 0; ends < 2; ends++) {
		wire.send_err = -EAGAIN;
		for (int i = 0; i < 3; i++) {
			tx_give(&bench, 3, 100, 3 * i);
			assert_false(virtio->ops->queue(virtio, TX));
			assert_int_equal(*net_events(net, 0) & POLLOUT,
					 POLLOUT);
		}
		wire.send_err = 0;
		if (ends) {
			virtio->ops->drain(virtio);
			assert_true(virtio->ops->queue(virtio, TX));
		} else {
			virtio->ops->ready(virtio, 0, POLLOUT);
			assert_int_equal(*net_events(net, 0) & POLLOUT, 0);
			assert_true(virtio->queues[TX].again);
		}
		for (int i = 0; i < 9; i++)
			assert_int_equal(tx_next(&wire), i);
		assert_int_equal(tx_next(&wire), -1);
	}
	card_down(&bench);
}

/* Between the last look at the queue and the wish to be told of more. */
static void a_frame_that_comes_at_the_last_moment_is_seen(void **state)
{
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_up(&bench, &wire, SIZE);
	struct tx_pause *pause = &net->pairs[0].tx->pause;

	(void)state;
	counter_add(&net->pairs[0].sent.packets, 1000);
	pause->sent = 1000;
	late = &bench.queues[TX];
	lates = 1;
	assert_true(bench.virtio->ops->queue(bench.virtio, TX));
	assert_int_equal(lates, 0);
	assert_true(bench.virtio->ops->queue(bench.virtio, TX));
	assert_int_equal(wire.sends, 1);
	card_down(&bench);
}

static uint16_t used_index(const struct bench *bench)
{
	return driver_ring_used(&bench->queues[TX])->idx;
}

/* Of four frames the driver wants to hear when the second is done. */
static void a_pause_shows_what_needs_no_interrupt(void **state)
{
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_up(&bench, &wire, 32);
	struct virtio_device *virtio = bench.virtio;
	struct tx_pause *pause = &net->pairs[0].tx->pause;

	(void)state;
	for (int ends = 0; ends < 2; ends++) {
		uint16_t before = used_index(&bench);
		unsigned interrupts = bench.interrupts[TX];

		now = 1000000 * US;
		net_ring(net, TX)->event_idx = true;
		counter_add(&net->pairs[0].sent.packets, 1000);
		pause->sent = counter_read(&net->pairs[0].sent.packets);
		pause->looked = now - 100 * US;
		*driver_used_event(&bench.queues[TX]) = before + 1;
		tx_give(&bench, 4, 100, 0);
		assert_true(virtio->ops->queue(virtio, TX));
		assert_int_equal(used_index(&bench), before);
		assert_false(virtio->ops->queue(virtio, TX));
		assert_int_equal(used_index(&bench), before + 1);
		assert_true(pause->until > now);
		assert_int_equal(bench.interrupts[TX], interrupts);
		/* It is over, or the worker's time is. */
		if (ends) {
			virtio->ops->drain(virtio);
			assert_int_equal(pause->until, 0);
		} else {
			now = pause->until;
			assert_false(virtio->ops->queue(virtio, TX));
		}
		assert_int_equal(used_index(&bench), before + 4);
		assert_int_equal(bench.interrupts[TX], interrupts + 1);
	}
	now = 0;
	card_down(&bench);
}

static void
a_driver_without_event_indexes_is_asked_only_in_the_end(void **state)
{
	(void)state;
	for (unsigned queue = RX; queue <= TX; queue++) {
		struct bench bench;
		struct wire wire;
		const uint16_t *flags;

		card_up(&bench, &wire, SIZE);
		flags = &driver_ring_used(&bench.queues[queue])->flags;
		rx_give(&bench, 1, 2048);
		tx_give(&bench, 1, 100, 0);
		bench.virtio->ops->queue(bench.virtio, queue);
		assert_int_equal(*flags, VRING_USED_F_NO_NOTIFY);
		wire_put(&wire, 100, 0);
		assert_false(bench.virtio->ops->queue(bench.virtio, queue));
		assert_int_equal(*flags, 0);
		card_down(&bench);
	}
}

/* As many come as go, none of which may leave. */
static void frames_without_end_leave_time_to_stop(void **state)
{
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_up(&bench, &wire, SIZE);

	(void)state;
	log_set_level(LOG_ERR);
	net->limited = true; /* by nothing, but it looks at the clock */
	late = &bench.queues[TX];
	lates = 4 * NET_BUDGET;
	late_bytes = 1;
	assert_true(bench.virtio->ops->queue(bench.virtio, TX));
	assert_int_equal(lates, 3 * NET_BUDGET);
	late = NULL;
	late_bytes = 100;
	card_down(&bench);
}

static uint16_t shown; /* to the driver, when the last frame was sent */

static ssize_t send_watched(struct net_backend *net, const struct iovec *iov,
			    int iovcnt)
{
	(void)net;
	shown = used_index(watched);
	return (ssize_t)iov_total(iov, iovcnt);
}

static const struct net_ops watched_ops = {
	.send = send_watched,
	.set_offloads = wire_offloads,
	.close = wire_close,
};

static void the_driver_fills_what_is_free_while_the_rest_is_sent(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_create(&bench, &wire);
	wire.net.ops = &watched_ops;
	card_start(&bench, 64, FEATURES);
	watched = &bench;
	tx_give(&bench, 64, 100, 0);
	assert_true(bench.virtio->ops->queue(bench.virtio, TX));
	assert_in_range(shown, 32, 63);
	card_down(&bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(as_many_frames_leave_together_as_there_is_room_for),
	cmocka_unit_test(frames_of_the_most_pieces_leave_one_by_one),
	cmocka_unit_test(the_longest_frame_leaves_and_none_longer),
	cmocka_unit_test(a_checksum_lies_within_its_frame),
	cmocka_unit_test(what_waits_for_room_leaves_in_its_turn),
	cmocka_unit_test(a_frame_that_comes_at_the_last_moment_is_seen),
	cmocka_unit_test(a_pause_shows_what_needs_no_interrupt),
	cmocka_unit_test(
		a_driver_without_event_indexes_is_asked_only_in_the_end),
	cmocka_unit_test(frames_without_end_leave_time_to_stop),
	cmocka_unit_test(the_driver_fills_what_is_free_while_the_rest_is_sent),
};

UNIT_MAIN(tests)
