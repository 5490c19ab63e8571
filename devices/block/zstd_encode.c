/*
 * A block is made in three steps: its bytes become literals and matches of what
 * came before (find_matches()), the literals get a Huffman code, and the
 * sequences three FSE codes.
 */
#include "devices/block/zstd_encode.h"

#include <stdbool.h>
#include <string.h>

#define CHAIN_MAX 12  /* places looked at for the longest match */
#define GOOD      128 /* a match this long is taken at once */

/* Fewer do not pay for a code of their own. */
#define LITERALS_MIN  64
#define SEQUENCES_MIN 48

enum { LITERAL, OFFSET, MATCH };

struct source {
	const uint8_t *in;
	size_t len; /* to the end of the block */
};

struct match {
	uint32_t len, offset;
	int worth; /* about four times the bytes it saves */
};

static unsigned highest_bit(uint32_t v)
{
	return 31 - __builtin_clz(v);
}

static uint32_t hash(const uint8_t *at)
{
	return get_le32(at) * 2654435761u >> (32 - ZSTD_HASH_LOG);
}

static void remember(struct zstd_encoder *z, struct source s, size_t at)
{
	uint32_t *head;

	if (s.len - at < 4)
		return;
	head = &z->head[hash(s.in + at)];
	z->older[at % (1u << ZSTD_CHAIN_LOG)] = *head;
	*head = at + 1;
}

static size_t same(struct source s, size_t from, size_t at)
{
	size_t n = 0;

	while (s.len - at - n >= 8) {
		uint64_t differs = get_le64(s.in + from + n) ^
				   get_le64(s.in + at + n);

		if (differs)
			return n + __builtin_ctzll(differs) / 8;
		n += 8;
	}
	while (at + n < s.len && s.in[from + n] == s.in[at + n])
		n++;
	return n;
}

static void consider(struct source s, size_t from, size_t at, bool repeated,
		     struct match *best)
{
	size_t n = same(s, from, at);
	int worth = 4 * (int)n - (repeated ? 0 : (int)highest_bit(at - from));

	if (n < ZSTD_MATCH_MIN || worth <= best->worth)
		return;
	*best = (struct match){ n, at - from, worth };
}

/* The best match for what is at @at; its length is 0 when there is none. */
static struct match find(const struct zstd_encoder *z, struct source s,
			 size_t at)
{
	struct match best = { 0 };
	uint32_t place;

	if (s.len - at < 8)
		return best;
	for (unsigned i = 0; i < 2; i++) {
		if (z->repeat[i] <= at)
			consider(s, at - z->repeat[i], at, true, &best);
	}
	place = z->head[hash(s.in + at)];
	for (unsigned i = 0; i < CHAIN_MAX && place; i++) {
		size_t from = place - 1;

		if (at - from >= 1u << ZSTD_CHAIN_LOG || best.len >= GOOD ||
		    at + best.len >= s.len)
			break;
		if (s.in[from + best.len] == s.in[at + best.len])
			consider(s, from, at, false, &best);
		place = z->older[from % (1u << ZSTD_CHAIN_LOG)];
		if (place > from)
			break; /* overwritten: too far back */
	}
	return best;
}

/* How the format codes the offset (3.1.1.5), as the reader will undo it. */
static uint32_t code_offset(uint32_t *repeat, uint32_t offset, bool literals)
{
	uint32_t value = offset + 3;
	unsigned index = 3;

	for (unsigned i = 0; i < 3; i++) {
		if (repeat[i] == offset && (literals || i)) {
			index = i;
			value = literals ? i + 1 : i;
			break;
		}
	}
	if (index == 0)
		return value;
	if (index != 1)
		repeat[2] = repeat[1];
	repeat[1] = repeat[0];
	repeat[0] = offset;
	return value;
}

static void add_literals(struct zstd_encoder *z, const uint8_t *from, size_t n)
{
	memcpy(z->literals + z->nr_literals, from, n);
	z->nr_literals += n;
}

