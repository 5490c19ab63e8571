/*
 * How a virtio function names itself on PCI: its class, and the capabilities
 * that say where its registers are (virtio 1.2, 4.1.4).
 */
#include "devices/virtio/virtio_pci_parts.h"

#include <linux/pci_regs.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>

/* PCI Code and ID Assignment Specification 1.11, 1. */
uint32_t virtio_pci_class(uint32_t virtio_id)
{
	switch (virtio_id) {
	case VIRTIO_ID_NET:
		return 0x020000; /* Ethernet controller */
	case VIRTIO_ID_BLOCK:
		return 0x018000; /* other mass storage controller */
	default:
		return 0xff0000;
	}
}

static void capability(struct pci_function *fn, uint8_t type, uint32_t offset,
		       uint32_t length)
{
	struct virtio_pci_notify_cap cap = {
		.cap = { .cap_vndr = PCI_CAP_ID_VNDR,
			 .cap_len = sizeof(cap.cap),
			 .cfg_type = type,
			 .offset = offset,
			 .length = length },
		.notify_off_multiplier = NOTIFY_STEP,
	};

	if (type == VIRTIO_PCI_CAP_NOTIFY_CFG)
		cap.cap.cap_len = sizeof(cap);
	pci_capability(fn, &cap, cap.cap.cap_len, NULL);
}

unsigned virtio_pci_capabilities(struct pci_function *fn,
				 const struct virtio_device *virtio)
{
	struct virtio_pci_cfg_cap window = {
		.cap = { .cap_vndr = PCI_CAP_ID_VNDR,
			 .cap_len = sizeof(window),
			 .cfg_type = VIRTIO_PCI_CAP_PCI_CFG },
	};
	struct virtio_pci_cfg_cap writable = {
		.cap = { .bar = 0xff, .offset = ~0u, .length = ~0u },
		.pci_cfg_data = { 0xff, 0xff, 0xff, 0xff },
	};

	capability(fn, VIRTIO_PCI_CAP_COMMON_CFG, BAR_COMMON, COMMON_SIZE);
	capability(fn, VIRTIO_PCI_CAP_ISR_CFG, BAR_ISR, 1);
	capability(fn, VIRTIO_PCI_CAP_NOTIFY_CFG, BAR_NOTIFY,
		   virtio->nr_queues * NOTIFY_STEP);
	if (virtio->config_len)
		capability(fn, VIRTIO_PCI_CAP_DEVICE_CFG, BAR_DEVICE,
			   virtio->config_len);
	return pci_capability(fn, &window, sizeof(window), &writable);
}
