/*
 * MSI-X: the table of vectors, their masks, and what is pending meanwhile.
 */
#include "devices/pci.h"

#include "util/bytes.h"
#include "util/checked.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

/* PCI 3.0, 6.8.2 and 6.8.3: 16 bytes an entry, of four registers. */
#define ENTRY_SIZE PCI_MSIX_ENTRY_SIZE

static uint16_t msix_flags(const struct pci_function *fn)
{
	return get_le16(fn->config + fn->msix_cap + PCI_MSIX_FLAGS);
}

/*
 * Masking is ours, in two flags, and the irqfd stays attached: to detach it
 * costs milliseconds, and a guest masks each vector several times while it
 * starts. The worker sets `pending` and then looks at `masked` again, we clear
 * `masked` and then look at `pending`; one of the two sees the other and takes
 * the signal, and the exchange lets only one.
 */
static void vector_raise(struct pci_msix_entry *vector)
{
	if (__atomic_load_n(&vector->masked, __ATOMIC_SEQ_CST)) {
		__atomic_store_n(&vector->pending, true, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&vector->masked, __ATOMIC_SEQ_CST) ||
		    !__atomic_exchange_n(&vector->pending, false,
					 __ATOMIC_SEQ_CST))
			return;
	}
	irq_msi_signal(&vector->msi);
}

static void vector_unmask(struct pci_msix_entry *vector)
{
	__atomic_store_n(&vector->masked, false, __ATOMIC_SEQ_CST);
	if (__atomic_exchange_n(&vector->pending, false, __ATOMIC_SEQ_CST))
		irq_msi_signal(&vector->msi);
}

static void vector_apply(struct pci_function *fn, struct pci_msix_entry *vector)
{
	uint16_t flags = msix_flags(fn);
	int err;

	if (!(flags & PCI_MSIX_FLAGS_ENABLE) ||
	    (flags & PCI_MSIX_FLAGS_MASKALL) ||
	    (vector->control & PCI_MSIX_ENTRY_CTRL_MASKBIT)) {
		__atomic_store_n(&vector->masked, true, __ATOMIC_SEQ_CST);
		return;
	}
	err = irq_msi_route(&vector->msi, vector->address, vector->data);
	if (err)
		log_err("%s: cannot route an interrupt to the guest: %s",
			fn->dev.name, strerror(-err));
	vector_unmask(vector);
}

/* After the entry or the function's mask changed. */
static void vector_update(struct pci_function *fn,
			  struct pci_msix_entry *vector)
{
	vector_apply(fn, vector);
	if (fn->ops->vector)
		fn->ops->vector(fn, vector - fn->vector);
}

void pci_msix_control(struct pci_function *fn)
{
	bool enabled = msix_flags(fn) & PCI_MSIX_FLAGS_ENABLE;

	__atomic_store_n(&fn->msix_enabled, enabled, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < fn->id.vectors; i++)
		vector_update(fn, &fn->vector[i]);
	pci_intx_update(fn);
}

void pci_msix_reset(struct pci_function *fn)
{
	if (!fn->vector)
		return;
	for (unsigned i = 0; i < fn->id.vectors; i++) {
		struct pci_msix_entry *vector = &fn->vector[i];

		vector->address = 0;
		vector->data = 0;
		vector->control = PCI_MSIX_ENTRY_CTRL_MASKBIT;
	}
	pci_msix_control(fn);
	for (unsigned i = 0; i < fn->id.vectors; i++)
		__atomic_store_n(&fn->vector[i].pending, false,
				 __ATOMIC_SEQ_CST);
}

bool pci_msix_raise(struct pci_function *fn, uint16_t vector)
{
	if (!__atomic_load_n(&fn->msix_enabled, __ATOMIC_SEQ_CST))
		return false;
	if (vector < fn->id.vectors)
		vector_raise(&fn->vector[vector]);
	return true;
}

int pci_msix_fd(struct pci_function *fn, uint16_t vector)
{
	if (!__atomic_load_n(&fn->msix_enabled, __ATOMIC_SEQ_CST) ||
	    vector >= fn->id.vectors ||
	    __atomic_load_n(&fn->vector[vector].masked, __ATOMIC_SEQ_CST))
		return -1;
	return fn->vector[vector].msi.fd;
}

static uint32_t entry_read(const struct pci_msix_entry *vector, unsigned reg)
{
	switch (reg) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		return (uint32_t)vector->address;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		return vector->address >> 32;
	case PCI_MSIX_ENTRY_DATA:
		return vector->data;
	default:
		return vector->control;
	}
}

