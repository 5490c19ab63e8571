#include "unit.h"

#include "devices/virtio/limit.h"
#include "util/checked.h"

#define SECOND 1000000000ull
#define MiB    (1ull << 20)

static struct limit limit_of(struct limit_options options)
{
	struct limit limit;

	limit_init(&limit, &options);
	return limit;
}

/* How many requests of @bytes begin from @from to @until when there is always
 * one more: what a busy guest gets. */
static uint64_t busy(struct limit *limit, uint64_t bytes, uint64_t from,
		     uint64_t until)
{
	uint64_t count = 0;

	for (;;) {
		from += limit_wait(limit, from);
		if (from >= until)
			return count;
		limit_take(limit, bytes, from);
		count++;
	}
}

static void without_a_limit_nothing_waits(void **state)
{
	struct limit limit = limit_of((struct limit_options){ 0 });

	(void)state;
	assert_false(limit_exists(&limit));
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(limit_wait(&limit, 5), 0);
		limit_take(&limit, UINT32_MAX, 5);
	}
}

/* The burst, and then the rate: exactly, however long it lasts. */
static void a_busy_guest_gets_the_burst_and_then_the_rate(void **state)
{
	static const struct {
		struct limit_options options;
		uint64_t bytes, seconds, count;
	} cases[] = {
		{ { .iops = 1000, .iops_burst = 5000 }, 4096, 10, 15000 },
		{ { .iops = 1000 }, 4096, 10, 10100 },
		{ { .iops = 1 }, 4096, 10, 10 },
		{ { .iops = 7, .iops_burst = 1 }, 4096, 100, 700 },
		{ { .bps = 50 * MiB, .bps_burst = 50 * MiB }, MiB, 10, 550 },
		{ { .bps = MiB, .bps_burst = MiB }, 4096, 10, 2816 },
		/* The tighter of two. */
		{ { .iops = 100, .iops_burst = 1, .bps = MiB, .bps_burst = 1 },
		  4096,
		  10,
		  1000 },
		{ { .iops = 1000, .iops_burst = 1, .bps = MiB, .bps_burst = 1 },
		  65536,
		  10,
		  160 },
		/* Requests larger than the burst: a debt, and the mean. */
		{ { .bps = MiB, .bps_burst = 1 }, 4 * MiB, 100, 25 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct limit limit = limit_of(cases[i].options);
		uint64_t start = 12345;
		uint64_t count = busy(&limit, cases[i].bytes, start,
				      start + cases[i].seconds * SECOND);

		/* One more or less: the last may fall on the end. */
		if (count + 1 < cases[i].count || count > cases[i].count + 1)
			fail_msg("case %zu: %llu", i,
				 (unsigned long long)count);
	}
}

static void a_pause_earns_a_burst_and_no_more(void **state)
{
	struct limit limit = limit_of(
		(struct limit_options){ .iops = 100, .iops_burst = 50 });
	uint64_t now = SECOND;

	(void)state;
	assert_int_equal(busy(&limit, 512, now, now + 1), 50);
	/* A tenth of a second earns ten. */
	now += SECOND / 10;
	assert_in_range(busy(&limit, 512, now, now + 1), 10, 11);
	now += 3600 * SECOND;
	assert_int_equal(busy(&limit, 512, now, now + 1), 50);
}

static void fractions_of_a_nanosecond_are_not_lost(void **state)
{
	/* Three tokens a nanosecond. */
	struct limit limit = limit_of((struct limit_options){
		.bps = 3 * SECOND, .bps_burst = 3 * SECOND });

	(void)state;
	for (int i = 0; i < 3000; i++)
		limit_take(&limit, 1, 0);
	assert_int_equal(limit.bytes.full_at, 1000);
}

static void a_wait_is_as_long_as_it_must_be(void **state)
{
	struct limit limit =
		limit_of((struct limit_options){ .iops = 10, .iops_burst = 1 });
	uint64_t wait;

	(void)state;
	assert_int_equal(limit_wait(&limit, SECOND), 0);
	limit_take(&limit, 512, SECOND);
	wait = limit_wait(&limit, SECOND);
	assert_in_range(wait, 1, SECOND / 10);
	assert_int_not_equal(limit_wait(&limit, SECOND + wait - 1), 0);
	assert_int_equal(limit_wait(&limit, SECOND + wait), 0);
}

static void the_largest_numbers_overflow_nothing(void **state)
{
	struct limit limit =
		limit_of((struct limit_options){ .iops = LIMIT_RATE_MAX,
						 .iops_burst = LIMIT_RATE_MAX,
						 .bps = 1,
						 .bps_burst = LIMIT_RATE_MAX });

	(void)state;
	/* A byte a second, and a burst of centuries: the debt that a request
	 * may begin with, and the one that it leaves. */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(limit_wait(&limit, SECOND), 0);
		limit_take(&limit, UINT32_MAX, SECOND);
	}
	assert_int_equal(limit.bytes.full_at, (3ull * UINT32_MAX + 1) * SECOND);
	assert_in_range(limit_wait(&limit, SECOND), 1, UINT32_MAX * SECOND);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(without_a_limit_nothing_waits),
	cmocka_unit_test(a_busy_guest_gets_the_burst_and_then_the_rate),
	cmocka_unit_test(a_pause_earns_a_burst_and_no_more),
	cmocka_unit_test(fractions_of_a_nanosecond_are_not_lost),
	cmocka_unit_test(a_wait_is_as_long_as_it_must_be),
	cmocka_unit_test(the_largest_numbers_overflow_nothing),
};

UNIT_MAIN(tests)
