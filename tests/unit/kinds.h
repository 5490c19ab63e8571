/*
 * Data of many kinds to compress, for tests.
 */
#ifndef KVIST_TESTS_KINDS_H
#define KVIST_TESTS_KINDS_H

#include "disk_test.h"

/* What is chosen by the bits of @kinds: noise, text, zeros, steps, repeated
 * pieces near and far, rare bytes that make for long codes, bytes of all values
 * but not alike often. */
#define ALL_KINDS 0x7f

static inline uint8_t kinds_byte(uint64_t *seed, unsigned kind,
				 const uint8_t *data, size_t at, size_t back)
{
	switch (kind) {
	case 0:
		return rnd(seed);
	case 1:
		return "etaoin shrdlu, "[rnd_below(seed, 15)];
	case 2:
		return 0;
	case 3:
		return at / 7;
	case 4:
		return at >= back ? data[at - back] : 1;
	case 5:
		return __builtin_ctzll(rnd(seed) | 1ull << 40);
	default:
		return rnd_below(seed, 1 + rnd_below(seed, 256));
	}
}

static inline void make_data(uint64_t *seed, uint8_t *data, size_t len,
			     unsigned kinds)
{
	for (size_t at = 0; at < len;) {
		size_t n = 1 + rnd_below(seed, 9000);
		size_t back = 1 + rnd_below(seed, 100) * rnd_below(seed, 9000);
		unsigned kind = rnd_below(seed, 7);

		if (!(kinds >> kind & 1))
			continue;
		if (n > len - at)
			n = len - at;
		for (; n; n--, at++)
			data[at] = kinds_byte(seed, kind, data, at, back);
	}
}

#endif
