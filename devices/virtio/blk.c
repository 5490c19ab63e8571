#include "devices/virtio/blk_parts.h"

#include "devices/virtio/blk_config.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/sparse.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define QUEUE_SIZE 256

/* A sleep shorter than SPIN_NS is not worth it. After spinning for SPIN_MAX_NS
 * the worker looks at everything. */
#define SPIN_NS     50000
#define SPIN_MAX_NS 2000000

/* What the worker waits for. */
enum { BACKEND_BLOCK, BACKEND_LIMIT };

static struct virtio_blk *from_virtio(struct virtio_device *virtio)
{
	return container_of(virtio, struct virtio_blk, virtio);
}

/* Shows the driver what is done. The interrupt may be owed: blk_idle() then
 * looks for more requests before it goes out. */
static void blk_publish(struct virtio_blk *blk, unsigned queue)
{
	if (!ring_publish(&blk->virtio.queues[queue].ring))
		return;
	if (!blk->owes && patience_at_once(&blk->patience))
		virtio_interrupt(&blk->virtio, queue);
	else
		blk->queues[queue].owed = blk->owes = true;
}

/* All interrupts that are owed go out. */
static void blk_pay(struct virtio_blk *blk)
{
	if (!blk->owes)
		return;
	for (unsigned i = 0; i < blk->virtio.nr_queues; i++) {
		if (blk->queues[i].owed)
			virtio_interrupt(&blk->virtio, i);
		blk->queues[i].owed = false;
	}
	blk->owes = false;
	patience_end(&blk->patience);
}

/* After completions: queues that waited for a free request go on, and the
 * driver is told. */
static void blk_settle(struct virtio_blk *blk)
{
	struct virtio_device *virtio = &blk->virtio;

	for (unsigned i = 0; i < virtio->nr_queues; i++) {
		if (blk->queues[i].stalled)
			virtio->queues[i].again = true;
		blk_publish(blk, i);
	}
}

