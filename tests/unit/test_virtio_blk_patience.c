/*
 * A disk that holds interrupts back (patience.h), with a driver and a time of
 * the test's own: the test is the worker, and time passes only while that looks
 * at the clock or sleeps. So nothing here depends on how fast the host is.
 */
#include "unit.h"

#include "blk_bench.h"
#include "devices/virtio/blk_parts.h"
#include "util/clock.h"

#define US   1000ull
#define TICK (1 * US) /* from one look at the clock to the next */

#define ENTRIES 256

/* One that has up to @depth requests under way, and comes with the next one
 * @gap after the last, and @interrupt later when there was one. */
struct world {
	struct bench bench;
	struct disk disk;
	struct virtio_blk *blk;
	unsigned depth, left; /* of requests to come */
	uint64_t gap, interrupt;
	uint64_t now, next; /* when it comes */
	uint64_t sent_at, told_at;
	unsigned sent, told; /* requests, and those it knows to be done */
	unsigned interrupts; /* it has seen */
	uint64_t longest;    /* time that the worker looked on */
	unsigned sleeps;
};

static struct world *world;

static const struct segment flush[] = { { HEADER, 16, false },
					{ STATUS, 1, true } };

static unsigned interrupts(unsigned queue)
{
	return __atomic_load_n(&world->bench.interrupts[queue],
			       __ATOMIC_SEQ_CST);
}

/* What the driver does by now. */
static void drive(void)
{
	struct driver *driver = &world->bench.queues[0];

	if (world->interrupts != interrupts(0)) {
		world->interrupts = interrupts(0);
		world->told = driver_ring_used(driver)->idx;
		world->told_at = world->now;
		world->next = world->now + world->interrupt + world->gap;
	}
	if (!world->left || world->now < world->next ||
	    world->sent - world->told >= world->depth)
		return;
	driver_add(driver, flush, ARRAY_SIZE(flush));
	world->left--;
	world->sent++;
	world->sent_at = world->now;
	world->next = world->now + world->gap;
}

/* In place of the library's. */
uint64_t clock_ns(clockid_t clock)
{
	(void)clock;
	if (!world->blk)
		return world->now;
	world->now += TICK;
	drive();
	return world->now;
}

static void begin(struct world *fresh, unsigned queues)
{
	*fresh = (struct world){ .now = 1000 * US };
	world = fresh;
	disk_create_with(
		&world->bench, &world->disk, false,
		&(struct virtio_blk_options){ .serial = "", .queues = queues });
	bench_up(&world->bench, FEATURES & ~(1ull << VIRTIO_RING_F_EVENT_IDX),
		 ENTRIES);
	/* The real worker ends before it has seen a request. */
	virtio_worker_stop(world->bench.virtio);
	world->bench.virtio->stop = false;
	world->blk =
		container_of(world->bench.virtio, struct virtio_blk, virtio);
	world->blk->may_spin = true;
	world->blk->asleep_since = 0;
	set_header(&world->bench, HEADER, VIRTIO_BLK_T_FLUSH, 0);
}

/* Serves the queues that have work left; false if none has. */
static bool serve(struct virtio_device *virtio)
{
	bool any = false;

	for (unsigned i = 0; i < virtio->nr_queues; i++) {
		struct virtio_queue *queue = &virtio->queues[i];

		any |= queue->again;
		queue->again = queue->again && virtio->ops->queue(virtio, i);
	}
	return any;
}

/* Looks on; false if the worker is to sleep. */
static bool idle(struct virtio_device *virtio)
{
	uint64_t start = world->now;
	bool again = virtio->ops->idle(virtio);

	if (world->now - start > world->longest)
		world->longest = world->now - start;
	return again;
}

/* What the worker's loop does for so many requests, until it would sleep for
 * good. */
static void work(unsigned requests)
{
	struct virtio_device *virtio = world->bench.virtio;
	unsigned sent;

	world->left = requests;
	do {
		sent = world->sent;
		while (serve(virtio) || idle(virtio))
			;
		world->sleeps++;
		if (world->now < world->next)
			world->now = world->next;
		drive();
		virtio->queues[0].again = true; /* it notifies */
	} while (sent != world->sent);
}

/* A driver that interrupts keep from its work, found out. */
static void begin_patient(struct world *fresh, unsigned queues)
{
	begin(fresh, queues);
	world->depth = 32;
	world->gap = 100 * US;
	world->interrupt = 400 * US;
	work(1000);
	assert_int_equal(world->told, 1000);
	assert_in_range(world->interrupts, 1, 100);
}

