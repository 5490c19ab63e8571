#include "devices/block/host_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/checked.h"
#include "util/iov.h"

/* Vectors handed to the host in one call: enough for a request of 256 KiB in
 * pages, and 1 KiB of stack per layer of a backing chain. */
#define IOV_BATCH 64

const uint8_t host_zeros[HOST_ZEROS_LEN];

struct plain_file {
	struct host_file file;
	int fd;
};

static int plain_fd(struct host_file *file)
{
	return container_of(file, struct plain_file, file)->fd;
}

static ssize_t plain_preadv(struct host_file *file, const struct iovec *iov,
			    int iovcnt, uint64_t offset)
{
	ssize_t n = preadv(plain_fd(file), iov, iovcnt, offset);

	return n < 0 ? -errno : n;
}

static ssize_t plain_pwritev(struct host_file *file, const struct iovec *iov,
			     int iovcnt, uint64_t offset)
{
	ssize_t n = pwritev(plain_fd(file), iov, iovcnt, offset);

	return n < 0 ? -errno : n;
}

static int plain_sync(struct host_file *file)
{
	return fdatasync(plain_fd(file)) ? -errno : 0;
}

static int plain_punch(struct host_file *file, uint64_t offset, uint64_t length)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	return fallocate(plain_fd(file), mode, offset, length) ? -errno : 0;
}

static int plain_allocate(struct host_file *file, uint64_t offset,
			  uint64_t length)
{
	return fallocate(plain_fd(file), 0, offset, length) ? -errno : 0;
}

static int plain_truncate(struct host_file *file, uint64_t size)
{
	return ftruncate(plain_fd(file), size) ? -errno : 0;
}

static int plain_size(struct host_file *file, uint64_t *size)
{
	struct stat st;

	if (fstat(plain_fd(file), &st))
		return -errno;
	if (S_ISBLK(st.st_mode))
		return ioctl(plain_fd(file), BLKGETSIZE64, size) ? -errno : 0;
	*size = st.st_size;
	return 0;
}

static int plain_used(struct host_file *file, uint64_t *bytes)
{
	struct stat st;

	if (fstat(plain_fd(file), &st))
		return -errno;
	if (S_ISBLK(st.st_mode))
		return plain_size(file, bytes);
	*bytes = st.st_blocks * 512ull;
	return 0;
}

static int plain_look(struct host_file *file, uint64_t offset, bool *hole,
		      uint64_t *length)
{
	int fd = plain_fd(file);
	off_t end = lseek(fd, offset, SEEK_DATA);

	*hole = end != (off_t)offset;
	/* No data any more: a hole up to the end. */
	if (end < 0 && errno == ENXIO)
		end = lseek(fd, 0, SEEK_END);
	else if (end == (off_t)offset)
		end = lseek(fd, offset, SEEK_HOLE);
	if (end < 0)
		return -errno;
	*length = end - offset;
	return 0;
}

static void plain_close(struct host_file *file)
{
	close(plain_fd(file));
	free(container_of(file, struct plain_file, file));
}

static const struct host_file_ops plain_ops = {
	.preadv = plain_preadv,
	.pwritev = plain_pwritev,
	.sync = plain_sync,
	.punch = plain_punch,
	.allocate = plain_allocate,
	.truncate = plain_truncate,
	.size = plain_size,
	.used = plain_used,
	.look = plain_look,
	.close = plain_close,
};

struct host_file *host_file_create(int fd)
{
	struct plain_file *plain = calloc(1, sizeof(*plain));

	if (!plain)
		return NULL;
	plain->file.ops = &plain_ops;
	plain->fd = fd;
	return &plain->file;
}

int host_look(struct host_file *file, uint64_t offset, uint64_t length,
	      bool *hole, uint64_t *alike)
{
	uint64_t size;
	int err = file->ops->size(file, &size);

	*hole = !err && offset >= size;
	*alike = *hole || size - offset > length ? length : size - offset;
	if (err || *hole || !file->ops->look)
		return err;
	err = file->ops->look(file, offset, hole, &size);
	/* Where the host cannot tell, all is data; so is what changes while it
	 * is looked at. */
	if (err || !size)
		*hole = false;
	else if (size < *alike)
		*alike = size;
	return 0;
}

int host_readv(struct host_file *file, const struct iovec *iov, int iovcnt,
	       uint64_t skip, uint64_t length, uint64_t offset)
{
	while (length) {
		struct iovec part[IOV_BATCH];
		uint64_t taken;
		int cnt = iov_slice(part, IOV_BATCH, iov, iovcnt, skip, length,
				    &taken);
		ssize_t n;

		/* The last byte a host file can have is INT64_MAX - 1. */
		if (!cnt || !range_within(offset, taken, INT64_MAX))
			return -EIO;
		n = file->ops->preadv(file, part, cnt, offset);
		if (n == -EINTR)
			continue;
		if (n < 0)
			return n;
		if (!n) {
			iov_zero(iov, iovcnt, skip, length);
			return 0;
		}
		skip += n;
		offset += n;
		length -= n;
	}
	return 0;
}

int host_writev(struct host_file *file, const struct iovec *iov, int iovcnt,
		uint64_t skip, uint64_t length, uint64_t offset)
{
	while (length) {
		struct iovec part[IOV_BATCH];
		uint64_t taken;
		int cnt = iov_slice(part, IOV_BATCH, iov, iovcnt, skip, length,
				    &taken);
		ssize_t n;

		if (!cnt || !range_within(offset, taken, INT64_MAX))
			return -EIO;
		n = file->ops->pwritev(file, part, cnt, offset);
		if (n == -EINTR)
			continue;
		if (n < 0)
			return n;
		/* A device that takes no more bytes says so by writing none. */
		if (!n)
			return -ENOSPC;
		skip += n;
		offset += n;
		length -= n;
	}
	return 0;
}

int host_read(struct host_file *file, void *buf, size_t len, uint64_t offset)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	return host_readv(file, &iov, 1, 0, len, offset);
}

int host_write(struct host_file *file, const void *buf, size_t len,
	       uint64_t offset)
{
	/* The write direction never stores through the vector. */
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf,
			     .iov_len = len };

	return host_writev(file, &iov, 1, 0, len, offset);
}

int host_zero_iov(struct iovec *iov, int max, uint64_t length, uint64_t *taken)
{
	int n = 0;

	for (*taken = 0; n < max && *taken < length; n++) {
		uint64_t len = length - *taken;

		if (len > HOST_ZEROS_LEN)
			len = HOST_ZEROS_LEN;
		iov[n].iov_base = (void *)(uintptr_t)host_zeros;
		iov[n].iov_len = len;
		*taken += len;
	}
	return n;
}

int host_write_zeros(struct host_file *file, uint64_t offset, uint64_t length)
{
	while (length) {
		struct iovec iov[IOV_BATCH];
		uint64_t taken;
		int cnt = host_zero_iov(iov, IOV_BATCH, length, &taken);
		int err = host_writev(file, iov, cnt, 0, taken, offset);

		if (err)
			return err;
		offset += taken;
		length -= taken;
	}
	return 0;
}
