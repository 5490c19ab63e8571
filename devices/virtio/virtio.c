#include "devices/virtio/virtio.h"

#include "util/bytes.h"
#include "util/checked.h"
#include "util/counter.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define FEATURE(bit) (1ull << (bit))

/* What every device has; each adds its own. */
#define COMMON_FEATURES                                                        \
	(FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |  \
	 FEATURE(VIRTIO_RING_F_EVENT_IDX))

static void queue_reset(struct virtio_queue *queue)
{
	queue->config = (struct ring_config){ .size = queue->size_max };
	queue->enabled = false;
}

int virtio_init(struct virtio_device *virtio, const char *name, uint32_t id,
		const struct memory *memory, unsigned nr_queues,
		uint16_t queue_size)
{
	int err = 0;

	*virtio = (struct virtio_device){ .id = id,
					  .memory = memory,
					  .offered = COMMON_FEATURES,
					  .nr_queues = nr_queues };
	pthread_mutex_init(&virtio->config_lock, NULL);
	snprintf(virtio->name, sizeof(virtio->name), "%s", name);
	virtio->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (virtio->stop_fd < 0)
		err = -errno;
	for (unsigned i = 0; i < nr_queues; i++) {
		struct virtio_queue *queue = &virtio->queues[i];

		queue->size_max = queue_size;
		queue->ring = (struct ring){ .memory = memory,
					     .name = virtio->name,
					     .index = i,
					     .broken = true };
		queue_reset(queue);
		queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (queue->kick_fd < 0 && !err)
			err = -errno;
	}
	if (err)
		virtio_fini(virtio);
	return err;
}

void virtio_fini(struct virtio_device *virtio)
{
	for (unsigned i = 0; i < virtio->nr_queues; i++) {
		if (virtio->queues[i].kick_fd >= 0)
			close(virtio->queues[i].kick_fd);
	}
	if (virtio->stop_fd >= 0)
		close(virtio->stop_fd);
	pthread_mutex_destroy(&virtio->config_lock);
}

void virtio_watch(struct virtio_device *virtio, int fd)
{
	virtio->watched[virtio->nr_watched].fd = fd;
	virtio->watched[virtio->nr_watched++].events = POLLIN;
}

void virtio_unwatch(struct virtio_device *virtio, unsigned from)
{
	while (virtio->nr_watched > from)
		close(virtio->watched[--virtio->nr_watched].fd);
}

static bool has_status(const struct virtio_device *virtio, uint8_t bits)
{
	return virtio_status_read(virtio) & bits;
}

static bool has_feature(const struct virtio_device *virtio, unsigned bit)
{
	return virtio->features & FEATURE(bit);
}

void virtio_publish(struct virtio_device *virtio, unsigned queue)
{
	if (ring_publish(&virtio->queues[queue].ring))
		virtio_interrupt(virtio, queue);
}

void virtio_publish_quietly(struct virtio_device *virtio, unsigned queue)
{
	struct ring *ring = &virtio->queues[queue].ring;

	if (ring_publish_to(ring, ring_quiet(ring)))
		virtio_interrupt(virtio, queue);
}

void virtio_interrupt(struct virtio_device *virtio, unsigned queue)
{
	counter_add(&virtio->queues[queue].interrupts, 1);
	virtio->transport_ops->interrupt(virtio, queue);
}

void virtio_needs_reset(struct virtio_device *virtio)
{
	uint8_t old = __atomic_fetch_or(
		&virtio->status, VIRTIO_CONFIG_S_NEEDS_RESET, __ATOMIC_SEQ_CST);

	/* The driver is told once, and only if it runs (virtio 1.2, 2.1.2). */
	if (!(old & VIRTIO_CONFIG_S_NEEDS_RESET) &&
	    (old & VIRTIO_CONFIG_S_DRIVER_OK))
		virtio->transport_ops->interrupt(virtio,
						 VIRTIO_CONFIG_INTERRUPT);
}

