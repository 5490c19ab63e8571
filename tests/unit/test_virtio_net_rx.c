/*
 * Frames on their way to the guest: buffers that are too few, too small or
 * useless, and frames that are too long.
 */
#include "net_card.h"

static uint16_t num_buffers(struct bench *bench, gpa_t at)
{
	return get_le16(guest(bench, at + 10));
}

static void a_frame_arrives_with_its_header(void **state)
{
	uint8_t frame[100];
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, FEATURES);
	rx_give(&bench, 2, 2048);
	frame_fill(frame, sizeof(frame), 7);
	wire_put(&wire, sizeof(frame), 7);
	assert_int_equal(rx_wait(&bench), sizeof(frame));
	assert_memory_equal(guest(&bench, BENCH_DATA + NET_HEADER),
			    frame + NET_HEADER, sizeof(frame) - NET_HEADER);
	assert_int_equal(num_buffers(&bench, BENCH_DATA), 1);
	assert_true(bench_reaches(&bench.interrupts[RX], 1));
	assert_true(rx_none(&bench));
	bench_end(&bench);
	assert_true(wire.closed);
}

static void the_last_of_some_frames_is_shown_at_once(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, FEATURES);
	rx_give(&bench, 1, 2048);
	wire_put(&wire, 100, 1);
	assert_int_equal(rx_wait(&bench), 100);
	/* One kick is all that the worker gets now. */
	wire_put(&wire, 101, 1);
	assert_true(driver_is_asked(&bench.queues[RX]));
	wire_put(&wire, 102, 1);
	wire_put(&wire, 103, 1);
	rx_give(&bench, 3, 2048);
	for (uint32_t len = 101; len <= 103; len++)
		assert_int_equal(rx_wait(&bench), len);
	bench_end(&bench);
}

static void a_long_frame_spans_merged_buffers(void **state)
{
	uint8_t frame[2500];
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, FEATURES);
	rx_give(&bench, 4, 1000);
	frame_fill(frame, sizeof(frame), 1);
	wire_put(&wire, sizeof(frame), 1);
	assert_int_equal(rx_wait(&bench), 1000);
	assert_int_equal(rx_wait(&bench), 1000);
	assert_int_equal(rx_wait(&bench), 500);
	assert_int_equal(num_buffers(&bench, BENCH_DATA), 3);
	assert_memory_equal(guest(&bench, BENCH_DATA + NET_HEADER),
			    frame + NET_HEADER, 1000 - NET_HEADER);
	assert_memory_equal(guest(&bench, BENCH_DATA + 4096), frame + 1000,
			    1000);
	assert_memory_equal(guest(&bench, BENCH_DATA + 2 * 4096), frame + 2000,
			    500);
	/* The fourth buffer was not touched and takes the next frame. */
	wire_put(&wire, 200, 9);
	assert_int_equal(rx_wait(&bench), 200);
	assert_int_equal(num_buffers(&bench, BENCH_DATA + 3 * 4096), 1);
	bench_end(&bench);
}

/* A driver with one buffer, which has all it has with us, and a frame that is
 * longer, as one with a VLAN tag: that one is lost, and not all after it. */
static void a_frame_too_long_for_all_buffers_is_not_waited_for(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	log_set_level(LOG_ERR);
	wire_up(&bench, &wire, FEATURES);
	rx_give(&bench, 1, 1526);
	wire_put(&wire, 1530, 1);
	wire_put(&wire, 100, 2);
	assert_int_equal(rx_wait(&bench), 100);
	bench_end(&bench);
}

static void without_merging_one_buffer_holds_a_frame(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, FEATURES & ~(1ull << VIRTIO_NET_F_MRG_RXBUF));
	rx_give(&bench, 2, 1000);
	memset(guest(&bench, BENCH_DATA + 4096), 0xaa, 1000);
	wire_put(&wire, 1500, 1); /* dropped: it would need both */
	assert_int_equal(rx_wait(&bench), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(*guest(&bench, BENCH_DATA + 4096 + i), 0xaa);
	wire_put(&wire, 600, 2);
	assert_int_equal(rx_wait(&bench), 600);
	assert_int_equal(num_buffers(&bench, BENCH_DATA + 4096), 1);
	bench_end(&bench);
}

