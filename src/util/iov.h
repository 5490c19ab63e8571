/*
 * Scatter-gather lists. A piece of one is named by (skip, length) in bytes
 * from the list's start. Pure functions, any thread; the bytes may be guest
 * memory, which races with the guest.
 */
#ifndef KVIST_UTIL_IOV_H
#define KVIST_UTIL_IOV_H

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

/* Fills the piece with zeros; it lies within the list. */
void iov_zero(const struct iovec *iov, int iovcnt, uint64_t skip,
	      uint64_t length);

/* Copies @length bytes from @buf into the piece, or out of it. The number
 * copied: fewer where the list ends. */
uint64_t iov_copy_in(const struct iovec *iov, int iovcnt, uint64_t skip,
		     const void *buf, uint64_t length);
uint64_t iov_copy_out(const struct iovec *iov, int iovcnt, uint64_t skip,
		      void *buf, uint64_t length);

/* Changes the caller's array in place: drops the first @length bytes, so that
 * *iov starts at the first vector left, or keeps only those. */
void iov_skip(struct iovec **iov, int *iovcnt, uint64_t length);
void iov_trim(struct iovec *iov, int *iovcnt, uint64_t length);

#endif
