/* Frames of zstd that we make: read by our decoder and by zstd. */
#include "devices/block/zstd_encode.h"
#include "kinds.h"

static struct zstd_encoder scratch;
static struct zstd decoder;

/* Compresses into a buffer of exactly what it takes, and decodes that. */
static size_t round_trip(const uint8_t *data, size_t len)
{
	size_t space = len + len / 1000 + 100, n;
	uint8_t *packed = malloc(space), *out = malloc(len), *exact;

	assert_non_null(packed);
	assert_non_null(out);
	n = zstd_encode(&scratch, data, len, packed, space);
	assert_true(n > 0);
	exact = malloc(n);
	assert_non_null(exact);
	memcpy(exact, packed, n);
	assert_int_equal(zstd_decode(&decoder, exact, n, out, len), 0);
	assert_memory_equal(out, data, len);
	/* With less room it is another frame, or none, but never more. */
	for (size_t room = n - 1; room > n / 2; room -= 1 + n / 7) {
		uint8_t *small = malloc(room);
		size_t m;

		assert_non_null(small);
		m = zstd_encode(&scratch, data, len, small, room);
		assert_true(m <= room);
		if (m)
			assert_int_equal(
				zstd_decode(&decoder, small, m, out, len), 0);
		free(small);
	}
	free(exact);
	free(packed);
	free(out);
	return n;
}

static const size_t lens[] = { 256,   512,    1000,   4096,   65535,
			       65791, 65792,  131072, 131073, 131080,
			       70000, 300000, 524288 };

static void what_is_encoded_decodes_to_the_same(void **state)
{
	uint8_t *data = malloc(1 << 20);
	uint64_t seed = 1;

	(void)state;
	assert_non_null(data);
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		for (unsigned kind = 0; kind < 7; kind++) {
			make_data(&seed, data, lens[i],
				  lens[i] > 70000 ? 1u << kind | 16
						  : 1u << kind);
			round_trip(data, lens[i]);
		}
		make_data(&seed, data, lens[i], 127);
		round_trip(data, lens[i]);
	}
	free(data);
}

static void a_repeated_byte_and_noise_take_what_they_must(void **state)
{
	uint8_t *data = calloc(1, 65536);
	uint64_t seed = 3;

	(void)state;
	assert_non_null(data);
	assert_in_range(round_trip(data, 65536), 11, 16);
	make_data(&seed, data, 65536, 1);
	assert_in_range(round_trip(data, 65536), 65536, 65536 + 16);
	free(data);
}

static void zstd_reads_it_and_makes_it_little_smaller(void **state)
{
	uint8_t *data = malloc(1 << 20), *packed = malloc(1 << 20);
	uint64_t seed = 7;

	(void)state;
	assert_non_null(data);
	assert_non_null(packed);
	if (sh("zstd --version"))
		skip();
	for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
		size_t len = lens[i], n;
		FILE *plain = fopen("plain", "w"), *file = fopen("packed", "w");

		assert_non_null(plain);
		assert_non_null(file);
		make_data(&seed, data, len, i % 3 ? 126 : 127);
		n = zstd_encode(&scratch, data, len, packed, 1 << 20);
		assert_true(n > 0);
		assert_int_equal(fwrite(data, 1, len, plain), len);
		assert_int_equal(fwrite(packed, 1, n, file), n);
		assert_int_equal(fclose(plain), 0);
		assert_int_equal(fclose(file), 0);
		must("zstd -dqc <packed | cmp - plain && zstd -qc -1 plain | "
		     "wc -c | { read theirs; test %zu -lt $((theirs * 108 / "
		     "100 + 64)); }",
		     n);
	}
	free(data);
	free(packed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_encoded_decodes_to_the_same),
		cmocka_unit_test(a_repeated_byte_and_noise_take_what_they_must),
		cmocka_unit_test(zstd_reads_it_and_makes_it_little_smaller),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
