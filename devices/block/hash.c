#include "devices/block/hash.h"

#include <string.h>

#include "devices/block/sha.h"
#include "util/bytes.h"

static const struct {
	uint8_t len, block;
} kinds[HASH_KINDS] = {
	[HASH_SHA1] = { 20, 64 },
	[HASH_SHA256] = { 32, 64 },
	[HASH_SHA512] = { 64, 128 },
};

unsigned hash_len(enum hash_kind kind)
{
	return kinds[kind].len;
}

static void compress(const struct hash *s, union hash_words *h,
		     const uint8_t *block)
{
	if (s->kind == HASH_SHA512)
		sha512_block(h->d, block);
	else if (s->kind == HASH_SHA256)
		sha256_block(h->w, block, s->instructions);
	else
		sha1_block(h->w, block);
}

static void put_digest(enum hash_kind kind, const union hash_words *h,
		       uint8_t *digest)
{
	if (kind == HASH_SHA512) {
		for (unsigned i = 0; i < 8; i++)
			put_be64(digest + i * 8, h->d[i]);
		return;
	}
	for (unsigned i = 0; i < kinds[kind].len / 4u; i++)
		put_be32(digest + i * 4, h->w[i]);
}

void hash_init(struct hash *s, enum hash_kind kind)
{
	static const uint32_t sha1[5] = { 0x67452301, 0xefcdab89, 0x98badcfe,
					  0x10325476, 0xc3d2e1f0 };
	static const uint64_t sha512[8] = {
		0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b,
		0xa54ff53a5f1d36f1, 0x510e527fade682d1, 0x9b05688c2b3e6c1f,
		0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
	};

	s->kind = kind;
	s->len = 0;
	s->instructions = sha256_instructions();
	memcpy(s->h.d, sha512, sizeof(sha512));
	/* The upper halves are those of SHA-256. */
	for (unsigned i = 0; i < 8 && kind == HASH_SHA256; i++)
		s->h.w[i] = sha512[i] >> 32;
	if (kind == HASH_SHA1)
		memcpy(s->h.w, sha1, sizeof(sha1));
}

void hash_add(struct hash *s, const void *data, size_t len)
{
	const size_t block = kinds[s->kind].block;
	const uint8_t *bytes = data;

	while (len) {
		size_t at = s->len % block;
		size_t n = block - at < len ? block - at : len;

		memcpy(s->block + at, bytes, n);
		s->len += n;
		bytes += n;
		len -= n;
		if (at + n == block)
			compress(s, &s->h, s->block);
	}
}

void hash_end(struct hash *s, uint8_t *digest)
{
	const size_t block = kinds[s->kind].block;
	uint8_t end[HASH_BLOCK_MAX + 16] = { 0x80 };
	/* Zeros up to where the length is, an eighth of a block. */
	size_t zeros = (2 * block - 1 - block / 8 - s->len % block) % block;
	size_t len = 1 + zeros + block / 8;

	put_be64(end + len - 8, s->len * 8);
	hash_add(s, end, len);
	put_digest(s->kind, &s->h, digest);
}

void hmac_init(struct hmac *key, enum hash_kind kind, const void *bytes,
	       size_t len)
{
	const size_t block = kinds[kind].block;
	uint8_t pad[HASH_BLOCK_MAX] = { 0 };

	hash_init(&key->inner, kind);
	key->outer = key->inner;
	if (len > block) {
		hash_add(&key->inner, bytes, len);
		hash_end(&key->inner, pad);
		key->inner = key->outer;
	} else {
		memcpy(pad, bytes, len);
	}
	for (unsigned way = 0; way < 2; way++) {
		for (unsigned i = 0; i < block; i++)
			pad[i] ^= way ? 0x36 ^ 0x5c : 0x36;
		hash_add(way ? &key->outer : &key->inner, pad, block);
	}
	explicit_bzero(pad, sizeof(pad));
}

void hmac(const struct hmac *key, const void *data, size_t len, uint8_t *digest)
{
	struct hash s = key->inner;

	hash_add(&s, data, len);
	hash_end(&s, digest);
	s = key->outer;
	hash_add(&s, digest, kinds[s.kind].len);
	hash_end(&s, digest);
	explicit_bzero(&s, sizeof(s));
}

/* Replaces the digest in @block, which is padded to a message of that length
 * after a key's pad, by its HMAC: two compressions and no more. */
static void hmac_again(const struct hmac *key, uint8_t *block)
{
	const struct hash *pads[2] = { &key->inner, &key->outer };

	for (unsigned i = 0; i < 2; i++) {
		union hash_words h = pads[i]->h;

		compress(pads[i], &h, block);
		put_digest(pads[i]->kind, &h, block);
	}
}

void pbkdf2(const struct hmac *key, const uint8_t *salt, size_t salt_len,
	    uint32_t iterations, uint8_t *out, size_t out_len)
{
	const unsigned size = kinds[key->inner.kind].len;
	const unsigned end = kinds[key->inner.kind].block;
	uint8_t block[HASH_BLOCK_MAX], sum[HASH_LEN_MAX], message[64 + 4];

	memcpy(message, salt, salt_len);
	for (uint32_t n = 1; out_len; n++) {
		size_t len = out_len < size ? out_len : size;

		put_be32(message + salt_len, n);
		memset(block, 0, sizeof(block));
		block[size] = 0x80;
		put_be16(block + end - 2, (end + size) * 8);
		hmac(key, message, salt_len + 4, block);
		memcpy(sum, block, sizeof(sum));
		for (uint32_t i = 1; i < iterations; i++) {
			hmac_again(key, block);
			for (unsigned j = 0; j < size; j++)
				sum[j] ^= block[j];
		}
		memcpy(out, sum, len);
		out += len;
		out_len -= len;
	}
	explicit_bzero(block, sizeof(block));
	explicit_bzero(sum, sizeof(sum));
}
