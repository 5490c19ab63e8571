#include "guests/lib/pci.h"
#include "guests/lib/acpi.h"
#include "guests/lib/lib.h"

#define ADDRESS 0xcf8
#define DATA    0xcfc

uint32_t pci_port_read32(int slot, int offset)
{
	outl(ADDRESS,
	     0x80000000 | (uint32_t)slot << 11 | (uint32_t)(offset & ~3));
	return inl(DATA);
}

uint32_t pci_read(int slot, int offset, int width)
{
	uint64_t at;

	acpi_init();
	at = acpi.ecam + ((uint64_t)slot << 15) + (uint64_t)offset;
	if (!acpi.ecam) {
		uint32_t value = pci_port_read32(slot, offset);

		value >>= 8 * (offset & 3);
		return width == 4 ? value : value & ((1u << 8 * width) - 1);
	}
	return width == 1 ? read8(at) : width == 2 ? read16(at) : read32(at);
}

void pci_write(int slot, int offset, int width, uint32_t value)
{
	uint64_t at;
	uint16_t port = (uint16_t)(DATA + (offset & 3));

	acpi_init();
	at = acpi.ecam + ((uint64_t)slot << 15) + (uint64_t)offset;
	if (!acpi.ecam)
		outl(ADDRESS, 0x80000000 | (uint32_t)slot << 11 |
				      (uint32_t)(offset & ~3));
	if (width == 1)
		acpi.ecam ? write8(at, (uint8_t)value)
			  : outb(port, (uint8_t)value);
	else if (width == 2)
		acpi.ecam ? write16(at, (uint16_t)value)
			  : outw(port, (uint16_t)value);
	else
		acpi.ecam ? write32(at, value) : outl(port, value);
}

int pci_capability(int slot, int id, int from)
{
	int at = (int)pci_read(slot, from ? from + 1 : PCI_CAP_LIST, 1) & ~3;

	if (!from && !(pci_read(slot, PCI_STATUS, 2) & 0x10))
		return 0;
	for (int hops = 0; at; hops++) {
		CHECK(hops < 48, "the capability list ends");
		if ((int)pci_read(slot, at, 1) == id)
			return at;
		at = (int)pci_read(slot, at + 1, 1) & ~3;
	}
	return 0;
}

uint64_t pci_bar(int slot, int bar)
{
	int at = PCI_BAR0 + 4 * bar;
	uint64_t value = pci_read32(slot, at);

	if (value & 1)
		return 0;
	if ((value & 6) == 4)
		value |= (uint64_t)pci_read32(slot, at + 4) << 32;
	return value & ~15ul;
}

uint64_t pci_bar_size(int slot, int bar)
{
	int at = PCI_BAR0 + 4 * bar;
	uint32_t command = pci_read(slot, PCI_COMMAND, 2);
	uint32_t low = pci_read32(slot, at), high = 0;
	bool wide = (low & 7) == 4;
	uint64_t mask = ~0ul << 32;

	pci_write(slot, PCI_COMMAND, 2, command & ~3u);
	pci_write32(slot, at, ~0u);
	if (wide) {
		high = pci_read32(slot, at + 4);
		pci_write32(slot, at + 4, ~0u);
		mask = (uint64_t)pci_read32(slot, at + 4) << 32;
		pci_write32(slot, at + 4, high);
	}
	mask |= pci_read32(slot, at) & ~15u;
	pci_write32(slot, at, low);
	pci_write(slot, PCI_COMMAND, 2, command);
	return (uint32_t)mask ? ~mask + 1 : 0;
}
