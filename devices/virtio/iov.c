#include "devices/virtio/iov.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static size_t iov_copy(const struct iovec *iov, int iovcnt, size_t offset,
		       uint8_t *bytes, size_t len, bool to_iov)
{
	size_t done = 0;

	for (int i = 0; i < iovcnt && done < len; i++) {
		uint8_t *piece = iov[i].iov_base;
		size_t n;

		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		n = iov[i].iov_len - offset;
		if (n > len - done)
			n = len - done;
		if (to_iov)
			memcpy(piece + offset, bytes + done, n);
		else
			memcpy(bytes + done, piece + offset, n);
		done += n;
		offset = 0;
	}
	return done;
}

size_t iov_read(const struct iovec *iov, int iovcnt, size_t offset, void *to,
		size_t len)
{
	return iov_copy(iov, iovcnt, offset, to, len, false);
}

size_t iov_write(const struct iovec *iov, int iovcnt, size_t offset,
		 const void *from, size_t len)
{
	return iov_copy(iov, iovcnt, offset, (uint8_t *)(uintptr_t)from, len,
			true);
}

void iov_skip(struct iovec **iov, int *iovcnt, size_t n)
{
	while (*iovcnt && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		(*iovcnt)--;
	}
	if (n) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
}

void iov_trim(struct iovec *iov, int *iovcnt, size_t n)
{
	int i = 0;

	while (i < *iovcnt && n > iov[i].iov_len)
		n -= iov[i++].iov_len;
	if (i < *iovcnt && n)
		iov[i++].iov_len = n;
	*iovcnt = i;
}
