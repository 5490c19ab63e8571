/*
 * Registers at every offset, in every width, with every kind of garbage.
 */
#include "guests/evil/evil.h"
#include "guests/lib/pci.h"

static void read_all_widths(uint64_t at)
{
	read8(at);
	read16(at);
	read32(at);
	read64(at);
}

static void write_width(uint64_t at, int width, uint64_t value)
{
	if (width == 1)
		write8(at, (uint8_t)value);
	else if (width == 2)
		write16(at, (uint16_t)value);
	else if (width == 4)
		write32(at, (uint32_t)value);
	else
		write64(at, value);
}

/* All registers, and what follows the last one. */
static void read_everything(struct target *t)
{
	struct virtio *dev = &t->dev;

	for (uint64_t i = 0; i < (dev->pci ? 80 : 0x120); i += 1)
		read_all_widths(dev->base + i);
	for (uint64_t i = 0; dev->config && i < 72; i += 3)
		read_all_widths(dev->config + i);
	if (!dev->pci) {
		read_all_widths(dev->base + 0x1fc);
		read_all_widths(dev->base + 0x1ff);
		return;
	}
	for (uint64_t i = 0; i < 8; i++) {
		read_all_widths(dev->isr + i);
		read_all_widths(dev->notify + i);
	}
}

static void write_everything(struct target *t)
{
	static const uint64_t values[] = { 0, ~0ul, 0xa5a5a5a5a5a5a5a5 };
	struct virtio *dev = &t->dev;

	for (size_t v = 0; v < ARRAY_SIZE(values); v++)
		for (int width = 1; width <= 8; width *= 2)
			for (uint64_t i = 0; i < (dev->pci ? 72 : 0x110);
			     i += width == 4 ? 4 : 3)
				write_width(dev->base + i, width, values[v]);
}

/* The device configuration is the device's to write. */
static void write_config(struct target *t)
{
	struct virtio *dev = &t->dev;
	uint32_t before;

	if (!dev->config)
		return;
	before = virtio_config32(dev, 0);
	for (int width = 1; width <= 8; width *= 2)
		for (uint64_t i = 0; i < 64; i += (uint64_t)width)
			write_width(dev->config + i, width, ~0ul);
	CHECK_EQ(virtio_config32(dev, 0), before,
		 "the device configuration after writes");
}

static void selectors(struct target *t)
{
	struct virtio *dev = &t->dev;
	uint64_t select = dev->base + (dev->pci ? 0x00 : 0x14);
	uint64_t value = dev->base + (dev->pci ? 0x04 : 0x10);
	static const uint32_t pages[] = { 2, 3, 0x80000000, ~0u };

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		write32(select, pages[i]);
		CHECK_EQ(read32(value), 0, "features beyond the last");
		write32(select + (dev->pci ? 8 : 0x10), pages[i]);
		write32(value + (dev->pci ? 8 : 0x10), ~0u);
	}
	write32(select, 0);
}

const struct attack register_attacks[] = {
	{ "read-everything", 0, read_everything },
	{ "write-everything", 0, write_everything },
	{ "write-config", 0, write_config },
	{ "selectors", 0, selectors },
	{ NULL, 0, NULL },
};
