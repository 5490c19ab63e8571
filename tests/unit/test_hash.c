/* The hashes, HMAC and PBKDF2 against the standards' own examples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/block/hash.h"
#include "util/checked.h"

static void assert_hex(const uint8_t *bytes, size_t len, const char *hex)
{
	char text[2 * 100 + 1] = "";

	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	assert_string_equal(text, hex);
}

struct example {
	enum hash_kind kind;
	const char *unit;
	unsigned times;
	const char *digest;
};

#define TWO_BLOCKS "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
#define FOUR_BLOCKS                                                            \
	"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"             \
	"hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"

static const struct example examples[] = {
	{ HASH_SHA1, "", 1, "da39a3ee5e6b4b0d3255bfef95601890afd80709" },
	{ HASH_SHA1, "abc", 1, "a9993e364706816aba3e25717850c26c9cd0d89d" },
	{ HASH_SHA1, TWO_BLOCKS, 1,
	  "84983e441c3bd26ebaae4aa1f95129e5e54670f1" },
	{ HASH_SHA1, "aaaaaaaaaa", 100000,
	  "34aa973cd4c4daa4f61eeb2bdbad27316534016f" },
	{ HASH_SHA256, "", 1,
	  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ HASH_SHA256, "abc", 1,
	  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ HASH_SHA256, TWO_BLOCKS, 1,
	  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	{ HASH_SHA256, "aaaaaaaaaa", 100000,
	  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
	{ HASH_SHA512, "", 1,
	  "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
	  "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e" },
	{ HASH_SHA512, "abc", 1,
	  "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
	  "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f" },
	{ HASH_SHA512, FOUR_BLOCKS, 1,
	  "8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018"
	  "501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909" },
	{ HASH_SHA512, "aaaaaaaaaa", 100000,
	  "e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973eb"
	  "de0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b" },
};

static void the_examples_come_out_with_and_without_instructions(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(examples); i++) {
		const struct example *e = &examples[i / 2];
		uint8_t digest[HASH_LEN_MAX];
		struct hash s;

		hash_init(&s, e->kind);
		if (i % 2)
			s.instructions = false;
		for (unsigned n = 0; n < e->times; n++)
			hash_add(&s, e->unit, strlen(e->unit));
		hash_end(&s, digest);
		assert_int_equal(hash_len(e->kind) * 2, strlen(e->digest));
		assert_hex(digest, hash_len(e->kind), e->digest);
	}
}

/* Of which another implementation has the digest of all the digests. */
static void every_length_is_padded(void **state)
{
	static const char *const all[HASH_KINDS] = {
		[HASH_SHA1] = "2d095daa1437f7f4f361cd003710e0b4d4d9af37",
		[HASH_SHA256] = "3b05b530351f50663ba5ac734c246d16"
				"9eafec6b57c70dc6dc94cad39d04aad8",
		[HASH_SHA512] = "8a732a2ef96b72c61264041d982c51f5"
				"2f584ba520746f8dfcbe356c60311e9d"
				"68a05c40ac64998fb6bfca078a50d008"
				"373e7d30159f0e4626b1102c1cf370b3",
	};
	uint8_t data[300];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = i * 7;
	for (unsigned i = 0; i < 2 * HASH_KINDS; i++) {
		enum hash_kind kind = i / 2;
		uint8_t digest[HASH_LEN_MAX];
		struct hash s, sum;

		hash_init(&sum, kind);
		for (size_t len = 0; len <= sizeof(data); len++) {
			hash_init(&s, kind);
			if (i % 2)
				s.instructions = false;
			hash_add(&s, data, len / 3);
			hash_add(&s, data + len / 3, len - len / 3);
			hash_end(&s, digest);
			hash_add(&sum, digest, hash_len(kind));
		}
		hash_end(&sum, digest);
		assert_hex(digest, hash_len(kind), all[kind]);
	}
}

