/*
 * AES (FIPS 197) by code that takes the same time and touches the same memory
 * whatever the key and the data; xts.c has the processor's instructions.
 *
 * Pure functions, any thread. The keys are secrets: their owner wipes them.
 */
#ifndef KVIST_BLOCK_AES_H
#define KVIST_BLOCK_AES_H

#include <stddef.h>
#include <stdint.h>

#define AES_BLOCK      16
#define AES_KEY_MAX    32
#define AES_ROUNDS_MAX 14

struct aes {
	unsigned rounds;
	uint8_t key[AES_ROUNDS_MAX + 1][AES_BLOCK];
	/* For the instructions that decrypt, last one first. */
	uint8_t inverse[AES_ROUNDS_MAX + 1][AES_BLOCK];
};

/* @key: of @len bytes, 16, 24 or 32. */
void aes_init(struct aes *aes, const uint8_t *key, size_t len);
/* One block, in place. */
void aes_encrypt(const struct aes *aes, uint8_t block[AES_BLOCK]);
void aes_decrypt(const struct aes *aes, uint8_t block[AES_BLOCK]);

#endif
