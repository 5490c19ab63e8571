/* AES and XTS against the standards' own examples. */
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

/* IEEE 1619, annex B, vectors 1, 2, 4 and 10: their first blocks. */
static const struct xts_example {
	const char *key;
	uint64_t sector;
	int data; /* -1: each byte is its own number */
	const char *blocks;
} xts_examples[] = {
	{ "00000000000000000000000000000000"
	  "00000000000000000000000000000000",
	  0, 0,
	  "917cf69ebd68b2ec9b9fe9a3eadda692"
	  "cd43d2f59598ed858c02c2652fbf922e" },
	{ "11111111111111111111111111111111"
	  "22222222222222222222222222222222",
	  0x3333333333, 0x44,
	  "c454185e6a16936e39334038acef838b"
	  "fb186fff7480adc4289382ecd6d394f0" },
	{ "27182818284590452353602874713526"
	  "31415926535897932384626433832795",
	  0, -1,
	  "27a7479befa1d476489f308cd4cfa6e2"
	  "a96e4bbe3208ff25287dd3819616e89c"
	  "c78cf7f5e543445f8333d8fa7f560000" },
	{ "27182818284590452353602874713526"
	  "62497757247093699959574966967627"
	  "31415926535897932384626433832795"
	  "02884197169399375105820974944592",
	  0xff, -1,
	  "1c3b3a102f770386e4836c99e370cf9b"
	  "ea00803f5e482357a4ae12d414a3e63b"
	  "5d31e276f8fe4a8d66b317f9ac683f44" },
};

static void xts_gives_the_examples_of_ieee_1619(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(xts_examples); i++) {
		const struct xts_example *e = &xts_examples[i / 2];
		uint8_t key[XTS_KEY_MAX], again[XTS_KEY_MAX], wanted[48];
		uint8_t data[XTS_SECTOR], plain[XTS_SECTOR];
		size_t len = strlen(e->key) / 2;
		struct xts xts;

		from_hex(key, e->key);
		from_hex(wanted, e->blocks);
		xts_init(&xts, key, len);
		xts_key(&xts, again);
		assert_memory_equal(again, key, len);
		if (i % 2)
			xts.instructions = false;
		for (unsigned at = 0; at < sizeof(data); at++)
			plain[at] = e->data < 0 ? (int)at : e->data;
		memcpy(data, plain, sizeof(data));
		xts_encrypt(&xts, e->sector, data, sizeof(data));
		assert_memory_equal(data, wanted, strlen(e->blocks) / 2);
		xts_decrypt(&xts, e->sector, data, sizeof(data));
		assert_memory_equal(data, plain, sizeof(data));
	}
}

/* FIPS 197, C.1 to C.3: keys of 16, 24 and 32 bytes that count up. */
static void aes_gives_the_examples_of_fips_197(void **state)
{
	static const char *const wanted[] = {
		"69c4e0d86a7b0430d8cdb78070b4c55a",
		"dda97ca4864cdfe06eaf70a0ec0d7191",
		"8ea2b7ca516745bfeafc49904b496089",
	};
	uint8_t key[AES_KEY_MAX], plain[AES_BLOCK], after[AES_BLOCK];

	(void)state;
	from_hex(plain, "00112233445566778899aabbccddeeff");
	for (unsigned i = 0; i < AES_KEY_MAX; i++)
		key[i] = i;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(wanted); i++) {
		uint8_t block[AES_BLOCK];
		struct xts xts;

		xts_init(&xts, key, XTS_KEY_MAX / 2);
		aes_init(&xts.data, key, 16 + i / 2 * 8);
		if (i % 2)
			xts.instructions = false;
		from_hex(after, wanted[i / 2]);
		memcpy(block, plain, sizeof(block));
		xts_one_block(&xts, block, false);
		assert_memory_equal(block, after, sizeof(block));
		xts_one_block(&xts, block, true);
		assert_memory_equal(block, plain, sizeof(block));
	}
}

/* "plain" is the number's lower half. */
static void plain_sectors_have_32_bits(void **state)
{
	static const uint8_t key[XTS_KEY_MAX] = { 1 };
	uint8_t low[XTS_SECTOR] = { 0 }, high[XTS_SECTOR] = { 0 };
	uint8_t plain[XTS_SECTOR] = { 0 };
	struct xts xts;

	(void)state;
	xts_init(&xts, key, sizeof(key));
	xts_encrypt(&xts, 5, low, sizeof(low));
	xts_encrypt(&xts, (1ull << 32) + 5, high, sizeof(high));
	assert_memory_not_equal(low, high, sizeof(low));
	xts.plain = true;
	xts_encrypt(&xts, (1ull << 32) + 5, plain, sizeof(plain));
	assert_memory_equal(low, plain, sizeof(low));
}

static void both_ways_agree_on_every_sector(void **state)
{
	uint8_t key[XTS_KEY_MAX], data[2][2 * XTS_SECTOR];
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
		xts_init(&fast, key, round % 2 ? 32 : 64);
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
		cmocka_unit_test(xts_gives_the_examples_of_ieee_1619),
		cmocka_unit_test(aes_gives_the_examples_of_fips_197),
		cmocka_unit_test(plain_sectors_have_32_bits),
		cmocka_unit_test(both_ways_agree_on_every_sector),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
