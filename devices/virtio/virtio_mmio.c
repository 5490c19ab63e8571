#include "devices/virtio/virtio_mmio.h"

#include "util/checked.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC     0x74726976 /* "virt" */
#define VERSION   2
#define VENDOR_ID 0x5453564b /* "KVST"; only shown by drivers */

struct virtio_mmio {
	struct device dev;
	struct virtio_device *virtio; /* our owner */
	struct bus *mmio;             /* borrowed */
	uint64_t base;
	uint32_t feature_select, driver_feature_select, queue_select;
	struct irq_line line;
	pthread_mutex_t line_lock; /* orders looking and setting the line */
	bool doorbell[VIRTIO_QUEUES_MAX]; /* which are ioeventfds */
};

/*
 * The worker sets an ISR bit and a vCPU acknowledges others at the same time.
 * Both then come here, and the lock orders looking and setting: the last one
 * has seen every bit, so an acknowledgement never hides a new interrupt.
 */
static void line_update(struct virtio_mmio *mmio)
{
	pthread_mutex_lock(&mmio->line_lock);
	irq_line_set(&mmio->line,
		     __atomic_load_n(&mmio->virtio->isr, __ATOMIC_SEQ_CST));
	pthread_mutex_unlock(&mmio->line_lock);
}

static void transport_interrupt(struct virtio_device *virtio, int queue)
{
	struct virtio_mmio *mmio = virtio->transport;

	__atomic_fetch_or(&virtio->isr,
			  queue == VIRTIO_CONFIG_INTERRUPT
				  ? VIRTIO_MMIO_INT_CONFIG
				  : VIRTIO_MMIO_INT_VRING,
			  __ATOMIC_SEQ_CST);
	line_update(mmio);
}

/* As over PCI, a doorbell that is no ioeventfd comes as an exit instead. */
static void transport_running(struct virtio_device *virtio, bool on)
{
	struct virtio_mmio *mmio = virtio->transport;

	for (uint32_t i = 0; i < virtio->nr_queues; i++) {
		int err;

		if (on ? !virtio->queues[i].enabled : !mmio->doorbell[i])
			continue;
		err = bus_ioeventfd(mmio->mmio,
				    mmio->base + VIRTIO_MMIO_QUEUE_NOTIFY, 4,
				    virtio->queues[i].kick_fd, &i, on);
		if (err)
			log_debug("%s: queue %u: no ioeventfd: %s",
				  virtio->name, i, strerror(-err));
		mmio->doorbell[i] = on && !err;
	}
}

/* Which part and half of a queue's addresses is register @offset. */
static bool address_register(uint64_t offset, enum virtio_ring_part *part,
			     unsigned *half)
{
	switch (offset & ~(uint64_t)4) {
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		*part = VIRTIO_DESC;
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		*part = VIRTIO_DRIVER;
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		*part = VIRTIO_DEVICE;
		break;
	default:
		return false;
	}
	*half = offset / 4 % 2;
	return true;
}

static uint32_t register_read(struct virtio_mmio *mmio, uint64_t offset)
{
	struct virtio_device *virtio = mmio->virtio;
	struct virtio_queue *queue = virtio_queue(virtio, mmio->queue_select);

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return virtio->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR_ID;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return virtio_features_read(virtio, mmio->feature_select);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return queue ? queue->size_max : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return queue && queue->enabled;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return __atomic_load_n(&virtio->isr, __ATOMIC_SEQ_CST);
	case VIRTIO_MMIO_STATUS:
		return virtio_status_read(virtio);
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return ~0u; /* there is no shared memory (4.2.2.1) */
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return __atomic_load_n(&virtio->generation, __ATOMIC_SEQ_CST);
	default:
		return 0; /* the others are write-only (4.2.2) */
	}
}

static uint64_t mmio_read(struct device *dev, unsigned range, uint64_t offset,
			  unsigned len)
{
	struct virtio_mmio *mmio = container_of(dev, struct virtio_mmio, dev);

	(void)range;
	if (offset >= VIRTIO_MMIO_CONFIG)
		return virtio_config_read(mmio->virtio,
					  offset - VIRTIO_MMIO_CONFIG, len);
	return len == 4 && offset % 4 == 0 ? register_read(mmio, offset) : 0;
}

