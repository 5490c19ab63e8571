#include "guests/lib/virtio.h"
#include "guests/lib/acpi.h"
#include "guests/lib/lib.h"
#include "guests/lib/pci.h"

#include <linux/virtio_mmio.h>

#define VIRTIO_VENDOR 0x1af4
#define MMIO_MAGIC    0x74726976
#define SLOTS         32

/* BARs that nobody has placed get addresses from here. */
#define BAR_WINDOW 0xd0000000u

/* Offsets in the common structure of PCI (virtio 1.2, 4.1.4.3). */
enum {
	COMMON_DFSELECT = 0x00,
	COMMON_DF = 0x04,
	COMMON_GFSELECT = 0x08,
	COMMON_GF = 0x0c,
	COMMON_MSIX = 0x10,
	COMMON_STATUS = 0x14,
	COMMON_Q_SELECT = 0x16,
	COMMON_Q_SIZE = 0x18,
	COMMON_Q_MSIX = 0x1a,
	COMMON_Q_ENABLE = 0x1c,
	COMMON_Q_NOFF = 0x1e,
	COMMON_Q_DESC = 0x20,
	COMMON_Q_AVAIL = 0x28,
	COMMON_Q_USED = 0x30,
};

static uint64_t place_bar(int slot, int bar)
{
	static uint64_t next = BAR_WINDOW;
	uint64_t base = pci_bar(slot, bar), size;

	if (base)
		return base;
	size = pci_bar_size(slot, bar);
	CHECK(size, "a virtio capability's BAR exists");
	base = (next + size - 1) & ~(size - 1);
	next = base + size;
	pci_write32(slot, PCI_BAR0 + 4 * bar, (uint32_t)base);
	return pci_bar(slot, bar);
}

