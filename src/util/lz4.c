#include "util/lz4.h"

#include "util/bytes.h"
#include "util/parallel.h"

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
	if (len > (size_t)(b->in_end - b->in) ||
	    len > (size_t)(b->out_end - b->out))
		return false;
	memcpy(b->out, b->in, len);
	b->in += len;
	b->out += len;
	return true;
}

static inline bool copy_match(struct block *b, size_t distance, size_t len)
{
	/* The smallest multiple of a distance that is not below 8. */
	static const uint8_t spread[8] = { 0, 8, 8, 9, 8, 10, 12, 14 };
	const uint8_t *from = b->out - distance;
	uint8_t *to = b->out, *end = to + len;

	if (distance - 1 >= (size_t)(to - b->out_start) ||
	    len > (size_t)(b->out_end - to))
		return false;
	b->out = end;
	if (distance == 1) {
		memset(to, *from, len);
		return true;
	}
	/* Eight at a time; what repeats faster is first spread over as many. */
	if (distance < 8 && len >= 8) {
		for (int i = 0; i < 8; i++)
			to[i] = from[i];
		to += 8;
		from = to - spread[distance];
		distance = 8;
	}
	for (; distance >= 8 && end - to >= 8; to += 8, from += 8)
		memcpy(to, from, 8);
	while (to < end)
		*to++ = *from++;
	return true;
}

/*
 * Most sequences are short: as long as there is room for the longest of these,
 * they are copied whole, with what lies behind them, without a loop. Stops at
 * the first that is not short, before its token.
 */
static inline void short_sequences(struct block *b)
{
	const uint8_t *in = b->in, *in_stop;
	uint8_t *out = b->out, *out_stop;

	if (b->in_end - in < 1 + 16 + 2 || b->out_end - out < 16 + 24)
		return;
	in_stop = b->in_end - (1 + 16 + 2);
	out_stop = b->out_end - (16 + 24);
	while (in <= in_stop && out <= out_stop) {
		size_t literals = *in >> 4, match = *in & 15, distance;
		const uint8_t *from;

		if (literals == LONG || match == LONG)
			break;
		memcpy(out, in + 1, 16);
		distance = get_le16(in + 1 + literals);
		if (distance < 8 ||
		    distance > (size_t)(out - b->out_start) + literals)
			break;
		in += 1 + literals + 2;
		out += literals;
		from = out - distance;
		memcpy(out, from, 8);
		memcpy(out + 8, from + 8, 8);
		memcpy(out + 16, from + 16, 8);
		out += match + MATCH_MIN;
	}
	b->in = in;
	b->out = out;
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
		uint8_t token;
		size_t literals, match, distance;

		short_sequences(&b);
		token = *b.in++;
		literals = token >> 4;
		match = token & 15;
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

/*
 * The frame.
 */

struct frame {
	const uint8_t *in; /* the first block's length */
	uint8_t *out;
	size_t out_len;
	bool failed;
};

/* How many blocks @in is made of; -1 when it is cut short. */
static int64_t count_blocks(const uint8_t *in, size_t in_len)
{
	int64_t count = 0;

	while (in_len) {
		uint32_t packed;

		if (in_len < 4)
			return -1;
		packed = get_le32(in);
		if (packed > in_len - 4)
			return -1;
		in += 4 + packed;
		in_len -= 4 + packed;
		count++;
	}
	return count;
}

/* Block @i, to where it belongs: all before it are of full size. */
static void decode_block(void *arg, unsigned i)
{
	struct frame *frame = arg;
	size_t start = (size_t)i * LZ4_LEGACY_BLOCK;
	size_t len = frame->out_len - start;
	const uint8_t *in = frame->in;

	if (len > LZ4_LEGACY_BLOCK)
		len = LZ4_LEGACY_BLOCK;
	while (i--)
		in += 4 + get_le32(in);
	if (lz4_block_decode(in + 4, get_le32(in), frame->out + start, len) !=
	    (int64_t)len)
		__atomic_store_n(&frame->failed, true, __ATOMIC_RELAXED);
}

int lz4_legacy_decode(const uint8_t *in, size_t in_len, uint8_t *out,
		      size_t out_len)
{
	struct frame frame = { in + 4, out, out_len, false };
	uint64_t count =
		out_len / LZ4_LEGACY_BLOCK + !!(out_len % LZ4_LEGACY_BLOCK);

	if (in_len < 4 || get_le32(in) != LZ4_LEGACY_MAGIC ||
	    count > UINT32_MAX ||
	    count_blocks(in + 4, in_len - 4) != (int64_t)count)
		return -EINVAL;
	parallel_for(count, decode_block, &frame);
	return frame.failed ? -EINVAL : 0;
}
