/*
 * PCI configuration space of bus 0, by ECAM where the MCFG table gives one and
 * by ports 0xcf8 and 0xcfc otherwise.
 */
#ifndef GUESTS_LIB_PCI_H
#define GUESTS_LIB_PCI_H

#include <stdbool.h>
#include <stdint.h>

#define PCI_ID       0x00
#define PCI_COMMAND  0x04
#define PCI_STATUS   0x06
#define PCI_CLASS    0x08
#define PCI_BAR0     0x10
#define PCI_CAP_LIST 0x34
#define PCI_IRQ_LINE 0x3c

#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_MSIX   0x11

#define PCI_COMMAND_IO     1
#define PCI_COMMAND_MEMORY 2
#define PCI_COMMAND_MASTER 4

/* Device @slot, function 0, at byte @offset; @width is 1, 2 or 4. */
uint32_t pci_read(int slot, int offset, int width);
void pci_write(int slot, int offset, int width, uint32_t value);

static inline uint32_t pci_read32(int slot, int offset)
{
	return pci_read(slot, offset, 4);
}

static inline void pci_write32(int slot, int offset, uint32_t value)
{
	pci_write(slot, offset, 4, value);
}

/* The same by the ports, whatever the MCFG says; 32 bits. */
uint32_t pci_port_read32(int slot, int offset);

/* Offset of the next capability @id after @from (0: the first), or 0. */
int pci_capability(int slot, int id, int from);
/* Where a memory BAR points now; 0 for none. */
uint64_t pci_bar(int slot, int bar);
/* Its size, found as the specification says; the BAR is left as it was. */
uint64_t pci_bar_size(int slot, int bar);

#endif