static void pci_probe(struct virtio *dev, int slot)
{
	*dev = (struct virtio){ .pci = true, .slot = slot };
	for (int cap = 0; (cap = pci_capability(slot, PCI_CAP_VENDOR, cap));) {
		int type = (int)pci_read(slot, cap + 3, 1);
		int bar = (int)pci_read(slot, cap + 4, 1);
		uint64_t at;

		if (type < VIRTIO_PCI_CAP_COMMON_CFG ||
		    type > VIRTIO_PCI_CAP_DEVICE_CFG || bar > 5)
			continue;
		at = place_bar(slot, bar) + pci_read32(slot, cap + 8);
		if (type == VIRTIO_PCI_CAP_COMMON_CFG)
			dev->base = at;
		else if (type == VIRTIO_PCI_CAP_ISR_CFG)
			dev->isr = at;
		else if (type == VIRTIO_PCI_CAP_DEVICE_CFG)
			dev->config = at;
		if (type != VIRTIO_PCI_CAP_NOTIFY_CFG)
			continue;
		dev->notify = at;
		dev->notify_multiplier = pci_read32(slot, cap + 16);
	}
	CHECK(dev->base && dev->isr && dev->notify,
	      "a virtio function has the structures it must have");
	dev->msix_cap = pci_capability(slot, PCI_CAP_MSIX, 0);
	if (dev->msix_cap) {
		uint32_t table = pci_read32(slot, dev->msix_cap + 4);

		dev->msix_size =
			1 + (int)(pci_read(slot, dev->msix_cap + 2, 2) & 0x7ff);
		dev->msix_table =
			place_bar(slot, (int)(table & 7)) + (table & ~7u);
	}
	dev->gsi = 16 + (uint32_t)slot % 8;
	pci_write(slot, PCI_COMMAND, 2,
		  PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static bool pci_find(struct virtio *dev, uint32_t type, int index)
{
	for (int slot = 0; slot < SLOTS; slot++) {
		if (pci_read32(slot, PCI_ID) !=
		    (VIRTIO_VENDOR | (0x1040 + type) << 16))
			continue;
		if (index--)
			continue;
		pci_probe(dev, slot);
		dev->type = type;
		return true;
	}
	return false;
}

static bool mmio_find(struct virtio *dev, uint32_t type, int index)
{
	for (int i = 0; i < acpi.nr_mmio; i++) {
		uint64_t base = acpi.mmio[i].base;

		CHECK_EQ(read32(base + VIRTIO_MMIO_MAGIC_VALUE), MMIO_MAGIC,
			 "magic of a virtio-mmio device");
		CHECK_EQ(read32(base + VIRTIO_MMIO_VERSION), 2,
			 "version of a virtio-mmio device");
		if (read32(base + VIRTIO_MMIO_DEVICE_ID) != type || index--)
			continue;
		*dev = (struct virtio){
			.type = type,
			.base = base,
			.config = base + VIRTIO_MMIO_CONFIG,
			.gsi = acpi.mmio[i].gsi,
		};
		return true;
	}
	return false;
}

bool virtio_find(struct virtio *dev, uint32_t type, int index)
{
	acpi_init();
	if (acpi.nr_mmio)
		return mmio_find(dev, type, index);
	return pci_find(dev, type, index);
}

uint8_t virtio_status(struct virtio *dev)
{
	if (dev->pci)
		return read8(dev->base + COMMON_STATUS);
	return (uint8_t)read32(dev->base + VIRTIO_MMIO_STATUS);
}

void virtio_set_status(struct virtio *dev, uint8_t status)
{
	if (dev->pci)
		write8(dev->base + COMMON_STATUS, status);
	else
		write32(dev->base + VIRTIO_MMIO_STATUS, status);
}

uint64_t virtio_device_features(struct virtio *dev)
{
	uint64_t select =
		dev->base +
		(dev->pci ? COMMON_DFSELECT : VIRTIO_MMIO_DEVICE_FEATURES_SEL);
	uint64_t at = dev->base +
		      (dev->pci ? COMMON_DF : VIRTIO_MMIO_DEVICE_FEATURES);
	uint64_t high;

	write32(select, 1);
	high = read32(at);
	write32(select, 0);
	return high << 32 | read32(at);
}

void virtio_driver_features(struct virtio *dev, uint64_t features)
{
	uint64_t select =
		dev->base +
		(dev->pci ? COMMON_GFSELECT : VIRTIO_MMIO_DRIVER_FEATURES_SEL);
	uint64_t at = dev->base +
		      (dev->pci ? COMMON_GF : VIRTIO_MMIO_DRIVER_FEATURES);

	write32(select, 0);
	write32(at, (uint32_t)features);
	write32(select, 1);
	write32(at, (uint32_t)(features >> 32));
}

uint8_t virtio_isr(struct virtio *dev)
{
	uint32_t isr;

	if (dev->pci)
		return read8(dev->isr);
	isr = read32(dev->base + VIRTIO_MMIO_INTERRUPT_STATUS);
	write32(dev->base + VIRTIO_MMIO_INTERRUPT_ACK, isr);
	return (uint8_t)isr;
}

uint32_t virtio_config32(struct virtio *dev, int offset)
{
	return read32(dev->config + (uint64_t)offset);
}

uint64_t virtio_config64(struct virtio *dev, int offset)
{
	return virtio_config32(dev, offset) |
	       (uint64_t)virtio_config32(dev, offset + 4) << 32;
}

void virtio_config_read(struct virtio *dev, int offset, void *to, int length)
{
	uint8_t *bytes = to;

	for (int i = 0; i < length; i++)
		bytes[i] = read8(dev->config + (uint64_t)(offset + i));
}

void virtio_select(struct virtio *dev, uint16_t queue)
{
	if (dev->pci)
		write16(dev->base + COMMON_Q_SELECT, queue);
	else
		write32(dev->base + VIRTIO_MMIO_QUEUE_SEL, queue);
}

uint16_t virtio_queue_max(struct virtio *dev)
{
	if (dev->pci)
		return read16(dev->base + COMMON_Q_SIZE);
	return (uint16_t)read32(dev->base + VIRTIO_MMIO_QUEUE_NUM_MAX);
}

void virtio_queue_size(struct virtio *dev, uint16_t size)
{
	if (dev->pci)
		write16(dev->base + COMMON_Q_SIZE, size);
	else
		write32(dev->base + VIRTIO_MMIO_QUEUE_NUM, size);
}

static void set_address(uint64_t at, uint64_t address)
{
	write32(at, (uint32_t)address);
	write32(at + 4, (uint32_t)(address >> 32));
}

void virtio_queue_addresses(struct virtio *dev, uint64_t desc, uint64_t avail,
			    uint64_t used)
{
	bool pci = dev->pci;

	set_address(dev->base +
			    (pci ? COMMON_Q_DESC : VIRTIO_MMIO_QUEUE_DESC_LOW),
		    desc);
	set_address(dev->base + (pci ? COMMON_Q_AVAIL
				     : VIRTIO_MMIO_QUEUE_AVAIL_LOW),
		    avail);
	set_address(dev->base +
			    (pci ? COMMON_Q_USED : VIRTIO_MMIO_QUEUE_USED_LOW),
		    used);
}

void virtio_queue_ready(struct virtio *dev, bool ready)
{
	if (dev->pci)
		write16(dev->base + COMMON_Q_ENABLE, ready);
	else
		write32(dev->base + VIRTIO_MMIO_QUEUE_READY, ready);
}

bool virtio_queue_is_ready(struct virtio *dev)
{
	if (dev->pci)
		return read16(dev->base + COMMON_Q_ENABLE);
	return read32(dev->base + VIRTIO_MMIO_QUEUE_READY);
}

void virtio_reset(struct virtio *dev)
{
	virtio_set_status(dev, 0);
	CHECK(WAIT_FOR(virtio_status(dev) == 0), "status is 0 after a reset");
}

bool virtio_start(struct virtio *dev, uint64_t wanted)
{
	virtio_reset(dev);
	virtio_set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	virtio_set_status(dev,
			  VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	wanted |= 1ul << VIRTIO_F_VERSION_1;
	dev->features = virtio_device_features(dev) & wanted;
	virtio_driver_features(dev, dev->features);
	virtio_set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE |
				       VIRTIO_CONFIG_S_DRIVER |
				       VIRTIO_CONFIG_S_FEATURES_OK);
	return virtio_status(dev) & VIRTIO_CONFIG_S_FEATURES_OK;
}

void virtio_driver_ok(struct virtio *dev)
{
	virtio_set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE |
				       VIRTIO_CONFIG_S_DRIVER |
				       VIRTIO_CONFIG_S_FEATURES_OK |
				       VIRTIO_CONFIG_S_DRIVER_OK);
}

void virtio_msix_set(struct virtio *dev, int entry, int vector, bool masked)
{
	uint64_t at = dev->msix_table + 16 * (uint64_t)entry;

	write32(at, 0xfee00000);
	write32(at + 4, 0);
	write32(at + 8, (uint32_t)vector);
	write32(at + 12, masked);
}

void virtio_msix_enable(struct virtio *dev, bool on)
{
	pci_write(dev->slot, dev->msix_cap + 2, 2, on ? 0x8000 : 0);
}

uint16_t virtio_msix_vector(struct virtio *dev, int queue, uint16_t entry)
{
	uint64_t at = dev->base + COMMON_MSIX;

	if (queue >= 0) {
		virtio_select(dev, (uint16_t)queue);
		at = dev->base + COMMON_Q_MSIX;
	}
	write16(at, entry);
	return read16(at);
}

uint64_t virtio_notify_address(struct virtio *dev, uint16_t queue)
{
	if (!dev->pci)
		return dev->base + VIRTIO_MMIO_QUEUE_NOTIFY;
	virtio_select(dev, queue);
	return dev->notify +
	       dev->notify_multiplier *
		       (uint64_t)read16(dev->base + COMMON_Q_NOFF);
}
