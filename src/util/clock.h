/*
 * The time of one of the kernel's clocks (clock_gettime(2)). Any thread.
 */
#ifndef KVIST_UTIL_CLOCK_H
#define KVIST_UTIL_CLOCK_H

#include <stdint.h>
#include <time.h>

/* In nanoseconds. */
uint64_t clock_ns(clockid_t clock);

#endif
