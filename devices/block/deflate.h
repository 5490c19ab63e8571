/*
 * Deflate: makes raw deflate streams (RFC 1951) for qcow2's compressed
 * clusters. Distances are at most 4 KiB, the window of QEMU's readers. Pure
 * functions; all memory is the caller's scratch, which one thread uses at a
 * time.
 */
#ifndef KVIST_BLOCK_DEFLATE_H
#define KVIST_BLOCK_DEFLATE_H

#include <stddef.h>
#include <stdint.h>

#define DEFLATE_WINDOW    4096
#define DEFLATE_HASH_BITS 13
#define DEFLATE_TOKENS    16384

#define DEFLATE_LITERALS  286
#define DEFLATE_DISTANCES 30

struct deflate_code {
	uint32_t count[DEFLATE_LITERALS]; /* how often a symbol occurs */
	uint16_t bits[DEFLATE_LITERALS];  /* its code, first bit lowest */
	uint8_t len[DEFLATE_LITERALS];    /* and length; 0: does not occur */
};

/* About 120 KiB; its contents need no care between calls. */
struct deflate {
	uint32_t head[1 << DEFLATE_HASH_BITS]; /* newest place, plus 1 */
	uint32_t older[DEFLATE_WINDOW];        /* the one before, plus 1 */
	uint32_t token[DEFLATE_TOKENS];        /* of the block being made */
	uint32_t tokens;
	struct deflate_code literals, distances, lengths;
};

/*
 * Compresses @in, at least one byte and less than 4 GiB, into @out: the bytes
 * it took, or 0 when they would be more than @out_len.
 */
size_t deflate_raw(struct deflate *d, const uint8_t *in, size_t in_len,
		   uint8_t *out, size_t out_len);

#endif
