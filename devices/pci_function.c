/*
 * A PCI function of one BAR: its configuration space, where the BAR answers,
 * and the level of INTA.
 */
#include "devices/pci.h"

#include "util/bytes.h"
#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <string.h>

#define COMMAND_BITS                                                           \
	(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE)

static uint64_t bar_read(struct device *dev, unsigned range, uint64_t offset,
			 unsigned len)
{
	struct pci_function *fn = container_of(dev, struct pci_function, dev);
	uint64_t value;

	(void)range;
	if (pci_msix_read(fn, offset, len, &value))
		return value;
	return fn->ops->read(fn, offset, len);
}

static void bar_write(struct device *dev, unsigned range, uint64_t offset,
		      unsigned len, uint64_t value)
{
	struct pci_function *fn = container_of(dev, struct pci_function, dev);

	(void)range;
	if (!pci_msix_write(fn, offset, len, value))
		fn->ops->write(fn, offset, len, value);
}

/* Puts the BAR of @fn where its register says, unless that is outside the
 * host's window or somebody else's. */
static int bar_claim(struct pci_function *fn)
{
	struct pci_host *host = fn->host;
	const struct pci_layout *layout = &host->layout;
	int err;

	if (fn->bar_wanted < layout->window ||
	    !range_within(fn->bar_wanted - layout->window, fn->id.bar_size,
			  layout->window_size))
		return -EFAULT;
	err = bus_add(host->mmio, &fn->dev, 0, fn->bar_wanted, fn->id.bar_size);
	if (err)
		return err;
	fn->bar_at = fn->bar_wanted;
	fn->bar_decoded = true;
	if (fn->ops->decoded)
		fn->ops->decoded(fn, fn->bar_at, true);
	return 0;
}

static void bar_release(struct pci_function *fn)
{
	if (fn->ops->decoded)
		fn->ops->decoded(fn, fn->bar_at, false);
	bus_remove(fn->host->mmio, fn->bar_at);
	fn->bar_decoded = false;
}

/*
 * After the BAR or the command register changed. An address that this function
 * gives up may be the one another has been waiting for, as when a guest swaps
 * two BARs: so all that want one are tried.
 */
static void bar_update(struct pci_function *fn)
{
	struct pci_host *host = fn->host;
	uint32_t bar = get_le32(fn->config + PCI_BASE_ADDRESS_0);
	int err = 0;

	if (!fn->id.bar_size)
		return;
	pthread_mutex_lock(&host->decode_lock);
	fn->bar_wanted = bar & ~(uint64_t)0xf;
	fn->bar_enabled = fn->config[PCI_COMMAND] & PCI_COMMAND_MEMORY;
	if (fn->bar_decoded &&
	    !(fn->bar_enabled && fn->bar_at == fn->bar_wanted))
		bar_release(fn);
	if (fn->bar_enabled && !fn->bar_decoded)
		err = bar_claim(fn);
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		struct pci_function *other = host->slots[i];

		if (other && other->bar_enabled && !other->bar_decoded)
			bar_claim(other);
	}
	pthread_mutex_unlock(&host->decode_lock);
	/* All ones is how a driver asks for the size of a BAR. */
	if (err && bar != -fn->id.bar_size)
		log_guest(&fn->bar_error,
			  "%s: the guest put its BAR at 0x%" PRIx32
			  ", which is %s: it answers nowhere",
			  fn->dev.name, bar,
			  err == -EEXIST ? "another device's"
					 : "outside the PCI window");
}

/* The bits that change as the device runs. */
static void status_refresh(struct pci_function *fn)
{
	bool asserted = fn->ops->intx && fn->ops->intx(fn);

	if (asserted)
		fn->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	else
		fn->config[PCI_STATUS] &= ~PCI_STATUS_INTERRUPT;
}

uint32_t pci_config_read(struct pci_function *fn, unsigned offset, unsigned len)
{
	uint32_t value = 0;

	if (!range_within(offset, len, PCI_CONFIG_SIZE))
		return 0;
	if (ranges_overlap(offset, len, PCI_STATUS, 1))
		status_refresh(fn);
	if (fn->ops->config_read)
		fn->ops->config_read(fn, offset, len);
	memcpy(&value, fn->config + offset, len);
	return value;
}

void pci_config_write(struct pci_function *fn, unsigned offset, unsigned len,
		      uint32_t value)
{
	bool command = ranges_overlap(offset, len, PCI_COMMAND, 2);
	bool bar = ranges_overlap(offset, len, PCI_BASE_ADDRESS_0, 4);
	bool msix;

	if (!range_within(offset, len, PCI_CONFIG_SIZE))
		return;
	for (unsigned i = 0; i < len; i++, value >>= 8) {
		uint8_t mask = fn->writable[offset + i];
		uint8_t *byte = &fn->config[offset + i];

		*byte = (*byte & ~mask) | (value & mask);
	}
	if (command || bar)
		bar_update(fn);
	if (command) {
		__atomic_store_n(&fn->intx_disabled,
				 get_le16(fn->config + PCI_COMMAND) &
					 PCI_COMMAND_INTX_DISABLE,
				 __ATOMIC_SEQ_CST);
		pci_intx_update(fn);
	}
	msix = fn->msix_cap &&
	       ranges_overlap(offset, len, fn->msix_cap + PCI_MSIX_FLAGS, 2);
	if (msix)
		pci_msix_control(fn);
	if (fn->ops->config_write)
		fn->ops->config_write(fn, offset, len);
}

