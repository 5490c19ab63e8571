#include "util/inflate.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "util/bytes.h"

/*
 * Codes are decoded by table: the next ROOT bits of input index a root table,
 * whose entry is a symbol or, for longer codes, names a second table that the
 * following bits index. Deflate sends codes from their most significant bit
 * into a stream read from the least significant one, so codes are reversed.
 *
 * An entry: symbol in the high 16 bits, then 8 bits of flags, and the number
 * of bits to drop in the low 8. For a link the symbol is the second table's
 * place and the low bits its index width.
 */
#define LIT_ROOT  10
#define DIST_ROOT 8
#define LENS_ROOT 7
#define CODE_MAX  15

/* Room for the root and every second table a complete or incomplete code can
 * need: a second table is never larger than the codes left would fill. */
#define LIT_TABLE  ((1 << LIT_ROOT) + 1024)
#define DIST_TABLE ((1 << DIST_ROOT) + 1024)

#define LINK    0x100u
#define INVALID 0x200u

#define LITERALS  288
#define DISTANCES 32
#define LENS      19
#define END       256

struct stream {
	const uint8_t *in, *in_end;
	uint64_t bits;  /* bits not consumed yet, next one lowest */
	unsigned count; /* of them */
	uint8_t *out, *out_start, *out_end;
};

struct codes {
	uint32_t lit[LIT_TABLE];
	uint32_t dist[DIST_TABLE];
};

static const uint16_t length_base[29] = { 3,   4,   5,   6,   7,  8,  9,  10,
					  11,  13,  15,  17,  19, 23, 27, 31,
					  35,  43,  51,  59,  67, 83, 99, 115,
					  131, 163, 195, 227, 258 };
static const uint8_t length_extra[29] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1,
					  1, 1, 2, 2, 2, 2, 3, 3, 3, 3,
					  4, 4, 4, 4, 5, 5, 5, 5, 0 };
static const uint16_t dist_base[30] = { 1,    2,    3,    4,     5,     7,
					9,    13,   17,   25,    33,    49,
					65,   97,   129,  193,   257,   385,
					513,  769,  1025, 1537,  2049,  3073,
					4097, 6145, 8193, 12289, 16385, 24577 };
static const uint8_t dist_extra[30] = { 0, 0, 0,  0,  1,  1,  2,  2,  3,  3,
					4, 4, 5,  5,  6,  6,  7,  7,  8,  8,
					9, 9, 10, 10, 11, 11, 12, 12, 13, 13 };

/* Fills the bit buffer with at least 56 bits, or all there are. */
static void refill(struct stream *s)
{
	if (s->in_end - s->in >= 8) {
		s->bits |= get_le64(s->in) << s->count;
		s->in += (63 - s->count) >> 3;
		s->count |= 56;
		return;
	}
	while (s->count <= 56 && s->in < s->in_end) {
		s->bits |= (uint64_t)*s->in++ << s->count;
		s->count += 8;
	}
}

static void drop(struct stream *s, unsigned n)
{
	s->bits >>= n;
	s->count -= n;
}

/* The next @n <= 32 bits; false when the input ends before. */
static bool take(struct stream *s, unsigned n, uint32_t *value)
{
	refill(s);
	if (s->count < n)
		return false;
	*value = s->bits & ((1ull << n) - 1);
	drop(s, n);
	return true;
}

static uint32_t reverse(uint32_t code, unsigned len)
{
	uint32_t out = 0;

	for (; len; len--, code >>= 1)
		out = out << 1 | (code & 1);
	return out;
}

/* Writes @entry to every index of a table of 1 << width entries whose low
 * @len bits are @code. */
static void fill(uint32_t *table, unsigned width, uint32_t code, unsigned len,
		 uint32_t entry)
{
	for (uint32_t i = code; i < 1u << width; i += 1u << len)
		table[i] = entry;
}

/*
 * Second tables: all codes with the same first @root bits share one, indexed
 * by the longest of them.
 */
