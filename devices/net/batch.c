#include "devices/net/batch.h"

#include "util/io_ring.h"

#include <errno.h>
#include <stdlib.h>

struct batch {
	int fd;
	struct io_ring ring;
};

/*
 * io_uring waits for a descriptor that would block, whatever its flags say,
 * unless each request forbids it; and taps before Linux 6.4 know no such
 * requests. A frame without a header, which no tap takes, tells.
 */
static bool can_refuse(int fd)
{
	uint8_t byte = 0;
	struct iovec iov = { &byte, 1 };

	return pwritev2(fd, &iov, 1, -1, RWF_NOWAIT) < 0 && errno == EINVAL;
}

struct batch *batch_create(int fd)
{
	struct batch *batch = calloc(1, sizeof(*batch));

	if (!batch)
		return NULL;
	batch->fd = fd;
	batch->ring.fd = -1;
	/* No registered file: the kernel would keep the tap for a while after
	 * it was closed. */
	if (can_refuse(fd))
		io_ring_open(&batch->ring, NET_BATCH, 0);
	return batch;
}

void batch_destroy(struct batch *batch)
{
	io_ring_close(&batch->ring);
	free(batch);
}

static void submit(struct batch *batch, unsigned char op,
		   const struct net_frame *frames, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct io_uring_sqe *sqe = io_ring_next(&batch->ring);

		sqe->opcode = op;
		sqe->fd = batch->fd;
		sqe->addr = (uintptr_t)frames[i].iov;
		sqe->len = (unsigned)frames[i].iovcnt;
		sqe->off = (uint64_t)-1; /* a tap has no position */
		sqe->rw_flags = RWF_NOWAIT;
		sqe->user_data = i;
	}
}

/* Without the kernel's help. */
static void one_by_one(const struct batch *batch, unsigned char op,
		       struct net_frame *frames, unsigned n)
{
	for (struct net_frame *frame = frames; frame < frames + n; frame++) {
		if (op == IORING_OP_READV)
			frame->result =
				readv(batch->fd, frame->iov, frame->iovcnt);
		else
			frame->result =
				writev(batch->fd, frame->iov, frame->iovcnt);
		if (frame->result < 0)
			frame->result = -errno;
	}
}

/* One call does all. Should it not, for want of memory, nothing that was
 * submitted is left behind: it is about the guest's memory. */
static void batch_run(struct batch *batch, unsigned char op,
		      struct net_frame *frames, unsigned count)
{
	const struct io_uring_cqe *cqe;
	unsigned left = count;

	if (batch->ring.fd < 0) {
		one_by_one(batch, op, frames, count);
		return;
	}
	submit(batch, op, frames, count);
	while (left) {
		unsigned n = io_ring_show(&batch->ring);

		if (io_ring_enter(&batch->ring, n, left) < 0 && n) {
			while (io_ring_take_back(&batch->ring))
				; /* all n of them */
			one_by_one(batch, op, frames + count - n, n);
			left -= n;
		}
		while ((cqe = io_ring_done(&batch->ring))) {
			frames[cqe->user_data].result = cqe->res;
			io_ring_seen(&batch->ring);
			left--;
		}
	}
}

void batch_read(struct batch *batch, struct net_frame *frames, unsigned count)
{
	batch_run(batch, IORING_OP_READV, frames, count);
}

void batch_write(struct batch *batch, struct net_frame *frames, unsigned count)
{
	bool later = false;

	batch_run(batch, IORING_OP_WRITEV, frames, count);
	/* There was no room for one and then there was for the next: the first
	 * can no longer go before it. */
	while (count--) {
		if (later && frames[count].result == -EAGAIN)
			frames[count].result = -ENOBUFS;
		later |= frames[count].result != -EAGAIN;
	}
}
