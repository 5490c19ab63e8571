/* Inflate, against hand-made streams and what gzip makes. */
#include <errno.h>

#include "disk_test.h"
#include "util/inflate.h"

struct vector {
	const char *what;
	uint8_t in[24];
	size_t in_len, out_len;
	const char *out; /* NULL: has to fail */
};

static const struct vector vectors[] = {
	{ "an empty output needs no input", { 0 }, 0, 0, "" },
	{ "no input", { 0 }, 0, 1, NULL },
	{ "stored", { 1, 3, 0, 0xfc, 0xff, 'a', 'b', 'c' }, 8, 3, "abc" },
	{ "stored, only the first byte wanted",
	  { 1, 3, 0, 0xfc, 0xff, 'a', 'b', 'c' },
	  8,
	  1,
	  "a" },
	{ "stored, cut short", { 1, 3, 0, 0xfc, 0xff, 'a', 'b' }, 7, 3, NULL },
	{ "stored, length and complement differ",
	  { 1, 3, 0, 0xfd, 0xff, 'a', 'b', 'c' },
	  8,
	  3,
	  NULL },
	{ "stored, ends early",
	  { 1, 3, 0, 0xfc, 0xff, 'a', 'b', 'c' },
	  8,
	  4,
	  NULL },
	{ "two stored blocks",
	  { 0, 1, 0, 0xfe, 0xff, 'a', 1, 1, 0, 0xfe, 0xff, 'b' },
	  12,
	  2,
	  "ab" },
	{ "block type 3", { 7 }, 1, 1, NULL },
	/* Fixed codes: 'a' is 0x91 in 8 bits, the end is 7 zeros. */
	{ "fixed codes", { 0x4b, 0x04, 0x00 }, 3, 1, "a" },
	{ "fixed codes, a distance of 1",
	  { 0x4b, 0x84, 0x01, 0x00 },
	  4,
	  5,
	  "aaaaa" },
	{ "fixed codes, no end in sight", { 0x4b }, 1, 1, NULL },
	/* A match before there is anything to match. */
	{ "a distance before the start", { 0x03, 0x02, 0x00 }, 3, 3, NULL },
	/* Dynamic: more length codes than there can be, and no codes at all. */
	{ "dynamic, too many literals",
	  { 0xfd, 0xff, 0xff, 0xff, 0xff },
	  5,
	  1,
	  NULL },
	{ "dynamic, no codes", { 0x05, 0, 0, 0, 0, 0, 0, 0, 0 }, 9, 1, NULL },
	{ "dynamic, cut short", { 0x05, 0xc0 }, 2, 1, NULL },
};

static void streams_made_by_hand_give_what_the_standard_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		uint8_t out[32] = { 0 };
		int err = inflate_raw(v->in, v->in_len, out, v->out_len);

		if (v->out ? err || memcmp(out, v->out, v->out_len)
			   : err != -EINVAL)
			fail_msg("%s: %d, \"%.32s\"", v->what, err, out);
	}
}

/* Data of many kinds: text, runs, noise, long distances. */
static void make_data(uint64_t *seed, uint8_t *data, size_t len)
{
	for (size_t at = 0; at < len;) {
		size_t n = 1 + rnd_below(seed, 3000);
		unsigned kind = rnd_below(seed, 5);

		if (n > len - at)
			n = len - at;
		for (size_t i = 0; i < n; i++) {
			size_t back = 1 + rnd_below(seed, 8) * 4000;

			switch (kind) {
			case 0:
				data[at + i] = rnd(seed);
				break;
			case 1:
				data[at + i] =
					"etaoin shrdlu"[rnd_below(seed, 13)];
				break;
			case 2:
				data[at + i] = 0;
				break;
			case 3:
				data[at + i] = (at + i) / 7;
				break;
			default:
				back = 32000;
				data[at + i] = at + i >= back
						       ? data[at + i - back]
						       : 1;
			}
		}
		at += n;
	}
}

/* Compresses with gzip at @level; the raw deflate stream starts at 10. */
static size_t gzip(const uint8_t *data, size_t len, unsigned level,
		   uint8_t *out, size_t space)
{
	FILE *file;
	size_t n;

	disk_save("plain", data, len);
	must("gzip -n -c -%u plain > packed", level);
	file = fopen("packed", "r");
	assert_non_null(file);
	n = fread(out, 1, space, file);
	assert_true(n > 18 && n < space);
	fclose(file);
	return n;
}

static void what_gzip_deflates_is_inflated(void **state)
{
	size_t len = 300000, space = 400000;
	uint8_t *data = malloc(len), *packed = malloc(space);
	uint64_t seed = 1;

	(void)state;
	assert_non_null(data);
	assert_non_null(packed);
	for (unsigned round = 0; round < 9; round++) {
		size_t wanted = 1 + rnd_below(&seed, len);
		uint8_t *out = malloc(len);
		size_t n;

		assert_non_null(out);
		make_data(&seed, data, len);
		n = gzip(data, len, 1 + round, packed, space);
		assert_int_equal(inflate_raw(packed + 10, n - 18, out, len), 0);
		assert_memory_equal(out, data, len);
		/* Full is success, wherever that is. */
		memset(out, 0, len);
		assert_int_equal(inflate_raw(packed + 10, n - 18, out, wanted),
				 0);
		assert_memory_equal(out, data, wanted);
		/* The stream cut anywhere is an error. */
		assert_int_equal(inflate_raw(packed + 10,
					     rnd_below(&seed, n - 18), out,
					     len),
				 -EINVAL);
		free(out);
	}
	free(data);
	free(packed);
}

/* Only that nothing is touched outside the buffers: the sanitizers judge. */
static void spoiled_streams_stay_inside_their_buffers(void **state)
{
	size_t len = 20000, space = 40000;
	uint8_t *data = malloc(len), *packed = malloc(space);
	uint64_t seed = 5;
	size_t n;

	(void)state;
	assert_non_null(data);
	assert_non_null(packed);
	make_data(&seed, data, len);
	n = gzip(data, len, 6, packed, space) - 18;
	for (unsigned round = 0; round < 2000; round++) {
		uint8_t *in = malloc(n), *out = malloc(len);

		assert_non_null(in);
		assert_non_null(out);
		memcpy(in, packed + 10, n);
		for (unsigned i = 0; i < 3; i++)
			in[rnd_below(&seed, i ? n : 100)] ^=
				1 << rnd_below(&seed, 8);
		inflate_raw(in, n, out, len);
		free(in);
		free(out);
	}
	free(data);
	free(packed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			streams_made_by_hand_give_what_the_standard_says),
		cmocka_unit_test(what_gzip_deflates_is_inflated),
		cmocka_unit_test(spoiled_streams_stay_inside_their_buffers),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
