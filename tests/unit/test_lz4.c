/* LZ4 against streams made by hand and at random, and against hostile ones. */
#include "util/lz4.h"

#include "disk_test.h"
#include "unit.h"
#include "util/bytes.h"
#include "util/checked.h"

#include <errno.h>
#include <stdlib.h>

struct vector {
	const char *what;
	uint8_t in[32];
	size_t in_len, out_len;
	const char *out; /* NULL: has to fail */
};

static const struct vector vectors[] = {
	{ "one literal", { 0x10, 'a' }, 2, 1, "a" },
	{ "no input", { 0 }, 0, 8, NULL },
	{ "an empty last sequence", { 0x00 }, 1, 8, "" },
	{ "fewer literals than the token says",
	  { 0x30, 'a', 'b' },
	  3,
	  8,
	  NULL },
	{ "more literals than there is room",
	  { 0x30, 'a', 'b', 'c' },
	  4,
	  2,
	  NULL },
	{ "a match of four at distance 2",
	  { 0x20, 'a', 'b', 2, 0, 0x10, 'c' },
	  7,
	  8,
	  "abababc" },
	{ "a match at distance 1 is a run",
	  { 0x16, 'a', 1, 0, 0x10, 'c' },
	  6,
	  32,
	  "aaaaaaaaaaac" },
	{ "a match at distance 3, longer than eight",
	  { 0x37, 'a', 'b', 'c', 3, 0, 0x10, 'd' },
	  8,
	  32,
	  "abcabcabcabcabd" },
	{ "a match that the output's end cuts short",
	  { 0x20, 'a', 'b', 2, 0, 0x00 },
	  6,
	  5,
	  NULL },
	{ "distance 0", { 0x10, 'a', 0, 0, 0x00 }, 5, 16, NULL },
	{ "a distance before the start",
	  { 0x10, 'a', 2, 0, 0x00 },
	  5,
	  16,
	  NULL },
	{ "half a distance", { 0x10, 'a', 1 }, 3, 16, NULL },
	{ "ends with a match", { 0x10, 'a', 1, 0 }, 4, 16, NULL },
	{ "a long length without its end", { 0xf0, 255, 255 }, 3, 16, NULL },
	{ "sixteen literals",
	  { 0xf0, 1, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l',
	    'm', 'n', 'o', 'p' },
	  18,
	  16,
	  "abcdefghijklmnop" },
};

static void blocks_made_by_hand_give_what_the_format_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		uint8_t out[64] = { 0 };
		int64_t n = lz4_block_decode(v->in, v->in_len, out, v->out_len);
		int64_t want = v->out ? (int64_t)strlen(v->out) : -EINVAL;

		if (n != want || (v->out && memcmp(out, v->out, want)))
			fail_msg("%s: %d, \"%.32s\"", v->what, (int)n, out);
	}
}

/* Appends the part of a length that the token has no room for. */
static uint8_t *put_length(uint8_t *in, size_t len)
{
	if (len < 15)
		return in;
	for (len -= 15; len >= 255; len -= 255)
		*in++ = 255;
	*in++ = len;
	return in;
}

/* A random block of about @len bytes, and what it stands for, byte by byte. */
static size_t make_block(uint64_t *seed, uint8_t *in, uint8_t *out, size_t *len)
{
	uint8_t *start = in;
	size_t at = 0;

	for (;;) {
		bool last = at >= *len;
		size_t lits = rnd_below(seed, 8) ? rnd_below(seed, 20)
						 : rnd_below(seed, 600);
		size_t match = rnd_below(seed, 4) ? rnd_below(seed, 20)
						  : rnd_below(seed, 600);
		size_t distance;

		lits += !at; /* the first has something to refer to */
		*in++ = (lits < 15 ? lits : 15) << 4 | (last         ? 0
							: match < 15 ? match
								     : 15);
		in = put_length(in, lits);
		for (size_t i = 0; i < lits; i++)
			out[at++] = *in++ = rnd_below(seed, 256);
		if (last)
			break;
		distance = 1 + rnd_below(seed, rnd_below(seed, 2) ? 12 : 65535);
		distance = distance > at ? at : distance;
		put_le16(in, distance);
		in = put_length(in + 2, match);
		for (size_t i = 0; i < match + 4; i++, at++)
			out[at] = out[at - distance];
	}
	*len = at;
	return in - start;
}

enum { LEN = 100000, ROOM = LEN + 2000, PACKED = 2 * ROOM };

static void random_blocks_come_out_as_they_went_in(void **state)
{
	uint8_t *in = malloc(PACKED), *want = malloc(ROOM), *out;
	uint64_t seed = 7;

	(void)state;
	assert_non_null(in);
	assert_non_null(want);
	for (int i = 0; i < 20; i++) {
		size_t len = rnd_below(&seed, LEN);
		size_t packed = make_block(&seed, in, want, &len);

		/* As tight as can be: the sanitizers see every byte outside. */
		out = malloc(len);
		assert_non_null(out);
		assert_int_equal(lz4_block_decode(in, packed, out, len), len);
		assert_memory_equal(out, want, len);
		assert_int_equal(lz4_block_decode(in, packed, out, len - 1),
				 -EINVAL);
		free(out);
	}
	free(in);
	free(want);
}