uint32_t virtio_features_read(const struct virtio_device *virtio,
			      uint32_t select)
{
	return select < 2 ? virtio->offered >> (select * 32) : 0;
}

uint32_t virtio_features_driver(const struct virtio_device *virtio,
				uint32_t select)
{
	return select < 2 ? virtio->features >> (select * 32) : 0;
}

void virtio_features_write(struct virtio_device *virtio, uint32_t select,
			   uint32_t value)
{
	unsigned shift = select * 32;

	if (has_status(virtio, VIRTIO_CONFIG_S_FEATURES_OK)) {
		log_guest(&virtio->error,
			  "%s: the driver changes features after FEATURES_OK",
			  virtio->name);
		return;
	}
	if (select >= 2)
		return;
	virtio->features &= ~(0xffffffffull << shift);
	virtio->features |= (uint64_t)value << shift;
}

/* virtio 1.2, 2.2.2 and 6.1: a subset of the offer, and not a legacy driver. */
static bool features_valid(const struct virtio_device *virtio)
{
	return !(virtio->features & ~virtio->offered) &&
	       has_feature(virtio, VIRTIO_F_VERSION_1);
}

uint8_t virtio_status_read(const struct virtio_device *virtio)
{
	return __atomic_load_n(&virtio->status, __ATOMIC_SEQ_CST);
}

static int rings_start(struct virtio_device *virtio)
{
	for (unsigned i = 0; i < virtio->nr_queues; i++) {
		struct virtio_queue *queue = &virtio->queues[i];
		int err;

		if (!queue->enabled)
			continue;
		queue->config.indirect =
			has_feature(virtio, VIRTIO_RING_F_INDIRECT_DESC);
		queue->config.event_idx =
			has_feature(virtio, VIRTIO_RING_F_EVENT_IDX);
		err = ring_start(&queue->ring, &queue->config);
		if (err) {
			log_guest(&virtio->error,
				  "%s: queue %u: a ring is %s; the driver must "
				  "reset it",
				  virtio->name, i,
				  err == -EFAULT ? "outside RAM"
						 : "not aligned");
			return err;
		}
	}
	return 0;
}

static void rings_stop(struct virtio_device *virtio)
{
	for (unsigned i = 0; i < virtio->nr_queues; i++)
		ring_stop(&virtio->queues[i].ring);
}

static void transport_running(struct virtio_device *virtio, bool on)
{
	if (virtio->transport_ops->running)
		virtio->transport_ops->running(virtio, on);
}

/* DRIVER_OK was set. */
static void device_start(struct virtio_device *virtio)
{
	int err = rings_start(virtio);

	if (err)
		goto undo;
	err = virtio->ops->start ? virtio->ops->start(virtio) : 0;
	if (err) {
		log_err("%s: cannot start: %s", virtio->name, strerror(-err));
		goto undo;
	}
	err = virtio_worker_start(virtio);
	if (err)
		goto undo_start;
	virtio->running = true;
	transport_running(virtio, true);
	return;
undo_start:
	if (virtio->ops->stop)
		virtio->ops->stop(virtio);
undo:
	rings_stop(virtio);
	virtio_needs_reset(virtio);
}

static void device_stop(struct virtio_device *virtio)
{
	virtio_worker_stop(virtio);
	virtio->running = false;
	if (virtio->ops->stop)
		virtio->ops->stop(virtio);
	rings_stop(virtio);
}

static void negotiated(struct virtio_device *virtio)
{
	if (virtio->ops->negotiated)
		virtio->ops->negotiated(virtio);
}

void virtio_reset(struct virtio_device *virtio)
{
	if (virtio->running) {
		transport_running(virtio, false);
		device_stop(virtio);
	}
	for (unsigned i = 0; i < virtio->nr_queues; i++)
		queue_reset(&virtio->queues[i]);
	virtio->features = 0;
	negotiated(virtio);
	__atomic_store_n(&virtio->isr, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&virtio->status, 0, __ATOMIC_SEQ_CST);
}