/* RFC 2202 and RFC 4231: cases 1, 2 and 6, whose key is longer than a block. */
static void hmac_gives_the_examples_of_the_standards(void **state)
{
	static const struct {
		enum hash_kind kind;
		int byte; /* -1: a text */
		unsigned len;
		const char *key, *data, *digest;
	} cases[] = {
		{ HASH_SHA1, 0xb, 20, NULL, "Hi There",
		  "b617318655057264e28bc0b6fb378c8ef146be00" },
		{ HASH_SHA1, -1, 4, "Jefe", "what do ya want for nothing?",
		  "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79" },
		{ HASH_SHA1, 0xaa, 80, NULL,
		  "Test Using Larger Than Block-Size Key - Hash Key First",
		  "aa4ae5e15272d00e95705637ce8a3b55ed402112" },
		{ HASH_SHA256, 0xb, 20, NULL, "Hi There",
		  "b0344c61d8db38535ca8afceaf0bf12b"
		  "881dc200c9833da726e9376c2e32cff7" },
		{ HASH_SHA256, -1, 4, "Jefe", "what do ya want for nothing?",
		  "5bdcc146bf60754e6a042426089575c7"
		  "5a003f089d2739839dec58b964ec3843" },
		{ HASH_SHA256, 0xaa, 131, NULL,
		  "Test Using Larger Than Block-Size Key - Hash Key First",
		  "60e431591ee0b67f0d8a26aacbf5b77f"
		  "8e0bc6213728c5140546040f0ee37f54" },
		{ HASH_SHA512, 0xb, 20, NULL, "Hi There",
		  "87aa7cdea5ef619d4ff0b4241a1d6cb0"
		  "2379f4e2ce4ec2787ad0b30545e17cde"
		  "daa833b7d6b8a702038b274eaea3f4e4"
		  "be9d914eeb61f1702e696c203a126854" },
		{ HASH_SHA512, -1, 4, "Jefe", "what do ya want for nothing?",
		  "164b7a7bfcf819e2e395fbe73b56e0a3"
		  "87bd64222e831fd610270cd7ea250554"
		  "9758bf75c05a994a6d034f65f8f0e6fd"
		  "caeab1a34d4a6b4b636e070a38bce737" },
		{ HASH_SHA512, 0xaa, 131, NULL,
		  "Test Using Larger Than Block-Size Key - Hash Key First",
		  "80b24263c7c1a3ebb71493c1dd7be8b4"
		  "9b46d1f41b4aeec1121b013783f8f352"
		  "6b56d037e05f2598bd0fd2215d6a1e52"
		  "95e64f73f63f0aec8b915a985d786598" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bytes[131], digest[HASH_LEN_MAX];
		struct hmac key;

		if (cases[i].byte >= 0)
			memset(bytes, cases[i].byte, cases[i].len);
		else
			memcpy(bytes, cases[i].key, cases[i].len);
		hmac_init(&key, cases[i].kind, bytes, cases[i].len);
		hmac(&key, cases[i].data, strlen(cases[i].data), digest);
		assert_hex(digest, hash_len(cases[i].kind), cases[i].digest);
	}
}

/* RFC 6070 and RFC 7914, section 11; and a length that is no multiple of the
 * digest's. For SHA-512, which has no standard's example, what OpenSSL says. */
static void pbkdf2_gives_the_examples_of_the_standards(void **state)
{
	static const struct {
		enum hash_kind kind;
		const char *passphrase, *salt;
		uint32_t iterations;
		size_t len;
		const char *key;
	} cases[] = {
		{ HASH_SHA1, "password", "salt", 1, 20,
		  "0c60c80f961f0e71f3a9b524af6012062fe037a6" },
		{ HASH_SHA1, "password", "salt", 4096, 20,
		  "4b007901b765489abead49d926f721d065a429c1" },
		{ HASH_SHA1, "passwordPASSWORDpassword",
		  "saltSALTsaltSALTsaltSALTsaltSALTsalt", 4096, 25,
		  "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038" },
		{ HASH_SHA256, "passwd", "salt", 1, 64,
		  "55ac046e56e3089fec1691c22544b605"
		  "f94185216dde0465e68b9d57c20dacbc"
		  "49ca9cccf179b645991664b39d77ef31"
		  "7c71b845b1e30bd509112041d3a19783" },
		{ HASH_SHA256, "Password", "NaCl", 80000, 64,
		  "4ddcd8f60b98be21830cee5ef22701f9"
		  "641a4418d04c0414aeff08876b34ab56"
		  "a1d425a1225833549adb841b51c9b317"
		  "6a272bdebba1d078478f62b397f33c8d" },
		{ HASH_SHA256, "Password", "NaCl", 80000, 20,
		  "4ddcd8f60b98be21830cee5ef22701f9641a4418" },
		{ HASH_SHA512, "passwd", "salt", 1, 64,
		  "c74319d99499fc3e9013acff597c23c5"
		  "baf0a0bec5634c46b8352b793e324723"
		  "d55caa76b2b25c43402dcfdc06cdcf66"
		  "f95b7d0429420b39520006749c51a04e" },
		{ HASH_SHA512, "Password", "NaCl", 1000, 100,
		  "770848fb6d2da0ab075635d163e49e6c"
		  "000d5238141cc78e70751e4dfd200e55"
		  "f5a8ac244ed118138dad44855153518a"
		  "2469925754b0a69a4b8213def142405c"
		  "b20d76721cf7cf36c17a498e94a6dd7a"
		  "7c181d8988a31505a0a41e63bed9c364"
		  "c794770c" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *salt = cases[i].salt;
		uint8_t out[100];
		struct hmac key;

		hmac_init(&key, cases[i].kind, cases[i].passphrase,
			  strlen(cases[i].passphrase));
		pbkdf2(&key, (const uint8_t *)salt, strlen(salt),
		       cases[i].iterations, out, cases[i].len);
		assert_hex(out, cases[i].len, cases[i].key);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			the_examples_come_out_with_and_without_instructions),
		cmocka_unit_test(every_length_is_padded),
		cmocka_unit_test(hmac_gives_the_examples_of_the_standards),
		cmocka_unit_test(pbkdf2_gives_the_examples_of_the_standards),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
