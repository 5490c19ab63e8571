#include "devices/block/sha256.h"

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#include "util/bytes.h"

static const uint32_t k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
	0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
	0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
	0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
	0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
	0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
	0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
	0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static bool have_instructions(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && c & bit_SSSE3 &&
	       c & bit_SSE4_1 && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
	       b & 1u << 29;
}

static uint32_t rotate(uint32_t v, unsigned n)
{
	return v >> n | v << (32 - n);
}

static void compress_plain(uint32_t h[8], const uint8_t *block)
{
	uint32_t w[64], s[8];

	for (unsigned i = 0; i < 16; i++)
		w[i] = get_be32(block + i * 4);
	for (unsigned i = 16; i < 64; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];

		w[i] = w[i - 16] + w[i - 7] +
		       (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) +
		       (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
	}
	memcpy(s, h, sizeof(s));
	for (unsigned i = 0; i < 64; i++) {
		uint32_t a = s[0], e = s[4];
		uint32_t t = s[7] + k[i] + w[i] +
			     (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
			     ((e & s[5]) ^ (~e & s[6]));
		uint32_t u = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
			     ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));

		memmove(s + 1, s, sizeof(s) - sizeof(*s));
		s[4] += t;
		s[0] = t + u;
	}
	for (unsigned i = 0; i < 8; i++)
		h[i] += s[i];
}

#define SHA_TARGET __attribute__((target("sha,sse4.1,ssse3")))

/* The state as the instructions want it: words a b e f, and c d g h. */
struct halves {
	__m128i abef, cdgh;
};

/* Four rounds with the next four words of the message. */
SHA_TARGET static inline void four_rounds(struct halves *s, __m128i words,
					  const uint32_t *keys)
{
	__m128i sum = _mm_add_epi32(
		words, _mm_loadu_si128((const __m128i *)(const void *)keys));

	s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, sum);
	s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh,
					_mm_shuffle_epi32(sum, 0x0e));
}

/* The four words that follow sixteen: those are w[n], oldest first. */
SHA_TARGET static inline __m128i more_words(__m128i w0, __m128i w1, __m128i w2,
					    __m128i w3)
{
	__m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1),
				    _mm_alignr_epi8(w3, w2, 4));

	return _mm_sha256msg2_epu32(sum, w3);
}

SHA_TARGET static __m128i load_words(const uint8_t *bytes)
{
	const __m128i swap =
		_mm_set_epi64x(0x0c0d0e0f08090a0bll, 0x0405060700010203ll);

	return _mm_shuffle_epi8(
		_mm_loadu_si128((const __m128i *)(const void *)bytes), swap);
}

SHA_TARGET static void compress_sha(uint32_t h[8], const uint8_t *block)
{
	__m128i *state = (__m128i *)(void *)h;
	__m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(state), 0xb1);
	__m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(state + 1), 0x1b);
	struct halves old = { _mm_alignr_epi8(cdab, efgh, 8),
			      _mm_blend_epi16(efgh, cdab, 0xf0) };
	struct halves s = old;
	__m128i w0 = load_words(block), w1 = load_words(block + 16);
	__m128i w2 = load_words(block + 32), w3 = load_words(block + 48);
	__m128i feba, dchg;

	for (unsigned i = 0;; i += 16) {
		four_rounds(&s, w0, k + i);
		four_rounds(&s, w1, k + i + 4);
		four_rounds(&s, w2, k + i + 8);
		four_rounds(&s, w3, k + i + 12);
		if (i == 48)
			break;
		w0 = more_words(w0, w1, w2, w3);
		w1 = more_words(w1, w2, w3, w0);
		w2 = more_words(w2, w3, w0, w1);
		w3 = more_words(w3, w0, w1, w2);
	}
	feba = _mm_shuffle_epi32(_mm_add_epi32(s.abef, old.abef), 0x1b);
	dchg = _mm_shuffle_epi32(_mm_add_epi32(s.cdgh, old.cdgh), 0xb1);
	_mm_storeu_si128(state, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128(state + 1, _mm_alignr_epi8(dchg, feba, 8));
}

static void compress(bool instructions, uint32_t h[8], const uint8_t *block)
{
	if (instructions)
		compress_sha(h, block);
	else
		compress_plain(h, block);
}

