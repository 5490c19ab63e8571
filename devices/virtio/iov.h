/*
 * Scattered bytes: the pieces of guest memory that make up a request. Pure
 * functions on the caller's arrays; the bytes race with the guest.
 */
#ifndef KVIST_VIRTIO_IOV_H
#define KVIST_VIRTIO_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/* Copies between a buffer and the bytes of @iov from @offset on. The number
 * copied: less than @len where the iov ends. */
size_t iov_read(const struct iovec *iov, int iovcnt, size_t offset, void *to,
		size_t len);
size_t iov_write(const struct iovec *iov, int iovcnt, size_t offset,
		 const void *from, size_t len);

/* Drops the first @n bytes in place; *iov then starts at the first piece left.
 * @n is at most what there is. */
void iov_skip(struct iovec **iov, int *iovcnt, size_t n);
/* Keeps only the first @n bytes. */
void iov_trim(struct iovec *iov, int *iovcnt, size_t n);

#endif