static bool build_second(uint32_t *table, size_t space, unsigned root,
			 const uint8_t *lens, unsigned n, uint32_t *next)
{
	size_t used = 1u << root;
	uint32_t first[CODE_MAX + 1];

	memcpy(first, next, sizeof(first));
	for (unsigned sym = 0; sym < n; sym++) {
		uint32_t code, low, width;

		if (lens[sym] <= root)
			continue;
		code = reverse(first[lens[sym]]++, lens[sym]);
		low = code & ((1u << root) - 1);
		width = lens[sym] - root;
		/* Remember the widest code in the place of the link. */
		if (!(table[low] & LINK) || (table[low] & 0xff) < width)
			table[low] = LINK | width;
	}
	for (unsigned sym = 0; sym < n; sym++) {
		uint32_t code, low, width, place;

		if (lens[sym] <= root)
			continue;
		code = reverse(next[lens[sym]]++, lens[sym]);
		low = code & ((1u << root) - 1);
		width = table[low] & 0xff;
		place = table[low] >> 16;
		if (!place) {
			if (space - used < 1u << width)
				return false;
			place = used;
			used += 1u << width;
			table[low] |= place << 16;
			for (uint32_t i = 0; i < 1u << width; i++)
				table[place + i] = INVALID;
		}
		fill(table + place, width, code >> root, lens[sym] - root,
		     sym << 16 | (lens[sym] - root));
	}
	return true;
}

/*
 * Builds the tables for the canonical code with the given lengths. False when
 * more codes are asked for than the lengths can hold, or fewer, except for the
 * one-symbol and empty codes that deflate allows for distances.
 */
static bool build(uint32_t *table, size_t space, unsigned root,
		  const uint8_t *lens, unsigned n)
{
	uint32_t count[CODE_MAX + 1] = { 0 }, next[CODE_MAX + 1];
	uint32_t code = 0, codes = 0;
	int32_t left = 1;

	for (unsigned sym = 0; sym < n; sym++)
		count[lens[sym]]++;
	count[0] = 0;
	for (unsigned len = 1; len <= CODE_MAX; len++) {
		left = left * 2 - (int32_t)count[len];
		if (left < 0)
			return false;
		code = (code + count[len - 1]) << 1;
		next[len] = code;
		codes += count[len];
	}
	if (left && !(codes == 0 || (codes == 1 && count[1])))
		return false;
	for (uint32_t i = 0; i < 1u << root; i++)
		table[i] = INVALID;
	next[0] = 0;
	for (unsigned sym = 0; sym < n; sym++) {
		unsigned len = lens[sym];

		if (len && len <= root)
			fill(table, root, reverse(next[len]++, len), len,
			     sym << 16 | len);
	}
	return build_second(table, space, root, lens, n, next);
}

/* Decodes one symbol; the caller has refilled. -1: invalid or out of input. */
static inline int symbol(struct stream *s, const uint32_t *table, unsigned root)
{
	uint32_t entry = table[s->bits & ((1u << root) - 1)];
	unsigned len;

	if (entry & LINK) {
		unsigned width = entry & 0xff;

		drop(s, root);
		entry = table[(entry >> 16) + (s->bits & ((1u << width) - 1))];
	}
	len = entry & 0xff;
	if (entry & INVALID || (int)s->count < (int)len)
		return -1;
	drop(s, len);
	return entry >> 16;
}

static bool stored(struct stream *s)
{
	uint32_t len, inverse;

	drop(s, s->count & 7);
	if (!take(s, 16, &len) || !take(s, 16, &inverse) ||
	    len != (inverse ^ 0xffff))
		return false;
	/* The bit buffer holds whole bytes now: put them back. */
	s->in -= s->count / 8;
	s->bits = 0;
	s->count = 0;
	if (len > (size_t)(s->out_end - s->out))
		len = s->out_end - s->out; /* full is success */
	if (len > (size_t)(s->in_end - s->in))
		return false;
	memcpy(s->out, s->in, len);
	s->in += len;
	s->out += len;
	return true;
}

static void copy_match(struct stream *s, uint32_t dist, uint32_t len)
{
	uint8_t *out = s->out;
	const uint8_t *from = out - dist;

	s->out += len;
	if (dist >= 8 && s->out_end - s->out >= 8) {
		/* Eight at a time, a little past the end of the match. */
		for (; out < s->out; out += 8, from += 8)
			memcpy(out, from, 8);
		return;
	}
	if (dist == 1) {
		memset(out, *from, len);
		return;
	}
	while (out < s->out)
		*out++ = *from++;
}

