/* Deflate: what it makes is read by our inflate and by zlib. */
#include "devices/block/deflate.h"
#include "kinds.h"
#include "util/inflate.h"

static struct deflate scratch;

/* Compresses into a buffer of exactly what it takes, and inflates that. */
static void round_trip(const uint8_t *data, size_t len)
{
	size_t space = len + len / 1000 + 100, n;
	uint8_t *packed = malloc(space), *out = malloc(len);

	assert_non_null(packed);
	assert_non_null(out);
	n = deflate_raw(&scratch, data, len, packed, space);
	assert_true(n > 0);
	assert_int_equal(inflate_raw(packed, n, out, len), 0);
	assert_memory_equal(out, data, len);
	assert_int_equal(deflate_raw(&scratch, data, len, packed, n), n);
	assert_int_equal(deflate_raw(&scratch, data, len, packed, n - 1), 0);
	free(packed);
	free(out);
}

static void what_is_deflated_inflates_to_the_same(void **state)
{
	static const size_t lens[] = { 1,    2,     3,     4,     5,     257,
				       258,  259,   512,   4095,  4096,  4097,
				       4100, 65535, 65536, 70000, 300000 };
	uint8_t *data = malloc(300000);
	uint64_t seed = 1;

	(void)state;
	assert_non_null(data);
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		for (unsigned kind = 0; kind < 6; kind++) {
			make_data(&seed, data, lens[i], 1u << kind);
			round_trip(data, lens[i]);
		}
		make_data(&seed, data, lens[i], 63);
		round_trip(data, lens[i]);
	}
	free(data);
}

static void zlib_reads_it_with_a_window_of_4_kib(void **state)
{
	size_t len = 300000;
	uint8_t *data = malloc(len), *packed = malloc(len);
	uint64_t seed = 7;

	(void)state;
	assert_non_null(data);
	assert_non_null(packed);
	if (sh("python3 -c 'import zlib'"))
		skip();
	for (unsigned i = 0; i < 4; i++) {
		FILE *plain = fopen("plain", "w"), *file = fopen("packed", "w");
		size_t n;

		assert_non_null(plain);
		assert_non_null(file);
		make_data(&seed, data, len, i < 2 ? 63 : 0x3e);
		n = deflate_raw(&scratch, data, len, packed, len);
		assert_true(n > 0);
		assert_int_equal(fwrite(data, 1, len, plain), len);
		assert_int_equal(fwrite(packed, 1, n, file), n);
		assert_int_equal(fclose(plain), 0);
		assert_int_equal(fclose(file), 0);
		must("python3 -c 'import zlib; "
		     "d = zlib.decompressobj(-12); "
		     "out = d.decompress(open(\"packed\", \"rb\").read()); "
		     "assert d.eof and not d.unused_data; "
		     "assert out == open(\"plain\", \"rb\").read()'");
	}
	free(data);
	free(packed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_deflated_inflates_to_the_same),
		cmocka_unit_test(zlib_reads_it_with_a_window_of_4_kib),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
