/*
 * Arithmetic on numbers that came from outside: it says when it overflows.
 * Pure functions; @result is only set on success.
 */
#ifndef KVIST_UTIL_CHECKED_H
#define KVIST_UTIL_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member)                                        \
	((type *)((char *)(ptr)-offsetof(type, member)))

static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *result)
{
	return !__builtin_add_overflow(a, b, result);
}

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *result)
{
	return !__builtin_mul_overflow(a, b, result);
}

static inline bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

/* @n rounded down or up to a multiple of @align, a power of two. */
static inline uint64_t align_down(uint64_t n, uint64_t align)
{
	return n & ~(align - 1);
}

static inline bool checked_align_up(uint64_t n, uint64_t align,
				    uint64_t *result)
{
	uint64_t sum;

	if (!checked_add(n, align - 1, &sum))
		return false;
	*result = align_down(sum, align);
	return true;
}

/* As checked_align_up(), for an @n known to be far from the end. */
static inline uint64_t align_up(uint64_t n, uint64_t align)
{
	return align_down(n + align - 1, align);
}

/* True if [offset, offset + len) lies within [0, size). */
static inline bool range_within(uint64_t offset, uint64_t len, uint64_t size)
{
	return offset <= size && len <= size - offset;
}

/* True if [a, a + alen) and [b, b + blen) share a byte; both may not wrap. */
static inline bool ranges_overlap(uint64_t a, uint64_t alen, uint64_t b,
				  uint64_t blen)
{
	return alen && blen && a < b + blen && b < a + alen;
}

#endif