/* A request on queue @number; false if it was told at once. */
static bool is_owed(unsigned number)
{
	struct virtio_device *virtio = world->bench.virtio;
	unsigned before = interrupts(number);

	driver_add(&world->bench.queues[number], flush, ARRAY_SIZE(flush));
	virtio->ops->queue(virtio, number);
	return interrupts(number) == before;
}

static void several_requests_share_an_interrupt(void **state)
{
	struct world fresh;
	unsigned before;

	(void)state;
	begin_patient(&fresh, 1);
	before = interrupts(0);
	work(PATIENCE_MORE_MAX + 1);
	assert_int_equal(world->told, world->sent);
	assert_int_equal(interrupts(0), before + 1);
	bench_end(&fresh.bench);
}

static void a_driver_that_stops_is_told_of_all_within_two_pauses(void **state)
{
	struct world fresh;

	(void)state;
	begin_patient(&fresh, 1);
	for (unsigned n = 1; n <= 100; n++) {
		work(n);
		assert_int_equal(world->left, 0);
		assert_int_equal(world->told, world->sent);
		assert_in_range(world->told_at - world->sent_at, 0,
				1000 * US + 10 * TICK);
	}
	bench_end(&fresh.bench);
}

static void a_worker_that_ends_owes_nothing(void **state)
{
	struct world fresh;
	struct virtio_device *virtio;
	unsigned before;

	(void)state;
	begin_patient(&fresh, 1);
	virtio = world->bench.virtio;
	before = interrupts(0);
	assert_true(is_owed(0));
	virtio->ops->drain(virtio);
	assert_int_equal(interrupts(0), before + 1);
	bench_end(&fresh.bench);
}

static void a_worker_looks_on_for_two_milliseconds_at_a_stretch(void **state)
{
	struct world fresh;

	(void)state;
	begin(&fresh, 1);
	world->depth = 1;
	world->gap = 30 * US;
	work(1000);
	assert_int_equal(interrupts(0), 1000);
	assert_in_range(world->sleeps, 10, 30);
	assert_in_range(world->longest, 1990 * US, 2010 * US);
	bench_end(&fresh.bench);
}

/* With more to do the worker may not come to look on for long. */
static void a_worker_that_is_busy_tells_at_once(void **state)
{
	static const struct segment status = { STATUS, 1, true };
	struct world fresh;
	struct virtio_device *virtio;
	unsigned before;

	(void)state;
	begin_patient(&fresh, 1);
	virtio = world->bench.virtio;
	before = interrupts(0);
	for (unsigned i = 0; i < ENTRIES; i++)
		driver_add(&world->bench.queues[0], &status, 1);
	assert_true(virtio->ops->queue(virtio, 0));
	assert_int_equal(interrupts(0), before + 1);
	bench_end(&fresh.bench);
}

static void each_queue_that_is_owed_an_interrupt_gets_one(void **state)
{
	struct world fresh;
	struct virtio_device *virtio;
	/* Of each queue: what it gets. */
	static const unsigned owed[] = { 1, 2, 0 };
	unsigned before[ARRAY_SIZE(owed)];

	(void)state;
	begin_patient(&fresh, ARRAY_SIZE(before));
	virtio = world->bench.virtio;
	for (unsigned i = 0; i < ARRAY_SIZE(before); i++)
		before[i] = interrupts(i);
	assert_true(is_owed(0));
	assert_true(is_owed(1));
	virtio->ops->drain(virtio);
	world->blk->patience.skip = 0;
	assert_true(is_owed(1));
	virtio->ops->drain(virtio);
	for (unsigned i = 0; i < ARRAY_SIZE(before); i++)
		assert_int_equal(interrupts(i), before[i] + owed[i]);
	bench_end(&fresh.bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(several_requests_share_an_interrupt),
	cmocka_unit_test(a_driver_that_stops_is_told_of_all_within_two_pauses),
	cmocka_unit_test(a_worker_that_ends_owes_nothing),
	cmocka_unit_test(a_worker_looks_on_for_two_milliseconds_at_a_stretch),
	cmocka_unit_test(a_worker_that_is_busy_tells_at_once),
	cmocka_unit_test(each_queue_that_is_owed_an_interrupt_gets_one),
};

UNIT_MAIN(tests)