/* Makes literals and sequences of the bytes from @at to the block's end. */
static void find_matches(struct zstd_encoder *z, struct source s, size_t at)
{
	size_t begun = at;

	z->nr_literals = 0;
	z->nr_sequences = 0;
	while (at < s.len) {
		struct match m = find(z, s, at), later;
		size_t end;

		remember(z, s, at);
		if (!m.len) {
			/* Where nothing matches, looking gets rarer. */
			at += 1 + ((at - begun) >> 7);
			continue;
		}
		/* A better match one byte on is worth a literal. */
		while (m.len < GOOD && at + 1 < s.len) {
			later = find(z, s, at + 1);
			if (later.worth <= m.worth + 4)
				break;
			m = later;
			remember(z, s, ++at);
		}
		add_literals(z, s.in + begun, at - begun);
		z->sequences[z->nr_sequences++] = (struct zstd_sequence){
			.literals = at - begun,
			.match = m.len,
			.offset = code_offset(z->repeat, m.offset, at > begun),
		};
		end = at + m.len;
		while (++at < end)
			remember(z, s, at);
		begun = at;
	}
	add_literals(z, s.in + begun, s.len - begun);
}

static void put_le(struct zstd_writer *w, uint64_t value, unsigned bytes)
{
	for (; bytes; bytes--, value >>= 8) {
		if (w->at < w->end)
			*w->at++ = value;
		else
			w->full = true;
	}
}

static void put_bytes(struct zstd_writer *w, const uint8_t *bytes, size_t len)
{
	if (len > (size_t)(w->end - w->at)) {
		w->full = true;
		return;
	}
	memcpy(w->at, bytes, len);
	w->at += len;
}

/* Literals as they are, or (@type 1) one byte that all of them are. */
static void put_plain(struct zstd_writer *w, const uint8_t *bytes, size_t len,
		      unsigned type)
{
	if (len < 32)
		put_le(w, len << 3 | type, 1);
	else if (len < 4096)
		put_le(w, len << 4 | 1 << 2 | type, 2);
	else
		put_le(w, len << 4 | 3 << 2 | type, 3);
	put_bytes(w, bytes, type ? 1 : len);
}

/* Huffman's code for them, in one stream or four; false when it is longer. */
static bool put_huffman(struct zstd_writer *w, const uint8_t *bytes, size_t len,
			uint32_t occurs[256])
{
	struct zstd_huffman_writer h;
	bool four = len > 1023;
	unsigned width = !four ? 10 : len < 1u << 14 ? 14 : 18;
	unsigned format = !four ? 0 : len < 1u << 14 ? 2 : 3;
	size_t room = w->end - w->at, head = (4 + 2 * width + 7) / 8;
	size_t quarter = four ? (len + 3) / 4 : len, n, at;
	uint8_t *out = w->at + head, *jump;

	if (room > len)
		room = len;
	if (room < head + 16)
		return false;
	room -= head;
	at = zstd_huffman_describe(&h, occurs, out, room);
	if (!at || at + 6 > room)
		return false;
	jump = out + at;
	at += four ? 6 : 0;
	for (size_t from = 0; from < len; from += quarter, jump += 2) {
		size_t part = len - from < quarter ? len - from : quarter;

		n = zstd_huffman_put(&h, bytes + from, part, out + at,
				     room - at);
		if (!n || n > UINT16_MAX)
			return false;
		if (four && from + quarter < len)
			put_le16(jump, n);
		at += n;
	}
	put_le(w, 2 | format << 2 | len << 4 | (uint64_t)at << (4 + width),
	       head);
	w->at += at;
	return true;
}

