/*
 * LZ4 in its legacy frame, as `lz4 -l` makes it and Linux kernels are packed:
 * a magic number, then blocks of 8 MiB when unpacked, each preceded by its
 * packed length. Input is hostile: nothing is read or written outside the
 * buffers, whatever it says. Pure, except that decoding a frame starts threads
 * and ends them (parallel.h); any thread.
 */
#ifndef KVIST_UTIL_LZ4_H
#define KVIST_UTIL_LZ4_H

#include <stddef.h>
#include <stdint.h>

#define LZ4_LEGACY_MAGIC 0x184c2102u
#define LZ4_LEGACY_BLOCK (8u << 20) /* bytes, unpacked; the last has less */

/*
 * Decodes all of @in, a frame with its magic number, its blocks on all CPUs
 * (parallel.h). 0 when that made exactly @out_len bytes; -EINVAL when the
 * input is invalid, cut short, or makes fewer bytes or more. In a hostile
 * frame all of @out may be written.
 */
int lz4_legacy_decode(const uint8_t *in, size_t in_len, uint8_t *out,
		      size_t out_len);

/* Decodes one block. The number of bytes made, at most @out_len; -EINVAL when
 * the input is invalid or would make more. */
int64_t lz4_block_decode(const uint8_t *in, size_t in_len, uint8_t *out,
			 size_t out_len);

#endif
