#include "util/iov.h"

#include <string.h>

uint64_t iov_total(const struct iovec *iov, int iovcnt)
{
	uint64_t total = 0;

	for (int i = 0; i < iovcnt; i++) {
		if (__builtin_add_overflow(total, iov[i].iov_len, &total))
			return UINT64_MAX;
	}
	return total;
}

int iov_slice(struct iovec *out, int max, const struct iovec *iov, int iovcnt,
	      uint64_t skip, uint64_t length, uint64_t *taken)
{
	int n = 0;

	*taken = 0;
	for (int i = 0; i < iovcnt && length && n < max; i++) {
		uint64_t len = iov[i].iov_len;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		len -= skip;
		if (len > length)
			len = length;
		out[n].iov_base = (char *)iov[i].iov_base + skip;
		out[n].iov_len = len;
		n++;
		skip = 0;
		length -= len;
		*taken += len;
	}
	return n;
}

void iov_zero(const struct iovec *iov, int iovcnt, uint64_t skip,
	      uint64_t length)
{
	struct iovec part;
	uint64_t taken;

	for (; length && iov_slice(&part, 1, iov, iovcnt, skip, length, &taken);
	     skip += taken, length -= taken)
		memset(part.iov_base, 0, part.iov_len);
}

uint64_t iov_copy_in(const struct iovec *iov, int iovcnt, uint64_t skip,
		     const void *buf, uint64_t length)
{
	const char *from = buf;
	struct iovec part;
	uint64_t taken, done = 0;

	while (done < length && iov_slice(&part, 1, iov, iovcnt, skip + done,
					  length - done, &taken)) {
		memcpy(part.iov_base, from + done, taken);
		done += taken;
	}
	return done;
}

uint64_t iov_copy_out(const struct iovec *iov, int iovcnt, uint64_t skip,
		      void *buf, uint64_t length)
{
	char *to = buf;
	struct iovec part;
	uint64_t taken, done = 0;

	while (done < length && iov_slice(&part, 1, iov, iovcnt, skip + done,
					  length - done, &taken)) {
		memcpy(to + done, part.iov_base, taken);
		done += taken;
	}
	return done;
}

void iov_skip(struct iovec **iov, int *iovcnt, uint64_t length)
{
	while (*iovcnt && length >= (*iov)->iov_len) {
		length -= (*iov)->iov_len;
		(*iov)++;
		(*iovcnt)--;
	}
	if (*iovcnt) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + length;
		(*iov)->iov_len -= length;
	}
}

void iov_trim(struct iovec *iov, int *iovcnt, uint64_t length)
{
	int i = 0;

	while (i < *iovcnt && length > iov[i].iov_len)
		length -= iov[i++].iov_len;
	if (i < *iovcnt && length)
		iov[i++].iov_len = length;
	*iovcnt = i;
}
