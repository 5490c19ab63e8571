#include "devices/block/zstd_pack.h"

#include <string.h>

#include "devices/block/prefix_code.h"

#define WEIGHT_LOG 6 /* of the FSE table of Huffman weights */

static unsigned highest_bit(uint32_t v)
{
	return 31 - __builtin_clz(v);
}

void zstd_put_end(struct zstd_writer *w)
{
	for (; w->count; w->bits >>= 8) {
		if (w->at < w->end)
			*w->at++ = w->bits;
		else
			w->full = true;
		w->count -= w->count < 8 ? w->count : 8;
	}
}

void zstd_put_mark(struct zstd_writer *w)
{
	zstd_put(w, 1, 1);
	zstd_put_end(w);
}

void zstd_fse_writer_init(struct zstd_fse_writer *f,
			  const struct zstd_fse *table)
{
	uint16_t next[ZSTD_FSE_SYMBOLS];
	unsigned first = 0;

	memset(f->count, 0, sizeof(f->count));
	f->log = table->log;
	for (unsigned i = 0; i < 1u << table->log; i++)
		f->count[table->entry[i].symbol]++;
	for (unsigned s = 0; s < ZSTD_FSE_SYMBOLS; s++) {
		f->first[s] = next[s] = first;
		first += f->count[s];
	}
	for (unsigned i = 0; i < 1u << table->log; i++)
		f->place[next[table->entry[i].symbol]++] = i;
}

void zstd_fse_scale(const uint32_t *occurs, unsigned n, uint32_t total,
		    unsigned log, int16_t *counts)
{
	int left = 1 << log;

	for (unsigned s = 0; s < n; s++) {
		uint64_t share = ((uint64_t)occurs[s] << log) + total / 2;

		counts[s] = share / total;
		if (occurs[s] && !counts[s])
			counts[s] = 1;
		left -= counts[s];
	}
	/* What rounding left over, or took too much of, is the most frequent
	 * one's: there it matters least. */
	while (left) {
		unsigned most = 0;
		int step = left > 0 ? left : -1;

		for (unsigned s = 1; s < n; s++) {
			if (counts[s] > counts[most])
				most = s;
		}
		counts[most] += step;
		left -= step;
	}
}

void zstd_fse_describe(struct zstd_writer *w, const int16_t *counts,
		       unsigned log)
{
	unsigned left = 1u << log, s = 0;

	zstd_put(w, log - 5, 4);
	while (left) {
		/* Values below @spare take a bit less; the others make room
		 * for that. */
		unsigned bits = highest_bit(left + 1) + 1;
		unsigned low = (1u << (bits - 1)) - 1;
		unsigned spare = (1u << bits) - 1 - (left + 1);
		unsigned value = counts[s] + 1, zeros = 0;

		if (value < spare)
			zstd_put(w, value, bits - 1);
		else
			zstd_put(w, value > low ? value + spare : value, bits);
		left -= counts[s];
		if (counts[s++])
			continue;
		for (; !counts[s]; s++)
			zeros++;
		for (; zeros >= 3; zeros -= 3)
			zstd_put(w, 3, 2);
		zstd_put(w, zeros, 2);
	}
}

/* The weights of all symbols except the last one, FSE coded by two states in
 * turns; the bytes, or 0 when that cannot be done. */
static size_t pack_weights(const uint8_t *weights, unsigned n, uint8_t *out,
			   size_t out_len)
{
	struct zstd_writer w = { .at = out, .end = out + out_len };
	uint32_t occurs[ZSTD_HUFFMAN_LOG + 1] = { 0 };
	int16_t counts[ZSTD_HUFFMAN_LOG + 1];
	struct zstd_fse_writer writer;
	struct zstd_fse table;
	unsigned state[2], kinds = 0;

	for (unsigned i = 0; i < n; i++)
		kinds += !occurs[weights[i]]++;
	if (n < 3 || kinds < 2)
		return 0;
	zstd_fse_scale(occurs, ZSTD_HUFFMAN_LOG + 1, n, WEIGHT_LOG, counts);
	zstd_fse_build(&table, counts, ZSTD_HUFFMAN_LOG + 1, WEIGHT_LOG);
	zstd_fse_writer_init(&writer, &table);
	zstd_fse_describe(&w, counts, WEIGHT_LOG);
	zstd_put_end(&w);
	/* A first state asks for a bit at least, and finding none there is how
	 * the reader sees the end. */
	state[(n - 1) % 2] = zstd_fse_start(&writer, weights[n - 1]);
	state[n % 2] = zstd_fse_start(&writer, weights[n - 2]);
	for (unsigned i = n - 2; i--;)
		state[i % 2] =
			zstd_fse_put(&writer, &w, state[i % 2], weights[i]);
	zstd_put(&w, state[1], WEIGHT_LOG);
	zstd_put(&w, state[0], WEIGHT_LOG);
	zstd_put_mark(&w);
	return w.full ? 0 : (size_t)(w.at - out);
}

static size_t put_weights(const uint8_t *weights, unsigned n, uint8_t *out,
			  size_t out_len)
{
	uint8_t packed[127];
	size_t plain = (n + 1) / 2;
	size_t bytes = pack_weights(weights, n, packed, sizeof(packed));

	if (bytes && (bytes < plain || n > 128)) {
		if (bytes >= out_len)
			return 0;
		out[0] = bytes;
		memcpy(out + 1, packed, bytes);
		return 1 + bytes;
	}
	if (n > 128 || plain >= out_len)
		return 0;
	out[0] = 127 + n;
	memset(out + 1, 0, plain);
	for (unsigned i = 0; i < n; i++)
		out[1 + i / 2] |= weights[i] << (i % 2 ? 0 : 4);
	return 1 + plain;
}

size_t zstd_huffman_describe(struct zstd_huffman_writer *h,
			     uint32_t occurs[256], uint8_t *out, size_t out_len)
{
	uint8_t weights[256];
	unsigned log = 0, last = 255, at = 0;

	prefix_code_lengths(occurs, 256, ZSTD_HUFFMAN_LOG, h->len);
	while (!h->len[last])
		last--;
	for (unsigned i = 0; i <= last; i++)
		log = h->len[i] > log ? h->len[i] : log;
	for (unsigned i = 0; i <= last; i++)
		weights[i] = h->len[i] ? log + 1 - h->len[i] : 0;
	/* The longest codes first, and of one length in the order of bytes. */
	for (unsigned weight = 1; weight <= log; weight++) {
		for (unsigned i = 0; i <= last; i++) {
			if (weights[i] != weight)
				continue;
			h->code[i] = at >> (weight - 1);
			at += 1u << (weight - 1);
		}
	}
	return put_weights(weights, last, out, out_len);
}

size_t zstd_huffman_put(const struct zstd_huffman_writer *h, const uint8_t *in,
			size_t len, uint8_t *out, size_t out_len)
{
	struct zstd_writer w = { .at = out, .end = out + out_len };

	while (len--)
		zstd_put(&w, h->code[in[len]], h->len[in[len]]);
	zstd_put_mark(&w);
	return w.full ? 0 : (size_t)(w.at - out);
}
