#include "devices/virtio/blk.h"

#include "devices/virtio/blk_config.h"
#include "devices/virtio/blk_request.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/iov.h"
#include "util/log.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define QUEUE_SIZE 256
#define BLK_BUDGET QUEUE_SIZE /* requests between two interrupts */

struct blk_request {
	struct block_request io;
	struct virtio_blk *blk;
	unsigned queue;
	struct ring_chain chain;
	uint8_t *status;          /* the last writable byte, in guest memory */
	uint32_t written;         /* bytes filled before it, on success */
	bool then_discard;        /* what was zeroed */
	bool then_flush;          /* what was written */
	struct blk_request *next; /* free ones */
};

/* The requests that may be in flight for one queue. */
struct blk_queue {
	struct blk_request *requests;
	struct iovec *iov; /* RING_CHAIN_IOV() for each request */
	struct blk_request *free;
	bool starved; /* chains wait for a free request */
};

struct virtio_blk {
	struct virtio_device virtio;
	struct block *block; /* owned */
	uint8_t serial[VIRTIO_BLK_ID_BYTES];
	struct virtio_blk_options options; /* the serial is in the array */
	/* Atomic: the driver changes it while the worker runs. While it is
	 * false a write is safe when it completes (5.2.6.2). */
	bool writeback;
	unsigned in_flight;
	/* What the host could not do. As long as there is something, nothing
	 * more is taken off the rings. */
	struct blk_request *held;
	bool holds; /* atomic: held, for the main thread */
	bool retry;
	struct blk_queue queues[VIRTIO_BLK_QUEUES_MAX];
};

static struct virtio_blk *from_virtio(struct virtio_device *virtio)
{
	return container_of(virtio, struct virtio_blk, virtio);
}

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

	/* A write is safe before it completes only where writeback was off all
	 * the time: so how it is now decides. */
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
	blk->in_flight++;
	block_submit(blk->block, &request->io);
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

/* Tries what the host could not do once more; it may fail as before. */
static void retry_held(struct virtio_blk *blk)
{
	struct blk_request *held = blk->held;

	blk->retry = false;
	blk->held = NULL;
	__atomic_store_n(&blk->holds, false, __ATOMIC_RELEASE);
	while (held) {
		struct blk_request *request = held;

		held = request->next;
		blk->in_flight++;
		block_submit(blk->block, &request->io);
	}
}

/* Takes requests off the ring. True if the budget ran out before they did, or
 * the worker is to end: requests may be long, so `stop` is asked for each. */
static bool blk_serve(struct virtio_blk *blk, unsigned number)
{
	struct blk_queue *queue = &blk->queues[number];
	struct ring *ring = &blk->virtio.queues[number].ring;

	if (blk->retry)
		retry_held(blk);
	ring_notify_off(ring);
	queue->starved = false;
	for (int budget = BLK_BUDGET;
	     budget && !__atomic_load_n(&blk->virtio.stop, __ATOMIC_ACQUIRE);
	     budget--) {
		struct blk_request *request = queue->free;
		int n;

		if (blk->held)
			return false; /* a new worker looks again */
		if (!request) {
			queue->starved = true; /* blk_ready() comes back */
			return false;
		}
		n = ring_pop(ring, &request->chain);
		if (n < 0)
			virtio_needs_reset(&blk->virtio);
		if (n < 0 || (n == 0 && !ring_notify_on(ring)))
			return false;
		if (n == 0)
			continue;
		queue->free = request->next;
		if (!request_start(request)) {
			driver_error(blk);
			return false;
		}
	}
	return true;
}

static bool blk_queue(struct virtio_device *virtio, unsigned queue)
{
	bool more = blk_serve(from_virtio(virtio), queue);

	virtio_publish(virtio, queue);
	return more;
}

static bool blk_ready(struct virtio_device *virtio, unsigned backend,
		      short events)
{
	struct virtio_blk *blk = from_virtio(virtio);

	(void)backend, (void)events;
	blk->block->ops->reap(blk->block);
	for (unsigned i = 0; i < virtio->nr_queues; i++) {
		if (blk->queues[i].starved)
			virtio->queues[i].again = true;
		virtio_publish(virtio, i);
	}
	return false;
}

static void blk_drain(struct virtio_device *virtio)
{
	struct virtio_blk *blk = from_virtio(virtio);

	while (blk->in_flight) {
		struct pollfd pfd = { .fd = blk->block->event_fd,
				      .events = POLLIN };

		poll(&pfd, 1, -1);
		blk->block->ops->reap(blk->block);
	}
	for (unsigned i = 0; i < virtio->nr_queues; i++)
		virtio_publish(virtio, i);
}

/* Else the first touch may take 2 MiB, where the host gives those unasked. */
static void without_huge_pages(void *bytes, size_t size)
{
	uintptr_t first = align_up((uintptr_t)bytes, 4096);
	uintptr_t last = align_down((uintptr_t)bytes + size, 4096);

	if (first < last)
		madvise((void *)first, last - first, MADV_NOHUGEPAGE);
}

