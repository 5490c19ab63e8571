/*
 * Makes Zstandard frames (RFC 8878) for qcow2's compressed clusters of type 1,
 * as QEMU writes them: one segment, with its size and without a checksum. Pure
 * functions; all memory is the caller's scratch, which one thread uses at a
 * time.
 */
#ifndef KVIST_BLOCK_ZSTD_ENCODE_H
#define KVIST_BLOCK_ZSTD_ENCODE_H

#include <stddef.h>
#include <stdint.h>

#include "devices/block/zstd_pack.h"
#include "util/zstd.h"
#include "util/zstd_codes.h"

#define ZSTD_CHAIN_LOG 17 /* log2 of how far a match reaches back */
#define ZSTD_HASH_LOG  15
#define ZSTD_MATCH_MIN 4

/* Literals, then a match. */
struct zstd_sequence {
	uint32_t literals, match;
	uint32_t offset; /* as the format codes it: 1 to 3 repeat one */
};

struct zstd_encoder {
	uint32_t head[1 << ZSTD_HASH_LOG];   /* newest place, plus 1 */
	uint32_t older[1 << ZSTD_CHAIN_LOG]; /* the one before, plus 1 */
	uint32_t repeat[3];
	/* Of the block being made. */
	uint8_t literals[ZSTD_BLOCK_MAX];
	size_t nr_literals;
	struct zstd_sequence sequences[ZSTD_BLOCK_MAX / ZSTD_MATCH_MIN];
	unsigned nr_sequences;
	uint8_t codes[3][ZSTD_BLOCK_MAX / ZSTD_MATCH_MIN];
	struct zstd_fse table;
	struct zstd_fse_writer writers[3];
};

/*
 * Compresses @in, at least 256 bytes and at most 2 MiB, into @out: the bytes it
 * took, or 0 when they would be more than @out_len.
 */
size_t zstd_encode(struct zstd_encoder *z, const uint8_t *in, size_t in_len,
		   uint8_t *out, size_t out_len);

#endif
