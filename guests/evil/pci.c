/*
 * PCI configuration space: BARs moved onto everything, MSI-X that points
 * anywhere, and garbage everywhere else.
 */
#include "guests/lib/pci.h"
#include "guests/evil/evil.h"
#include "guests/lib/acpi.h"

#define CAP_PCI_CFG 5 /* VIRTIO_PCI_CAP_PCI_CFG */

struct saved {
	uint32_t bars[6];
	uint32_t command;
};

static void save(const struct target *t, struct saved *saved)
{
	for (int i = 0; i < 6; i++)
		saved->bars[i] = pci_read32(t->dev.slot, PCI_BAR0 + 4 * i);
	saved->command = pci_read(t->dev.slot, PCI_COMMAND, 2);
}

static void restore(const struct target *t, const struct saved *saved)
{
	pci_write(t->dev.slot, PCI_COMMAND, 2, 0);
	for (int i = 0; i < 6; i++)
		pci_write32(t->dev.slot, PCI_BAR0 + 4 * i, saved->bars[i]);
	pci_write(t->dev.slot, PCI_COMMAND, 2, saved->command);
	if (t->dev.msix_cap)
		pci_write(t->dev.slot, t->dev.msix_cap + 2, 2, 0);
}

static void move(const struct target *t, uint64_t to)
{
	for (int bar = 0; bar < 6; bar++) {
		int at = PCI_BAR0 + 4 * bar;
		uint32_t value = pci_read32(t->dev.slot, at);

		if (value & 1 || !pci_bar(t->dev.slot, bar))
			continue;
		pci_write32(t->dev.slot, at, (uint32_t)to);
		if ((value & 6) != 4)
			continue;
		pci_write32(t->dev.slot, at + 4, (uint32_t)(to >> 32));
		bar++;
	}
}

static void move_bars(struct target *t)
{
	uint64_t places[] = {
		SCRATCH,
		0x1000000,
		0,
		t->ram_end - 0x1000,
		0xfee00000,
		0xfec00000,
		acpi.ecam,
		0xfffff000,
		1ul << 32,
		1ul << 47,
		~0ul & ~15ul,
		0xdf000000,
	};
	struct saved saved;
	uint64_t ram = read64(SCRATCH);

	save(t, &saved);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		move(t, places[i]); /* with decoding on, as it goes */
		vq_notify(&t->vq);
		restore(t, &saved);
		CHECK_EQ(read64(SCRATCH), ram, "RAM a BAR was moved onto");
	}
	strike(t);
}

/* Two devices at one place: each other's, in both orders. */
static void share_bar(struct target *t)
{
	struct saved saved;
	uint64_t theirs = 0;

	save(t, &saved);
	for (int slot = 1; slot < 32 && !theirs; slot++)
		for (int bar = 0; bar < 6 && !theirs; bar++)
			if (slot != t->dev.slot &&
			    pci_read32(slot, PCI_ID) != ~0u)
				theirs = pci_bar(slot, bar);
	if (!theirs)
		return;
	move(t, theirs);
	read32(theirs);
	write32(theirs + 0x14, 0);
	restore(t, &saved);
}

static void decode_off(struct target *t)
{
	struct saved saved;

	save(t, &saved);
	pci_write(t->dev.slot, PCI_COMMAND, 2, 0);
	CHECK_EQ(read32(t->dev.base), ~0u, "a BAR that is switched off");
	vq_notify(&t->vq);
	restore(t, &saved);
	read32(t->dev.base);
}

static void config_garbage(struct target *t)
{
	struct saved saved;
	uint32_t id = pci_read32(t->dev.slot, PCI_ID);

	save(t, &saved);
	for (int at = 0; at < 256; at++) {
		pci_write(t->dev.slot, at, 1, 0xff);
		if (!(at & 1))
			pci_write(t->dev.slot, at, 2, 0x5a5a);
		if (!(at & 3))
			pci_write(t->dev.slot, at, 4, 0);
	}
	restore(t, &saved);
	CHECK_EQ(pci_read32(t->dev.slot, PCI_ID), id, "the device's id");
}