static void entry_write(struct pci_msix_entry *vector, unsigned reg,
			uint32_t value)
{
	switch (reg) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		vector->address &= 0xffffffff00000000;
		vector->address |= value & ~3u;
		break;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		vector->address &= 0xffffffff;
		vector->address |= (uint64_t)value << 32;
		break;
	case PCI_MSIX_ENTRY_DATA:
		vector->data = value;
		break;
	default:
		vector->control = value & PCI_MSIX_ENTRY_CTRL_MASKBIT;
		break;
	}
}

static uint64_t pba_read(const struct pci_function *fn, uint64_t offset,
			 unsigned len)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < fn->id.vectors; i++) {
		if (__atomic_load_n(&fn->vector[i].pending, __ATOMIC_SEQ_CST))
			bits |= 1ull << i;
	}
	bits >>= offset * 8;
	return len == 8 ? bits : bits & 0xffffffff;
}

/* Only aligned accesses of 4 and 8 bytes are defined (PCI 3.0, 6.8.2). */
static bool msix_aligned(uint64_t offset, unsigned len)
{
	return len >= 4 && !(offset % len);
}

bool pci_msix_read(struct pci_function *fn, uint64_t offset, unsigned len,
		   uint64_t *value)
{
	const struct pci_identity *id = &fn->id;

	if (!fn->vector)
		return false;
	*value = 0;
	if (offset - id->msix_table < id->vectors * (uint64_t)ENTRY_SIZE) {
		offset -= id->msix_table;
		for (unsigned i = 0; msix_aligned(offset, len) && i < len;
		     i += 4)
			*value |= (uint64_t)entry_read(
					  &fn->vector[offset / ENTRY_SIZE],
					  offset % ENTRY_SIZE + i)
				  << (i * 8);
		return true;
	}
	if (offset - id->msix_pba < sizeof(uint64_t)) {
		offset -= id->msix_pba;
		if (msix_aligned(offset, len))
			*value = pba_read(fn, offset, len);
		return true;
	}
	return false;
}

bool pci_msix_write(struct pci_function *fn, uint64_t offset, unsigned len,
		    uint64_t value)
{
	const struct pci_identity *id = &fn->id;
	struct pci_msix_entry *vector;

	if (!fn->vector)
		return false;
	if (offset - id->msix_pba < sizeof(uint64_t))
		return true; /* read-only */
	offset -= id->msix_table;
	if (offset >= id->vectors * (uint64_t)ENTRY_SIZE)
		return false;
	if (!msix_aligned(offset, len))
		return true;
	vector = &fn->vector[offset / ENTRY_SIZE];
	for (unsigned i = 0; i < len; i += 4)
		entry_write(vector, offset % ENTRY_SIZE + i, value >> (i * 8));
	vector_update(fn, vector);
	return true;
}

int pci_msix_init(struct pci_function *fn, struct irqchip *irqs)
{
	static const uint8_t writable[PCI_CAP_MSIX_SIZEOF] = {
		[PCI_MSIX_FLAGS + 1] =
			(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8,
	};
	uint8_t cap[PCI_CAP_MSIX_SIZEOF] = { PCI_CAP_ID_MSIX };
	unsigned i;
	int err = 0;

	fn->vector = calloc(fn->id.vectors, sizeof(*fn->vector));
	if (!fn->vector)
		return -ENOMEM;
	for (i = 0; i < fn->id.vectors; i++) {
		err = irq_msi_init(irqs, &fn->vector[i].msi);
		if (err)
			goto undo;
		fn->vector[i].control = PCI_MSIX_ENTRY_CTRL_MASKBIT;
		fn->vector[i].masked = true;
	}
	/* Both offsets have BIR 0, our only BAR, in their low bits. */
	put_le16(cap + PCI_MSIX_FLAGS, fn->id.vectors - 1);
	put_le32(cap + PCI_MSIX_TABLE, fn->id.msix_table);
	put_le32(cap + PCI_MSIX_PBA, fn->id.msix_pba);
	fn->msix_cap = pci_capability(fn, cap, sizeof(cap), writable);
	return 0;
undo:
	while (i--)
		irq_msi_fini(&fn->vector[i].msi);
	free(fn->vector);
	fn->vector = NULL;
	return err;
}

void pci_msix_fini(struct pci_function *fn)
{
	if (!fn->vector)
		return;
	for (unsigned i = 0; i < fn->id.vectors; i++)
		irq_msi_fini(&fn->vector[i].msi);
	free(fn->vector);
}
