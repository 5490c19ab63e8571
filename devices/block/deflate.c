#include "devices/block/deflate.h"

#include <stdbool.h>
#include <string.h>

#include "devices/block/prefix_code.h"

#define MATCH_MIN 3
#define MATCH_MAX 258
#define CHAIN_MAX 48 /* places looked at for the longest match */
#define GOOD      32 /* a match this long is taken at once */

#define END        256
#define LENS       19 /* symbols that code the lengths of codes */
#define CODE_MAX   15
#define STORED_MAX 65535

struct output {
	uint8_t *at, *end;
	uint64_t bits; /* not written yet, first one lowest */
	unsigned count;
	bool full; /* bytes were lost */
};

/* A value in deflate's way: a symbol, then bits that tell which of several. */
struct coded {
	unsigned symbol, bits, value;
};

static void put(struct output *o, uint32_t value, unsigned n)
{
	o->bits |= (uint64_t)value << o->count;
	for (o->count += n; o->count >= 8; o->count -= 8, o->bits >>= 8) {
		if (o->at < o->end)
			*o->at++ = o->bits;
		else
			o->full = true;
	}
}

static void put_symbol(struct output *o, const struct deflate_code *code,
		       unsigned symbol)
{
	put(o, code->bits[symbol], code->len[symbol]);
}

static unsigned highest_bit(uint32_t v)
{
	return 31 - __builtin_clz(v);
}

/* 3.2.5: groups of lengths, four to a number of bits. */
static struct coded code_length(unsigned len)
{
	unsigned v = len - MATCH_MIN, bits;

	if (len == MATCH_MAX)
		return (struct coded){ END + 29, 0, 0 };
	if (v < 8)
		return (struct coded){ END + 1 + v, 0, 0 };
	bits = highest_bit(v) - 2;
	return (struct coded){ END + 1 + 4 * (bits + 1) + (v >> bits & 3), bits,
			       v & ((1u << bits) - 1) };
}

/* And of distances, two to a number of bits. */
static struct coded code_distance(unsigned distance)
{
	unsigned v = distance - 1, bits;

	if (v < 4)
		return (struct coded){ v, 0, 0 };
	bits = highest_bit(v) - 1;
	return (struct coded){ 2 * (bits + 1) + (v >> bits & 1), bits,
			       v & ((1u << bits) - 1) };
}

/* 3.2.2: codes of one length follow each other in the order of symbols. */
static void assign_codes(struct deflate_code *code, unsigned n)
{
	unsigned next[CODE_MAX + 2] = { 0 };

	for (unsigned i = 0; i < n; i++)
		next[code->len[i] + 1] += code->len[i] ? 1 : 0;
	for (unsigned len = 1; len <= CODE_MAX + 1; len++)
		next[len] = (next[len] + next[len - 1]) << 1;
	for (unsigned i = 0; i < n; i++) {
		unsigned bits = code->len[i] ? next[code->len[i]]++ : 0;
		unsigned reversed = 0;

		for (unsigned j = 0; j < code->len[i]; j++)
			reversed |= (bits >> j & 1) << (code->len[i] - 1 - j);
		code->bits[i] = reversed;
	}
}

/* Makes the code for the counts. */
static void make_code(struct deflate_code *code, unsigned n, unsigned limit)
{
	prefix_code_lengths(code->count, n, limit, code->len);
	assign_codes(code, n);
}

/* The lengths of both codes, as symbols of 3.2.7: runs get one symbol. Twice:
 * first counted, with @o NULL, then written. */
static void put_lengths(struct output *o, struct deflate_code *code,
			const uint8_t *lens, unsigned n)
{
	for (unsigned i = 0, run; i < n; i += run) {
		struct coded c = { lens[i], 0, 0 };

		for (run = 1; i + run < n && lens[i + run] == lens[i]; run++)
			;
		if (!lens[i] && run >= 11) {
			run = run < 138 ? run : 138;
			c = (struct coded){ 18, 7, run - 11 };
		} else if (!lens[i] && run >= 3) {
			c = (struct coded){ 17, 3, run - 3 };
		} else if (i && lens[i - 1] == lens[i] && run >= 3) {
			run = run < 6 ? run : 6;
			c = (struct coded){ 16, 2, run - 3 };
		} else {
			run = 1;
		}
		if (!o) {
			code->count[c.symbol]++;
			continue;
		}
		put_symbol(o, code, c.symbol);
		put(o, c.value, c.bits);
	}
}

/* The head of a block with codes of its own. */
static void put_codes(struct deflate *d, struct output *o)
{
	static const uint8_t order[LENS] = { 16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
					     11, 4,  12, 3, 13, 2, 14, 1, 15 };
	uint8_t lens[DEFLATE_LITERALS + DEFLATE_DISTANCES];
	unsigned nlit = DEFLATE_LITERALS, ndist = DEFLATE_DISTANCES;
	unsigned nlens = LENS;

	while (!d->literals.len[nlit - 1])
		nlit--;
	while (!d->distances.len[ndist - 1])
		ndist--;
	memcpy(lens, d->literals.len, nlit);
	memcpy(lens + nlit, d->distances.len, ndist);
	memset(d->lengths.count, 0, sizeof(d->lengths.count));
	put_lengths(NULL, &d->lengths, lens, nlit + ndist);
	make_code(&d->lengths, LENS, 7);
	while (nlens > 4 && !d->lengths.len[order[nlens - 1]])
		nlens--;
	put(o, nlit - 257, 5);
	put(o, ndist - 1, 5);
	put(o, nlens - 4, 4);
	for (unsigned i = 0; i < nlens; i++)
		put(o, d->lengths.len[order[i]], 3);
	put_lengths(o, &d->lengths, lens, nlit + ndist);
}

