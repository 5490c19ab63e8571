/*
 * The entropy coding of zstd (RFC 8878, section 4): bit streams that are read
 * backwards, FSE and Huffman tables. Between zstd.c and zstd_entropy.c only.
 *
 * Input is hostile: whatever the bytes say, tables are filled and indexed
 * within their bounds, and a stream that is read past its start gives zeros
 * and remembers it. Pure functions, any thread.
 */
#ifndef KVIST_UTIL_ZSTD_ENTROPY_H
#define KVIST_UTIL_ZSTD_ENTROPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/bytes.h"

#define ZSTD_FSE_LOG     9  /* longest table: 1 << 9 entries */
#define ZSTD_FSE_SYMBOLS 53 /* of the largest alphabet, the match lengths */
#define ZSTD_HUFFMAN_LOG 11

struct zstd_fse_entry {
	uint16_t base;  /* the next state, without the bits to be read */
	uint8_t bits;   /* how many those are */
	uint8_t symbol; /* what this state stands for */
};

struct zstd_fse {
	unsigned log; /* 1 << log entries are in use */
	bool valid;   /* false: no block has defined it yet */
	struct zstd_fse_entry entry[1 << ZSTD_FSE_LOG];
};

struct zstd_huffman {
	unsigned log; /* 0: not defined yet */
	struct {
		uint8_t symbol, bits;
	} entry[1 << ZSTD_HUFFMAN_LOG];
};

/* A stream that starts at its last byte, below the highest bit set there. */
struct zstd_bits {
	const uint8_t *start, *at; /* bytes [start, at) are still to come */
	uint64_t bits;             /* the next bit is the highest */
	int count;                 /* of them; negative: read past the start */
};

/* False when the stream is empty or its last byte is zero. */
bool zstd_bits_open(struct zstd_bits *s, const uint8_t *in, size_t len);

/* At least 56 bits are there afterwards, or all that are left. */
static inline void zstd_bits_refill(struct zstd_bits *s)
{
	if (s->at - s->start >= 8 && s->count >= 0) {
		s->bits |= get_le64(s->at - 8) >> s->count;
		s->at -= (63 - s->count) >> 3;
		s->count |= 56;
		return;
	}
	while (s->count >= 0 && s->count <= 56 && s->at > s->start) {
		s->bits |= (uint64_t) * --s->at << (56 - s->count);
		s->count += 8;
	}
}

/* The next @n < 64 bits, of those that were refilled. */
static inline uint64_t zstd_bits_peek(const struct zstd_bits *s, unsigned n)
{
	return s->bits >> 1 >> (63 - n);
}

static inline void zstd_bits_drop(struct zstd_bits *s, unsigned n)
{
	s->bits <<= n;
	s->count -= (int)n;
}

static inline uint64_t zstd_bits_take(struct zstd_bits *s, unsigned n)
{
	uint64_t value = zstd_bits_peek(s, n);

	zstd_bits_drop(s, n);
	return value;
}

/* True when every bit was read, and none too many. */
static inline bool zstd_bits_done(const struct zstd_bits *s)
{
	return s->count == 0 && s->at == s->start;
}

/*
 * Builds the table of 1 << @log entries for the counts of @n symbols, -1 for
 * "less than one" (4.1.1). The counts' sum, -1 as 1, is 1 << @log.
 */
void zstd_fse_build(struct zstd_fse *fse, const int16_t *counts, unsigned n,
		    unsigned log);

/* The table that stays in one state and has one symbol. */
void zstd_fse_single(struct zstd_fse *fse, uint8_t symbol);

/*
 * Reads the description of a table (4.1.1) for symbols below @symbols and at
 * most 1 << @max_log entries; returns its bytes, or 0 when it is invalid.
 */
size_t zstd_fse_read(struct zstd_fse *fse, const uint8_t *in, size_t len,
		     unsigned symbols, unsigned max_log);

/* Reads the description of a Huffman tree (4.2.1); its bytes, or 0. */
size_t zstd_huffman_read(struct zstd_huffman *huffman, const uint8_t *in,
			 size_t len);

/* Decodes one stream into exactly @out_len symbols; false when it holds fewer
 * or more. */
bool zstd_huffman_decode(const struct zstd_huffman *huffman, const uint8_t *in,
			 size_t len, uint8_t *out, size_t out_len);

#endif
