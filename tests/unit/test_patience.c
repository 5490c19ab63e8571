#include "unit.h"

#include "blk_bench.h"
#include "devices/virtio/patience.h"

#define US 1000ull

/* A driver, and what it made of the worker. */
struct world {
	unsigned depth;     /* requests under way before it waits for one */
	uint64_t gap;       /* from one request to the next, ns */
	uint64_t interrupt; /* what an interrupt costs it, ns */
	struct patience patience;
	uint64_t now, idle_since;
	unsigned interrupts;
	unsigned untold; /* requests that are done and not told of */
};

/* The driver's next request comes after @ns, and is done in no time. */
static void comes(struct world *world, uint64_t ns)
{
	world->now += ns;
	world->untold++;
}

static void told(struct world *world)
{
	world->interrupts++;
	world->untold = 0;
	world->idle_since = world->now;
}

/* The worker owes an interrupt and looks on, as blk_spin() does. */
static void look_on(struct world *world)
{
	struct patience *p = &world->patience;

	patience_begin(p, world->now);
	while (world->untold < world->depth &&
	       patience_lasts(p, world->now + world->gap)) {
		comes(world, world->gap);
		patience_more(p, world->now, world->now);
	}
	if (p->more < PATIENCE_MORE_MAX)
		world->now += 2 * p->pause;
	patience_end(p);
}

/* So many requests, and the interrupts that they took. */
static unsigned requests(struct world *world, unsigned count)
{
	unsigned interrupts = world->interrupts;

	while (count) {
		comes(world, world->gap + world->interrupt);
		patience_paused(&world->patience,
				world->now - world->idle_since);
		if (!patience_at_once(&world->patience))
			look_on(world);
		count -= world->untold < count ? world->untold : count;
		told(world);
	}
	return world->interrupts - interrupts;
}

/* Of 10,000 requests. */
static void interrupts_are_saved_where_they_are_what_keeps_the_driver(void **s)
{
	static const struct {
		unsigned depth;
		uint64_t gap, interrupt; /* in us */
		unsigned min, max;
	} cases[] = {
		{ 32, 100, 400, 550, 800 },
		{ 16, 100, 400, 550, 800 },
		{ 8, 150, 300, 1200, 1400 },
		{ 32, 2, 8, 550, 800 },
		/* Of too few. */
		{ 4, 100, 400, 9700, 9999 },
		/* Of one that waits for each. */
		{ 1, 100, 400, 10000, 10000 },
		{ 1, 3, 3, 10000, 10000 },
		/* They cost little, or the requests come by themselves. */
		{ 32, 300, 50, 9000, 10000 },
		{ 32, 400, 0, 9000, 10000 },
		/* The driver has other things to do. */
		{ 32, 1500, 0, 10000, 10000 },
	};

	(void)s;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world world = { .depth = cases[i].depth,
				       .gap = cases[i].gap * US,
				       .interrupt = cases[i].interrupt * US };
		unsigned interrupts = requests(&world, 10000);

		assert_in_range(interrupts, cases[i].min, cases[i].max);
	}
}

/* What the tries cost one that waits, in time. */
static void a_driver_that_waits_loses_a_hundredth(void **state)
{
	struct world world = { .depth = 1, .gap = 300 * US };

	(void)state;
	requests(&world, 10000);
	assert_in_range(world.now, 10000 * 300 * US, 10100 * 300 * US);
}

/* By a hundred interrupts or so. */
static void a_driver_that_changes_its_ways_is_found_out(void **state)
{
	struct world world = { 0 };

	(void)state;
	for (int i = 0; i < 10; i++) {
		world.depth = 1;
		world.gap = 3 * US;
		world.interrupt = 3 * US;
		assert_int_equal(requests(&world, 1000), 1000);
		world.depth = 32;
		world.gap = 100 * US;
		world.interrupt = 400 * US;
		assert_in_range(requests(&world, 10000), 550, 1000);
	}
}

/* What they took before says nothing of requests that come by themselves. */
static void requests_of_their_own_accord_are_told_after_a_busy_driver(void **s)
{
	struct world world = { .depth = 32,
			       .gap = 100 * US,
			       .interrupt = 400 * US };

	(void)s;
	requests(&world, 10000);
	world.gap = 200 * US;
	world.interrupt = 0;
	assert_in_range(requests(&world, 10000), 9000, 10000);
}

static bool used(struct bench *bench, uint16_t index)
{
	const struct vring_used *ring = driver_ring_used(&bench->queues[0]);

	return __atomic_load_n(&ring->idx, __ATOMIC_ACQUIRE) == index;
}

static void begin(struct bench *bench, struct disk *disk)
{
	disk_create(bench, disk, false);
	bench_negotiate(bench, FEATURES & ~(1ull << VIRTIO_RING_F_EVENT_IDX));
	bench_queue(bench, 0, SIZE);
	bench_status(bench, VIRTIO_CONFIG_S_DRIVER_OK);
	set_header(bench, HEADER, VIRTIO_BLK_T_FLUSH, 0);
}

static const struct segment flush[] = { { HEADER, 16, false },
					{ STATUS, 1, true } };

static void each_request_of_a_driver_that_waits_is_told(void **state)
{
	struct bench bench;
	struct disk disk;

	(void)state;
	begin(&bench, &disk);
	for (unsigned i = 1; i <= 200; i++) {
		offer(&bench, flush, 2);
		assert_true(bench_reaches(&bench.interrupts[0], i));
		assert_true(used(&bench, i));
	}
	bench_end(&bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(
		interrupts_are_saved_where_they_are_what_keeps_the_driver),
	cmocka_unit_test(a_driver_that_waits_loses_a_hundredth),
	cmocka_unit_test(a_driver_that_changes_its_ways_is_found_out),
	cmocka_unit_test(
		requests_of_their_own_accord_are_told_after_a_busy_driver),
	cmocka_unit_test(each_request_of_a_driver_that_waits_is_told),
};

UNIT_MAIN(tests)