void sha256_init(struct sha256 *s)
{
	static const uint32_t start[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372,
					   0xa54ff53a, 0x510e527f, 0x9b05688c,
					   0x1f83d9ab, 0x5be0cd19 };

	memcpy(s->h, start, sizeof(s->h));
	s->len = 0;
	s->instructions = have_instructions();
}

void sha256_add(struct sha256 *s, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	while (len) {
		size_t at = s->len % SHA256_BLOCK;
		size_t n = SHA256_BLOCK - at < len ? SHA256_BLOCK - at : len;

		memcpy(s->block + at, bytes, n);
		s->len += n;
		bytes += n;
		len -= n;
		if (at + n == SHA256_BLOCK)
			compress(s->instructions, s->h, s->block);
	}
}

static void put_digest(const uint32_t h[8], uint8_t digest[SHA256_LEN])
{
	for (unsigned i = 0; i < 8; i++)
		put_be32(digest + i * 4, h[i]);
}

void sha256_end(struct sha256 *s, uint8_t digest[SHA256_LEN])
{
	static const uint8_t padding[SHA256_BLOCK] = { 0x80 };
	uint8_t bits[8];

	put_be64(bits, s->len * 8);
	/* At least one byte, up to the last eight of a block. */
	sha256_add(s, padding, 1 + (119 - s->len % SHA256_BLOCK) % 64);
	sha256_add(s, bits, sizeof(bits));
	put_digest(s->h, digest);
}

void hmac_sha256_init(struct hmac_sha256 *key, const void *bytes, size_t len)
{
	uint8_t pad[SHA256_BLOCK] = { 0 };

	sha256_init(&key->inner);
	if (len > sizeof(pad)) {
		sha256_add(&key->inner, bytes, len);
		sha256_end(&key->inner, pad);
		sha256_init(&key->inner);
	} else {
		memcpy(pad, bytes, len);
	}
	sha256_init(&key->outer);
	for (unsigned i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	sha256_add(&key->inner, pad, sizeof(pad));
	for (unsigned i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	sha256_add(&key->outer, pad, sizeof(pad));
	explicit_bzero(pad, sizeof(pad));
}

void hmac_sha256(const struct hmac_sha256 *key, const void *data, size_t len,
		 uint8_t digest[SHA256_LEN])
{
	struct sha256 s = key->inner;

	sha256_add(&s, data, len);
	sha256_end(&s, digest);
	s = key->outer;
	sha256_add(&s, digest, SHA256_LEN);
	sha256_end(&s, digest);
	explicit_bzero(&s, sizeof(s));
}

/* Replaces the digest in @block, which is padded to a message of that length
 * after a key's pad, by its HMAC: two compressions and no more. */
static void hmac_again(const struct hmac_sha256 *key, uint8_t *block)
{
	uint32_t h[8];

	memcpy(h, key->inner.h, sizeof(h));
	compress(key->inner.instructions, h, block);
	put_digest(h, block);
	memcpy(h, key->outer.h, sizeof(h));
	compress(key->outer.instructions, h, block);
	put_digest(h, block);
}

void pbkdf2_sha256(const struct hmac_sha256 *key, const uint8_t *salt,
		   size_t salt_len, uint32_t iterations, uint8_t *out,
		   size_t out_len)
{
	uint8_t block[SHA256_BLOCK], sum[SHA256_LEN], message[64 + 4];

	memcpy(message, salt, salt_len);
	for (uint32_t n = 1; out_len; n++) {
		size_t len = out_len < SHA256_LEN ? out_len : SHA256_LEN;

		put_be32(message + salt_len, n);
		memset(block, 0, sizeof(block));
		block[SHA256_LEN] = 0x80;
		put_be16(block + 62, (SHA256_BLOCK + SHA256_LEN) * 8);
		hmac_sha256(key, message, salt_len + 4, block);
		memcpy(sum, block, sizeof(sum));
		for (uint32_t i = 1; i < iterations; i++) {
			hmac_again(key, block);
			for (unsigned j = 0; j < SHA256_LEN; j++)
				sum[j] ^= block[j];
		}
		memcpy(out, sum, len);
		out += len;
		out_len -= len;
	}
	explicit_bzero(block, sizeof(block));
	explicit_bzero(sum, sizeof(sum));
}
