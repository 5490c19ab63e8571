/*
 * The entropy coding of zstd (RFC 8878, section 4), the writing side: bit
 * streams that are read backwards, FSE and Huffman codes. Between
 * zstd_encode.c and zstd_pack.c only. Pure functions, any thread.
 *
 * Whatever does not fit its buffer is dropped, and remembered.
 */
#ifndef KVIST_BLOCK_ZSTD_PACK_H
#define KVIST_BLOCK_ZSTD_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/bytes.h"
#include "util/zstd_entropy.h"

/* Bits to come after those before, lowest first. */
struct zstd_writer {
	uint8_t *at, *end;
	uint64_t bits;
	unsigned count;
	bool full;
};

/* @n <= 32 bits of @value, which has no others. */
static inline void zstd_put(struct zstd_writer *w, uint32_t value, unsigned n)
{
	w->bits |= (uint64_t)value << w->count;
	w->count += n;
	if (w->count < 32)
		return;
	if (w->end - w->at < 4) {
		w->full = true;
	} else {
		put_le32(w->at, w->bits);
		w->at += 4;
	}
	w->bits >>= 32;
	w->count -= 32;
}

/* Fills the last byte with zeros and writes it. */
void zstd_put_end(struct zstd_writer *w);
/* Ends a stream that is to be read from its end: with a bit that marks it. */
void zstd_put_mark(struct zstd_writer *w);

struct zstd_fse_writer {
	unsigned log;
	uint16_t count[ZSTD_FSE_SYMBOLS]; /* states that stand for a symbol */
	uint16_t first[ZSTD_FSE_SYMBOLS]; /* its first one in place[] */
	uint16_t place[1 << ZSTD_FSE_LOG];
};

/* For a table as the reader has it. */
void zstd_fse_writer_init(struct zstd_fse_writer *f,
			  const struct zstd_fse *table);

/* The state for the last symbol, which is the first to be written. */
static inline unsigned zstd_fse_start(const struct zstd_fse_writer *f,
				      unsigned symbol)
{
	return f->place[f->first[symbol]];
}

/* Writes what leads from @symbol's state to @state; returns the former. */
static inline unsigned zstd_fse_put(const struct zstd_fse_writer *f,
				    struct zstd_writer *w, unsigned state,
				    unsigned symbol)
{
	unsigned x = state + (1u << f->log), count = f->count[symbol];
	unsigned bits = f->log - (31 - __builtin_clz(count));

	/* Of the two numbers of bits there are, the one that leads into
	 * [count, 2 * count). */
	bits -= x >> bits < count;
	zstd_put(w, x & ((1u << bits) - 1), bits);
	return f->place[f->first[symbol] + (x >> bits) - count];
}

/*
 * Scales how often @n symbols occur, @total in all and two or more of them, to
 * counts of a table of 1 << @log entries, in which each that occurs has one.
 */
void zstd_fse_scale(const uint32_t *occurs, unsigned n, uint32_t total,
		    unsigned log, int16_t *counts);
/* Writes the description of such a table (4.1.1). */
void zstd_fse_describe(struct zstd_writer *w, const int16_t *counts,
		       unsigned log);

struct zstd_huffman_writer {
	uint16_t code[256];
	uint8_t len[256];
};

/* Makes a code for bytes that occur as often as @occurs says, two or more of
 * them, and writes its description (4.2.1): its bytes, or 0 if too many. */
size_t zstd_huffman_describe(struct zstd_huffman_writer *h,
			     uint32_t occurs[256], uint8_t *out,
			     size_t out_len);

/* Writes one stream; its bytes, or 0 when they are too many. */
size_t zstd_huffman_put(const struct zstd_huffman_writer *h, const uint8_t *in,
			size_t len, uint8_t *out, size_t out_len);

#endif