/* The second differs from the first, which came unexpectedly. */
static void frames_of_64_kib_arrive_whole(void **state)
{
	const size_t len = NET_HEADER + 65535;
	static uint8_t frame[NET_HEADER + 65535];
	struct bench bench;
	struct wire wire;
	int on = 1 << 18;

	(void)state;
	wire_create(&bench, &wire);
	setsockopt(wire.other, SOL_SOCKET, SO_SNDBUF, &on, sizeof(on));
	bench_up(&bench, FEATURES, 32);
	for (int i = 0; i < 2; i++) {
		gpa_t at = BENCH_DATA + i * 0x20000;

		for (int k = 0; k < 17; k++)
			rx_add(&bench, at + k * 4096, 4096);
		virtio_notify(bench.virtio, RX);
		frame_fill(frame, len, 3 + i);
		wire_put(&wire, len, 3 + i);
		for (size_t got = 0; got < len;)
			got += rx_wait(&bench);
		assert_int_equal(num_buffers(&bench, at), 17);
		assert_memory_equal(guest(&bench, at + NET_HEADER),
				    frame + NET_HEADER, len - NET_HEADER);
	}
	bench_end(&bench);
}

/* A card's operations, and how often its worker looked after the wire. */
static const struct virtio_device_ops *card_ops;
static unsigned looks; /* atomic */

static void look(struct virtio_device *virtio, unsigned backend, short events)
{
	__atomic_fetch_add(&looks, 1, __ATOMIC_SEQ_CST);
	card_ops->ready(virtio, backend, events);
}

static void an_empty_receive_queue_waits_without_work(void **state)
{
	struct virtio_device_ops counted;
	struct bench bench;
	struct wire wire;
	unsigned before;

	(void)state;
	wire_create(&bench, &wire);
	card_ops = bench.virtio->ops;
	counted = *card_ops;
	counted.ready = look;
	bench.virtio->ops = &counted;
	bench_up(&bench, FEATURES, SIZE);
	wire_put(&wire, 100, 1);
	assert_true(rx_none(&bench));
	/* The wire stays readable: a worker that watched it would look after
	 * it in each of its rounds, and spin. */
	before = __atomic_load_n(&looks, __ATOMIC_SEQ_CST);
	bench_fence(&bench, TX);
	assert_int_equal(__atomic_load_n(&looks, __ATOMIC_SEQ_CST), before);
	rx_give(&bench, 1, 2048);
	assert_int_equal(rx_wait(&bench), 100);
	/* And again, after it has run dry. */
	wire_put(&wire, 101, 1);
	assert_true(rx_none(&bench));
	assert_true(driver_is_asked(&bench.queues[RX]));
	rx_give(&bench, 1, 2048);
	assert_int_equal(rx_wait(&bench), 101);
	bench_end(&bench);
}

static void useless_receive_buffers_do_not_freeze_receive(void **state)
{
	static const struct segment useless[] = {
		{ BENCH_DATA, 2048, false }, /* not writable */
		{ BENCH_DATA, NET_HEADER - 1, true },
		{ 0, 0, true },
	};
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, FEATURES);
	rx_give(&bench, 1, 2048);
	for (size_t i = 0; i < ARRAY_SIZE(useless); i++)
		driver_add(&bench.queues[RX], &useless[i], 1);
	rx_give(&bench, 1, 2048);
	wire_put(&wire, 100, 1);
	assert_int_equal(rx_wait(&bench), 100);
	wire_put(&wire, 200, 1);
	for (size_t i = 0; i < ARRAY_SIZE(useless); i++)
		assert_int_equal(rx_wait(&bench), 0);
	assert_int_equal(rx_wait(&bench), 200);
	assert_false(bench_needs_reset(&bench));
	bench_end(&bench);
}

/* Buffers too small for any frame, of which there are enough to fill the ring,
 * or before one that must wait for its turn: they leave room for better
 * ones. */