void virtio_status_write(struct virtio_device *virtio, uint8_t status)
{
	uint8_t old;

	if (!status) {
		virtio_reset(virtio);
		return;
	}
	/* NEEDS_RESET is the device's to set (virtio 1.2, 2.1.2). */
	status &= ~VIRTIO_CONFIG_S_NEEDS_RESET;
	if ((status & VIRTIO_CONFIG_S_FEATURES_OK) && !features_valid(virtio))
		status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	if ((status & VIRTIO_CONFIG_S_DRIVER_OK) &&
	    !((status | virtio_status_read(virtio)) &
	      VIRTIO_CONFIG_S_FEATURES_OK)) {
		log_guest(&virtio->error,
			  "%s: the driver sets DRIVER_OK without FEATURES_OK",
			  virtio->name);
		status &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	}
	/* Bits are only taken back by a reset; and the worker may set one at
	 * the same moment. */
	old = __atomic_fetch_or(&virtio->status, status, __ATOMIC_SEQ_CST);
	if (~old & status & VIRTIO_CONFIG_S_FEATURES_OK)
		negotiated(virtio);
	if (~old & status & VIRTIO_CONFIG_S_DRIVER_OK)
		device_start(virtio);
}

uint64_t virtio_config_read(struct virtio_device *virtio, uint64_t offset,
			    unsigned len)
{
	uint64_t value = 0;

	if (offset < virtio->config_len) {
		if (len > virtio->config_len - offset)
			len = virtio->config_len - offset;
		pthread_mutex_lock(&virtio->config_lock);
		memcpy(&value, virtio->config + offset, len);
		pthread_mutex_unlock(&virtio->config_lock);
	}
	return value;
}

void virtio_config_write(struct virtio_device *virtio, uint64_t offset,
			 unsigned len, uint64_t value)
{
	if (virtio->ops->config_write)
		virtio->ops->config_write(virtio, offset, len, value);
}

/* Under config_lock: a driver that read the old generation before the bytes
 * changed reads another one after them (virtio 1.2, 2.5.3). */
static void config_store(struct virtio_device *virtio, unsigned offset,
			 const void *bytes, unsigned len)
{
	memcpy(virtio->config + offset, bytes, len);
	__atomic_fetch_add(&virtio->generation, 1, __ATOMIC_SEQ_CST);
}

void virtio_config_set(struct virtio_device *virtio, unsigned offset,
		       const void *bytes, unsigned len)
{
	pthread_mutex_lock(&virtio->config_lock);
	config_store(virtio, offset, bytes, len);
	pthread_mutex_unlock(&virtio->config_lock);
}

uint16_t virtio_config_bits(struct virtio_device *virtio, unsigned offset,
			    uint16_t clear, uint16_t set)
{
	uint8_t le[2];
	uint16_t old;

	pthread_mutex_lock(&virtio->config_lock);
	old = get_le16(virtio->config + offset);
	put_le16(le, (old & ~clear) | set);
	config_store(virtio, offset, le, sizeof(le));
	pthread_mutex_unlock(&virtio->config_lock);
	return old;
}

void virtio_config_changed(struct virtio_device *virtio)
{
	if (has_status(virtio, VIRTIO_CONFIG_S_DRIVER_OK))
		virtio->transport_ops->interrupt(virtio,
						 VIRTIO_CONFIG_INTERRUPT);
}

int virtio_counters(struct virtio_device *virtio, unsigned queue,
		    struct virtio_counter out[VIRTIO_COUNTERS_MAX])
{
	const struct virtio_queue *of = &virtio->queues[queue];
	int n = 0;

