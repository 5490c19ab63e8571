/*
 * From a chain of the queue to the image and back: what a disk's worker does
 * about each request.
 */
#include "devices/virtio/blk_parts.h"

#include "devices/virtio/blk_request.h"
#include "util/checked.h"
#include "util/clock.h"
#include "util/iov.h"
#include "util/log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define BLK_BUDGET 256 /* requests between two interrupts */

/* With this many bytes in flight no further request begins: a reset waits for
 * all of them, and so does the end of the process; and a host that has to copy
 * them needs as much memory. */
#define BLK_IN_FLIGHT_MAX (64u << 20)

/* Called once for every chain that was popped (B1 of block.h). The last byte
 * says how it went; @written bytes from the first writable one on are filled,
 * and the status counts only if it comes right behind them. */
static void request_finish(struct blk_request *request, uint8_t status,
			   uint32_t written)
{
	struct virtio_blk *blk = request->blk;
	struct blk_queue *queue = &blk->queues[request->queue];

	*request->status = status;
	if (written == request->chain.write_bytes - 1)
		written++;
	ring_push(&blk->virtio.queues[request->queue].ring, &request->chain,
		  written);
	request->next = queue->free;
	queue->free = request;
}

/* What comes after the part of a request that is done; false when all is. */
static bool request_goes_on(struct blk_request *request)
{
	struct virtio_blk *blk = request->blk;
	struct block_request *io = &request->io;

	/* The write must be safe before it completes only if writeback was off
	 * all the time: so it is enough to look now. */
	if ((io->op == BLOCK_WRITE || io->op == BLOCK_ZERO) &&
	    !__atomic_load_n(&blk->writeback, __ATOMIC_RELAXED))
		request->then_flush = true;
	if (request->then_discard) {
		request->then_discard = false;
		io->op = BLOCK_DISCARD;
	} else if (request->then_flush) {
		request->then_flush = false;
		io->op = BLOCK_FLUSH;
	} else {
		return false;
	}
	block_submit(blk->block, io);
	return true;
}

static const char *const op_names[] = { [BLOCK_READ] = "read",
					[BLOCK_WRITE] = "write",
					[BLOCK_FLUSH] = "flush",
					[BLOCK_DISCARD] = "discard",
					[BLOCK_ZERO] = "write zeros" };

/* Keeps a request until the machine says retry. */
static void request_hold(struct blk_request *request, int err)
{
	struct virtio_blk *blk = request->blk;

	if (!blk->held) {
		log_err("disk %s: cannot %s: %s; the guest is paused. Free "
			"space on the host, or repair what is wrong; then say: "
			"kill -CONT %d",
			blk->block->name, op_names[request->io.op],
			strerror(-err), getpid());
		__atomic_store_n(&blk->holds, true, __ATOMIC_RELEASE);
		blk->options.stopped(blk->options.stopped_arg);
	}
	request->next = blk->held;
	blk->held = request;
}

/* Whether the host failed, and not the guest. */
static bool host_failed(int err)
{
	return err == -EIO || err == -ENOSPC || err == -EDQUOT;
}

static void request_done(struct block_request *io, int err)
{
	struct blk_request *request = container_of(io, struct blk_request, io);
	struct virtio_blk *blk = request->blk;

	if (!err && request_goes_on(request))
		return;
	blk->in_flight--;
	blk->bytes_in_flight -= io->length;
	if (blk->options.stop_on_error && host_failed(err)) {
		request_hold(request, err);
		return;
	}
	if (err == 0)
		request_finish(request, VIRTIO_BLK_S_OK, request->written);
	else if (err == -ENOTSUP)
		request_finish(request, VIRTIO_BLK_S_UNSUPP, 0);
	else
		request_finish(request, VIRTIO_BLK_S_IOERR, 0);
}

static void request_begin(struct blk_request *request)
{
	struct virtio_blk *blk = request->blk;

	blk->in_flight++;
	blk->bytes_in_flight += request->io.length;
	blk_join(request);
}

static void request_submit(struct blk_request *request,
			   const struct blk_command *command, struct iovec *iov,
			   int iovcnt)
{
	struct virtio_blk *blk = request->blk;

	log_trace("request: %s, %" PRIu64 " bytes at 0x%" PRIx64,
		  op_names[command->op], command->length, command->offset);
	request->then_discard = command->unmap;
	request->then_flush = false;
	request->written = command->op == BLOCK_READ ? command->length : 0;
	request->io = (struct block_request){ .op = command->op,
					      .offset = command->offset,
					      .length = command->length,
					      .iov = iov,
					      .iovcnt = iovcnt,
					      .done = request_done };
	if (limit_exists(&blk->limit) &&
	    (command->op == BLOCK_READ || command->op == BLOCK_WRITE))
		limit_take(&blk->limit, command->length,
			   clock_ns(CLOCK_MONOTONIC));
	request_begin(request);
}