static void transport_reset(struct virtio_mmio *mmio)
{
	mmio->feature_select = 0;
	mmio->driver_feature_select = 0;
	mmio->queue_select = 0;
	line_update(mmio);
}

static void status_write(struct virtio_mmio *mmio, uint32_t status)
{
	virtio_status_write(mmio->virtio, status);
	if (!(uint8_t)status)
		transport_reset(mmio);
}

static void register_write(struct virtio_mmio *mmio, uint64_t offset,
			   uint32_t value)
{
	struct virtio_device *virtio = mmio->virtio;
	enum virtio_ring_part part;
	unsigned half;

	if (address_register(offset, &part, &half)) {
		virtio_queue_set_address(virtio, mmio->queue_select, part, half,
					 value);
		return;
	}
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		mmio->feature_select = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		mmio->driver_feature_select = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		virtio_features_write(virtio, mmio->driver_feature_select,
				      value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		mmio->queue_select = value;
		break;
	case VIRTIO_MMIO_QUEUE_NUM:
		virtio_queue_set_size(virtio, mmio->queue_select, value);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		if (value == 1)
			virtio_queue_enable(virtio, mmio->queue_select);
		else if (value == 0)
			virtio_queue_disable(virtio, mmio->queue_select);
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		virtio_notify(virtio, value);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		__atomic_fetch_and(&virtio->isr, ~value, __ATOMIC_SEQ_CST);
		line_update(mmio);
		break;
	case VIRTIO_MMIO_STATUS:
		status_write(mmio, value);
		break;
	}
}

static void mmio_write(struct device *dev, unsigned range, uint64_t offset,
		       unsigned len, uint64_t value)
{
	struct virtio_mmio *mmio = container_of(dev, struct virtio_mmio, dev);

	(void)range;
	if (offset >= VIRTIO_MMIO_CONFIG)
		virtio_config_write(mmio->virtio, offset - VIRTIO_MMIO_CONFIG,
				    len, value);
	else if (len == 4 && offset % 4 == 0)
		register_write(mmio, offset, value);
}

static void mmio_reset(struct device *dev)
{
	struct virtio_mmio *mmio = container_of(dev, struct virtio_mmio, dev);

	virtio_reset(mmio->virtio);
	transport_reset(mmio);
}

static const struct device_ops mmio_ops = {
	.read = mmio_read,
	.write = mmio_write,
	.reset = mmio_reset,
};

static void transport_destroy(void *transport)
{
	struct virtio_mmio *mmio = transport;

	pthread_mutex_destroy(&mmio->line_lock);
	device_fini(&mmio->dev);
	free(mmio);
}

static const struct virtio_transport_ops transport_ops = {
	.interrupt = transport_interrupt,
	.running = transport_running,
	.destroy = transport_destroy,
};

int virtio_mmio_attach(struct virtio_device *virtio, struct bus *mmio_bus,
		       uint64_t base, struct irqchip *irqs, uint32_t gsi)
{
	struct virtio_mmio *mmio = calloc(1, sizeof(*mmio));
	int err = -ENOMEM;

	if (mmio) {
		*mmio = (struct virtio_mmio){ .virtio = virtio,
					      .mmio = mmio_bus,
					      .base = base,
					      .line = irq_line(irqs, gsi) };
		device_init(&mmio->dev, virtio->name, &mmio_ops, 1 | 2 | 4 | 8);
		pthread_mutex_init(&mmio->line_lock, NULL);
		err = bus_add(mmio_bus, &mmio->dev, 0, base, VIRTIO_MMIO_SIZE);
		if (err)
			transport_destroy(mmio);
	}
	if (err)
		return err;
	virtio->dev = &mmio->dev;
	virtio->transport_ops = &transport_ops;
	virtio->transport = mmio;
	return 0;
}
