/*
 * A count that one thread writes and any thread reads: no lock, no locked
 * instruction, and no order with anything else.
 */
#ifndef KVIST_UTIL_COUNTER_H
#define KVIST_UTIL_COUNTER_H

#include <stdint.h>

static inline uint64_t counter_read(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static inline void counter_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, counter_read(counter) + n, __ATOMIC_RELAXED);
}

#endif
