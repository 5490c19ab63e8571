/* A loop that is shared among the CPUs. */
#include "util/parallel.h"

#include "unit.h"

#include <pthread.h>
#include <sched.h>

#define ROUNDS 1000

static void count_round(void *arg, unsigned i)
{
	unsigned *seen = arg;

	/* By whichever thread: none has the round of another. */
	seen[i]++;
}

static void every_round_is_done_once(void **state)
{
	static const unsigned counts[] = { 0, 1, 2, 3, 7, 100, ROUNDS };

	(void)state;
	for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		unsigned seen[ROUNDS + 1] = { 0 };

		parallel_for(counts[c], count_round, seen);
		for (unsigned i = 0; i <= ROUNDS; i++)
			assert_int_equal(seen[i], i < counts[c]);
	}
}

struct pair {
	pthread_barrier_t barrier;
	pthread_t threads[2];
};

static void wait_for_the_other(void *arg, unsigned i)
{
	struct pair *pair = arg;

	pair->threads[i] = pthread_self();
	pthread_barrier_wait(&pair->barrier);
}

static void two_rounds_run_at_the_same_time_on_two_cpus(void **state)
{
	struct pair pair;
	cpu_set_t set;

	(void)state;
	if (sched_getaffinity(0, sizeof(set), &set) || CPU_COUNT(&set) < 2)
		skip();
	pthread_barrier_init(&pair.barrier, NULL, 2);
	parallel_for(2, wait_for_the_other, &pair);
	assert_false(pthread_equal(pair.threads[0], pair.threads[1]));
	pthread_barrier_destroy(&pair.barrier);
}

struct last_round {
	pthread_t caller;
	pthread_barrier_t barrier;
	unsigned done;
};

/* The caller has a round of its own, and is back from it long before the other
 * thread, which waits for the caller to come: to the end of the loop. */
static void end_after_the_caller(void *arg, unsigned i)
{
	struct last_round *last = arg;

	(void)i;
	pthread_barrier_wait(&last->barrier);
	if (pthread_equal(pthread_self(), last->caller))
		return;
	for (int n = 0; n < 1000; n++)
		sched_yield();
	__atomic_store_n(&last->done, 1, __ATOMIC_RELAXED);
}

static void the_loop_ends_after_the_last_of_its_threads(void **state)
{
	struct last_round last = { .caller = pthread_self() };
	cpu_set_t set;

	(void)state;
	if (sched_getaffinity(0, sizeof(set), &set) || CPU_COUNT(&set) < 2)
		skip();
	pthread_barrier_init(&last.barrier, NULL, 2);
	parallel_for(2, end_after_the_caller, &last);
	assert_int_equal(__atomic_load_n(&last.done, __ATOMIC_RELAXED), 1);
	pthread_barrier_destroy(&last.barrier);
}

static void remember_thread(void *arg, unsigned i)
{
	pthread_t *threads = arg;

	threads[i] = pthread_self();
}

static void on_one_cpu_the_caller_does_it_all(void **state)
{
	pthread_t threads[8];
	cpu_set_t all, one;
	int cpu = 0;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	parallel_for(8, remember_thread, threads);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	for (int i = 0; i < 8; i++)
		assert_true(pthread_equal(threads[i], pthread_self()));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(every_round_is_done_once),
	cmocka_unit_test(two_rounds_run_at_the_same_time_on_two_cpus),
	cmocka_unit_test(the_loop_ends_after_the_last_of_its_threads),
	cmocka_unit_test(on_one_cpu_the_caller_does_it_all),
};

UNIT_MAIN(tests)
