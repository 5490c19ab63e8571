#include "devices/block/xts.h"

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#include "util/bytes.h"

/*
 * AES without tables: a table lookup by a secret index shows in the cache
 * which index it was. The S-box is computed instead, for the 16 bytes of a
 * block at once, as what it is: the inverse in GF(2^8), by the power of 254,
 * then an affine map.
 */
typedef uint8_t vec __attribute__((vector_size(AES_BLOCK)));
typedef int8_t signed_vec __attribute__((vector_size(AES_BLOCK)));

static vec splat(int byte)
{
	return (vec){ 0 } + (uint8_t)byte;
}

static vec load(const uint8_t *bytes)
{
	vec v;

	memcpy(&v, bytes, sizeof(v));
	return v;
}

static void store(uint8_t *bytes, vec v)
{
	memcpy(bytes, &v, sizeof(v));
}

/* All ones in each byte whose highest bit is set, as a comparison has it. */
static vec highest(vec v)
{
	return (vec)((signed_vec)v < 0);
}

/* Times x, modulo x^8 + x^4 + x^3 + x + 1. */
static vec times_x(vec v)
{
	return (v + v) ^ (highest(v) & splat(0x1b));
}

static vec multiply(vec a, vec b)
{
	vec product = splat(0);

	for (unsigned i = 0; i < 8; i++) {
		product = times_x(product) ^ (a & highest(b));
		b += b;
	}
	return product;
}

static vec square(vec v)
{
	return multiply(v, v);
}

static vec invert(vec v)
{
	vec v2 = square(v), v3 = multiply(v2, v);
	vec v12 = square(square(v3)), v15 = multiply(v12, v3);
	vec v240 = square(square(square(square(v15))));

	return multiply(multiply(v240, v12), v2);
}

static vec rotate_bits(vec v, unsigned n)
{
	for (; n; n--)
		v = (v + v) ^ (highest(v) & splat(1));
	return v;
}

static vec sub_bytes(vec v)
{
	v = invert(v);
	return v ^ rotate_bits(v, 1) ^ rotate_bits(v, 2) ^ rotate_bits(v, 3) ^
	       rotate_bits(v, 4) ^ splat(0x63);
}

static vec inverse_sub_bytes(vec v)
{
	return invert(rotate_bits(v, 1) ^ rotate_bits(v, 3) ^
		      rotate_bits(v, 6) ^ splat(0x05));
}

/* Byte i of the result is byte (i * step + add) of @v, within columns of four
 * when @column, else in the whole block. */
static vec permute(vec v, unsigned step, unsigned add, bool column)
{
	uint8_t from[AES_BLOCK], to[AES_BLOCK];

	store(from, v);
	for (unsigned i = 0; i < AES_BLOCK; i++)
		to[i] = column ? from[(i & 12) | ((i + add) & 3)]
			       : from[(i * step + add) % AES_BLOCK];
	return load(to);
}

/* Row r moves r columns: byte i comes from 5 * i, or 13 * i to undo it. */
static vec shift_rows(vec v)
{
	return permute(v, 5, 0, false);
}

static vec inverse_shift_rows(vec v)
{
	return permute(v, 13, 0, false);
}

static vec mix_columns(vec v)
{
	vec next = permute(v, 0, 1, true);

	return times_x(v ^ next) ^ next ^ permute(v, 0, 2, true) ^
	       permute(v, 0, 3, true);
}

/* Four times that map is the identity. */
static vec inverse_mix_columns(vec v)
{
	return mix_columns(mix_columns(mix_columns(v)));
}

static void encrypt_plain(const struct aes256 *aes, uint8_t *block)
{
	vec v = load(block) ^ load(aes->key[0]);

	for (unsigned i = 1; i < AES_ROUNDS; i++)
		v = mix_columns(shift_rows(sub_bytes(v))) ^ load(aes->key[i]);
	store(block, shift_rows(sub_bytes(v)) ^ load(aes->key[AES_ROUNDS]));
}

static void decrypt_plain(const struct aes256 *aes, uint8_t *block)
{
	vec v = load(block) ^ load(aes->key[AES_ROUNDS]);

	for (unsigned i = AES_ROUNDS - 1; i; i--)
		v = inverse_mix_columns(
			inverse_sub_bytes(inverse_shift_rows(v)) ^
			load(aes->key[i]));
	store(block,
	      inverse_sub_bytes(inverse_shift_rows(v)) ^ load(aes->key[0]));
}

/* FIPS 197, 5.2, for a key of eight words. */
static void expand_key(struct aes256 *aes, const uint8_t key[32])
{
	uint8_t *w = aes->key[0], sub[AES_BLOCK];
	uint8_t constant = 1;

	memcpy(w, key, 32);
	for (unsigned i = 8; i < 4 * (AES_ROUNDS + 1); i++) {
		uint8_t *to = w + i * 4ul;
		uint8_t t[4];

		memcpy(t, to - 4, 4);
		if (i % 4 == 0) {
			memset(sub, 0, sizeof(sub));
			memcpy(sub, t, 4);
			store(sub, sub_bytes(load(sub)));
			memcpy(t, sub, 4);
		}
		if (i % 8 == 0) {
			t[0] = sub[1] ^ constant;
			t[1] = sub[2];
			t[2] = sub[3];
			t[3] = sub[0];
			constant <<= 1;
		}
		for (unsigned j = 0; j < 4; j++)
			to[j] = to[(int)j - 32] ^ t[j];
		explicit_bzero(t, sizeof(t));
	}
	explicit_bzero(sub, sizeof(sub));
	for (unsigned i = 0; i <= AES_ROUNDS; i++) {
		vec v = load(aes->key[AES_ROUNDS - i]);

		if (i && i < AES_ROUNDS)
			v = inverse_mix_columns(v);
		store(aes->inverse[i], v);
	}
}

