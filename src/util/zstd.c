#include "util/zstd.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "util/zstd_codes.h"

#define FRAME_MAGIC     0xfd2fb528u
#define SKIPPABLE_MAGIC 0x184d2a50u /* and the 15 that follow it */

struct input {
	const uint8_t *at, *end;
};

struct output {
	uint8_t *at, *end;
	uint8_t *start; /* of the frame: matches do not reach below */
};

/* The next @n bytes, or NULL when there are fewer. */
static const uint8_t *take(struct input *in, size_t n)
{
	const uint8_t *at = in->at;

	if (n > (size_t)(in->end - at))
		return NULL;
	in->at += n;
	return at;
}

/* An integer of @n <= 8 bytes. */
static bool take_le(struct input *in, size_t n, uint64_t *value)
{
	const uint8_t *bytes = take(in, n);

	*value = 0;
	for (size_t i = 0; bytes && i < n; i++)
		*value |= (uint64_t)bytes[i] << (8 * i);
	return bytes;
}

/* Literals in one Huffman stream or four (3.1.1.3.1.6). */
static bool huffman_literals(struct zstd *z, struct input in, bool four,
			     size_t len)
{
	size_t quarter = (len + 3) / 4;
	uint8_t *out = z->literals;
	const uint8_t *jump, *stream;

	if (!four)
		return zstd_huffman_decode(&z->huffman, in.at, in.end - in.at,
					   out, len);
	jump = take(&in, 6);
	if (!jump || quarter * 3 > len)
		return false;
	for (unsigned i = 0; i < 3; i++, out += quarter) {
		size_t bytes = get_le16(jump + i * 2);

		stream = take(&in, bytes);
		if (!stream || !zstd_huffman_decode(&z->huffman, stream, bytes,
						    out, quarter))
			return false;
	}
	return zstd_huffman_decode(&z->huffman, in.at, in.end - in.at, out,
				   len - quarter * 3);
}

static bool coded_literals(struct zstd *z, struct input *in, unsigned type,
			   unsigned format, size_t *len)
{
	/* Two sizes, of this many bits each, after four bits of header. */
	static const uint8_t widths[4] = { 10, 10, 14, 18 };
	unsigned width = widths[format];
	struct input streams;
	uint64_t header;
	size_t packed;

	if (!take_le(in, (4 + 2 * width + 7) / 8, &header))
		return false;
	*len = header >> 4 & ((1u << width) - 1);
	packed = header >> (4 + width) & ((1u << width) - 1);
	streams.at = take(in, packed);
	if (!streams.at || *len > ZSTD_BLOCK_MAX)
		return false;
	streams.end = streams.at + packed;
	if (type == 2) {
		size_t tree =
			zstd_huffman_read(&z->huffman, streams.at, packed);

		if (!tree)
			return false;
		streams.at += tree;
	}
	return huffman_literals(z, streams, format != 0, *len);
}

/* The literals of a block: *literals[0..*len), in the input or in z. */
static bool read_literals(struct zstd *z, struct input *in,
			  const uint8_t **literals, size_t *len)
{
	/* Plain and repeated ones have one size, of 5, 12 or 20 bits. */
	static const uint8_t bytes[4] = { 1, 2, 1, 3 };
	unsigned type, format;
	uint64_t header;

	if (in->at == in->end)
		return false;
	type = *in->at & 3;
	format = *in->at >> 2 & 3;
	*literals = z->literals;
	if (type >= 2)
		return coded_literals(z, in, type, format, len);
	if (!take_le(in, bytes[format], &header))
		return false;
	*len = header >> (format & 1 ? 4 : 3);
	if (*len > ZSTD_BLOCK_MAX)
		return false;
	if (type == 0) {
		*literals = take(in, *len);
		return *literals;
	}
	if (in->at == in->end)
		return false;
	memset(z->literals, *in->at++, *len);
	return true;
}

static bool read_table(struct zstd_fse *fse, struct input *in, unsigned mode,
		       const struct zstd_alphabet *alphabet)
{
	size_t bytes;

	switch (mode) {
	case 0:
		zstd_fse_build(fse, alphabet->counts, alphabet->counted,
			       alphabet->log);
		return true;
	case 1:
		if (in->at == in->end || *in->at >= alphabet->symbols)
			return false;
		zstd_fse_single(fse, *in->at++);
		return true;
	case 2:
		bytes = zstd_fse_read(fse, in->at, in->end - in->at,
				      alphabet->symbols, alphabet->max_log);
		in->at += bytes;
		return bytes;
	default:
		return fse->valid;
	}
}

