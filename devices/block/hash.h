/*
 * SHA-1, SHA-256 and SHA-512 (FIPS 180-4), and HMAC (RFC 2104) and PBKDF2 (RFC
 * 8018) with them, for the keys of encrypted images. SHA-256 by the processor's
 * instructions where it has them. Neither time nor memory access depends on the
 * bytes hashed.
 *
 * Pure functions, any thread. States hold secrets: whoever owns one wipes it.
 */
#ifndef KVIST_BLOCK_HASH_H
#define KVIST_BLOCK_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hash_kind { HASH_SHA1, HASH_SHA256, HASH_SHA512, HASH_KINDS };

#define HASH_LEN_MAX   64
#define HASH_BLOCK_MAX 128

struct hash {
	enum hash_kind kind;
	bool instructions; /* the processor has them; a test may clear it */
	uint64_t len;      /* bytes added so far */
	union hash_words {
		uint32_t w[8];
		uint64_t d[8]; /* of SHA-512 */
	} h;
	uint8_t block[HASH_BLOCK_MAX];
};

/* Bytes of a digest. */
unsigned hash_len(enum hash_kind kind);

/* Begins a message. */
void hash_init(struct hash *s, enum hash_kind kind);
/* Adds @len bytes to it. */
void hash_add(struct hash *s, const void *data, size_t len);
/* Ends it: its hash_len() bytes go to @digest. Afterwards @s
 * can only be wiped or begun anew. */
void hash_end(struct hash *s, uint8_t *digest);

/* A key of HMAC, hashed into the states that each message begins with. */
struct hmac {
	struct hash inner, outer;
};

/* Of @len bytes, any number. */
void hmac_init(struct hmac *key, enum hash_kind kind, const void *bytes,
	       size_t len);
/* The HMAC of a message of @len bytes: hash_len() bytes, to @digest. */
void hmac(const struct hmac *key, const void *data, size_t len,
	  uint8_t *digest);

/* Derives the @out_len bytes of @out, any number, from the key by @iterations
 * >= 1 rounds; @salt_len at most 64 bytes. Takes its time. */
void pbkdf2(const struct hmac *key, const uint8_t *salt, size_t salt_len,
	    uint32_t iterations, uint8_t *out, size_t out_len);

#endif
