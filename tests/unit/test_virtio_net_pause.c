/*
 * A driver that sends and sends, and nobody answers: the worker sleeps a little
 * and has many frames then, instead of being woken for each.
 */
#include "wire.h"

#include "devices/virtio/net_parts.h"
#include "util/clock.h"
#include "util/counter.h"

#include <sched.h>

#define US   1000ull
#define MS   1000000ull
#define MANY 1000

/* A card without a worker, in a time of its own: one of the second pair comes
 * in, all of the first leave. */
struct card {
	struct virtio_net net;
	struct tx_state tx[2];
};

static uint64_t now;

/* In place of the library's. */
uint64_t clock_ns(clockid_t clock)
{
	struct timespec real;

	if (now)
		return now;
	clock_gettime(clock, &real);
	return real.tv_sec * 1000 * MS + real.tv_nsec;
}

/* Whether it pauses after so many frames in so much time. */
static bool pauses(struct card *card, uint64_t frames, uint64_t ns)
{
	now += ns;
	counter_add(&card->net.pairs[0].sent.packets, frames);
	return net_pause(&card->net, 0);
}

static struct card *card_create(void)
{
	struct card *card = test_calloc(1, sizeof(*card));

	card->net.nr_pairs = 2;
	card->net.control.pairs = 2;
	card->net.pairs[0].tx = &card->tx[0];
	card->net.pairs[1].tx = &card->tx[1];
	now = 1000 * MS;
	/* The first look: nothing is known of the time before. */
	assert_false(pauses(card, MANY, 0));
	return card;
}

static void card_destroy(struct card *card)
{
	now = 0;
	test_free(card);
}

static void it_is_only_for_many_frames_without_an_answer(void **state)
{
	struct card *card = card_create();

	(void)state;
	assert_true(pauses(card, MANY, 100 * US));
	/* None came, so none will. */
	assert_false(pauses(card, 0, 100 * US));
	/* Somebody answers, by the other queue; and then no more. */
	counter_add(&card->net.pairs[1].received.packets, 1);
	assert_false(pauses(card, MANY, 100 * US));
	assert_false(pauses(card, 127, 100 * US));
	assert_true(pauses(card, 1, 1 * US));
	/* A limit has its own. */
	card->net.limited = true;
	assert_false(pauses(card, MANY, 100 * US));
	card_destroy(card);
}

static void it_is_long_enough_for_64_frames_or_not_worth_it(void **state)
{
	static const struct {
		uint64_t frames, ns;
		uint64_t length; /* 0: none */
	} cases[] = {
		{ 64, 100 * US, 100 * US },  { 1, 10 * US, 640 * US },
		{ MANY, 1 * MS, 64 * US },   { 32, 1 * MS, 2 * MS },
		{ 32, 1 * MS + 32, 2 * MS }, { 4, 2 * MS, 2 * MS },
		{ 4, 2 * MS + 1, 0 },        { 1, 4 * MS, 0 },
	};
	struct card *card = card_create();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool any = pauses(card, cases[i].frames, cases[i].ns);

		assert_int_equal(any, cases[i].length != 0);
		if (any)
			assert_int_equal(card->tx[0].pause.until - now,
					 cases[i].length);
	}
	card_destroy(card);
}

static void it_ends_by_itself_and_by_an_answer(void **state)
{
	struct card *card = card_create();
	struct virtio_device *virtio = &card->net.virtio;

	(void)state;
	assert_false(net_idle(virtio));
	assert_int_equal(virtio->sleep_ns, 0);
	for (unsigned answer = 0; answer < 2; answer++) {
		assert_true(pauses(card, MANY, 1 * MS));
		now = card->tx[0].pause.until - 50 * US;
		assert_false(net_idle(virtio));
		assert_int_equal(virtio->sleep_ns, 50 * US);
		assert_false(virtio->queues[TX].again);
		counter_add(&card->net.pairs[0].received.packets, answer);
		now += answer ? 0 : 50 * US;
		assert_true(net_idle(virtio));
		assert_true(virtio->queues[TX].again);
		assert_int_equal(virtio->sleep_ns, 0);
		/* Once, whatever becomes of the queue. */
		virtio->queues[TX].again = false;
		assert_false(net_idle(virtio));
	}
	card_destroy(card);
}