static void request_identify(struct blk_request *request,
			     const struct iovec *in, int nr_in)
{
	const struct virtio_blk *blk = request->blk;

	request_finish(
		request, VIRTIO_BLK_S_OK,
		iov_copy_in(in, nr_in, 0, blk->serial, sizeof(blk->serial)));
}

/*
 * Splits the chain into header, data and status, wherever the driver drew the
 * borders of its descriptors (2.7.4.1). False if there is not even a byte for
 * the status.
 */
static bool request_start(struct blk_request *request)
{
	struct virtio_blk *blk = request->blk;
	struct ring_chain *chain = &request->chain;
	struct iovec *out = chain->iov;
	struct iovec *in = chain->iov + chain->readable;
	int nr_out = chain->readable, nr_in = chain->writable;
	struct blk_context context = { .size = blk->block->size,
				       .read_only = blk->block->read_only,
				       .discard = blk->options.discard };
	struct virtio_blk_outhdr header;
	struct blk_command command;
	uint8_t status;

	if (!chain->write_bytes)
		return false;
	request->status =
		(uint8_t *)in[nr_in - 1].iov_base + in[nr_in - 1].iov_len - 1;
	context.in_bytes = chain->write_bytes - 1;
	iov_trim(in, &nr_in, context.in_bytes);
	if (iov_copy_out(out, nr_out, 0, &header, sizeof(header)) <
	    sizeof(header)) {
		request_finish(request, VIRTIO_BLK_S_IOERR, 0);
		return true;
	}
	iov_skip(&out, &nr_out, sizeof(header));
	context.out_bytes = chain->read_bytes - sizeof(header);
	iov_copy_out(out, nr_out, 0, &context.range, sizeof(context.range));
	status = blk_parse(&header, &context, &command);
	if (status != VIRTIO_BLK_S_OK)
		request_finish(request, status, 0);
	else if (command.get_id)
		request_identify(request, in, nr_in);
	else if (command.op == BLOCK_READ)
		request_submit(request, &command, in, nr_in);
	else if (command.op == BLOCK_WRITE)
		request_submit(request, &command, out, nr_out);
	else
		request_submit(request, &command, NULL, 0);
	return true;
}

static void driver_error(struct virtio_blk *blk)
{
	log_guest(&blk->virtio.error,
		  "%s: request without a status byte; the driver must reset it",
		  blk->virtio.name);
	virtio_needs_reset(&blk->virtio);
}

/* Tries again what the host could not do; it may fail as before. */
static void retry_held(struct virtio_blk *blk)
{
	struct blk_request *held = blk->held;

	blk->retry = false;
	blk->held = NULL;
	__atomic_store_n(&blk->holds, false, __ATOMIC_RELEASE);
	while (held) {
		struct blk_request *request = held;

		held = request->next;
		request_begin(request);
	}
}

/* Whether the limit makes requests wait; the timer then says when no more. */
static bool limited(struct virtio_blk *blk)
{
	struct itimerspec at = { 0 };
	uint64_t wait;

	if (!limit_exists(&blk->limit))
		return false;
	wait = limit_wait(&blk->limit, clock_ns(CLOCK_MONOTONIC));
	if (!wait)
		return false;
	at.it_value.tv_sec = wait / 1000000000;
	at.it_value.tv_nsec = wait % 1000000000;
	timerfd_settime(blk->limit_fd, 0, &at, NULL);
	return true;
}

void blk_limit_over(struct virtio_blk *blk)
{
	uint64_t count;

	if (read(blk->limit_fd, &count, sizeof(count)) < 0)
		return; /* it was set anew */
}

static bool serve(struct virtio_blk *blk, unsigned number)
{
	struct blk_queue *queue = &blk->queues[number];
	struct ring *ring = &blk->virtio.queues[number].ring;

	queue->stalled = false;
	for (int budget = BLK_BUDGET;
	     budget && !__atomic_load_n(&blk->virtio.stop, __ATOMIC_ACQUIRE);
	     budget--) {
		struct blk_request *request = queue->free;
		int n;

		if (blk->held)
			return false; /* a new worker looks again */
		if (!request || blk->bytes_in_flight >= BLK_IN_FLIGHT_MAX ||
		    limited(blk)) {
			queue->stalled = true; /* blk_ready() comes back */
			return false;
		}
		n = ring_pop(ring, &request->chain);
		if (n < 0)
			virtio_needs_reset(&blk->virtio);
		if (n <= 0)
			return false; /* blk_idle() asks for notifications */
		queue->free = request->next;
		if (!request_start(request)) {
			driver_error(blk);
			return false;
		}
	}
	return true;
}

bool blk_serve(struct virtio_blk *blk, unsigned number)
{
	bool more;

	if (blk->retry)
		retry_held(blk);
	ring_notify_off(&blk->virtio.queues[number].ring);
	more = serve(blk, number);
	blk_join_end(blk);
	return more;
}
