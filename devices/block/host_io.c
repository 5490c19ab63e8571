/* Transfers over any host file: whole ones, and ones in flight. */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/engine.h"
#include "util/checked.h"
#include "util/iov.h"

/* Vectors handed to the host in one call: enough for a request of 256 KiB in
 * pages, and 1 KiB of stack per layer of a backing chain. */
#define IOV_BATCH 64

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

int host_io_now(struct host_io *io)
{
	struct host_file *file = io->file;

	switch (io->op) {
	case HOST_READ:
		return host_readv(file, io->iov, io->iovcnt, 0, io->length,
				  io->offset);
	case HOST_WRITE:
		return host_writev(file, io->iov, io->iovcnt, 0, io->length,
				   io->offset);
	case HOST_SYNC:
		return file->ops->sync(file);
	case HOST_PUNCH:
		return file->ops->punch(file, io->offset, io->length);
	}
	return -EINVAL;
}

/* What the system call left over: the end of the file, a signal, a host short
 * of memory. Rare, so it is finished at once. */
static int finish_short(struct host_io *io)
{
	uint64_t done = io->result > 0 ? io->result : 0;

	if (io->op == HOST_SYNC || io->op == HOST_PUNCH)
		return host_io_now(io);
	if (done && io->bounce)
		done = 0;
	return io->op == HOST_READ
		       ? host_readv(io->file, io->iov, io->iovcnt, done,
				    io->length - done, io->offset + done)
		       : host_writev(io->file, io->iov, io->iovcnt, done,
				     io->length - done, io->offset + done);
}

void host_io_finish(struct host_io *io)
{
	bool moves = io->op == HOST_READ || io->op == HOST_WRITE;
	void *bounced = io->bounce;
	int err = 0;

	if (io->result == -EINTR || io->result == -EAGAIN ||
	    (moves && io->result >= 0 && (uint64_t)io->result < io->length))
		err = finish_short(io);
	else if (io->result < 0)
		err = io->result;
	else if (bounced && io->op == HOST_READ)
		iov_copy_in(io->iov, io->iovcnt, 0, bounced, io->length);
	io->bounce = NULL;
	free(bounced);
	io->done(io, err);
}

void host_submit(struct host_file *file, struct host_io *io)
{
	io->file = file;
	io->bounce = NULL;
	if (file->ops->submit)
		file->ops->submit(file, io);
	else
		io->done(io, host_io_now(io));
}

void host_kick(struct host_file *file)
{
	if (file->ops->kick)
		file->ops->kick(file);
}

void host_reap(struct host_file *file)
{
	if (file->ops->reap)
		file->ops->reap(file);
}

bool host_wait(struct host_file *file)
{
	return file->ops->wait && file->ops->wait(file);
}

int host_event_fd(struct host_file *file)
{
	return file->ops->event_fd ? file->ops->event_fd(file) : -1;
}