static void put_literals(struct zstd_encoder *z, struct zstd_writer *w)
{
	uint32_t occurs[256] = { 0 };
	unsigned kinds = 0;

	for (size_t i = 0; i < z->nr_literals; i++)
		kinds += !occurs[z->literals[i]]++;
	if (kinds == 1)
		put_plain(w, z->literals, z->nr_literals, 1);
	else if (z->nr_literals < LITERALS_MIN ||
		 !put_huffman(w, z->literals, z->nr_literals, occurs))
		put_plain(w, z->literals, z->nr_literals, 0);
}

/* The code of a length: the last one that begins at or below it. */
static unsigned code_length(const struct zstd_length_code *codes, unsigned n,
			    uint32_t length)
{
	uint32_t code = length - codes[0].base;

	if (code > 15)
		code = 15;
	while (code + 1 < n && codes[code + 1].base <= length)
		code++;
	return code;
}

/* Chooses a table for codes of one kind and writes what describes it; returns
 * the mode (3.1.1.3.2.1). */
static unsigned put_table(struct zstd_encoder *z, struct zstd_writer *w,
			  unsigned kind, const struct zstd_alphabet *alphabet)
{
	uint32_t occurs[ZSTD_FSE_SYMBOLS] = { 0 };
	int16_t counts[ZSTD_FSE_SYMBOLS];
	unsigned kinds = 0, mode = 0, log = highest_bit(z->nr_sequences);

	for (unsigned i = 0; i < z->nr_sequences; i++)
		kinds += !occurs[z->codes[kind][i]]++;
	if (kinds == 1) {
		mode = 1;
		zstd_fse_single(&z->table, z->codes[kind][0]);
		put_le(w, z->codes[kind][0], 1);
	} else if (z->nr_sequences < SEQUENCES_MIN) {
		zstd_fse_build(&z->table, alphabet->counts, alphabet->counted,
			       alphabet->log);
	} else {
		mode = 2;
		log = log < 6                   ? 6
		      : log > alphabet->max_log ? alphabet->max_log
						: log;
		zstd_fse_scale(occurs, alphabet->symbols, z->nr_sequences, log,
			       counts);
		zstd_fse_build(&z->table, counts, alphabet->symbols, log);
		zstd_fse_describe(w, counts, log);
		zstd_put_end(w);
	}
	zstd_fse_writer_init(&z->writers[kind], &z->table);
	return mode;
}

static void put_extra_bits(const struct zstd_encoder *z, struct zstd_writer *w,
			   unsigned i)
{
	const struct zstd_sequence *s = &z->sequences[i];
	const struct zstd_length_code *lit, *mat;
	unsigned offset = z->codes[OFFSET][i];

	lit = &zstd_literal_codes[z->codes[LITERAL][i]];
	mat = &zstd_match_codes[z->codes[MATCH][i]];
	zstd_put(w, s->literals - lit->base, lit->bits);
	zstd_put(w, s->match - mat->base, mat->bits);
	zstd_put(w, s->offset - (1u << offset), offset);
}

/* From the last sequence to the first, as the reader begins at the end. */
static void put_sequence_bits(const struct zstd_encoder *z,
			      struct zstd_writer *w)
{
	/* In the reverse of the order in which they are read. */
	static const unsigned steps[3] = { OFFSET, MATCH, LITERAL };
	static const unsigned starts[3] = { MATCH, OFFSET, LITERAL };
	unsigned i = z->nr_sequences - 1, state[3];

	for (unsigned kind = 0; kind < 3; kind++)
		state[kind] =
			zstd_fse_start(&z->writers[kind], z->codes[kind][i]);
	put_extra_bits(z, w, i);
	while (i--) {
		for (unsigned k = 0; k < 3; k++) {
			unsigned kind = steps[k];

			state[kind] = zstd_fse_put(&z->writers[kind], w,
						   state[kind],
						   z->codes[kind][i]);
		}
		put_extra_bits(z, w, i);
	}
	for (unsigned k = 0; k < 3; k++)
		zstd_put(w, state[starts[k]], z->writers[starts[k]].log);
	zstd_put_mark(w);
}

