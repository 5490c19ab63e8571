/* AES-256 and XTS against the standards' own examples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/block/xts.h"
#include "util/checked.h"

static void from_hex(uint8_t *bytes, const char *hex)
{
	for (; *hex; hex += 2) {
		unsigned byte;

		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		*bytes++ = byte;
	}
}

/* IEEE 1619, annex B, vector 10: its first three blocks. */
static void xts_gives_the_example_of_ieee_1619(void **state)
{
	uint8_t key[XTS_KEY_LEN], data[XTS_SECTOR], wanted[48];

	(void)state;
	from_hex(key, "27182818284590452353602874713526"
		      "62497757247093699959574966967627"
		      "31415926535897932384626433832795"
		      "02884197169399375105820974944592");
	from_hex(wanted, "1c3b3a102f770386e4836c99e370cf9b"
			 "ea00803f5e482357a4ae12d414a3e63b"
			 "5d31e276f8fe4a8d66b317f9ac683f44");
	for (unsigned way = 0; way < 2; way++) {
		struct xts xts;

		xts_init(&xts, key);
		if (way)
			xts.instructions = false;
		for (unsigned i = 0; i < sizeof(data); i++)
			data[i] = i;
		xts_encrypt(&xts, 0xff, data, sizeof(data));
		assert_memory_equal(data, wanted, sizeof(wanted));
		xts_decrypt(&xts, 0xff, data, sizeof(data));
		for (unsigned i = 0; i < sizeof(data); i++)
			assert_int_equal(data[i], i & 0xff);
	}
}

/* FIPS 197, C.3. */
static void aes_gives_the_example_of_fips_197(void **state)
{
	uint8_t key[XTS_KEY_LEN], plain[AES_BLOCK], wanted[AES_BLOCK];

	(void)state;
	for (unsigned i = 0; i < XTS_KEY_LEN; i++)
		key[i] = i % 32;
	from_hex(plain, "00112233445566778899aabbccddeeff");
	from_hex(wanted, "8ea2b7ca516745bfeafc49904b496089");
	for (unsigned way = 0; way < 2; way++) {
		uint8_t block[AES_BLOCK];
		struct xts xts;

		xts_init(&xts, key);
		if (way)
			xts.instructions = false;
		memcpy(block, plain, sizeof(block));
		xts_one_block(&xts, block, false);
		assert_memory_equal(block, wanted, sizeof(block));
		xts_one_block(&xts, block, true);
		assert_memory_equal(block, plain, sizeof(block));
	}
}

static void both_ways_agree_on_every_sector(void **state)
{
	uint8_t key[XTS_KEY_LEN], data[2][2 * XTS_SECTOR];
	uint32_t seed = 1;

	(void)state;
	for (unsigned round = 0; round < 50; round++) {
		uint64_t sector = (uint64_t)seed << (round % 33);
		struct xts fast, plain;

		for (unsigned i = 0; i < sizeof(key); i++)
			key[i] = (seed = seed * 1664525 + 1013904223) >> 24;
		for (unsigned i = 0; i < sizeof(data[0]); i++)
			data[0][i] = (seed = seed * 1664525 + 1013904223) >> 24;
		memcpy(data[1], data[0], sizeof(data[0]));
		xts_init(&fast, key);
		plain = fast;
		plain.instructions = false;
		xts_encrypt(&fast, sector, data[0], sizeof(data[0]));
		xts_encrypt(&plain, sector, data[1], sizeof(data[1]));
		assert_memory_equal(data[0], data[1], sizeof(data[0]));
		/* The second sector is as if it were done alone. */
		xts_decrypt(&plain, sector + 1, data[0] + XTS_SECTOR,
			    XTS_SECTOR);
		xts_decrypt(&fast, sector + 1, data[1] + XTS_SECTOR,
			    XTS_SECTOR);
		assert_memory_equal(data[0], data[1], sizeof(data[0]));
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(xts_gives_the_example_of_ieee_1619),
		cmocka_unit_test(aes_gives_the_example_of_fips_197),
		cmocka_unit_test(both_ways_agree_on_every_sector),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