/* The offset that @value stands for: a new one, or one of the last three
 * (3.1.1.5). 0: invalid. */
static uint32_t resolve_offset(struct zstd *z, uint64_t value, bool literals)
{
	uint32_t *repeat = z->repeat;
	unsigned index = value - 1 + !literals;
	uint32_t offset;

	if (value > 3)
		offset = value - 3 > UINT32_MAX ? 0 : value - 3;
	else if (index == 0)
		return repeat[0];
	else
		offset = index == 3 ? repeat[0] - 1 : repeat[index];
	if (value > 3 || index != 1)
		repeat[2] = repeat[1];
	repeat[1] = repeat[0];
	repeat[0] = offset;
	return offset;
}

static bool copy_match(struct output *out, size_t offset, size_t len)
{
	uint8_t *to = out->at;
	const uint8_t *from = to - offset;

	if (!offset || offset > (size_t)(to - out->start) ||
	    len > (size_t)(out->end - to))
		return false;
	out->at += len;
	if (offset >= 8 && out->end - out->at >= 8) {
		/* Eight at a time, a little past the end of the match. */
		for (; to < out->at; to += 8, from += 8)
			memcpy(to, from, 8);
		return true;
	}
	while (to < out->at)
		*to++ = *from++;
	return true;
}

/* One sequence: literals, then a match of what was written before. */
static bool run_sequence(struct zstd *z, struct zstd_bits *s,
			 struct output *out, struct input *literals,
			 const unsigned state[3])
{
	const struct zstd_length_code *lit, *mat;
	uint64_t value, lit_len, mat_len;
	const uint8_t *bytes;
	unsigned code = z->offsets.entry[state[1]].symbol;

	lit = &zstd_literal_codes[z->literal_lengths.entry[state[0]].symbol];
	mat = &zstd_match_codes[z->match_lengths.entry[state[2]].symbol];
	value = (1ull << code) + zstd_bits_take(s, code);
	zstd_bits_refill(s);
	mat_len = mat->base + zstd_bits_take(s, mat->bits);
	lit_len = lit->base + zstd_bits_take(s, lit->bits);
	zstd_bits_refill(s);
	bytes = take(literals, lit_len);
	if (!bytes || lit_len > (size_t)(out->end - out->at))
		return false;
	memcpy(out->at, bytes, lit_len);
	out->at += lit_len;
	return copy_match(out, resolve_offset(z, value, lit_len), mat_len);
}

static void next_state(const struct zstd_fse *fse, struct zstd_bits *s,
		       unsigned *state)
{
	const struct zstd_fse_entry *e = &fse->entry[*state];

	*state = e->base + zstd_bits_take(s, e->bits);
}

static bool run_sequences(struct zstd *z, struct input *in, unsigned count,
			  struct output *out, struct input *literals)
{
	struct zstd_bits s;
	unsigned state[3];

	if (!zstd_bits_open(&s, in->at, in->end - in->at))
		return false;
	zstd_bits_refill(&s);
	state[0] = zstd_bits_take(&s, z->literal_lengths.log);
	state[1] = zstd_bits_take(&s, z->offsets.log);
	state[2] = zstd_bits_take(&s, z->match_lengths.log);
	for (; count; count--) {
		zstd_bits_refill(&s);
		if (!run_sequence(z, &s, out, literals, state))
			return false;
		if (count == 1)
			break;
		next_state(&z->literal_lengths, &s, &state[0]);
		next_state(&z->match_lengths, &s, &state[2]);
		next_state(&z->offsets, &s, &state[1]);
		if (s.count < 0)
			return false;
	}
	return zstd_bits_done(&s);
}