/* Unaligned and wide, and past the 256 bytes that there are. */
static void config_widths(struct target *t)
{
	uint64_t at = acpi.ecam + ((uint64_t)t->dev.slot << 15);

	if (!acpi.ecam)
		return;
	for (uint64_t i = 0; i < 256; i += 7) {
		read16(at + i);
		read32(at + i);
		read64(at + i);
	}
	read64(at + 0xffc);
	/* Cut at the page: the rest comes as an access of 7, 6 or 3 bytes. */
	for (int before = 1; before < 8; before++) {
		read64(at - before);
		write64(at - before, ~0ul);
		read64(t->dev.base - before);
		write64(t->dev.base - before, 0);
	}
	read32(at - 1);
	read32(at + 0xfff);
	write64(at, ~0ul);
	write32(at + 0xffe, ~0u);
	for (uint64_t function = 1; function < 8; function++)
		CHECK_EQ(read32(at + (function << 12)), ~0u,
			 "a function that does not exist");
}

static void msix_garbage(struct target *t)
{
	static const uint64_t addresses[] = { 0,       SCRATCH,    ~0ul,
					      OUTSIDE, 0xfee00000, 0xfeeff000 };
	struct virtio *dev = &t->dev;
	struct saved saved;

	if (!dev->msix_cap)
		return;
	save(t, &saved);
	memset((void *)SCRATCH, 0, 64);
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		for (int entry = 0; entry < dev->msix_size; entry++) {
			uint64_t at = dev->msix_table + 16 * (uint64_t)entry;

			write64(at, addresses[i]);
			write64(at + 8, i < 4 ? 0xffffffff : 0x700);
			write32(at + 12, 0);
		}
		virtio_msix_enable(dev, true);
		virtio_msix_vector(dev, t->queue, 0);
		t->vq.desc[0] = (struct vring_desc){ SCRATCH + 64, 64, 2, 0 };
		vq_publish(&t->vq, 0);
		strike(t);
		CHECK_EQ(read64(SCRATCH), 0, "RAM an MSI-X address names");
		virtio_msix_enable(dev, false);
	}
	/* Behind the last entry, and in widths that are not allowed. */
	write32(dev->msix_table + 16 * (uint64_t)dev->msix_size, ~0u);
	for (uint64_t i = 0; i < 16; i++) {
		write8(dev->msix_table + i, 0xff);
		write16(dev->msix_table + i, 0xffff);
		read64(dev->msix_table + i);
	}
	virtio_msix_vector(dev, -1, 0x7fff);
	virtio_msix_vector(dev, t->queue, 0x7fff);
	restore(t, &saved);
}

/* The window through which configuration accesses reach the BARs. */
static void config_window(struct target *t)
{
	static const uint32_t lengths[] = { 0, 1, 2, 3, 4, 8, ~0u };
	int slot = t->dev.slot, cap = 0;

	while ((cap = pci_capability(slot, PCI_CAP_VENDOR, cap)))
		if (pci_read(slot, cap + 3, 1) == CAP_PCI_CFG)
			break;
	if (!cap)
		return;
	for (uint32_t bar = 0; bar < 256; bar += 5)
		for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
			pci_write(slot, cap + 4, 1, bar % 7 ? bar : 0);
			pci_write32(slot, cap + 8, bar * 0x01010101u);
			pci_write32(slot, cap + 12, lengths[i]);
			pci_read32(slot, cap + 16);
			pci_write32(slot, cap + 16, 0);
		}
}

const struct attack pci_attacks[] = {
	{ "move-bars", 0, move_bars },
	{ "share-bar", 0, share_bar },
	{ "decode-off", 0, decode_off },
	{ "config-garbage", 0, config_garbage },
	{ "config-widths", 0, config_widths },
	{ "msix-garbage", 0, msix_garbage },
	{ "config-window", 0, config_window },
	{ NULL, 0, NULL },
};
