/*
 * The driver's side of virtio 1.2: devices over PCI and over MMIO alike, and
 * split virtqueues.
 *
 * The structures are open: the tests reach inside and break them.
 */
#ifndef GUESTS_LIB_VIRTIO_H
#define GUESTS_LIB_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include <stdbool.h>
#include <stdint.h>

#define VIRTIO_NET   1
#define VIRTIO_BLOCK 2
#define VIRTIO_RNG   4

#define VQ_MAX 256 /* entries of a queue, at most */

struct virtio {
	uint32_t type; /* VIRTIO_BLOCK ... */
	bool pci;
	int slot;      /* PCI */
	uint64_t base; /* MMIO: the registers. PCI: the common structure */
	uint64_t isr, notify, config;
	uint32_t notify_multiplier;
	uint32_t gsi;        /* MMIO; PCI INTx */
	uint64_t features;   /* negotiated */
	uint64_t msix_table; /* PCI: its address, 0 without */
	int msix_cap, msix_size;
};

/* One buffer of a chain. */
struct vq_buffer {
	uint64_t address;
	uint32_t length;
	bool writable; /* by the device */
};

struct virtqueue {
	struct virtio *dev;
	int index;
	uint16_t size;
	uint16_t next;      /* next free head, used round robin */
	uint16_t last_used; /* next used element to look at */
	bool event_idx;
	uint16_t kicked; /* avail index at the last notification */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint64_t notify_at;
};

/* The @index-th device of @type, on whichever transport it is. */
bool virtio_find(struct virtio *dev, uint32_t type, int index);

/* Width-exact access to the registers common to both transports. */
uint8_t virtio_status(struct virtio *dev);
void virtio_set_status(struct virtio *dev, uint8_t status);
uint64_t virtio_device_features(struct virtio *dev);
void virtio_driver_features(struct virtio *dev, uint64_t features);
/* Reads and clears the interrupt status. */
uint8_t virtio_isr(struct virtio *dev);
uint32_t virtio_config32(struct virtio *dev, int offset);
uint64_t virtio_config64(struct virtio *dev, int offset);
void virtio_config_read(struct virtio *dev, int offset, void *to, int length);

/* Queue registers: select first. */
void virtio_select(struct virtio *dev, uint16_t queue);
uint16_t virtio_queue_max(struct virtio *dev);
void virtio_queue_size(struct virtio *dev, uint16_t size);
void virtio_queue_addresses(struct virtio *dev, uint64_t desc, uint64_t avail,
			    uint64_t used);
void virtio_queue_ready(struct virtio *dev, bool ready);
bool virtio_queue_is_ready(struct virtio *dev);

/* Where a notification for @queue goes: 16 bits over PCI, 32 over MMIO. */
uint64_t virtio_notify_address(struct virtio *dev, uint16_t queue);

/* Writes status 0 and waits until it reads back. */
void virtio_reset(struct virtio *dev);
/* Reset, ACKNOWLEDGE, DRIVER, and the features both @wanted and offered
 * (VERSION_1 is always wanted). False when FEATURES_OK is refused. */
bool virtio_start(struct virtio *dev, uint64_t wanted);
void virtio_driver_ok(struct virtio *dev);

/* Sets up queue @index with @size entries (0: what the device offers, up to
 * VQ_MAX) at fresh memory. */
void vq_init(struct virtqueue *vq, struct virtio *dev, int index,
	     uint16_t size);
/* Forgets all memory given to queues; after a reset of every device. */
void vq_forget(void);
/* Makes a chain available; its head. Does not notify. */
uint16_t vq_add(struct virtqueue *vq, const struct vq_buffer *buffers,
		int count);
/* The same through a table at @table (16 * count bytes, aligned to 16). */
uint16_t vq_add_indirect(struct virtqueue *vq, struct vring_desc *table,
			 const struct vq_buffer *buffers, int count);
/* Puts @head into the ring as it is. */
void vq_publish(struct virtqueue *vq, uint16_t head);
/* Notifies the device, unless it asked not to be. True if it did. */
bool vq_kick(struct virtqueue *vq);
void vq_notify(struct virtqueue *vq);
/* Something used and not yet taken? */
bool vq_pending(const struct virtqueue *vq);
/* Takes one; waits up to two seconds for it. False when none came. */
bool vq_take(struct virtqueue *vq, uint32_t *head, uint32_t *length);

/* With EVENT_IDX: the used element after which the driver wants to be told. */
static inline volatile uint16_t *vq_used_event(struct virtqueue *vq)
{
	return &vq->avail->ring[vq->size];
}

/* MSI-X entry @entry: fixed interrupt @vector to CPU 0. PCI only. */
void virtio_msix_set(struct virtio *dev, int entry, int vector, bool masked);
void virtio_msix_enable(struct virtio *dev, bool on);
/* The entry for queue @queue, or -1 for configuration changes; the entry read
 * back (VIRTIO_MSI_NO_VECTOR when refused). */
uint16_t virtio_msix_vector(struct virtio *dev, int queue, uint16_t entry);

#endif
