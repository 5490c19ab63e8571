/*
 * A loop whose rounds do not depend on each other, shared among the CPUs.
 *
 * Any thread that may create others. The threads end before the call does.
 */
#ifndef KVIST_UTIL_PARALLEL_H
#define KVIST_UTIL_PARALLEL_H

/*
 * Calls @round(@arg, i) once for each i of [0, @count), in any order, on the
 * calling thread and on one more for each further CPU that it may use, seven at
 * most.
 * Returns when all are done and what they wrote can be read. Where the host
 * gives no threads the caller does it all.
 */
void parallel_for(unsigned count, void (*round)(void *arg, unsigned i),
		  void *arg);

#endif