/* How many sequences, and the tables for them (3.1.1.3.2.1). */
static bool read_sequences(struct zstd *z, struct input *in, unsigned *count)
{
	uint64_t value, more;

	if (!take_le(in, 1, &value))
		return false;
	if (value == 255) {
		if (!take_le(in, 2, &more))
			return false;
		value = more + 0x7f00;
	} else if (value >= 128) {
		if (!take_le(in, 1, &more))
			return false;
		value = (value - 128) << 8 | more;
	}
	*count = value;
	if (!value)
		return in->at == in->end;
	if (!take_le(in, 1, &value) || value & 3)
		return false;
	return read_table(&z->literal_lengths, in, value >> 6,
			  &zstd_literal_alphabet) &&
	       read_table(&z->offsets, in, value >> 4 & 3,
			  &zstd_offset_alphabet) &&
	       read_table(&z->match_lengths, in, value >> 2 & 3,
			  &zstd_match_alphabet);
}

static bool coded_block(struct zstd *z, struct input in, struct output *all)
{
	struct output out = *all;
	struct input literals;
	const uint8_t *bytes;
	unsigned count;
	size_t len;

	/* A block makes no more than this, however much room there is. */
	if (out.end - out.at > ZSTD_BLOCK_MAX)
		out.end = out.at + ZSTD_BLOCK_MAX;
	if (!read_literals(z, &in, &bytes, &len))
		return false;
	literals = (struct input){ .at = bytes, .end = bytes + len };
	if (!read_sequences(z, &in, &count) ||
	    (count && !run_sequences(z, &in, count, &out, &literals)))
		return false;
	len = literals.end - literals.at;
	if (len > (size_t)(out.end - out.at))
		return false;
	memcpy(out.at, literals.at, len);
	all->at = out.at + len;
	return true;
}

static bool read_block(struct zstd *z, struct input *in, struct output *out,
		       bool *last)
{
	const uint8_t *bytes;
	uint64_t header;
	size_t size;

	if (!take_le(in, 3, &header))
		return false;
	*last = header & 1;
	size = header >> 3;
	if (size > ZSTD_BLOCK_MAX)
		return false;
	/* Only a block that repeats one byte is shorter than its size. */
	bytes = take(in, (header >> 1 & 3) == 1 ? 1 : size);
	if (!bytes)
		return false;
	switch (header >> 1 & 3) {
	case 0:
	case 1:
		if (size > (size_t)(out->end - out->at))
			return false;
		if (header & 2)
			memset(out->at, *bytes, size);
		else
			memcpy(out->at, bytes, size);
		out->at += size;
		return true;
	case 2:
		return coded_block(z, (struct input){ bytes, bytes + size },
				   out);
	}
	return false;
}

/* A frame, after its magic number (3.1.1.1). */
static bool read_frame(struct zstd *z, struct input *in, struct output *out)
{
	static const uint8_t id_bytes[4] = { 0, 1, 2, 4 };
	static const uint8_t size_bytes[4] = { 0, 2, 4, 8 };
	uint64_t flags, window, dictionary, size = 0;
	bool single, sized, last = false;

	if (!take_le(in, 1, &flags) || flags & 8)
		return false;
	single = flags & 0x20;
	sized = single || flags >> 6;
	if (!take_le(in, !single, &window) ||
	    !take_le(in, id_bytes[flags & 3], &dictionary) || dictionary ||
	    !take_le(in, flags >> 6 ? size_bytes[flags >> 6] : single, &size))
		return false;
	if (flags >> 6 == 1)
		size += 256;
	out->start = out->at;
	z->literal_lengths.valid = false;
	z->offsets.valid = false;
	z->match_lengths.valid = false;
	z->huffman.log = 0;
	z->repeat[0] = 1;
	z->repeat[1] = 4;
	z->repeat[2] = 8;
	while (!last) {
		if (!read_block(z, in, out, &last))
			return false;
	}
	return (!sized || size == (size_t)(out->at - out->start)) &&
	       (!(flags & 4) || take(in, 4));
}

int zstd_decode(struct zstd *z, const uint8_t *in, size_t in_len, uint8_t *out,
		size_t out_len)
{
	struct input input = { .at = in, .end = in + in_len };
	struct output output = { .at = out, .end = out + out_len };

	while (output.at < output.end) {
		uint64_t magic, skip;

		if (!take_le(&input, 4, &magic))
			return -EINVAL;
		if ((magic & ~15ull) == SKIPPABLE_MAGIC) {
			if (!take_le(&input, 4, &skip) || !take(&input, skip))
				return -EINVAL;
		} else if (magic != FRAME_MAGIC ||
			   !read_frame(z, &input, &output)) {
			return -EINVAL;
		}
	}
	return 0;
}
