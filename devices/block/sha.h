/*
 * What hash.c is made of: the rounds of SHA-1, SHA-256 and SHA-512 (FIPS 180-4,
 * section 6), each of which takes one block of a message into the words @h.
 *
 * Pure functions, any thread.
 */
#ifndef KVIST_BLOCK_SHA_H
#define KVIST_BLOCK_SHA_H

#include <stdbool.h>
#include <stdint.h>

/* True if the processor has instructions for SHA-256. */
bool sha256_instructions(void);

/* Blocks of 64 bytes; by the instructions only where there are some. */
void sha1_block(uint32_t h[5], const uint8_t *block);
void sha256_block(uint32_t h[8], const uint8_t *block, bool instructions);
/* A block of 128 bytes. */
void sha512_block(uint64_t h[8], const uint8_t *block);

#endif
