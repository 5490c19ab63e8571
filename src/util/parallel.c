#include "util/parallel.h"

#include <pthread.h>
#include <sched.h>

#define THREADS_MAX 8 /* with the caller's: memory is as fast as that */

struct loop_share {
	unsigned next, count;
	void (*round)(void *arg, unsigned i);
	void *arg;
};

static void *take_rounds(void *arg)
{
	struct loop_share *share = arg;
	unsigned i;

	while ((i = __atomic_fetch_add(&share->next, 1, __ATOMIC_RELAXED)) <
	       share->count)
		share->round(share->arg, i);
	return NULL;
}

static unsigned cpus_usable(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
}

void parallel_for(unsigned count, void (*round)(void *arg, unsigned i),
		  void *arg)
{
	struct loop_share share = { 0, count, round, arg };
	pthread_t threads[THREADS_MAX - 1];
	unsigned cpus = cpus_usable();
	unsigned others = 0;

	while (others + 1 < count && others + 1 < cpus &&
	       others < THREADS_MAX - 1 &&
	       !pthread_create(&threads[others], NULL, take_rounds, &share))
		others++;
	take_rounds(&share);
	/* Pairs with what the other threads wrote: pthread_join(3) orders. */
	while (others)
		pthread_join(threads[--others], NULL);
}