static void put_sequences(struct zstd_encoder *z, struct zstd_writer *w)
{
	unsigned n = z->nr_sequences;
	uint8_t *modes = w->at + (n < 128 ? 1 : n < 0x7f00 ? 2 : 3);

	if (n < 128)
		put_le(w, n, 1);
	else if (n < 0x7f00)
		put_le(w, 128 | n >> 8 | (n & 0xff) << 8, 2);
	else
		put_le(w, 255 | (n - 0x7f00) << 8, 3);
	if (!n)
		return;
	for (unsigned i = 0; i < n; i++) {
		const struct zstd_sequence *s = &z->sequences[i];

		z->codes[LITERAL][i] = code_length(
			zstd_literal_codes, ZSTD_LITERAL_CODES, s->literals);
		z->codes[OFFSET][i] = highest_bit(s->offset);
		z->codes[MATCH][i] = code_length(zstd_match_codes,
						 ZSTD_MATCH_CODES, s->match);
	}
	put_le(w, 0, 1);
	if (w->full)
		return;
	*modes = put_table(z, w, LITERAL, &zstd_literal_alphabet) << 6;
	*modes |= put_table(z, w, OFFSET, &zstd_offset_alphabet) << 4;
	*modes |= put_table(z, w, MATCH, &zstd_match_alphabet) << 2;
	put_sequence_bits(z, w);
}

static bool all_alike(const uint8_t *bytes, size_t len)
{
	return !memcmp(bytes, bytes + 1, len - 1);
}

/* The block from @at to the end of @s: as one byte repeated, coded, or plain
 * where coding makes it no shorter. */
static void put_block(struct zstd_encoder *z, struct zstd_writer *w,
		      struct source s, size_t at, bool last)
{
	size_t len = s.len - at, packed;
	struct zstd_writer coded = *w;
	uint32_t repeat[3];

	if (all_alike(s.in + at, len)) {
		put_le(w, len << 3 | 1 << 1 | last, 3);
		put_le(w, s.in[at], 1);
		return;
	}
	memcpy(repeat, z->repeat, sizeof(repeat));
	find_matches(z, s, at);
	put_le(&coded, 0, 3);
	if (!coded.full) {
		if ((size_t)(coded.end - coded.at) > len)
			coded.end = coded.at + len;
		put_literals(z, &coded);
		put_sequences(z, &coded);
	}
	packed = coded.at - w->at - 3;
	if (coded.full || packed >= len) {
		memcpy(z->repeat, repeat, sizeof(repeat));
		put_le(w, len << 3 | last, 3);
		put_bytes(w, s.in + at, len);
		return;
	}
	put_le(w, packed << 3 | 2 << 1 | last, 3);
	w->at += packed;
}

size_t zstd_encode(struct zstd_encoder *z, const uint8_t *in, size_t in_len,
		   uint8_t *out, size_t out_len)
{
	struct zstd_writer w = { .at = out, .end = out + out_len };
	/* Sizes of two bytes count from 256. */
	bool small = in_len < 65536 + 256;

	memset(z->head, 0, sizeof(z->head));
	z->repeat[0] = 1;
	z->repeat[1] = 4;
	z->repeat[2] = 8;
	put_le(&w, 0xfd2fb528u, 4);
	put_le(&w, 0x20 | (small ? 1 : 2) << 6, 1);
	put_le(&w, small ? in_len - 256 : in_len, small ? 2 : 4);
	for (size_t at = 0; at < in_len && !w.full; at += ZSTD_BLOCK_MAX) {
		size_t end = in_len - at < ZSTD_BLOCK_MAX ? in_len
							  : at + ZSTD_BLOCK_MAX;

		put_block(z, &w, (struct source){ in, end }, at, end == in_len);
	}
	return w.full ? 0 : (size_t)(w.at - out);
}