	if (virtio->ops->counters)
		n = virtio->ops->counters(virtio, queue, out);
	out[n++] = (struct virtio_counter){ "kicks", counter_read(&of->kicks) };
	out[n++] = (struct virtio_counter){ "interrupts",
					    counter_read(&of->interrupts) };
	return n;
}

struct virtio_queue *virtio_queue(struct virtio_device *virtio, uint32_t select)
{
	return select < virtio->nr_queues ? &virtio->queues[select] : NULL;
}

/* The queue, if the driver may change its registers now. */
static struct virtio_queue *queue_to_change(struct virtio_device *virtio,
					    uint32_t select)
{
	struct virtio_queue *queue = virtio_queue(virtio, select);

	if (queue && !queue->enabled && !virtio->running)
		return queue;
	log_guest(&virtio->error, "%s: the driver changes queue %u, which %s",
		  virtio->name, select, queue ? "is in use" : "does not exist");
	return NULL;
}

void virtio_queue_set_size(struct virtio_device *virtio, uint32_t select,
			   uint32_t size)
{
	struct virtio_queue *queue = queue_to_change(virtio, select);

	if (!queue)
		return;
	if (is_power_of_two(size) && size <= queue->size_max)
		queue->config.size = size;
	else
		log_guest(&virtio->error,
			  "%s: the driver wants a queue of %u entries",
			  virtio->name, size);
}

static uint64_t *queue_address(struct virtio_queue *queue,
			       enum virtio_ring_part part)
{
	switch (part) {
	case VIRTIO_DESC:
		return &queue->config.desc;
	case VIRTIO_DRIVER:
		return &queue->config.driver;
	default:
		return &queue->config.device;
	}
}

void virtio_queue_set_address(struct virtio_device *virtio, uint32_t select,
			      enum virtio_ring_part part, unsigned half,
			      uint32_t value)
{
	struct virtio_queue *queue = queue_to_change(virtio, select);
	uint64_t *address;

	if (!queue)
		return;
	address = queue_address(queue, part);
	*address &= ~(0xffffffffull << (half * 32));
	*address |= (uint64_t)value << (half * 32);
}

uint32_t virtio_queue_address(struct virtio_device *virtio, uint32_t select,
			      enum virtio_ring_part part, unsigned half)
{
	struct virtio_queue *queue = virtio_queue(virtio, select);

	return queue ? *queue_address(queue, part) >> (half * 32) : 0;
}

void virtio_queue_enable(struct virtio_device *virtio, uint32_t select)
{
	struct virtio_queue *queue = queue_to_change(virtio, select);

	if (queue)
		queue->enabled = true;
}

void virtio_queue_disable(struct virtio_device *virtio, uint32_t select)
{
	struct virtio_queue *queue = virtio_queue(virtio, select);
	bool running = virtio->running;

	if (!queue || !queue->enabled)
		return;
	if (running)
		virtio_worker_stop(virtio);
	ring_stop(&queue->ring);
	queue_reset(queue);
	if (running && virtio_worker_start(virtio))
		virtio_needs_reset(virtio);
}

void virtio_still(struct virtio_device *virtio,
		  void (*change)(struct virtio_device *virtio))
{
	pthread_mutex_lock(&virtio->dev->lock);
	virtio_worker_stop(virtio);
	change(virtio);
	if (virtio->running && virtio_worker_start(virtio))
		virtio_needs_reset(virtio);
	pthread_mutex_unlock(&virtio->dev->lock);
}

void virtio_notify(struct virtio_device *virtio, uint32_t queue)
{
	uint64_t one = 1;

	if (queue >= virtio->nr_queues || !virtio->running)
		return;
	if (write(virtio->queues[queue].kick_fd, &one, sizeof(one)) < 0)
		return; /* it is signalled already, very often */
}

void virtio_destroy(struct virtio_device *virtio)
{
	if (virtio->running)
		device_stop(virtio);
	if (virtio->transport)
		virtio->transport_ops->destroy(virtio->transport);
	virtio->ops->destroy(virtio);
}