void xts_init(struct xts *xts, const uint8_t key[XTS_KEY_LEN])
{
	unsigned a, b, c, d;

	expand_key(&xts->data, key);
	expand_key(&xts->tweak, key + 32);
	xts->instructions = __get_cpuid(1, &a, &b, &c, &d) && c & bit_AES;
}

void xts_key(const struct xts *xts, uint8_t key[XTS_KEY_LEN])
{
	memcpy(key, xts->data.key, 32);
	memcpy(key + 32, xts->tweak.key, 32);
}

#define AES_TARGET __attribute__((target("aes")))
#define LANES      8 /* blocks in flight: an instruction takes some cycles */

AES_TARGET static inline __m128i load_block(const uint8_t *bytes)
{
	return _mm_loadu_si128((const __m128i *)(const void *)bytes);
}

AES_TARGET static void encrypt_aes(const struct aes256 *aes, uint8_t *block,
				   unsigned lanes)
{
	__m128i v[LANES], key = load_block(aes->key[0]);

	for (unsigned i = 0; i < lanes; i++)
		v[i] = load_block(block + i * AES_BLOCK) ^ key;
	for (unsigned round = 1; round < AES_ROUNDS; round++) {
		key = load_block(aes->key[round]);
		for (unsigned i = 0; i < lanes; i++)
			v[i] = _mm_aesenc_si128(v[i], key);
	}
	key = load_block(aes->key[AES_ROUNDS]);
	for (unsigned i = 0; i < lanes; i++)
		_mm_storeu_si128((__m128i *)(void *)(block + i * AES_BLOCK),
				 _mm_aesenclast_si128(v[i], key));
}

AES_TARGET static void decrypt_aes(const struct aes256 *aes, uint8_t *block,
				   unsigned lanes)
{
	__m128i v[LANES], key = load_block(aes->inverse[0]);

	for (unsigned i = 0; i < lanes; i++)
		v[i] = load_block(block + i * AES_BLOCK) ^ key;
	for (unsigned round = 1; round < AES_ROUNDS; round++) {
		key = load_block(aes->inverse[round]);
		for (unsigned i = 0; i < lanes; i++)
			v[i] = _mm_aesdec_si128(v[i], key);
	}
	key = load_block(aes->inverse[AES_ROUNDS]);
	for (unsigned i = 0; i < lanes; i++)
		_mm_storeu_si128((__m128i *)(void *)(block + i * AES_BLOCK),
				 _mm_aesdeclast_si128(v[i], key));
}

static void crypt_blocks(const struct xts *xts, uint8_t *blocks, unsigned lanes,
			 bool decrypt)
{
	if (xts->instructions) {
		(decrypt ? decrypt_aes : encrypt_aes)(&xts->data, blocks,
						      lanes);
		return;
	}
	for (; lanes; lanes--, blocks += AES_BLOCK)
		(decrypt ? decrypt_plain : encrypt_plain)(&xts->data, blocks);
}

void xts_one_block(const struct xts *xts, uint8_t block[AES_BLOCK],
		   bool decrypt)
{
	crypt_blocks(xts, block, 1, decrypt);
}

static void xor_into(uint8_t *data, const uint8_t *mask, size_t len)
{
	for (size_t i = 0; i < len; i += AES_BLOCK)
		store(data + i, load(data + i) ^ load(mask + i));
}

/* Each block of a sector is masked, before and after, by the tweak times
 * another power of x, modulo x^128 + x^7 + x^2 + x + 1 (IEEE 1619, 5.2). */
static void crypt_sector(const struct xts *xts, uint64_t sector, uint8_t *data,
			 bool decrypt)
{
	uint8_t mask[LANES * AES_BLOCK] = { 0 };
	uint64_t low, high;

	put_le64(mask, sector);
	if (xts->instructions)
		encrypt_aes(&xts->tweak, mask, 1);
	else
		encrypt_plain(&xts->tweak, mask);
	low = get_le64(mask);
	high = get_le64(mask + 8);
	for (size_t at = 0; at < XTS_SECTOR; at += sizeof(mask)) {
		for (unsigned i = 0; i < sizeof(mask); i += AES_BLOCK) {
			uint64_t carry = -(high >> 63);

			put_le64(mask + i, low);
			put_le64(mask + i + 8, high);
			high = high << 1 | low >> 63;
			low = low << 1 ^ (carry & 0x87);
		}
		xor_into(data + at, mask, sizeof(mask));
		crypt_blocks(xts, data + at, LANES, decrypt);
		xor_into(data + at, mask, sizeof(mask));
	}
}

void xts_encrypt(const struct xts *xts, uint64_t sector, uint8_t *data,
		 size_t len)
{
	for (size_t at = 0; at < len; at += XTS_SECTOR)
		crypt_sector(xts, sector++, data + at, false);
}

void xts_decrypt(const struct xts *xts, uint64_t sector, uint8_t *data,
		 size_t len)
{
	for (size_t at = 0; at < len; at += XTS_SECTOR)
		crypt_sector(xts, sector++, data + at, true);
}