/* Decodes one length and distance pair after its length symbol. */
static bool match(struct stream *s, const struct codes *codes, unsigned sym)
{
	uint32_t len, dist, extra;
	int d;

	sym -= END + 1;
	if (sym >= 29 || !take(s, length_extra[sym], &extra))
		return false;
	len = length_base[sym] + extra;
	refill(s);
	d = symbol(s, codes->dist, DIST_ROOT);
	if (d < 0 || d >= 30 || !take(s, dist_extra[d], &extra))
		return false;
	dist = dist_base[d] + extra;
	if (dist > (size_t)(s->out - s->out_start))
		return false;
	if (len > (size_t)(s->out_end - s->out))
		len = s->out_end - s->out; /* full is success */
	copy_match(s, dist, len);
	return true;
}

static bool block_of_codes(struct stream *s, const struct codes *codes)
{
	while (s->out < s->out_end) {
		int sym;

		refill(s);
		sym = symbol(s, codes->lit, LIT_ROOT);
		if (sym < 0)
			return false;
		if (sym < END)
			*s->out++ = sym;
		else if (sym == END)
			return true;
		else if (!match(s, codes, sym))
			return false;
	}
	return true;
}

static bool fixed(struct codes *codes)
{
	uint8_t lens[LITERALS];

	memset(lens, 8, 144);
	memset(lens + 144, 9, 112);
	memset(lens + 256, 7, 24);
	memset(lens + 280, 8, 8);
	if (!build(codes->lit, LIT_TABLE, LIT_ROOT, lens, LITERALS))
		return false;
	memset(lens, 5, DISTANCES);
	return build(codes->dist, DIST_TABLE, DIST_ROOT, lens, DISTANCES);
}

/* Reads the lengths of a dynamic block's codes, which are coded themselves. */
static bool read_lens(struct stream *s, const uint32_t *table, uint8_t *lens,
		      unsigned n)
{
	for (unsigned i = 0; i < n;) {
		uint32_t repeat = 1;
		uint8_t len = 0;
		int sym;

		refill(s);
		sym = symbol(s, table, LENS_ROOT);
		if (sym < 0)
			return false;
		if (sym < 16) {
			len = sym;
		} else if (sym == 16) {
			if (!i || !take(s, 2, &repeat))
				return false;
			len = lens[i - 1];
			repeat += 3;
		} else if (!take(s, sym == 17 ? 3 : 7, &repeat)) {
			return false;
		} else {
			repeat += sym == 17 ? 3 : 11;
		}
		if (repeat > n - i)
			return false;
		memset(lens + i, len, repeat);
		i += repeat;
	}
	return true;
}

static bool dynamic(struct stream *s, struct codes *codes)
{
	static const uint8_t order[LENS] = { 16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
					     11, 4,  12, 3, 13, 2, 14, 1, 15 };
	uint8_t lens[LITERALS + DISTANCES] = { 0 };
	uint32_t nlit, ndist, nlens, len;

	if (!take(s, 5, &nlit) || !take(s, 5, &ndist) || !take(s, 4, &nlens))
		return false;
	nlit += 257;
	ndist += 1;
	nlens += 4;
	if (nlit > 286 || ndist > 30)
		return false;
	for (unsigned i = 0; i < nlens; i++) {
		if (!take(s, 3, &len))
			return false;
		lens[order[i]] = len;
	}
	/* The code of the lengths borrows the literals' table. */
	if (!build(codes->lit, LIT_TABLE, LENS_ROOT, lens, LENS))
		return false;
	memset(lens, 0, sizeof(lens));
	if (!read_lens(s, codes->lit, lens, nlit + ndist) || !lens[END])
		return false;
	return build(codes->lit, LIT_TABLE, LIT_ROOT, lens, nlit) &&
	       build(codes->dist, DIST_TABLE, DIST_ROOT, lens + nlit, ndist);
}

int inflate_raw(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
	struct stream s = { .in = in,
			    .in_end = in + in_len,
			    .out = out,
			    .out_start = out,
			    .out_end = out + out_len };
	struct codes codes;
	uint32_t last = 0, type;

	while (s.out < s.out_end) {
		bool ok;

		if (last || !take(&s, 1, &last) || !take(&s, 2, &type))
			return -EINVAL;
		switch (type) {
		case 0:
			ok = stored(&s);
			break;
		case 1:
			ok = fixed(&codes) && block_of_codes(&s, &codes);
			break;
		case 2:
			ok = dynamic(&s, &codes) && block_of_codes(&s, &codes);
			break;
		default:
			ok = false;
		}
		if (!ok)
			return -EINVAL;
	}
	return 0;
}