static bool blk_dead(const struct virtio_blk *blk)
{
	return virtio_status_read(&blk->virtio) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* If the worker has slept because there were no requests: how long tells
 * whether to spin next time. */
static void blk_awake(struct virtio_blk *blk)
{
	uint64_t slept;

	if (!blk->asleep_since)
		return;
	slept = clock_ns(CLOCK_MONOTONIC) - blk->asleep_since;
	blk->asleep_since = 0;
	if (!blk->may_spin)
		return;
	blk->spin = slept < SPIN_NS;
	patience_paused(&blk->patience, slept);
}

static bool blk_queue(struct virtio_device *virtio, unsigned queue)
{
	struct virtio_blk *blk = from_virtio(virtio);
	unsigned in_flight;
	bool more;

	blk_awake(blk);
	more = blk_serve(blk, queue);
	in_flight = blk->in_flight;
	/* All of them in one go; one interrupt for all that is done. */
	block_kick(blk->block);
	if (blk->in_flight == in_flight) {
		blk_publish(blk, queue);
	} else {
		blk_settle(blk);
		more |= virtio->queues[queue].again;
	}
	/* It may be long before blk_idle() does it. */
	if (more)
		blk_pay(blk);
	return more;
}

static void blk_ready(struct virtio_device *virtio, unsigned backend,
		      short events)
{
	struct virtio_blk *blk = from_virtio(virtio);

	(void)events;
	blk_awake(blk);
	if (backend == BACKEND_BLOCK)
		block_reap(blk->block);
	else
		blk_limit_over(blk);
	blk_settle(blk);
}

/* Serves the queues that have something; false if none has. */
static bool blk_look(struct virtio_blk *blk)
{
	struct virtio_device *virtio = &blk->virtio;
	bool found = false;

	for (unsigned i = 0; i < virtio->nr_queues; i++) {
		struct virtio_queue *queue = &virtio->queues[i];

		if (blk->held || (blk->queues[i].stalled && !queue->again) ||
		    (!queue->again && !ring_waiting(&queue->ring)))
			continue;
		queue->again = blk_queue(virtio, i);
		found = true;
	}
	return found;
}

/*
 * Stays awake as long as something comes at least every SPIN_NS, or an
 * interrupt that is owed may wait. The driver need not notify meanwhile, which
 * costs it more than all the rest. It does not spin while the host is at work
 * for us: that work may need this CPU.
 */
static void blk_spin(struct virtio_blk *blk)
{
	uint64_t start = clock_ns(CLOCK_MONOTONIC), last = start, now = start;
	uint64_t spin = blk->spin ? SPIN_NS : 0;

	patience_begin(&blk->patience, now);
	while ((blk->owes || now - last < spin) && now - start < SPIN_MAX_NS &&
	       !blk->in_flight && !blk_dead(blk) &&
	       !__atomic_load_n(&blk->virtio.stop, __ATOMIC_ACQUIRE)) {
		bool owed = blk->owes, found = blk_look(blk);
		uint64_t before = now;

		now = clock_ns(CLOCK_MONOTONIC);
		if (found)
			last = now;
		else
			__builtin_ia32_pause();
		if (!owed)
			patience_begin(&blk->patience, now);
		else if (found)
			patience_more(&blk->patience, before, now);
		if (!patience_lasts(&blk->patience, now))
			blk_pay(blk);
	}
}

/*
 * Before the worker sleeps. Until then drivers need not notify; so each pass
 * over the queues must end here, and does: a queue has no more entries than the
 * budget, and the driver can only refill it after blk_publish().
 */
static bool blk_idle(struct virtio_device *virtio)
{
	struct virtio_blk *blk = from_virtio(virtio);
	bool again = false;

	if (blk->spin || blk->owes)
		blk_spin(blk);
	blk_pay(blk);
	if (blk->held || blk_dead(blk))
		return false;
	for (unsigned i = 0; i < virtio->nr_queues; i++) {
		struct virtio_queue *queue = &virtio->queues[i];

		/* Nobody would serve it, and this would never end. */
		if (!queue->enabled)
			continue;
		if (!blk->queues[i].stalled && ring_notify_on(&queue->ring))
			queue->again = true;
		again |= queue->again;
	}
	/* How long the host takes tells nothing about the driver. */
	if (!again && !blk->in_flight)
		blk->asleep_since = clock_ns(CLOCK_MONOTONIC);
	return again;
}

static void blk_drain(struct virtio_device *virtio)
{
	struct virtio_blk *blk = from_virtio(virtio);

	while (blk->in_flight)
		block_wait(blk->block);
	for (unsigned i = 0; i < virtio->nr_queues; i++)
		blk_publish(blk, i);
	blk_pay(blk);
}

static int queue_start(struct virtio_blk *blk, unsigned number)
{
	struct blk_queue *queue = &blk->queues[number];
	size_t size = blk->virtio.queues[number].config.size;
	size_t pieces = RING_CHAIN_IOV(size);

	/* The iov of all requests together is large, but the kernel backs only
	 * what is used, and the request freed last is used first. */
	queue->requests = calloc(size, sizeof(*queue->requests));
	queue->iov = sparse_calloc(size * pieces, sizeof(*queue->iov));
	if (!queue->requests || !queue->iov)
		return -ENOMEM;
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
	virtio_config_set(&blk->virtio, offsetof(struct virtio_blk_config, wce),
			  &(uint8_t){ on }, 1);
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

/* With the transport's lock, and without a worker. */
static void resize(struct virtio_device *virtio)
{
	struct virtio_blk *blk = from_virtio(virtio);
	struct block *block = blk->block;
	uint64_t old = block->size, size = blk->new_size, capacity;
	int err = block->ops->refresh ? block->ops->refresh(block) : 0;

	if (!err && size && size != block->size)
		err = block->read_only     ? -EROFS
		      : size < block->size ? -ERANGE
					   : block->ops->resize(block, size);
	blk->resized = err;
	if (block->size == old)
		return;
	log_info("disk %s: was %" PRIu64 " bytes, is now %" PRIu64, block->name,
		 old, block->size);
	capacity = htole64(block->size / BLOCK_SECTOR);
	virtio_config_set(virtio, 0, &capacity, sizeof(capacity));
	virtio_config_changed(virtio);
}

int virtio_blk_resize(struct virtio_device *virtio, uint64_t size)
{
	struct virtio_blk *blk = from_virtio(virtio);

	blk->new_size = size;
	virtio_still(virtio, resize);
	return blk->resized;
}

uint64_t virtio_blk_size(struct virtio_device *virtio)
{
	return le64toh(virtio_config_read(virtio, 0, 8)) * BLOCK_SECTOR;
}

static int limit_start(struct virtio_blk *blk)
{
	limit_init(&blk->limit, &blk->options.limit);
	blk->limit_fd = -1;
	if (!limit_exists(&blk->limit))
		return 0;
	blk->limit_fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return blk->limit_fd < 0 ? -errno : 0;
}

static void limit_end(struct virtio_blk *blk)
{
	if (blk->limit_fd >= 0)
		close(blk->limit_fd);
}

static void blk_destroy(struct virtio_device *virtio)
{
	struct virtio_blk *blk = from_virtio(virtio);

	block_close(blk->block); /* it has logged what failed */
	limit_end(blk);
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
	.idle = blk_idle,
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

static void watch(struct virtio_blk *blk, int backend, int fd)
{
	blk->virtio.watched[backend].fd = fd;
	blk->virtio.watched[backend].events = fd >= 0 ? POLLIN : 0;
}

int virtio_blk_create(const char *name, struct block *block,
		      const struct virtio_blk_options *options,
		      const struct memory *memory,
		      struct virtio_device **virtio)
{
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	int err;

	if (!blk)
		return -ENOMEM;
	blk->options = *options;
	err = limit_start(blk);
	if (err)
		goto free_blk;
	err = virtio_init(&blk->virtio, name, VIRTIO_ID_BLOCK, memory,
			  options->queues, QUEUE_SIZE);
	if (err)
		goto end_limit;
	blk->virtio.ops = &blk_ops;
	/* On a single CPU it would only keep the guest from running. */
	blk->may_spin = get_nprocs() > 1;
	blk->block = block;
	memcpy(blk->serial, options->serial,
	       strnlen(options->serial, sizeof(blk->serial)));
	config_init(blk);
	blk->virtio.nr_watched = 2;
	watch(blk, BACKEND_BLOCK, block->event_fd);
	watch(blk, BACKEND_LIMIT, blk->limit_fd);
	*virtio = &blk->virtio;
	return 0;
end_limit:
	limit_end(blk);
free_blk:
	free(blk);
	return err;
}
