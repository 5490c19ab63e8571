#include "devices/block/sha.h"

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#include "util/bytes.h"

/* Of SHA-512; their upper halves are those of SHA-256. */
static const uint64_t k[80] = {
	0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f,
	0xe9b5dba58189dbbc, 0x3956c25bf348b538, 0x59f111f1b605d019,
	0x923f82a4af194f9b, 0xab1c5ed5da6d8118, 0xd807aa98a3030242,
	0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
	0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235,
	0xc19bf174cf692694, 0xe49b69c19ef14ad2, 0xefbe4786384f25e3,
	0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65, 0x2de92c6f592b0275,
	0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
	0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f,
	0xbf597fc7beef0ee4, 0xc6e00bf33da88fc2, 0xd5a79147930aa725,
	0x06ca6351e003826f, 0x142929670a0e6e70, 0x27b70a8546d22ffc,
	0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
	0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6,
	0x92722c851482353b, 0xa2bfe8a14cf10364, 0xa81a664bbc423001,
	0xc24b8b70d0f89791, 0xc76c51a30654be30, 0xd192e819d6ef5218,
	0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
	0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99,
	0x34b0bcb5e19b48a8, 0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb,
	0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3, 0x748f82ee5defb2fc,
	0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
	0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915,
	0xc67178f2e372532b, 0xca273eceea26619c, 0xd186b8c721c0c207,
	0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178, 0x06f067aa72176fba,
	0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
	0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc,
	0x431d67c49c100d4c, 0x4cc5d4becb3e42b6, 0x597f299cfc657e2a,
	0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
};

/* Of eight words, of either width; unrolled they stay in registers. */
#define MOVE_UP(s)                                                             \
	((s)[7] = (s)[6], (s)[6] = (s)[5], (s)[5] = (s)[4], (s)[4] = (s)[3],   \
	 (s)[3] = (s)[2], (s)[2] = (s)[1], (s)[1] = (s)[0])

bool sha256_instructions(void)
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

void sha1_block(uint32_t h[5], const uint8_t *block)
{
	static const uint32_t constants[4] = { 0x5a827999, 0x6ed9eba1,
					       0x8f1bbcdc, 0xca62c1d6 };
	uint32_t w[80], s[8] = { 0 };

	for (unsigned i = 0; i < 80; i++)
		w[i] = i < 16 ? get_be32(block + i * 4)
			      : rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^
					       w[i - 16],
				       31);
	memcpy(s, h, 5 * sizeof(*s));
	for (unsigned i = 0; i < 80; i++) {
		uint32_t b = s[1], c = s[2], d = s[3], f = b ^ c ^ d;

		if (i < 20)
			f = (b & c) | (~b & d);
		else if (i >= 40 && i < 60)
			f = (b & c) | (b & d) | (c & d);
		f += rotate(s[0], 27) + s[4] + constants[i / 20] + w[i];
		MOVE_UP(s);
		s[2] = rotate(b, 2);
		s[0] = f;
	}
	for (unsigned i = 0; i < 5; i++)
		h[i] += s[i];
}

static void sha256_plain(uint32_t h[8], const uint8_t *block)
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
		uint32_t t = s[7] + (uint32_t)(k[i] >> 32) + w[i] +
			     (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
			     ((e & s[5]) ^ (~e & s[6]));
		uint32_t u = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
			     ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));

		MOVE_UP(s);
		s[4] += t;
		s[0] = t + u;
	}
	for (unsigned i = 0; i < 8; i++)
		h[i] += s[i];
}

#define SHA_TARGET __attribute__((target("sha,sse4.1,ssse3")))
#define SHA_ROUNDS SHA_TARGET __attribute__((always_inline))

/* The state as the instructions want it: words a b e f, and c d g h. */
struct halves {
	__m128i abef, cdgh;
};

/* Four rounds with the next four words of the message. */
SHA_ROUNDS static inline void four_rounds(struct halves *s, __m128i words,
					  const uint64_t *keys)
{
	const float *two = (const float *)(const void *)keys;
	__m128 upper =
		_mm_shuffle_ps(_mm_loadu_ps(two), _mm_loadu_ps(two + 4), 0xdd);
	__m128i sum = _mm_add_epi32(words, _mm_castps_si128(upper));

	s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, sum);
	s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh,
					_mm_shuffle_epi32(sum, 0x0e));
}

/* The four words that follow sixteen: those are w[n], oldest first. */
SHA_ROUNDS static inline __m128i more_words(__m128i w0, __m128i w1, __m128i w2,
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

SHA_TARGET static void sha256_fast(uint32_t h[8], const uint8_t *block)
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

void sha256_block(uint32_t h[8], const uint8_t *block, bool instructions)
{
	if (instructions)
		sha256_fast(h, block);
	else
		sha256_plain(h, block);
}

static uint64_t rotate64(uint64_t v, unsigned n)
{
	return v >> n | v << (64 - n);
}

void sha512_block(uint64_t h[8], const uint8_t *block)
{
	uint64_t w[80], s[8];

	for (unsigned i = 0; i < 16; i++)
		w[i] = get_be64(block + i * 8);
	for (unsigned i = 16; i < 80; i++) {
		uint64_t a = w[i - 15], b = w[i - 2];

		w[i] = w[i - 16] + w[i - 7] +
		       (rotate64(a, 1) ^ rotate64(a, 8) ^ a >> 7) +
		       (rotate64(b, 19) ^ rotate64(b, 61) ^ b >> 6);
	}
	memcpy(s, h, sizeof(s));
	for (unsigned i = 0; i < 80; i++) {
		uint64_t a = s[0], e = s[4];
		uint64_t t =
			s[7] + k[i] + w[i] +
			(rotate64(e, 14) ^ rotate64(e, 18) ^ rotate64(e, 41)) +
			((e & s[5]) ^ (~e & s[6]));
		uint64_t u =
			(rotate64(a, 28) ^ rotate64(a, 34) ^ rotate64(a, 39)) +
			((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));

		MOVE_UP(s);
		s[4] += t;
		s[0] = t + u;
	}
	for (unsigned i = 0; i < 8; i++)
		h[i] += s[i];
}
