/*
 * virtio over MMIO, version 2 (virtio 1.2, 4.2): 512 bytes of registers and
 * one level-triggered interrupt.
 */
#ifndef KVIST_VIRTIO_VIRTIO_MMIO_H
#define KVIST_VIRTIO_VIRTIO_MMIO_H

#include "devices/virtio/virtio.h"
#include "kvm/irq.h"

#define VIRTIO_MMIO_SIZE 0x200

/*
 * Puts @virtio at [base, base + VIRTIO_MMIO_SIZE) of @mmio, interrupting on pin
 * @gsi. On success the transport belongs to @virtio and goes with
 * virtio_destroy(). 0 or -errno (as bus_add()). Main thread, before the guest
 * runs.
 */
int virtio_mmio_attach(struct virtio_device *virtio, struct bus *mmio,
		       uint64_t base, struct irqchip *irqs, uint32_t gsi);

#endif