static void small_receive_buffers_do_not_freeze_receive(void **state)
{
	static const struct {
		uint64_t features;
		int small;
		bool useless; /* one too short for a header comes next */
	} cases[] = {
		{ FEATURES & ~(1ull << VIRTIO_NET_F_MRG_RXBUF), 1, false },
		{ FEATURES & ~(1ull << VIRTIO_NET_F_MRG_RXBUF), SIZE, false },
		{ FEATURES, 1, true },
		{ FEATURES, SIZE, false },
	};

	(void)state;
	log_set_level(LOG_ERR);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct segment useless = { BENCH_DATA, 4, true };
		struct vring_used_elem elem = { 0 };
		struct bench bench;
		struct wire wire;

		wire_up(&bench, &wire, cases[i].features);
		rx_give(&bench, cases[i].small, NET_HEADER);
		if (cases[i].useless)
			driver_add(&bench.queues[RX], &useless, 1);
		for (int tries = 0; tries < 2 * SIZE && !elem.len; tries++) {
			wire_put(&wire, 600, 1);
			assert_true(driver_wait(&bench.queues[RX], &elem));
			rx_give(&bench, 1, 2048);
		}
		assert_int_equal(elem.len, 600);
		bench_end(&bench);
	}
}

static void a_frame_waits_until_there_are_buffers_enough(void **state)
{
	uint8_t frame[201];
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, FEATURES);
	/* It is known to have more than the two. (After a long frame one is
	 * asked for at a time.) */
	rx_give(&bench, 3, 2000);
	wire_put(&wire, 4500, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(rx_wait(&bench), i < 2 ? 2000 : 500);
	rx_give(&bench, 2, 100);
	wire_put(&wire, 201, 1);
	wire_put(&wire, 150, 2);
	assert_true(rx_none(&bench));
	for (int i = 2; i < 5; i++) {
		rx_add(&bench, BENCH_DATA + i * 4096, 100);
		virtio_notify(bench.virtio, RX);
		if (i > 2)
			continue;
		assert_int_equal(rx_wait(&bench), 100);
		assert_int_equal(rx_wait(&bench), 100);
		assert_int_equal(rx_wait(&bench), 1);
		assert_int_equal(num_buffers(&bench, BENCH_DATA), 3);
	}
	frame_fill(frame, sizeof(frame), 1);
	assert_memory_equal(guest(&bench, BENCH_DATA + NET_HEADER),
			    frame + NET_HEADER, 100 - NET_HEADER);
	assert_memory_equal(guest(&bench, BENCH_DATA + 4096), frame + 100, 100);
	assert_int_equal(*guest(&bench, BENCH_DATA + 2 * 4096), frame[200]);
	assert_int_equal(rx_wait(&bench), 100);
	assert_int_equal(rx_wait(&bench), 50);
	bench_end(&bench);
}

static void a_frame_too_long_for_all_buffers_is_dropped(void **state)
{
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_up(&bench, &wire, FEATURES);
	rx_give(&bench, SIZE, 100);
	wire_put(&wire, SIZE * 100 + 1, 1);
	for (int i = 0; i < SIZE; i++)
		assert_int_equal(rx_wait(&bench), 0);
	rx_give(&bench, 2, 100);
	wire_put(&wire, 150, 1);
	assert_int_equal(rx_wait(&bench), 100);
	assert_int_equal(rx_wait(&bench), 50);
	bench_end(&bench);
}

static void frames_that_come_together_arrive_in_order(void **state)
{
	static const uint16_t lengths[] = {
		60,   61, 62, 63,   64,  65,  66,  67,  68,  69,   70,  71, 72,
		3000, 74, 75, 2500, 999, 78,  79,  80,  81,  82,   83,  84, 85,
		86,   87, 88, 89,   90,  91,  92,  93,  94,  95,   96,  97, 98,
		99,   12, 11, 102,  103, 104, 105, 106, 107, 2100, 109,
	};
	static uint8_t frame[3000], got[3000];
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_create(&bench, &wire);
	bench_up(&bench, FEATURES, 128);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		wire_put(&wire, lengths[i], i);
	rx_give(&bench, 80, 1000);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct vring_used_elem elem = { 0 };
		size_t n = 0, buffers = 0;
		gpa_t at = 0;

		if (lengths[i] < NET_HEADER)
			continue; /* no frame at all */
		while (n < lengths[i]) {
			assert_true(driver_wait(&bench.queues[RX], &elem));
			assert_in_range(elem.len, 1, lengths[i] - n);
			if (!n)
				at = BENCH_DATA + elem.id * 4096;
			memcpy(got + n,
			       guest(&bench, BENCH_DATA + elem.id * 4096),
			       elem.len);
			n += elem.len;
			buffers++;
		}
		frame_fill(frame, lengths[i], i);
		assert_memory_equal(got + NET_HEADER, frame + NET_HEADER,
				    lengths[i] - NET_HEADER);
		assert_int_equal(num_buffers(&bench, at), buffers);
	}
	bench_end(&bench);
	assert_true(wire.most > 4);
}

