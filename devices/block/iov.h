/*
 * Pieces of scatter-gather lists. A list is borrowed and never changed; a
 * piece is named by (skip, length) in bytes from the list's start, and must
 * lie within it. Pure functions, any thread.
 */
#ifndef KVIST_BLOCK_IOV_H
#define KVIST_BLOCK_IOV_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* The sum of the lengths; UINT64_MAX when it overflows. */
uint64_t iov_total(const struct iovec *iov, int iovcnt);

/*
 * Writes the vectors of the piece into @out, at most @max of them, and returns
 * how many; *taken is the bytes they cover, less than @length when @max was
 * too small.
 */
int iov_slice(struct iovec *out, int max, const struct iovec *iov, int iovcnt,
	      uint64_t skip, uint64_t length, uint64_t *taken);

/* Fills the piece with zeros, or with @length bytes from @buf. */
void iov_zero(const struct iovec *iov, int iovcnt, uint64_t skip,
	      uint64_t length);
void iov_copy_in(const struct iovec *iov, int iovcnt, uint64_t skip,
		 const void *buf, uint64_t length);

#endif
