/* Zstd frames, made by hand and by zstd and qemu-img. */
#include <errno.h>

#include "kinds.h"
#include "util/zstd.h"

#define MAGIC 0x28, 0xb5, 0x2f, 0xfd

static struct zstd scratch;

struct vector {
	const char *what;
	uint8_t in[40];
	size_t in_len, out_len;
	const char *out; /* NULL: has to fail */
};

static const struct vector vectors[] = {
	{ "an empty output needs no input", { 0 }, 0, 0, "" },
	{ "no input", { 0 }, 0, 1, NULL },
	{ "a magic number alone", { MAGIC }, 4, 1, NULL },
	{ "another magic number",
	  { 0x27, 0xb5, 0x2f, 0xfd, 0x20, 3, 0x19, 0, 0, 'a', 'b', 'c' },
	  12,
	  3,
	  NULL },
	{ "a plain block",
	  { MAGIC, 0x20, 3, 0x19, 0, 0, 'a', 'b', 'c' },
	  12,
	  3,
	  "abc" },
	{ "input left over",
	  { MAGIC, 0x20, 3, 0x19, 0, 0, 'a', 'b', 'c', 0xff, 0xff },
	  14,
	  3,
	  "abc" },
	{ "cut short",
	  { MAGIC, 0x20, 3, 0x19, 0, 0, 'a', 'b', 'c' },
	  11,
	  3,
	  NULL },
	{ "one byte more than wanted",
	  { MAGIC, 0x20, 3, 0x19, 0, 0, 'a', 'b', 'c' },
	  12,
	  2,
	  NULL },
	{ "one byte less than wanted",
	  { MAGIC, 0x20, 3, 0x19, 0, 0, 'a', 'b', 'c' },
	  12,
	  4,
	  NULL },
	{ "another size than it says",
	  { MAGIC, 0x20, 4, 0x19, 0, 0, 'a', 'b', 'c' },
	  12,
	  3,
	  NULL },
	{ "a reserved bit in the header",
	  { MAGIC, 0x28, 3, 0x19, 0, 0, 'a', 'b', 'c' },
	  12,
	  3,
	  NULL },
	{ "a block of one byte, five times",
	  { MAGIC, 0x20, 5, 0x2b, 0, 0, 'x' },
	  10,
	  5,
	  "xxxxx" },
	{ "a window, no size, a checksum",
	  { MAGIC, 0x04, 0x58, 0x2b, 0, 0, 'x', 1, 2, 3, 4 },
	  14,
	  5,
	  "xxxxx" },
	{ "a checksum that is cut short",
	  { MAGIC, 0x04, 0x58, 0x2b, 0, 0, 'x', 1, 2, 3 },
	  13,
	  5,
	  NULL },
	{ "dictionary 0 is none",
	  { MAGIC, 0x21, 0, 5, 0x2b, 0, 0, 'x' },
	  11,
	  5,
	  "xxxxx" },
	{ "a dictionary", { MAGIC, 0x21, 7, 5, 0x2b, 0, 0, 'x' }, 11, 5, NULL },
	{ "two blocks, an empty one last",
	  { MAGIC, 0x20, 5, 0x2a, 0, 0, 'x', 1, 0, 0 },
	  13,
	  5,
	  "xxxxx" },
	{ "a block of the reserved type",
	  { MAGIC, 0x20, 5, 0x2f, 0, 0, 'x', 'x', 'x', 'x', 'x' },
	  14,
	  5,
	  NULL },
	{ "no last block", { MAGIC, 0x20, 5, 0x2a, 0, 0, 'x' }, 10, 5, NULL },
	{ "something to skip, and two frames",
	  { 0x53, 0x2a, 0x4d, 0x18, 1,     0,    0, 0,    9, MAGIC, 0x20, 1,
	    0x0b, 0,    0,    'a',  MAGIC, 0x20, 2, 0x13, 0, 0,     'b' },
	  29,
	  3,
	  "abb" },
	{ "more to skip than there is",
	  { 0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff, 0 },
	  9,
	  1,
	  NULL },
	/* Coded blocks: plain literals, and no sequences. */
	{ "literals alone",
	  { MAGIC, 0x20, 3, 0x2d, 0, 0, 0x18, 'a', 'b', 'c', 0 },
	  14,
	  3,
	  "abc" },
	{ "literals of one byte",
	  { MAGIC, 0x20, 3, 0x1d, 0, 0, 0x19, 'a', 0 },
	  12,
	  3,
	  "aaa" },
	{ "a tree of an earlier block where there is none",
	  { MAGIC, 0x20, 3, 0x2d, 0, 0, 0x33, 0, 0, 1, 0 },
	  14,
	  3,
	  NULL },
	/* One sequence, its three codes in tables of one: 1 literal, then the
	 * newest offset, which is 1 at first, or the one before it, 4. */
	{ "a match",
	  { MAGIC, 0x20, 4, 0x45, 0, 0, 0x08, 'a', 1, 0x54, 1, 0, 0, 1 },
	  17,
	  4,
	  "aaaa" },
	{ "a match before the start",
	  { MAGIC, 0x20, 4, 0x45, 0, 0, 0x08, 'a', 1, 0x54, 1, 1, 0, 2 },
	  17,
	  4,
	  NULL },
	{ "bits left over",
	  { MAGIC, 0x20, 4, 0x45, 0, 0, 0x08, 'a', 1, 0x54, 1, 0, 0, 2 },
	  17,
	  4,
	  NULL },
	{ "a length code that does not exist",
	  { MAGIC, 0x20, 4, 0x45, 0, 0, 0x08, 'a', 1, 0x54, 36, 0, 0, 1 },
	  17,
	  4,
	  NULL },
	{ "a table of an earlier block where there is none",
	  { MAGIC, 0x20, 4, 0x45, 0, 0, 0x08, 'a', 1, 0xfc, 1, 0, 0, 1 },
	  17,
	  4,
	  NULL },
};

