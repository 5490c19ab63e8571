/*
 * A driver that sends and sends, and nobody answers: the worker sleeps a little
 * and has many frames then, instead of being woken for each.
 */
#include "wire.h"

#include "devices/virtio/net_parts.h"
#include "util/counter.h"

#define MANY 1000 /* for as long as a test may take from one line to the next */

/* A card without a worker, that has looked for frames just now. */
struct card {
	struct virtio_net net;
	struct tx_state tx;
};

static void card_sends(struct card *card, uint64_t frames)
{
	usleep(100);
	counter_add(&card->net.pairs[0].sent.packets, frames);
}

static struct card *card_create(void)
{
	struct card *card = test_calloc(1, sizeof(*card));

	card->net.nr_pairs = 2;
	card->net.control.pairs = 1;
	card->net.pairs[0].tx = &card->tx;
	card_sends(card, 1);
	assert_false(net_pause(&card->net, 0));
	card_sends(card, MANY);
	net_pause(&card->net, 0);
	return card;
}

static void it_is_only_for_many_frames_without_an_answer(void **state)
{
	struct card *card = card_create();

	(void)state;
	card_sends(card, MANY);
	assert_true(net_pause(&card->net, 0));
	assert_true(card->tx.pause.until > 0);
	/* None came, so none will. */
	assert_false(net_pause(&card->net, 0));
	/* One in twice the longest pause. */
	usleep(2 * 2000);
	card_sends(card, 1);
	assert_false(net_pause(&card->net, 0));
	card_sends(card, MANY);
	assert_true(net_pause(&card->net, 0));
	/* Somebody answers, by the other queue; and then no more. */
	counter_add(&card->net.pairs[1].received.packets, 1);
	card_sends(card, 127);
	assert_false(net_pause(&card->net, 0));
	card_sends(card, 127);
	assert_false(net_pause(&card->net, 0));
	card_sends(card, MANY);
	assert_true(net_pause(&card->net, 0));
	/* A limit has its own. */
	card->net.limited = true;
	card_sends(card, MANY);
	assert_false(net_pause(&card->net, 0));
	test_free(card);
}

static void it_ends_by_itself_and_by_an_answer(void **state)
{
	struct card *card = card_create();
	struct virtio_device *virtio = &card->net.virtio;
	uint64_t *until = &card->tx.pause.until;

	(void)state;
	*until = 0;
	assert_false(net_idle(virtio));
	assert_int_equal(virtio->sleep_ns, 0);
	card_sends(card, MANY);
	assert_true(net_pause(&card->net, 0));
	*until += 500000000;
	assert_false(net_idle(virtio));
	assert_in_range(virtio->sleep_ns, 1, 510000000);
	assert_false(virtio->queues[TX].again);
	counter_add(&card->net.pairs[0].received.packets, 1);
	assert_true(net_idle(virtio));
	assert_true(virtio->queues[TX].again);
	assert_int_equal(virtio->sleep_ns, 0);

	virtio->queues[TX].again = false;
	*until = 1;
	assert_true(net_idle(virtio));
	assert_true(virtio->queues[TX].again);
	/* Once, whatever becomes of the queue. */
	assert_false(net_idle(virtio));
	test_free(card);
}

/* Pauses that follow each other do not keep from the driver what it waits for
 * while it sends from elsewhere. */
static void an_interrupt_waits_for_a_few_pauses_only(void **state)
{
	struct card *card = card_create();
	struct tx_pause *pause = &card->tx.pause;

	(void)state;
	pause->until = 0;
	assert_false(net_quiet(&card->net, 0));
	for (int i = 0; i < 3; i++) {
		card_sends(card, MANY);
		assert_true(net_pause(&card->net, 0));
		assert_true(net_quiet(&card->net, 0));
		usleep(4000);
		card_sends(card, MANY);
		assert_true(net_pause(&card->net, 0));
		assert_false(net_quiet(&card->net, 0));
	}
	test_free(card);
}

/* The worker asks a card when to wake it only if no queue is busy. */
static void it_ends_while_another_queue_is_busy(void **state)
{
	struct tx_state tx = { .pause.until = 1 };
	struct virtio_device *virtio;
	struct virtio_net *net;
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_create(&bench, &wire);
	virtio = bench.virtio;
	net = container_of(virtio, struct virtio_net, virtio);
	net->control.pairs = 1;
	net->control_queue = 2;
	net->pairs[0].tx = &tx;
	virtio->ops->queue(virtio, 2);
	assert_true(virtio->queues[TX].again);
	net->pairs[0].tx = NULL;
	bench_end(&bench);
}

/* Like Linux, it wants an interrupt when three quarters are done, frees what is
 * done with every frame, and notifies when it must. True if it had to. */
static bool flood_send(struct bench *bench, unsigned frame)
{
	static const struct segment segment = { BENCH_DATA, 100, false };
	struct driver *driver = &bench->queues[TX];
	struct vring_used_elem elem;
	uint16_t avail;

	while (driver_take(driver, &elem) ||
	       (uint16_t)(frame - driver->next_used) >= driver->size)
		;
	__atomic_store_n(driver_used_event(driver),
			 driver->next_used +
				 (frame - driver->next_used) * 3 / 4,
			 __ATOMIC_SEQ_CST);
	driver_add(driver, &segment, 1);
	avail = (uint16_t)(frame + 1);
	if (!vring_need_event(__atomic_load_n(driver_avail_event(driver),
					      __ATOMIC_SEQ_CST),
			      avail, frame))
		return false;
	virtio_notify(bench->virtio, TX);
	return true;
}

static void a_flood_is_few_notifications_and_interrupts(void **state)
{
	enum { BEFORE = 512, FRAMES = 2048 };
	const struct timespec gap = { .tv_nsec = 1000 };
	struct vring_used_elem elem;
	unsigned notifications = 0;
	uint8_t got[200];
	struct bench bench;
	struct wire wire;

	(void)state;
	wire_create(&bench, &wire);
	bench_up(&bench, FEATURES, 256);
	for (unsigned i = 0; i < BEFORE + FRAMES; i++) {
		bool notified = flood_send(&bench, i);

		notifications += i >= BEFORE && notified;
		/* The worker is done with it, if it is awake. */
		for (int k = 0; k < 2; k++)
			nanosleep(&gap, NULL);
		while (read(wire.other, got, sizeof(got)) > 0)
			;
	}
	assert_in_range(notifications, 0, FRAMES / 4);
	assert_in_range(
		__atomic_load_n(&bench.interrupts[TX], __ATOMIC_SEQ_CST), 0,
		(BEFORE + FRAMES) / 2);
	/* Whatever was held back comes in the end. */
	while (bench.queues[TX].next_used != BEFORE + FRAMES)
		assert_true(driver_wait(&bench.queues[TX], &elem));
	bench_end(&bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(it_is_only_for_many_frames_without_an_answer),
	cmocka_unit_test(it_ends_by_itself_and_by_an_answer),
	cmocka_unit_test(an_interrupt_waits_for_a_few_pauses_only),
	cmocka_unit_test(it_ends_while_another_queue_is_busy),
	cmocka_unit_test(a_flood_is_few_notifications_and_interrupts),
};

UNIT_MAIN(tests)
