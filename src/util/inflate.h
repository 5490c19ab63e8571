/*
 * Inflate: raw deflate streams (RFC 1951), as qcow2's compressed clusters and
 * packed kernels hold them. Input is hostile: nothing is read or written
 * outside the buffers, whatever it says. Pure functions, any thread, no memory
 * of their own.
 */
#ifndef KVIST_UTIL_INFLATE_H
#define KVIST_UTIL_INFLATE_H

#include <stddef.h>
#include <stdint.h>

/*
 * Inflates @in until @out is full. 0 when @out_len bytes were made, whether or
 * not input is left; -EINVAL when the stream is invalid, cut short, or ends
 * earlier. Distances up to 32 KiB, within @out.
 */
int inflate_raw(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len);

#endif
