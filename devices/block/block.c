#include "devices/block/block.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "devices/block/layers.h"
#include "util/checked.h"
#include "util/iov.h"

/* Vectors of a request to the layer below, on the stack of every layer. */
#define TRANSFER_BATCH 64

static int check_request(const struct block *block,
			 const struct block_request *request)
{
	if (request->op == BLOCK_FLUSH)
		return 0;
	if (request->offset % BLOCK_SECTOR || request->length % BLOCK_SECTOR ||
	    !range_within(request->offset, request->length, block->size))
		return -EINVAL;
	if (request->op != BLOCK_READ && block->read_only)
		return -EROFS;
	if ((request->op == BLOCK_READ || request->op == BLOCK_WRITE) &&
	    iov_total(request->iov, request->iovcnt) != request->length)
		return -EINVAL;
	return 0;
}

void block_submit(struct block *block, struct block_request *request)
{
	int err = check_request(block, request);

	if (err)
		request->done(request, err);
	else
		block->ops->submit(block, request);
}

void block_wait(struct block *block)
{
	struct pollfd pfd = { .fd = block->event_fd, .events = POLLIN };

	if (block->ops->wait && block->ops->wait(block)) {
		block_kick(block);
		return;
	}
	block_kick(block);
	if (poll(&pfd, 1, -1) > 0)
		block_reap(block);
}

const char *block_resize_error(int err)
{
	switch (err) {
	case -ENOTSUP:
		return "its snapshots do not say how large they are; convert "
		       "it to compat=1.1, or delete them";
	case -EFBIG:
		return "larger than its clusters, or its file system, allow; "
		       "convert it with a larger cluster_size";
	case -EROFS:
		return "it is read-only";
	case -EPERM:
		return "it is a piece of its file, of the size= that was said, "
		       "or the file is immutable";
	case -ERANGE:
		return "a disk that a guest uses is not made smaller: end the "
		       "guest, and say kvist img resize --shrink";
	}
	return strerror(-err);
}

/* A request somebody waits for. */
struct waiter {
	struct block_request request;
	bool finished;
	int err;
};

static void wake(struct block_request *request, int err)
{
	struct waiter *waiter = container_of(request, struct waiter, request);

	waiter->finished = true;
	waiter->err = err;
}

static int submit_and_wait(struct block *block, struct waiter *waiter)
{
	waiter->request.done = wake;
	waiter->finished = false;
	block_submit(block, &waiter->request);
	while (!waiter->finished)
		block_wait(block);
	return waiter->err;
}

int block_flush(struct block *block)
{
	struct waiter waiter = { .request.op = BLOCK_FLUSH };

	return submit_and_wait(block, &waiter);
}

int block_transfer(struct block *block, enum block_op op,
		   const struct iovec *iov, int iovcnt, uint64_t skip,
		   uint64_t length, uint64_t offset)
{
	int err = 0;

	if (length && op == BLOCK_READ && block->ops->read)
		return range_within(offset, length, block->size)
			       ? block->ops->read(block, iov, iovcnt, skip,
						  length, offset)
			       : -EINVAL;
	while (length && !err) {
		struct iovec part[TRANSFER_BATCH];
		struct waiter waiter = { 0 };
		uint64_t taken;
		int cnt = iov_slice(part, TRANSFER_BATCH, iov, iovcnt, skip,
				    length, &taken);

		/* Vectors end anywhere, requests only between sectors. */
		while (taken % BLOCK_SECTOR) {
			size_t cut = taken % BLOCK_SECTOR;

			if (part[cnt - 1].iov_len > cut) {
				part[cnt - 1].iov_len -= cut;
				taken -= cut;
			} else {
				taken -= part[--cnt].iov_len;
			}
		}
		if (!taken)
			return -EINVAL;
		waiter.request.op = op;
		waiter.request.offset = offset;
		waiter.request.length = taken;
		waiter.request.iov = part;
		waiter.request.iovcnt = cnt;
		err = submit_and_wait(block, &waiter);
		skip += taken;
		offset += taken;
		length -= taken;
	}
	return err;
}