static int queue_start(struct virtio_blk *blk, unsigned number)
{
	struct blk_queue *queue = &blk->queues[number];
	size_t size = blk->virtio.queues[number].config.size;
	size_t pieces = RING_CHAIN_IOV(size);

	/* The iov of all requests together is large, but the kernel backs only
	 * what is used, and the request freed last is used first. */
	queue->requests = calloc(size, sizeof(*queue->requests));
	queue->iov = calloc(size * pieces, sizeof(*queue->iov));
	if (!queue->requests || !queue->iov)
		return -ENOMEM;
	without_huge_pages(queue->iov, size * pieces * sizeof(*queue->iov));
	queue->free = NULL;
	for (size_t i = size; i--;) {
		struct blk_request *request = &queue->requests[i];

		request->blk = blk;
		request->queue = number;
		request->chain.iov = &queue->iov[i * pieces];
		request->chain.max = pieces;
		request->next = queue->free;
		queue->free = request;
	}
	return 0;
}

static void blk_stop(struct virtio_device *virtio)
{
	struct virtio_blk *blk = from_virtio(virtio);

	for (unsigned i = 0; i < virtio->nr_queues; i++) {
		free(blk->queues[i].requests);
		free(blk->queues[i].iov);
		blk->queues[i] = (struct blk_queue){ 0 };
	}
	/* The driver has forgotten them. */
	blk->held = NULL;
	__atomic_store_n(&blk->holds, false, __ATOMIC_RELEASE);
}

static int blk_start(struct virtio_device *virtio)
{
	struct virtio_blk *blk = from_virtio(virtio);
	int err = 0;

	for (unsigned i = 0; i < virtio->nr_queues && !err; i++)
		err = queue_start(blk, i);
	if (err)
		blk_stop(virtio);
	return err;
}

static void set_writeback(struct virtio_blk *blk, bool on)
{
	blk->virtio.config[offsetof(struct virtio_blk_config, wce)] = on;
	__atomic_store_n(&blk->writeback, on, __ATOMIC_RELAXED);
}

/* A driver that never flushes, because it does not know how, expects its
 * writes to be safe (5.2.5.2, 5.2.6.2). */
static void blk_negotiated(struct virtio_device *virtio)
{
	set_writeback(from_virtio(virtio),
		      !virtio->features ||
			      virtio->features & 1ull << VIRTIO_BLK_F_FLUSH);
}

/* The one field that a driver may write (5.2.4). */
static void blk_config_write(struct virtio_device *virtio, uint64_t offset,
			     unsigned len, uint64_t value)
{
	if (offset == offsetof(struct virtio_blk_config, wce) && len == 1 &&
	    virtio->features & 1ull << VIRTIO_BLK_F_CONFIG_WCE)
		set_writeback(from_virtio(virtio), value & 1);
	else
		log_guest(&virtio->error,
			  "%s: the driver writes byte %" PRIu64
			  " of the configuration, which is read-only",
			  virtio->name, offset);
}

bool virtio_blk_holds(struct virtio_device *virtio)
{
	return __atomic_load_n(&from_virtio(virtio)->holds, __ATOMIC_ACQUIRE);
}

static void set_retry(struct virtio_device *virtio)
{
	from_virtio(virtio)->retry = true;
}

void virtio_blk_retry(struct virtio_device *virtio)
{
	virtio_still(virtio, set_retry);
}

static void blk_destroy(struct virtio_device *virtio)
{
	struct virtio_blk *blk = from_virtio(virtio);

	block_close(blk->block); /* it has logged what failed */
	virtio_fini(virtio);
	free(blk);
}

static const struct virtio_device_ops blk_ops = {
	.start = blk_start,
	.stop = blk_stop,
	.destroy = blk_destroy,
	.negotiated = blk_negotiated,
	.config_write = blk_config_write,
	.queue = blk_queue,
	.ready = blk_ready,
	.drain = blk_drain,
};

static void config_init(struct virtio_blk *blk)
{
	struct virtio_blk_config config;

	blk_configuration(blk->block, &blk->options, &config);
	memcpy(blk->virtio.config, &config, sizeof(config));
	blk->virtio.config_len = sizeof(config);
	blk->virtio.offered |= blk_features(blk->block, &blk->options);
}

_Static_assert(sizeof(struct virtio_blk_config) <= VIRTIO_CONFIG_MAX,
	       "the configuration of virtio-blk does not fit");

int virtio_blk_create(const char *name, struct block *block,
		      const struct virtio_blk_options *options,
		      const struct memory *memory,
		      struct virtio_device **virtio)
{
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	int err;

	if (!blk)
		return -ENOMEM;
	err = virtio_init(&blk->virtio, name, VIRTIO_ID_BLOCK, memory,
			  options->queues, QUEUE_SIZE);
	if (err) {
		free(blk);
		return err;
	}
	blk->virtio.ops = &blk_ops;
	blk->block = block;
	blk->options = *options;
	memcpy(blk->serial, options->serial,
	       strnlen(options->serial, sizeof(blk->serial)));
	config_init(blk);
	blk->virtio.nr_backends = 1;
	blk->virtio.backends[0].fd = block->event_fd;
	blk->virtio.backends[0].events = block->event_fd >= 0 ? POLLIN : 0;
	*virtio = &blk->virtio;
	return 0;
}
