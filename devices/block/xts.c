#include "devices/block/xts.h"

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#include "util/bytes.h"

void xts_init(struct xts *xts, const uint8_t *key, size_t len)
{
	unsigned a, b, c, d;

	aes_init(&xts->data, key, len / 2);
	aes_init(&xts->tweak, key + len / 2, len / 2);
	xts->key_len = len;
	xts->plain = false;
	xts->instructions = __get_cpuid(1, &a, &b, &c, &d) && c & bit_AES;
}

void xts_key(const struct xts *xts, uint8_t *key)
{
	size_t half = xts->key_len / 2;

	memcpy(key, xts->data.key, half);
	memcpy(key + half, xts->tweak.key, half);
}

#define AES_TARGET __attribute__((target("aes")))
#define LANES      8 /* blocks in flight: an instruction takes some cycles */

AES_TARGET static inline __m128i load_block(const uint8_t *bytes)
{
	return _mm_loadu_si128((const __m128i *)(const void *)bytes);
}

AES_TARGET static void crypt_aes(const struct aes *aes, uint8_t *block,
				 unsigned lanes, bool decrypt)
{
	const uint8_t(*keys)[AES_BLOCK] = decrypt ? aes->inverse : aes->key;
	__m128i v[LANES], key = load_block(keys[0]);

	for (unsigned i = 0; i < lanes; i++)
		v[i] = load_block(block + i * AES_BLOCK) ^ key;
	for (unsigned round = 1; round < aes->rounds; round++) {
		key = load_block(keys[round]);
		for (unsigned i = 0; i < lanes; i++)
			v[i] = decrypt ? _mm_aesdec_si128(v[i], key)
				       : _mm_aesenc_si128(v[i], key);
	}
	key = load_block(keys[aes->rounds]);
	for (unsigned i = 0; i < lanes; i++)
		_mm_storeu_si128((__m128i *)(void *)(block + i * AES_BLOCK),
				 decrypt ? _mm_aesdeclast_si128(v[i], key)
					 : _mm_aesenclast_si128(v[i], key));
}

static void crypt_blocks(const struct xts *xts, uint8_t *blocks, unsigned lanes,
			 bool decrypt)
{
	if (xts->instructions) {
		crypt_aes(&xts->data, blocks, lanes, decrypt);
		return;
	}
	for (; lanes; lanes--, blocks += AES_BLOCK)
		(decrypt ? aes_decrypt : aes_encrypt)(&xts->data, blocks);
}

void xts_one_block(const struct xts *xts, uint8_t block[AES_BLOCK],
		   bool decrypt)
{
	crypt_blocks(xts, block, 1, decrypt);
}

static void xor_into(uint8_t *data, const uint8_t *mask, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] ^= mask[i];
}

/* Each block of a sector is masked, before and after, by the tweak times
 * another power of x, modulo x^128 + x^7 + x^2 + x + 1 (IEEE 1619, 5.2). */
static void crypt_sector(const struct xts *xts, uint64_t sector, uint8_t *data,
			 bool decrypt)
{
	uint8_t mask[LANES * AES_BLOCK] = { 0 };
	uint64_t low, high;

	put_le64(mask, xts->plain ? (uint32_t)sector : sector);
	if (xts->instructions)
		crypt_aes(&xts->tweak, mask, 1, false);
	else
		aes_encrypt(&xts->tweak, mask);
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