/* Frames come before vhost-net is handed the ring: that would not know of
 * buffers which were taken already. */
static void buffers_are_left_to_the_kernel_that_is_to_have_them(void **state)
{
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_up(&bench, &wire, SIZE);
	const struct virtio_device_ops *ops = bench.virtio->ops;

	(void)state;
	*net_events(net, 0) = POLLIN;
	rx_give(&bench, 2, 2000);
	wire_put(&wire, 100, 1);
	net->vhost = true;
	bench.virtio->queues[RX].again = false;
	ops->ready(bench.virtio, 0, POLLIN);
	assert_int_equal(net_ring(net, RX)->next_avail, 0);
	assert_int_equal(*net_events(net, 0), 0);
	assert_true(bench.virtio->queues[RX].again); /* its turn comes */
	/* The ring was not to be had: kvist carries the frame after all. */
	net->vhost = false;
	assert_false(ops->queue(bench.virtio, RX));
	assert_int_equal(rx_wait(&bench), 100);
	card_down(&bench);
}

/* The window holds three buffers, of three pieces each that the device may
 * write; one comes and one goes, far more often than it has room for. */
static void the_window_begins_anew_where_it_has_no_more_room(void **state)
{
	enum { KEPT = 3, PIECES = 3, LENGTH = PIECES * 100, ENTRIES = 64 };
	struct bench bench;
	struct wire wire;
	struct virtio_net *net = card_up(&bench, &wire, ENTRIES);
	struct rx_window *rx = net->pairs[0].rx;
	bool moved = false;

	(void)state;
	rx->wanted = KEPT * LENGTH;
	for (unsigned i = 0; i < 2 * RX_PIECES; i++) {
		gpa_t at = BENCH_DATA + i % 8 * 4096;
		gpa_t oldest = BENCH_DATA + (i - KEPT + 1) % 8 * 4096;
		const struct segment buffer[] = { { at, 16, false },
						  { at, 100, true },
						  { at + 200, 100, true },
						  { at + 400, 100, true } };
		struct vring_used_elem elem;
		int first = rx->first;

		driver_add(&bench.queues[RX], buffer, ARRAY_SIZE(buffer));
		net_window_fill(net, 0);
		moved |= rx->first < first;
		if (i < KEPT - 1)
			continue;
		assert_int_equal(rx->count, KEPT);
		assert_int_equal(rx->bytes, KEPT * LENGTH);
		assert_int_equal(rx->end - rx->first, KEPT * PIECES);
		for (unsigned k = 0; k < PIECES; k++)
			assert_ptr_equal(rx->iov[rx->first + k].iov_base,
					 guest(&bench, oldest + k * 200));
		net_window_push(net, 0, 250);
		ring_publish(net_ring(net, RX));
		assert_true(driver_take(&bench.queues[RX], &elem));
		assert_int_equal(elem.len, 250);
		assert_int_equal(num_buffers(&bench, oldest), 1);
	}
	assert_true(moved);
	card_down(&bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_frame_arrives_with_its_header),
	cmocka_unit_test(the_last_of_some_frames_is_shown_at_once),
	cmocka_unit_test(a_long_frame_spans_merged_buffers),
	cmocka_unit_test(a_frame_too_long_for_all_buffers_is_not_waited_for),
	cmocka_unit_test(without_merging_one_buffer_holds_a_frame),
	cmocka_unit_test(frames_of_64_kib_arrive_whole),
	cmocka_unit_test(an_empty_receive_queue_waits_without_work),
	cmocka_unit_test(useless_receive_buffers_do_not_freeze_receive),
	cmocka_unit_test(small_receive_buffers_do_not_freeze_receive),
	cmocka_unit_test(a_frame_waits_until_there_are_buffers_enough),
	cmocka_unit_test(a_frame_too_long_for_all_buffers_is_dropped),
	cmocka_unit_test(buffers_are_left_to_the_kernel_that_is_to_have_them),
	cmocka_unit_test(the_window_begins_anew_where_it_has_no_more_room),
	cmocka_unit_test(frames_that_come_together_arrive_in_order),
};

UNIT_MAIN(tests)
