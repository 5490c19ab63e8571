/* SHA-256, HMAC and PBKDF2 against the standards' own examples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/block/sha256.h"
#include "util/checked.h"

static void assert_hex(const uint8_t *bytes, size_t len, const char *hex)
{
	char text[200] = "";

	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	assert_string_equal(text, hex);
}

struct example {
	const char *unit;
	unsigned times;
	const char *digest;
};

static const struct example examples[] = {
	{ "", 1,
	  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ "abc", 1,
	  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
	  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	{ "aaaaaaaaaa", 100000,
	  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
};

static void the_examples_come_out_with_and_without_instructions(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(examples); i++) {
		const struct example *e = &examples[i / 2];
		uint8_t digest[SHA256_LEN];
		struct sha256 s;

		sha256_init(&s);
		if (i % 2)
			s.instructions = false;
		for (unsigned n = 0; n < e->times; n++)
			sha256_add(&s, e->unit, strlen(e->unit));
		sha256_end(&s, digest);
		assert_hex(digest, sizeof(digest), e->digest);
	}
}

static void every_length_pads_alike_on_both_ways(void **state)
{
	uint8_t data[200], digest[2][SHA256_LEN];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = i * 7;
	for (size_t len = 0; len <= sizeof(data); len++) {
		for (unsigned way = 0; way < 2; way++) {
			struct sha256 s;

			sha256_init(&s);
			s.instructions = s.instructions && way;
			sha256_add(&s, data, len / 3);
			sha256_add(&s, data + len / 3, len - len / 3);
			sha256_end(&s, digest[way]);
		}
		assert_memory_equal(digest[0], digest[1], SHA256_LEN);
	}
}

/* RFC 4231, cases 1, 2 and 6, whose key is longer than a block. */
static void hmac_gives_the_examples_of_rfc_4231(void **state)
{
	struct hmac_sha256 key;
	uint8_t digest[SHA256_LEN], bytes[131];

	(void)state;
	memset(bytes, 0x0b, 20);
	hmac_sha256_init(&key, bytes, 20);
	hmac_sha256(&key, "Hi There", 8, digest);
	assert_hex(digest, sizeof(digest),
		   "b0344c61d8db38535ca8afceaf0bf12b"
		   "881dc200c9833da726e9376c2e32cff7");
	hmac_sha256_init(&key, "Jefe", 4);
	hmac_sha256(&key, "what do ya want for nothing?", 28, digest);
	assert_hex(digest, sizeof(digest),
		   "5bdcc146bf60754e6a042426089575c7"
		   "5a003f089d2739839dec58b964ec3843");
	memset(bytes, 0xaa, sizeof(bytes));
	hmac_sha256_init(&key, bytes, sizeof(bytes));
	hmac_sha256(&key,
		    "Test Using Larger Than Block-Size Key - Hash Key First",
		    54, digest);
	assert_hex(digest, sizeof(digest),
		   "60e431591ee0b67f0d8a26aacbf5b77f"
		   "8e0bc6213728c5140546040f0ee37f54");
}

/* RFC 7914, section 11; and a length that is no multiple of the digest's. */
static void pbkdf2_gives_the_examples_of_rfc_7914(void **state)
{
	struct hmac_sha256 key;
	uint8_t out[64];

	(void)state;
	hmac_sha256_init(&key, "passwd", 6);
	pbkdf2_sha256(&key, (const uint8_t *)"salt", 4, 1, out, 64);
	assert_hex(out, 64,
		   "55ac046e56e3089fec1691c22544b605"
		   "f94185216dde0465e68b9d57c20dacbc"
		   "49ca9cccf179b645991664b39d77ef31"
		   "7c71b845b1e30bd509112041d3a19783");
	hmac_sha256_init(&key, "Password", 8);
	pbkdf2_sha256(&key, (const uint8_t *)"NaCl", 4, 80000, out, 64);
	assert_hex(out, 64,
		   "4ddcd8f60b98be21830cee5ef22701f9"
		   "641a4418d04c0414aeff08876b34ab56"
		   "a1d425a1225833549adb841b51c9b317"
		   "6a272bdebba1d078478f62b397f33c8d");
	pbkdf2_sha256(&key, (const uint8_t *)"NaCl", 4, 80000, out, 20);
	assert_hex(out, 20, "4ddcd8f60b98be21830cee5ef22701f9641a4418");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			the_examples_come_out_with_and_without_instructions),
		cmocka_unit_test(every_length_pads_alike_on_both_ways),
		cmocka_unit_test(hmac_gives_the_examples_of_rfc_4231),
		cmocka_unit_test(pbkdf2_gives_the_examples_of_rfc_7914),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
