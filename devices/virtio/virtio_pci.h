/*
 * virtio over PCI, modern only (virtio 1.2, 4.1): one BAR with the four
 * structures and the MSI-X table, an ioeventfd per queue while it runs, an
 * irqfd per vector, INTA without MSI-X.
 */
#ifndef KVIST_VIRTIO_VIRTIO_PCI_H
#define KVIST_VIRTIO_VIRTIO_PCI_H

#include "devices/pci.h"
#include "devices/virtio/virtio.h"

/*
 * Makes @virtio the function @slot.0 of the bus, with INTA on @gsi. On success
 * the transport belongs to @virtio and goes with virtio_destroy(). 0 or -errno
 * (as pci_function_init()). Main thread, before the guest runs.
 */
int virtio_pci_attach(struct virtio_device *virtio, struct pci_host *host,
		      unsigned slot, uint32_t gsi);

#endif
