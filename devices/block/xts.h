/*
 * AES in XTS mode (FIPS 197, IEEE 1619) on sectors of 512 bytes, as LUKS
 * uses it. By the processor's AES instructions, or by aes.h.
 *
 * Pure functions, any thread. The keys are secrets: their owner wipes them.
 */
#ifndef KVIST_BLOCK_XTS_H
#define KVIST_BLOCK_XTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/block/aes.h"

#define XTS_KEY_MAX 64 /* of AES-256: one for the data, one for the tweak */
#define XTS_SECTOR  512

struct xts {
	struct aes data, tweak;
	unsigned key_len;
	bool plain;        /* of a sector's number 32 bits are used ("plain") */
	bool instructions; /* the processor has them; a test may clear it */
};

/* @key: of @len bytes, 32 for AES-128, 64 for AES-256. Sectors' numbers are
 * "plain64". */
void xts_init(struct xts *xts, const uint8_t *key, size_t len);

/* The key it was made of, xts->key_len bytes, to @key: a secret. */
void xts_key(const struct xts *xts, uint8_t *key);

/* In place; @len is whole sectors, the first of which has number @sector
 * ("plain64": the number, little endian, is encrypted to be the tweak). */
void xts_encrypt(const struct xts *xts, uint64_t sector, uint8_t *data,
		 size_t len);
void xts_decrypt(const struct xts *xts, uint64_t sector, uint8_t *data,
		 size_t len);

/* AES alone, by the data key: for the standard's examples. */
void xts_one_block(const struct xts *xts, uint8_t block[AES_BLOCK],
		   bool decrypt);

#endif
