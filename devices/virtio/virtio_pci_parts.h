/*
 * What the files of virtio over PCI share with each other, and with no one
 * else: virtio_pci.c answers the driver, virtio_pci_caps.c tells it what is
 * where (main thread, before the guest runs).
 */
#ifndef KVIST_VIRTIO_PCI_PARTS_H
#define KVIST_VIRTIO_PCI_PARTS_H

#include "devices/virtio/virtio_pci.h"

/* The BAR: a page for each structure. */
#define BAR_COMMON 0x0000u
#define BAR_ISR    0x1000u
#define BAR_DEVICE 0x2000u
#define BAR_NOTIFY 0x3000u
#define BAR_TABLE  0x4000u
#define BAR_PBA    0x5000u
#define BAR_SIZE   0x8000u
#define BAR_PAGE   0x1000u

#define COMMON_SIZE 60 /* of struct virtio_pci_common_cfg in virtio 1.2 */
#define NOTIFY_STEP 4u /* bytes between the queues' doorbells */

/* The class of the function that device @virtio_id is. */
uint32_t virtio_pci_class(uint32_t virtio_id);

/* The capabilities that name the structures; the offset of the last, the
 * window of PCI_CFG (4.1.4.9). */
unsigned virtio_pci_capabilities(struct pci_function *fn,
				 const struct virtio_device *virtio);

#endif
