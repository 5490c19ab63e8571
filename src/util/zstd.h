/*
 * Zstandard frames (RFC 8878), as qcow2's compressed clusters of type 1 and
 * packed kernels hold them. Input is hostile: nothing is read or written
 * outside the buffers, whatever it says, and the work is bounded by their
 * lengths. Pure functions; all memory is the caller's scratch, which one thread
 * uses at a time.
 */
#ifndef KVIST_UTIL_ZSTD_H
#define KVIST_UTIL_ZSTD_H

#include <stddef.h>
#include <stdint.h>

#include "util/zstd_entropy.h"

#define ZSTD_BLOCK_MAX (128u << 10)

/* About 140 KiB; its contents need no care between calls. */
struct zstd {
	struct zstd_fse literal_lengths, offsets, match_lengths;
	struct zstd_huffman huffman;
	uint32_t repeat[3]; /* offsets used last, newest first */
	uint8_t literals[ZSTD_BLOCK_MAX];
};

/*
 * Decodes frames, one after the other, until @out is full and its frame ends.
 * 0, whether or not input is left (a sector's padding); -EINVAL when the input
 * is invalid, cut short, needs a dictionary, holds less than @out_len bytes or
 * a frame that does not end with them. Skippable frames are skipped; a
 * checksum is not compared.
 */
int zstd_decode(struct zstd *z, const uint8_t *in, size_t in_len, uint8_t *out,
		size_t out_len);

#endif