static void damaged_blocks_stay_within_their_buffers(void **state)
{
	uint8_t *in = malloc(PACKED), *want = malloc(ROOM), *out, *cut;
	uint64_t seed = 11;

	(void)state;
	assert_non_null(in);
	assert_non_null(want);
	for (int i = 0; i < 400; i++) {
		size_t len = 1 + rnd_below(&seed, 2000);
		size_t packed = make_block(&seed, in, want, &len);

		for (int n = rnd_below(&seed, 4); n >= 0; n--)
			in[rnd_below(&seed, packed)] = rnd_below(&seed, 256);
		packed = 1 + rnd_below(&seed, packed);
		cut = malloc(packed);
		out = malloc(len);
		assert_non_null(cut);
		assert_non_null(out);
		memcpy(cut, in, packed);
		assert_true(lz4_block_decode(cut, packed, out, len) <=
			    (int64_t)len);
		free(out);
		free(cut);
	}
	free(in);
	free(want);
}

static void a_legacy_frame_is_all_of_its_bytes(void **state)
{
	static const uint8_t frame[] = { 2, 0x21, 0x4c, 0x18, 4,   0,
					 0, 0,    0x30, 'a',  'b', 'c' };
	static const struct {
		size_t in_len, out_len;
		int err;
	} cases[] = {
		{ 12, 3, 0 },       { 12, 2, -EINVAL }, { 12, 4, -EINVAL },
		{ 11, 3, -EINVAL }, { 9, 0, -EINVAL },  { 12, 0, -EINVAL },
		{ 7, 3, -EINVAL },  { 4, 0, 0 },        { 3, 0, -EINVAL },
	};
	uint8_t out[8], other[12];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(lz4_legacy_decode(frame, cases[i].in_len, out,
						   cases[i].out_len),
				 cases[i].err);
	assert_int_equal(lz4_legacy_decode(frame, 12, out, 3), 0);
	assert_memory_equal(out, "abc", 3);
	memcpy(other, frame, 12);
	other[0] = 4;
	assert_int_equal(lz4_legacy_decode(other, 12, out, 3), -EINVAL);
	memcpy(other, frame, 12);
	put_le32(other + 4, 0xffffffff);
	assert_int_equal(lz4_legacy_decode(other, 12, out, 3), -EINVAL);
}

/* A block that is @c, @len times, with its length before it: a literal, a
 * match at distance 1, a literal. Returns its end. */
static uint8_t *put_run(uint8_t *at, char c, size_t len)
{
	uint8_t *start = at;
	size_t more = len - 2 - 4 - 15;

	at += 4;
	*at++ = 0x1f;
	*at++ = c;
	*at++ = 1;
	*at++ = 0;
	for (; more >= 255; more -= 255)
		*at++ = 255;
	*at++ = more;
	*at++ = 0x10;
	*at++ = c;
	put_le32(start, at - start - 4);
	return at;
}

static void the_blocks_of_a_frame_follow_each_other(void **state)
{
	enum { BLOCKS = 5, LAST = 100, ALL = 4 * LZ4_LEGACY_BLOCK + LAST };
	uint8_t *in = malloc(256 << 10), *out = malloc(ALL), *end = in + 4;

	(void)state;
	assert_non_null(in);
	assert_non_null(out);
	put_le32(in, LZ4_LEGACY_MAGIC);
	for (int i = 0; i < BLOCKS - 1; i++)
		end = put_run(end, 'a' + i, LZ4_LEGACY_BLOCK);
	end = put_run(end, 'a' + BLOCKS - 1, LAST);
	assert_int_equal(lz4_legacy_decode(in, end - in, out, ALL), 0);
	for (int i = 0; i < BLOCKS; i++) {
		size_t start = (size_t)i * LZ4_LEGACY_BLOCK;

		assert_int_equal(out[start], 'a' + i);
		assert_int_equal(out[start + LAST - 1], 'a' + i);
	}
	assert_int_equal(out[LZ4_LEGACY_BLOCK - 1], 'a');
	/* One block less or more than that makes; and a damaged one. */
	assert_int_equal(
		lz4_legacy_decode(in, end - in, out, 4 * LZ4_LEGACY_BLOCK),
		-EINVAL);
	assert_int_equal(
		lz4_legacy_decode(in, end - in, out, ALL + LZ4_LEGACY_BLOCK),
		-EINVAL);
	in[4 + 4 + 2] = 2; /* a distance of the first block */
	assert_int_equal(lz4_legacy_decode(in, end - in, out, ALL), -EINVAL);
	free(out);
	free(in);
}

/* What follows a short block has no place of its own. */
static void only_the_last_block_of_a_frame_is_short(void **state)
{
	static const uint8_t frame[] = { 2, 0x21, 0x4c, 0x18, 2,  0,
					 0, 0,    0x10, 'a',  3,  0,
					 0, 0,    0x20, 'b',  'c' };
	uint8_t out[3];

	(void)state;
	assert_int_equal(lz4_legacy_decode(frame, sizeof(frame), out, 3),
			 -EINVAL);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(blocks_made_by_hand_give_what_the_format_says),
	cmocka_unit_test(random_blocks_come_out_as_they_went_in),
	cmocka_unit_test(damaged_blocks_stay_within_their_buffers),
	cmocka_unit_test(a_legacy_frame_is_all_of_its_bytes),
	cmocka_unit_test(the_blocks_of_a_frame_follow_each_other),
	cmocka_unit_test(only_the_last_block_of_a_frame_is_short),
};

UNIT_MAIN(tests)