static void put_tokens(const struct deflate *d, struct output *o)
{
	for (uint32_t i = 0; i < d->tokens; i++) {
		unsigned value = d->token[i] & 0xffff;
		unsigned distance = d->token[i] >> 16;
		struct coded c;

		if (!distance) {
			put_symbol(o, &d->literals, value);
			continue;
		}
		c = code_length(value);
		put_symbol(o, &d->literals, c.symbol);
		put(o, c.value, c.bits);
		c = code_distance(distance);
		put_symbol(o, &d->distances, c.symbol);
		put(o, c.value, c.bits);
	}
	put_symbol(o, &d->literals, END);
}

static void put_stored(struct output *o, const uint8_t *bytes, size_t len,
		       bool last)
{
	put(o, last, 3);
	put(o, 0, -o->count & 7);
	put(o, len, 16);
	put(o, ~len & 0xffff, 16);
	for (size_t i = 0; i < len; i++)
		put(o, bytes[i], 8);
}

/* Writes the tokens, which stand for @bytes, as a block with codes of its own,
 * or plain where that is shorter. */
static void put_block(struct deflate *d, struct output *o, const uint8_t *bytes,
		      size_t len, bool last)
{
	struct output start = *o;

	memset(d->literals.count, 0, sizeof(d->literals.count));
	memset(d->distances.count, 0, sizeof(d->distances.count));
	d->literals.count[END] = 1;
	for (uint32_t i = 0; i < d->tokens; i++) {
		unsigned value = d->token[i] & 0xffff;
		unsigned distance = d->token[i] >> 16;

		d->literals
			.count[distance ? code_length(value).symbol : value]++;
		if (distance)
			d->distances.count[code_distance(distance).symbol]++;
	}
	make_code(&d->literals, DEFLATE_LITERALS, CODE_MAX);
	make_code(&d->distances, DEFLATE_DISTANCES, CODE_MAX);
	put(o, last | 2 << 1, 3);
	put_codes(d, o);
	put_tokens(d, o);
	d->tokens = 0;
	if (len <= STORED_MAX &&
	    (o->full || (size_t)(o->at - start.at) > len + 5)) {
		*o = start;
		put_stored(o, bytes, len, last);
	}
}

static uint32_t hash(const uint8_t *at)
{
	uint32_t v = at[0] | at[1] << 8 | (uint32_t)at[2] << 16;

	return v * 2654435761u >> (32 - DEFLATE_HASH_BITS);
}

static void remember(struct deflate *d, const uint8_t *in, size_t len,
		     size_t at)
{
	uint32_t *head;

	if (len - at < MATCH_MIN)
		return;
	head = &d->head[hash(in + at)];
	d->older[at % DEFLATE_WINDOW] = *head;
	*head = at + 1;
}

/* The longest match for what is at @at, as a token; 0 when there is none. */
static uint32_t find(const struct deflate *d, const uint8_t *in, size_t len,
		     size_t at)
{
	size_t most = len - at < MATCH_MAX ? len - at : MATCH_MAX;
	size_t best = MATCH_MIN - 1;
	uint32_t token = 0, place;

	if (most < MATCH_MIN)
		return 0;
	place = d->head[hash(in + at)];
	for (unsigned i = 0; i < CHAIN_MAX && place; i++) {
		size_t from = place - 1, n = 0;

		if (at - from > DEFLATE_WINDOW)
			break;
		if (in[from + best] == in[at + best]) {
			while (n < most && in[from + n] == in[at + n])
				n++;
		}
		if (n > best) {
			best = n;
			token = (uint32_t)(at - from) << 16 | n;
			if (n == most || n >= GOOD)
				break;
		}
		place = d->older[from % DEFLATE_WINDOW];
		if (place > from)
			break; /* overwritten: older than the window */
	}
	return token;
}

size_t deflate_raw(struct deflate *d, const uint8_t *in, size_t in_len,
		   uint8_t *out, size_t out_len)
{
	struct output o = { .at = out, .end = out + out_len };
	size_t begun = 0, at = 0;
	uint32_t match = 0;

	memset(d->head, 0, sizeof(d->head));
	d->tokens = 0;
	while (at < in_len && !o.full) {
		size_t next = at + 1;
		uint32_t later;

		remember(d, in, in_len, at);
		later = (match & 0xffff) < GOOD ? find(d, in, in_len, next) : 0;
		/* A longer match one byte on is worth a literal. */
		if (!match || (later & 0xffff) > (match & 0xffff)) {
			d->token[d->tokens++] = in[at];
		} else {
			d->token[d->tokens++] = match;
			next = at + (match & 0xffff);
			for (size_t i = at + 1; i < next; i++)
				remember(d, in, in_len, i);
			later = find(d, in, in_len, next);
		}
		match = later;
		at = next;
		if (d->tokens == DEFLATE_TOKENS || at == in_len) {
			put_block(d, &o, in + begun, at - begun, at == in_len);
			begun = at;
		}
	}
	put(&o, 0, -o.count & 7);
	return o.full ? 0 : (size_t)(o.at - out);
}