static void the_worker_wakes_for_the_pause_that_ends_first(void **state)
{
	struct card *card = card_create();
	struct virtio_device *virtio = &card->net.virtio;

	(void)state;
	for (unsigned first = 0; first < 2; first++) {
		card->tx[first].pause.until = now + 10 * US;
		card->tx[!first].pause.until = now + 30 * US;
		assert_false(net_idle(virtio));
		assert_int_equal(virtio->sleep_ns, 10 * US);
		now += 10 * US;
		assert_true(net_idle(virtio));
		assert_int_equal(virtio->sleep_ns, 20 * US);
		assert_true(virtio->queues[first ? TX + 2 : TX].again);
		assert_false(virtio->queues[first ? TX : TX + 2].again);
		virtio->queues[first ? TX + 2 : TX].again = false;
		/* The other queue's is not looked at any more. */
		card->net.control.pairs = 1;
		assert_false(net_idle(virtio));
		assert_int_equal(virtio->sleep_ns, first ? 20 * US : 0);
		card->net.control.pairs = 2;
	}
	card_destroy(card);
}

/* Pauses that follow each other do not keep from the driver what it waits for
 * while it sends from elsewhere. */
static void an_interrupt_waits_for_a_few_pauses_only(void **state)
{
	struct card *card = card_create();

	(void)state;
	assert_false(net_quiet(&card->net, 0));
	for (int i = 0; i < 3; i++) {
		assert_true(pauses(card, MANY, 100 * US));
		assert_true(net_quiet(&card->net, 0));
		assert_true(pauses(card, MANY, 4 * MS));
		assert_true(net_quiet(&card->net, 0));
		assert_true(pauses(card, 64, 1));
		assert_false(net_quiet(&card->net, 0));
	}
	assert_true(pauses(card, MANY, 100 * US));
	assert_true(net_quiet(&card->net, 0));
	/* It did not pause again. */
	card->tx[0].pause.until = 0;
	assert_false(net_quiet(&card->net, 0));
	card_destroy(card);
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

static int policy_after(struct card *card, unsigned frames, uint64_t bytes)
{
	counter_add(&card->net.pairs[1].received.packets, frames / 2);
	counter_add(&card->net.pairs[0].sent.packets, frames - frames / 2);
	counter_add(&card->net.pairs[1].received.bytes, frames * bytes / 2);
	counter_add(&card->net.pairs[0].sent.bytes, frames * bytes / 2);
	net_idle(&card->net.virtio);
	return sched_getscheduler(0);
}

static void the_worker_drives_nobody_away_for_long_frames(void **state)
{
	struct sched_param param = { 0 };
	struct card *card = card_create();

	(void)state;
	assert_int_equal(policy_after(card, 64, 1514), SCHED_OTHER);
	/* Those before do not count, nor do a few. */
	assert_int_equal(policy_after(card, 63, 4096), SCHED_OTHER);
	assert_int_equal(policy_after(card, 1, 4096), SCHED_BATCH);
	assert_int_equal(policy_after(card, 63, 100), SCHED_BATCH);
	assert_int_equal(policy_after(card, 1, 100), SCHED_OTHER);

	/* Where to begin is for whoever started us to say. */
	assert_int_equal(sched_setscheduler(0, SCHED_BATCH, &param), 0);
	assert_int_equal(policy_after(card, 64, 65536), SCHED_BATCH);
	assert_int_equal(policy_after(card, 64, 100), SCHED_BATCH);
	assert_int_equal(sched_setscheduler(0, SCHED_OTHER, &param), 0);
	card_destroy(card);
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
	cmocka_unit_test(it_is_long_enough_for_64_frames_or_not_worth_it),
	cmocka_unit_test(it_ends_by_itself_and_by_an_answer),
	cmocka_unit_test(the_worker_wakes_for_the_pause_that_ends_first),
	cmocka_unit_test(an_interrupt_waits_for_a_few_pauses_only),
	cmocka_unit_test(it_ends_while_another_queue_is_busy),
	cmocka_unit_test(the_worker_drives_nobody_away_for_long_frames),
	cmocka_unit_test(a_flood_is_few_notifications_and_interrupts),
};

UNIT_MAIN(tests)