static void frames_made_by_hand_give_what_the_standard_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		uint8_t out[32] = { 0 };
		int err = zstd_decode(&scratch, v->in, v->in_len, out,
				      v->out_len);

		if (v->out ? err || memcmp(out, v->out, v->out_len)
			   : err != -EINVAL)
			fail_msg("%s: %d, \"%.32s\"", v->what, err, out);
	}
}

static size_t read_file(const char *path, uint8_t *data, size_t space)
{
	FILE *file = fopen(path, "r");
	size_t n;

	assert_non_null(file);
	n = fread(data, 1, space, file);
	assert_true(n < space);
	fclose(file);
	return n;
}

static void what_zstd_makes_is_decoded(void **state)
{
	static const char *const options[] = { "-1",  "-3 --no-check",
					       "-19", "--fast=20",
					       "-9",  "-5 --long",
					       "-12" };
	size_t len = 700000, space = 800000;
	uint8_t *data = malloc(len), *packed = malloc(space);
	uint64_t seed = 1;

	(void)state;
	assert_non_null(data);
	assert_non_null(packed);
	if (sh("zstd --version"))
		skip();
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		size_t n, wanted = i ? 1 + rnd_below(&seed, len) : len;
		uint8_t *out = malloc(wanted);

		assert_non_null(out);
		make_data(&seed, data, wanted, 0x1f);
		disk_save("plain", data, wanted);
		/* From a pipe the frame does not say its size. */
		must(i % 2 ? "zstd -q -f %s plain -o packed"
			   : "zstd -q -c %s <plain >packed",
		     options[i]);
		n = read_file("packed", packed, space);
		assert_int_equal(zstd_decode(&scratch, packed, n, out, wanted),
				 0);
		assert_memory_equal(out, data, wanted);
		assert_int_equal(zstd_decode(&scratch, packed,
					     rnd_below(&seed, n), out, wanted),
				 -EINVAL);
		free(out);
	}
	free(data);
	free(packed);
}

static void images_of_zstd_clusters_read_as_their_source(void **state)
{
	static const char *const sizes[] = { "512", "4k", "64k", "2M" };
	size_t len = 3 << 20;
	uint8_t *data = malloc(len);
	uint64_t seed = 9;

	(void)state;
	assert_non_null(data);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct block *block;

		make_data(&seed, data, len, 0x1f);
		disk_save("plain", data, len);
		must("qemu-img convert -c -f raw -O qcow2 -o "
		     "compression_type=zstd,cluster_size=%s plain z.qcow2",
		     sizes[i]);
		block = open_disk("z.qcow2");
		assert_disk(block, data);
		/* Written over, in the middle of a cluster. */
		memset(data + 512 * 137, 7, 512);
		assert_int_equal(
			disk_write(block, data + 512 * 137, 512 * 137, 512), 0);
		assert_disk(block, data);
		assert_int_equal(block_close(block), 0);
		disk_save("plain", data, len);
		must("qemu-img compare -f raw -F qcow2 plain z.qcow2");
		must("qemu-img check z.qcow2");
	}
	free(data);
}

/* Only that nothing is touched outside the buffers: the sanitizers judge. */
static void spoiled_frames_stay_inside_their_buffers(void **state)
{
	size_t len = 20000, space = 40000, n;
	uint8_t *data = malloc(len), *packed = malloc(space);
	uint64_t seed = 5;

	(void)state;
	assert_non_null(data);
	assert_non_null(packed);
	if (sh("zstd --version"))
		skip();
	make_data(&seed, data, len, 0x1f);
	disk_save("plain", data, len);
	must("zstd -q -f -19 plain -o packed");
	n = read_file("packed", packed, space);
	for (unsigned round = 0; round < 2000; round++) {
		uint8_t *in = malloc(n), *out = malloc(len);

		assert_non_null(in);
		assert_non_null(out);
		memcpy(in, packed, n);
		for (unsigned i = 0; i < 3; i++)
			in[5 + rnd_below(&seed, i ? n - 5 : 100)] ^=
				1 << rnd_below(&seed, 8);
		zstd_decode(&scratch, in, n, out, len);
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
			frames_made_by_hand_give_what_the_standard_says),
		cmocka_unit_test(what_zstd_makes_is_decoded),
		cmocka_unit_test(images_of_zstd_clusters_read_as_their_source),
		cmocka_unit_test(spoiled_frames_stay_inside_their_buffers),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
