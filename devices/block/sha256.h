/*
 * SHA-256 (FIPS 180-4), and HMAC (RFC 2104) and PBKDF2 (RFC 8018) with it, for
 * the keys of encrypted images. By the processor's SHA instructions where it
 * has them. Neither time nor memory access depends on the bytes hashed.
 *
 * Pure functions, any thread. States hold secrets: whoever owns one wipes it.
 */
#ifndef KVIST_BLOCK_SHA256_H
#define KVIST_BLOCK_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_LEN   32
#define SHA256_BLOCK 64

struct sha256 {
	uint32_t h[8];
	uint64_t len; /* bytes added so far */
	uint8_t block[SHA256_BLOCK];
	bool instructions; /* the processor has them; a test may clear it */
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t len);
void sha256_end(struct sha256 *s, uint8_t digest[SHA256_LEN]);

/* A key of HMAC, hashed into the states that each message begins with. */
struct hmac_sha256 {
	struct sha256 inner, outer;
};

void hmac_sha256_init(struct hmac_sha256 *key, const void *bytes, size_t len);
void hmac_sha256(const struct hmac_sha256 *key, const void *data, size_t len,
		 uint8_t digest[SHA256_LEN]);

/* Derives @out from the key by @iterations >= 1 rounds; @salt_len at most 64
 * bytes. Takes its time. */
void pbkdf2_sha256(const struct hmac_sha256 *key, const uint8_t *salt,
		   size_t salt_len, uint32_t iterations, uint8_t *out,
		   size_t out_len);

#endif
