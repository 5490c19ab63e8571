#include "devices/pci.h"

#include "util/checked.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#define ECAM_FUNCTION   0x1000u /* bytes of ECAM for each function */
#define ADDRESS_ENABLE  0x80000000u
#define CONTROL_OFFSET  1 /* of port 0xcf9 within the address port */
#define VENDOR_REDHAT   0x1b36
#define REDHAT_PCI_HOST 0x0008

/* The function at @devfn of bus 0: device << 3 | function. */
static struct pci_function *host_function(struct pci_host *host, unsigned devfn)
{
	return devfn & 7 ? NULL : host->slots[(devfn >> 3) % PCI_SLOTS];
}

/* An absent function reads as all ones (PCI 3.0, 6.1). */
static uint32_t host_config(struct pci_function *fn, unsigned offset,
			    unsigned len, bool is_write, uint32_t value)
{
	if (!fn)
		return ~0u;
	pthread_mutex_lock(&fn->dev.lock);
	if (is_write)
		pci_config_write(fn, offset, len, value);
	else
		value = pci_config_read(fn, offset, len);
	pthread_mutex_unlock(&fn->dev.lock);
	return value;
}

/* Configuration mechanism #1: which register the data port shows. */
static uint32_t host_data(struct pci_host *host, unsigned byte, unsigned len,
			  bool is_write, uint32_t value)
{
	uint32_t address = host->address;
	unsigned bus = (address >> 16) & 0xff;

	if (!(address & ADDRESS_ENABLE) || bus)
		return ~0u;
	return host_config(host_function(host, (address >> 8) & 0xff),
			   (address & 0xfc) + byte, len, is_write, value);
}

/* Ranges of host->dev. */
enum { RANGE_ADDRESS, RANGE_DATA };

static uint64_t ports_read(struct device *dev, unsigned range, uint64_t offset,
			   unsigned len)
{
	struct pci_host *host = container_of(dev, struct pci_host, dev);
	struct device *control = host->control;
	uint64_t value;

	if (range == RANGE_DATA)
		return host_data(host, offset, len, false, 0);
	if (offset == 0 && len == 4)
		return host->address;
	if (offset != CONTROL_OFFSET || len != 1 || !control)
		return ~0ull;
	pthread_mutex_lock(&control->lock);
	value = control->ops->read(control, 0, 0, 1);
	pthread_mutex_unlock(&control->lock);
	return value;
}

/* Only 4-byte writes reach the latch; others are the business of whatever else
 * lives at these ports (PCI 3.0, 3.2.2.3.2). */
static void ports_write(struct device *dev, unsigned range, uint64_t offset,
			unsigned len, uint64_t value)
{
	struct pci_host *host = container_of(dev, struct pci_host, dev);
	struct device *control = host->control;

	if (range == RANGE_DATA) {
		host_data(host, offset, len, true, value);
	} else if (offset == 0 && len == 4) {
		host->address = value;
	} else if (offset == CONTROL_OFFSET && len == 1 && control) {
		pthread_mutex_lock(&control->lock);
		control->ops->write(control, 0, 0, 1, value);
		pthread_mutex_unlock(&control->lock);
	}
}

/* The whole bus: a function that decodes nothing is on neither bus, and only
 * the host knows it. */
static void ports_reset(struct device *dev)
{
	struct pci_host *host = container_of(dev, struct pci_host, dev);

	host->address = 0;
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		struct pci_function *fn = host->slots[i];

		if (!fn)
			continue;
		pthread_mutex_lock(&fn->dev.lock);
		fn->dev.ops->reset(&fn->dev);
		pthread_mutex_unlock(&fn->dev.lock);
	}
}

static uint64_t ecam_read(struct device *dev, unsigned range, uint64_t offset,
			  unsigned len)
{
	struct pci_host *host = container_of(dev, struct pci_host, ecam);

	(void)range;
	return host_config(host_function(host, offset / ECAM_FUNCTION),
			   offset % ECAM_FUNCTION, len, false, 0);
}

static void ecam_write(struct device *dev, unsigned range, uint64_t offset,
		       unsigned len, uint64_t value)
{
	struct pci_host *host = container_of(dev, struct pci_host, ecam);

	(void)range;
	host_config(host_function(host, offset / ECAM_FUNCTION),
		    offset % ECAM_FUNCTION, len, true, value);
}

static const struct device_ops ports_ops = {
	.read = ports_read,
	.write = ports_write,
	.reset = ports_reset,
};

static const struct device_ops ecam_ops = {
	.read = ecam_read,
	.write = ecam_write,
};

static int host_claim(struct pci_host *host)
{
	const struct pci_layout *layout = &host->layout;
	int err = bus_add(host->ports, &host->dev, RANGE_ADDRESS,
			  layout->address_port, 4);

	if (!err)
		err = bus_add(host->ports, &host->dev, RANGE_DATA,
			      layout->data_port, 4);
	if (!err)
		err = bus_add(host->mmio, &host->ecam, 0, layout->ecam,
			      PCI_SLOTS * 8 * ECAM_FUNCTION);
	return err;
}

int pci_host_init(struct pci_host *host, struct bus *ports, struct bus *mmio,
		  struct irqchip *irqs, const struct pci_layout *layout,
		  struct device *control)
{
	static const struct pci_identity bridge = {
		.vendor = VENDOR_REDHAT,
		.device = REDHAT_PCI_HOST,
		.class_code = 0x060000, /* host bridge */
	};
	static const struct pci_ops none;
	int err;

	*host = (struct pci_host){ .ports = ports,
				   .mmio = mmio,
				   .irqs = irqs,
				   .layout = *layout,
				   .control = control,
				   .next_bar = layout->window };
	device_init(&host->dev, "pci", &ports_ops, 1 | 2 | 4);
	device_init(&host->ecam, "pci ecam", &ecam_ops, 1 | 2 | 4);
	pthread_mutex_init(&host->decode_lock, NULL);
	err = host_claim(host);
	if (!err)
		err = pci_function_init(&host->bridge, host, 0, "pci bridge",
					&bridge, &none, PCI_NO_PIN);
	if (err)
		pci_host_fini(host);
	return err;
}

void pci_host_fini(struct pci_host *host)
{
	if (host->slots[0])
		pci_function_fini(&host->bridge);
	pthread_mutex_destroy(&host->decode_lock);
	device_fini(&host->ecam);
	device_fini(&host->dev);
}
