#include "util/zstd_entropy.h"

#include <string.h>

#define WEIGHT_LOG 6   /* longest FSE table of Huffman weights */
#define WEIGHTS    256 /* of them, with the last one, which is not sent */

static unsigned highest_bit(uint32_t v)
{
	return 31 - __builtin_clz(v);
}

bool zstd_bits_open(struct zstd_bits *s, const uint8_t *in, size_t len)
{
	if (!len || !in[len - 1])
		return false;
	*s = (struct zstd_bits){ .start = in, .at = in + len };
	zstd_bits_refill(s);
	/* Up to and with the marker. */
	zstd_bits_drop(s, 8 - highest_bit(in[len - 1]));
	return true;
}

void zstd_fse_build(struct zstd_fse *fse, const int16_t *counts, unsigned n,
		    unsigned log)
{
	unsigned size = 1u << log, high = size, at = 0;
	unsigned step = (size >> 1) + (size >> 3) + 3;
	uint16_t next[ZSTD_FSE_SYMBOLS] = { 0 };

	/* Symbols of less than one sit at the end, one state each. */
	for (unsigned s = 0; s < n; s++) {
		if (counts[s] < 0) {
			fse->entry[--high].symbol = s;
			next[s] = 1;
		}
	}
	/* The others are spread over the rest. */
	for (unsigned s = 0; s < n; s++) {
		if (counts[s] <= 0)
			continue;
		next[s] = counts[s];
		for (int i = 0; i < counts[s]; i++) {
			fse->entry[at].symbol = s;
			do
				at = (at + step) & (size - 1);
			while (at >= high);
		}
	}
	for (unsigned i = 0; i < size; i++) {
		unsigned state = next[fse->entry[i].symbol]++;
		unsigned bits = log - highest_bit(state);

		fse->entry[i].bits = bits;
		fse->entry[i].base = (state << bits) - size;
	}
	fse->log = log;
	fse->valid = true;
}

void zstd_fse_single(struct zstd_fse *fse, uint8_t symbol)
{
	fse->entry[0] = (struct zstd_fse_entry){ .symbol = symbol };
	fse->log = 0;
	fse->valid = true;
}

/* Bits of a description, read forwards. */
struct forward {
	const uint8_t *in;
	size_t bits, at; /* bits there are, and the next one */
};

/* The next @n <= 16 bits without moving on; zeros after the end. */
static unsigned forward_peek(const struct forward *f, unsigned n)
{
	unsigned value = 0;

	for (unsigned i = 0; i < n; i++) {
		size_t at = f->at + i;

		if (at < f->bits)
			value |= (f->in[at / 8] >> (at % 8) & 1u) << i;
	}
	return value;
}

/* One count of at most @left, in a code that has a bit less for low values:
 * 0 stands for -1. */
static int read_count(struct forward *f, int left)
{
	unsigned bits = highest_bit(left + 1) + 1;
	unsigned low = (1u << (bits - 1)) - 1;
	unsigned spare = (1u << bits) - 1 - (left + 1);
	unsigned value = forward_peek(f, bits);

	if ((value & low) < spare) {
		f->at += bits - 1;
		return (int)(value & low) - 1;
	}
	f->at += bits;
	return (int)(value > low ? value - spare : value) - 1;
}

size_t zstd_fse_read(struct zstd_fse *fse, const uint8_t *in, size_t len,
		     unsigned symbols, unsigned max_log)
{
	struct forward f = { .in = in, .bits = len * 8, .at = 4 };
	int16_t counts[ZSTD_FSE_SYMBOLS] = { 0 };
	unsigned n = 0, log;
	int left;

	fse->valid = false;
	if (!len)
		return 0;
	log = (in[0] & 15) + 5;
	if (log > max_log)
		return 0;
	for (left = 1 << log; left > 0 && n < symbols; n++) {
		unsigned repeat = 3;
		int count = read_count(&f, left);

		counts[n] = count;
		left -= count < 0 ? 1 : count;
		/* Zeros come with a count of zeros that follow, in steps. */
		while (!count && repeat == 3) {
			repeat = forward_peek(&f, 2);
			f.at += 2;
			if (repeat >= symbols - n)
				return 0;
			n += repeat;
		}
	}
	if (left || f.at > f.bits)
		return 0;
	zstd_fse_build(fse, counts, n, log);
	return (f.at + 7) / 8;
}

