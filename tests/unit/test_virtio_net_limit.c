/*
 * A card whose rate is limited: what waits, and until when.
 */
#include "net_card.h"

#include "util/counter.h"

#include <sys/timerfd.h>

/* Two pairs that may carry @rate bytes a second. */
static struct virtio_net *card_of_rate(struct bench *bench,
				       struct wire wires[2], uint64_t rate)
{
	static const uint8_t mac[NET_MAC] = { 2, 0, 0, 0, 0, 1 };
	struct virtio_device *virtio;
	struct virtio_net *net;

	bench_memory(bench);
	wire_init(&wires[0]);
	wire_init(&wires[1]);
	wires[0].net.next = &wires[1].net;
	wires[0].net.rate = rate;
	wires[0].net.burst = 1;
	assert_int_equal(virtio_net_create("net0", &wires[0].net, mac,
					   &bench->memory, &virtio),
			 0);
	bench_attach(bench, virtio);
	net = card_start(bench, SIZE, FEATURES);
	net->control.pairs = 2;
	for (unsigned i = 0; i < 4; i++)
		virtio->queues[i].again = false;
	return net;
}

static void a_limit_that_is_reached_leaves_nothing_to_do(void **state)
{
	struct wire wires[2];
	struct bench bench;
	struct virtio_net *net = card_of_rate(&bench, wires, 10);
	int timer = net->virtio.watched[2 + NET_RECEIVED].fd;
	struct itimerspec left;

	(void)state;
	*net_events(net, 0) = POLLIN;
	rx_give(&bench, 2, 2048);
	for (int i = 0; i < 2; i++)
		wire_put(&wires[0], 100, i);
	assert_false(net->virtio.ops->queue(&net->virtio, RX));
	assert_int_equal(*net_events(net, 0), 0);
	assert_int_equal(counter_read(&net->pairs[0].received.packets), 1);
	assert_int_equal(timerfd_gettime(timer, &left), 0);
	assert_in_range(left.it_value.tv_sec, 3, 9);
	card_down(&bench);
}

static void the_virtio_header_is_no_part_of_what_passes(void **state)
{
	static const struct segment frame = { BENCH_DATA, NET_HEADER + 60,
					      false };
	struct wire wires[2];
	struct bench bench;
	struct virtio_net *net = card_of_rate(&bench, wires, 1);
	struct itimerspec left;

	(void)state;
	rx_give(&bench, 2, 2048);
	for (int i = 0; i < 2; i++) {
		wire_put(&wires[0], NET_HEADER + 60, i);
		driver_add(&bench.queues[TX], &frame, 1);
	}
	/* What is not even a header costs nothing. */
	net_limit_take(net, NET_RECEIVED, NET_HEADER - 1);
	while (net->virtio.ops->queue(&net->virtio, RX))
		;
	while (net->virtio.ops->queue(&net->virtio, TX))
		;
	/* 60 seconds' worth went, of which one is free. */
	for (int way = 0; way < NET_DIRECTIONS; way++) {
		int timer = net->virtio.watched[2 + way].fd;

		assert_int_equal(timerfd_gettime(timer, &left), 0);
		assert_in_range(left.it_value.tv_sec, 49, 59);
	}
	card_down(&bench);
}

static void the_end_of_a_limit_is_for_its_direction(void **state)
{
	static const struct segment frame = { BENCH_DATA, 100, false };
	struct wire wires[2];
	struct bench bench;
	struct virtio_net *net = card_of_rate(&bench, wires, 10);
	struct virtio_device *virtio = &net->virtio;
	struct virtio_queue *queues = virtio->queues;
	struct pollfd timer = { virtio->watched[2 + NET_SENT].fd, POLLIN, 0 };
	static const struct itimerspec at_once = { .it_value.tv_nsec = 1 };

	(void)state;
	for (int i = 0; i < 2; i++)
		driver_add(&bench.queues[TX], &frame, 1);
	while (virtio->ops->queue(virtio, TX))
		;
	/* Another wait has begun meanwhile. */
	virtio->ops->ready(virtio, 2 + NET_SENT, POLLIN);
	assert_false(queues[TX].again);
	assert_int_equal(timerfd_settime(timer.fd, 0, &at_once, NULL), 0);
	assert_int_equal(poll(&timer, 1, 1000), 1);
	virtio->ops->ready(virtio, 2 + NET_SENT, POLLIN);
	assert_int_equal(poll(&timer, 1, 0), 0);
	for (unsigned pair = 0; pair < 2; pair++) {
		assert_true(queues[net_tx_queue(pair)].again);
		assert_false(queues[net_rx_queue(pair)].again);
	}
	card_down(&bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_limit_that_is_reached_leaves_nothing_to_do),
	cmocka_unit_test(the_virtio_header_is_no_part_of_what_passes),
	cmocka_unit_test(the_end_of_a_limit_is_for_its_direction),
};

UNIT_MAIN(tests)