/*
 * The level follows from three things that vCPUs and the worker change at any
 * time. Each of them calls this after its change; the lock orders looking and
 * setting, so the last call has seen every change, and a line lowered by a
 * reading of the ISR can never hide an interrupt raised meanwhile.
 */
void pci_intx_update(struct pci_function *fn)
{
	bool level;

	if (!fn->ops->intx)
		return;
	pthread_mutex_lock(&fn->intx_lock);
	level = fn->ops->intx(fn) &&
		!__atomic_load_n(&fn->intx_disabled, __ATOMIC_SEQ_CST) &&
		!__atomic_load_n(&fn->msix_enabled, __ATOMIC_SEQ_CST);
	irq_line_set(&fn->line, level);
	pthread_mutex_unlock(&fn->intx_lock);
}

static void function_reset(struct device *dev)
{
	struct pci_function *fn = container_of(dev, struct pci_function, dev);

	if (fn->ops->reset)
		fn->ops->reset(fn);
	memcpy(fn->config, fn->initial, PCI_CONFIG_SIZE);
	__atomic_store_n(&fn->intx_disabled, false, __ATOMIC_SEQ_CST);
	pci_msix_reset(fn);
	bar_update(fn);
	pci_intx_update(fn);
}

static const struct device_ops function_ops = {
	.read = bar_read,
	.write = bar_write,
	.reset = function_reset,
};

/* The header of type 0 (PCI 3.0, 6.1). */
static void header_init(struct pci_function *fn, uint32_t gsi)
{
	const struct pci_identity *id = &fn->id;
	uint8_t *config = fn->config;
	uint8_t *writable = fn->writable;

	put_le16(config + PCI_VENDOR_ID, id->vendor);
	put_le16(config + PCI_DEVICE_ID, id->device);
	put_le32(config + PCI_CLASS_REVISION,
		 id->class_code << 8 | id->revision);
	put_le16(config + PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor);
	put_le16(config + PCI_SUBSYSTEM_ID, id->subsystem);
	put_le16(writable + PCI_COMMAND, COMMAND_BITS);
	writable[PCI_CACHE_LINE_SIZE] = 0xff;
	writable[PCI_INTERRUPT_LINE] = 0xff;
	if (gsi != PCI_NO_PIN) {
		config[PCI_INTERRUPT_PIN] = 1; /* INTA */
		config[PCI_INTERRUPT_LINE] = gsi;
	}
	fn->last_cap = PCI_CAPABILITY_LIST;
	fn->next_cap = PCI_STD_HEADER_SIZEOF;
}

static int bar_place(struct pci_function *fn)
{
	struct pci_host *host = fn->host;
	uint64_t at = align_up(host->next_bar, fn->id.bar_size);

	if (!range_within(at - host->layout.window, fn->id.bar_size,
			  host->layout.window_size))
		return -ENOSPC;
	host->next_bar = at + fn->id.bar_size;
	put_le32(fn->config + PCI_BASE_ADDRESS_0, at);
	put_le32(fn->writable + PCI_BASE_ADDRESS_0, -fn->id.bar_size);
	return 0;
}

int pci_function_init(struct pci_function *fn, struct pci_host *host,
		      unsigned slot, const char *name,
		      const struct pci_identity *id, const struct pci_ops *ops,
		      uint32_t gsi)
{
	int err = 0;

	if (slot >= PCI_SLOTS || host->slots[slot])
		return -EBUSY;
	*fn = (struct pci_function){
		.ops = ops, .host = host, .slot = slot, .id = *id
	};
	device_init(&fn->dev, name, &function_ops, 1 | 2 | 4 | 8);
	pthread_mutex_init(&fn->intx_lock, NULL);
	if (gsi != PCI_NO_PIN)
		fn->line = irq_line(host->irqs, gsi);
	header_init(fn, gsi);
	if (id->bar_size)
		err = bar_place(fn);
	memcpy(fn->initial, fn->config, PCI_CONFIG_SIZE);
	if (!err && id->vectors)
		err = pci_msix_init(fn, host->irqs);
	if (err) {
		pthread_mutex_destroy(&fn->intx_lock);
		device_fini(&fn->dev);
		return err;
	}
	host->slots[slot] = fn;
	return 0;
}

void pci_function_fini(struct pci_function *fn)
{
	fn->host->slots[fn->slot] = NULL;
	pci_msix_fini(fn);
	pthread_mutex_destroy(&fn->intx_lock);
	device_fini(&fn->dev);
}

unsigned pci_capability(struct pci_function *fn, const void *bytes,
			unsigned len, const void *writable)
{
	unsigned at = fn->next_cap;

	memcpy(fn->config + at, bytes, len);
	if (writable)
		memcpy(fn->writable + at, writable, len);
	/* The list's head is a pointer alone, a link is a cap's 2nd byte. */
	fn->config[at + PCI_CAP_LIST_NEXT] = 0;
	fn->config[fn->last_cap == PCI_CAPABILITY_LIST
			   ? PCI_CAPABILITY_LIST
			   : fn->last_cap + PCI_CAP_LIST_NEXT] = at;
	fn->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	fn->last_cap = at;
	fn->next_cap = align_up(at + len, 4);
	memcpy(fn->initial, fn->config, PCI_CONFIG_SIZE);
	return at;
}