/* Weights that are FSE coded themselves, by two states in turns that end when
 * the bits do. Returns how many, or 0. */
static unsigned read_weights(const uint8_t *in, size_t len,
			     uint8_t weights[WEIGHTS])
{
	struct zstd_fse fse;
	struct zstd_bits s;
	unsigned state[2], n = 0;
	size_t table =
		zstd_fse_read(&fse, in, len, ZSTD_HUFFMAN_LOG + 2, WEIGHT_LOG);

	if (!table || !zstd_bits_open(&s, in + table, len - table))
		return 0;
	zstd_bits_refill(&s);
	state[0] = zstd_bits_take(&s, fse.log);
	state[1] = zstd_bits_take(&s, fse.log);
	if (s.count < 0)
		return 0;
	/* Room for this one, the other state's last, and the one not sent. */
	while (n < WEIGHTS - 2) {
		const struct zstd_fse_entry *e = &fse.entry[state[n % 2]];

		weights[n] = e->symbol;
		zstd_bits_refill(&s);
		state[n % 2] = e->base + zstd_bits_take(&s, e->bits);
		n++;
		if (s.count < 0) {
			weights[n] = fse.entry[state[n % 2]].symbol;
			return n + 1;
		}
	}
	return 0;
}

/* Finds the weight that is not sent, which fills the tree, and gives every
 * symbol its entries: those of the lowest weight, the longest codes, first. */
static bool build_huffman(struct zstd_huffman *huffman,
			  uint8_t weights[WEIGHTS], unsigned n)
{
	uint32_t sum = 0, rest, at = 0;
	unsigned log;

	for (unsigned i = 0; i < n; i++) {
		if (weights[i] > ZSTD_HUFFMAN_LOG)
			return false;
		sum += weights[i] ? 1u << (weights[i] - 1) : 0;
	}
	if (!sum || sum >= 1u << ZSTD_HUFFMAN_LOG)
		return false;
	log = highest_bit(sum) + 1;
	rest = (1u << log) - sum;
	if (rest & (rest - 1))
		return false;
	weights[n++] = highest_bit(rest) + 1;
	for (unsigned weight = 1; weight <= log; weight++) {
		for (unsigned i = 0; i < n; i++) {
			if (weights[i] != weight)
				continue;
			for (unsigned j = 0; j < 1u << (weight - 1); j++) {
				huffman->entry[at].symbol = i;
				huffman->entry[at++].bits = log + 1 - weight;
			}
		}
	}
	huffman->log = log;
	return true;
}

size_t zstd_huffman_read(struct zstd_huffman *huffman, const uint8_t *in,
			 size_t len)
{
	uint8_t weights[WEIGHTS];
	unsigned n;
	size_t bytes;

	huffman->log = 0;
	if (!len)
		return 0;
	if (in[0] < 128) {
		bytes = in[0];
		if (bytes > len - 1)
			return 0;
		n = read_weights(in + 1, bytes, weights);
	} else {
		n = in[0] - 127u;
		bytes = (n + 1) / 2;
		if (bytes > len - 1)
			return 0;
		for (unsigned i = 0; i < n; i++)
			weights[i] = in[1 + i / 2] >> (i % 2 ? 0 : 4) & 15;
	}
	if (!n || !build_huffman(huffman, weights, n))
		return 0;
	return 1 + bytes;
}

bool zstd_huffman_decode(const struct zstd_huffman *huffman, const uint8_t *in,
			 size_t len, uint8_t *out, size_t out_len)
{
	unsigned log = huffman->log;
	struct zstd_bits s;

	if (!log || !zstd_bits_open(&s, in, len))
		return false;
	for (size_t i = 0; i < out_len; i++) {
		unsigned index;

		if (s.count < ZSTD_HUFFMAN_LOG)
			zstd_bits_refill(&s);
		index = zstd_bits_peek(&s, log);
		out[i] = huffman->entry[index].symbol;
		zstd_bits_drop(&s, huffman->entry[index].bits);
	}
	return zstd_bits_done(&s);
}
