#include "util/lz4.h"

#include "util/bytes.h"

#include <errno.h>
#include <stdbool.h>

/*
 * A block is a row of sequences: a token with two lengths of four bits, then
 * literals, then the distance of a match of at least four bytes. The last
 * sequence ends after its literals (LZ4 Block Format Description).
 */
#define MATCH_MIN 4
#define LONG      15 /* a length that goes on in bytes of its own */

struct block {
	const uint8_t *in, *in_end;
	uint8_t *out, *out_start, *out_end;
};

/* Adds the bytes that follow, up to and with the first that is not 255. */
static inline bool read_length(struct block *b, size_t *len)
{
	uint8_t byte;

	do {
		if (b->in == b->in_end)
			return false;
		byte = *b->in++;
		*len += byte;
	} while (byte == 255);
	return true;
}

static inline bool copy_literals(struct block *b, size_t len)
{
	size_t in_left = b->in_end - b->in, out_left = b->out_end - b->out;

	if (len <= 16 && in_left >= 16 && out_left >= 16) {
		/* Most are short: always 16, without a call or a loop. */
		memcpy(b->out, b->in, 16);
	} else {
		if (len > in_left || len > out_left)
			return false;
		memcpy(b->out, b->in, len);
	}
	b->in += len;
	b->out += len;
	return true;
}

static inline bool copy_match(struct block *b, size_t distance, size_t len)
{
	/* The smallest multiple of a distance that is not below 8. */
	static const uint8_t spread[8] = { 0, 8, 8, 9, 8, 10, 12, 14 };
	const uint8_t *from = b->out - distance;
	uint8_t *to = b->out;

	if (!distance || distance > (size_t)(to - b->out_start) ||
	    len > (size_t)(b->out_end - to))
		return false;
	b->out += len;
	if (b->out_end - b->out < 8) {
		while (to < b->out)
			*to++ = *from++;
		return true;
	}
	/* Eight at a time, up to seven past the end of the match; what repeats
	 * faster than that is first spread over eight bytes. */
	if (distance < 8) {
		for (int i = 0; i < 8; i++)
			to[i] = from[i];
		to += 8;
		from = to - spread[distance];
	}
	for (; to < b->out; to += 8, from += 8)
		memcpy(to, from, 8);
	return true;
}

int64_t lz4_block_decode(const uint8_t *in, size_t in_len, uint8_t *out,
			 size_t out_len)
{
	struct block b = { .in = in,
			   .in_end = in + in_len,
			   .out = out,
			   .out_start = out,
			   .out_end = out + out_len };

	while (b.in < b.in_end) {
		uint8_t token = *b.in++;
		size_t literals = token >> 4, match = token & 15, distance;

		if (literals == LONG && !read_length(&b, &literals))
			return -EINVAL;
		if (!copy_literals(&b, literals))
			return -EINVAL;
		if (b.in == b.in_end)
			return b.out - out;
		if (b.in_end - b.in < 2)
			return -EINVAL;
		distance = get_le16(b.in);
		b.in += 2;
		if (match == LONG && !read_length(&b, &match))
			return -EINVAL;
		if (!copy_match(&b, distance, match + MATCH_MIN))
			return -EINVAL;
	}
	/* Without literals at its end it was cut short. */
	return -EINVAL;
}

int lz4_legacy_decode(const uint8_t *in, size_t in_len, uint8_t *out,
		      size_t out_len)
{
	if (in_len < 4 || get_le32(in) != LZ4_LEGACY_MAGIC)
		return -EINVAL;
	in += 4;
	in_len -= 4;
	while (in_len) {
		size_t room = out_len < LZ4_LEGACY_BLOCK ? out_len
							 : LZ4_LEGACY_BLOCK;
		uint32_t packed;
		int64_t made;

		if (in_len < 4)
			return -EINVAL;
		packed = get_le32(in);
		in += 4;
		in_len -= 4;
		if (packed > in_len)
			return -EINVAL;
		made = lz4_block_decode(in, packed, out, room);
		if (made < 0)
			return -EINVAL;
		in += packed;
		in_len -= packed;
		out += made;
		out_len -= made;
	}
	return out_len ? -EINVAL : 0;
}
