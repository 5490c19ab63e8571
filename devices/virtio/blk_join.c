/*
 * Requests that follow each other, in the queue and on the disk, are one
 * request to the host:
 *
 *   queue   read 0+64K   read 64K+64K   read 128K+64K   write ...
 *             first ------- with ---------- with
 *             joined: read 0+192K, the three lists of pieces in a row
 *
 * The pieces of those that come later are copied behind the first one's, into
 * its part of the queue's iov: that has room for the longest chain there may
 * be, and what lay behind the data has been read by now. Each request keeps a
 * list of its own, so that all can be done one by one if the whole fails: each
 * then gets its own status. They were all in flight at the same time, so no
 * order is promised.
 */
#include "devices/virtio/blk_parts.h"

#include "util/checked.h"
#include "util/log.h"

#include <inttypes.h>
#include <string.h>

/* More at once is no quicker, and the first would wait for the last. */
#define JOIN_BYTES  (1u << 20)
#define JOIN_PIECES 256

static void joined_done(struct block_request *io, int err)
{
	struct blk_request *request =
		container_of(io, struct blk_request, joined);

	while (request) {
		struct blk_request *with = request->with;

		/* After this it may be another request. */
		if (err)
			block_submit(request->blk->block, &request->io);
		else
			request->io.done(&request->io, 0);
		request = with;
	}
}

void blk_join_end(struct virtio_blk *blk)
{
	struct blk_request *first = blk->first;

	blk->first = NULL;
	if (!first)
		return;
	if (!first->with) {
		block_submit(blk->block, &first->io);
		return;
	}
	log_trace("request: joined, %" PRIu64 " bytes at 0x%" PRIx64,
		  first->joined.length, first->joined.offset);
	block_submit(blk->block, &first->joined);
}

/* Makes the request a part of those that wait; false if it cannot be. */
static bool join(struct blk_request *first, const struct blk_request *request)
{
	struct block_request *joined = &first->joined;
	const struct block_request *io = &request->io;
	int used = joined->iov + joined->iovcnt - first->chain.iov;
	int room = first->chain.max - used;

	if (room > JOIN_PIECES - joined->iovcnt)
		room = JOIN_PIECES - joined->iovcnt;
	if (io->op != joined->op ||
	    io->offset != joined->offset + joined->length ||
	    joined->length + io->length > JOIN_BYTES || io->iovcnt > room)
		return false;
	memcpy(first->chain.iov + used, io->iov, io->iovcnt * sizeof(*io->iov));
	joined->iovcnt += io->iovcnt;
	joined->length += io->length;
	return true;
}

void blk_join(struct blk_request *request)
{
	struct virtio_blk *blk = request->blk;

	request->with = NULL;
	if (blk->first && join(blk->first, request)) {
		blk->last->with = request;
		blk->last = request;
		return;
	}
	blk_join_end(blk);
	if (request->io.op != BLOCK_READ && request->io.op != BLOCK_WRITE) {
		block_submit(blk->block, &request->io);
		return;
	}
	request->joined = request->io;
	request->joined.done = joined_done;
	blk->first = blk->last = request;
}
