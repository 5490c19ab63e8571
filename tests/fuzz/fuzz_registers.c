/*
 * Any sequence of accesses to a PCI bus and to a virtio-mmio window, with an
 * entropy device on each: whatever a guest writes, the devices stay up and a
 * reset brings them back.
 */
#include "devices/virtio/rng.h"
#include "devices/virtio/virtio_mmio.h"
#include "devices/virtio/virtio_pci.h"
#include "util/checked.h"

#include <assert.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_SIZE (1u << 20)
#define ECAM        0xe0000000u
#define WINDOW      0xc0000000u
#define MMIO        0xfea00000u

struct machine {
	struct memory memory;
	struct irqchip irqs;
	struct bus ports, mmio;
	struct pci_host host;
	struct virtio_device *on_pci, *on_mmio;
};

static void machine_init(struct machine *m)
{
	static const struct pci_layout layout = { .address_port = 0xcf8,
						  .data_port = 0xcfc,
						  .ecam = ECAM,
						  .window = WINDOW,
						  .window_size = 1 << 16 };

	memset(m, 0, sizeof(*m));
	m->irqs.vm_fd = -1;
	pthread_mutex_init(&m->irqs.lock, NULL);
	m->irqs.routing =
		calloc(1, sizeof(*m->irqs.routing) +
				  300 * sizeof(m->irqs.routing->entries[0]));
	bus_init(&m->ports, "port", -1, true);
	bus_init(&m->mmio, "address", -1, false);
	if (memory_create(&m->memory, MEMORY_SIZE) ||
	    pci_host_init(&m->host, &m->ports, &m->mmio, &m->irqs, &layout,
			  NULL) ||
	    virtio_rng_create("rng0", &m->memory, &m->on_pci) ||
	    virtio_pci_attach(m->on_pci, &m->host, 1, 16) ||
	    virtio_rng_create("rng1", &m->memory, &m->on_mmio) ||
	    virtio_mmio_attach(m->on_mmio, &m->mmio, MMIO, &m->irqs, 17))
		abort();
}

/* What an input says: 8 bytes an access. */
struct step {
	uint8_t where; /* which area, width and direction */
	uint8_t page;
	uint16_t offset;
	uint32_t value;
};

static void step_do(struct machine *m, const struct step *step)
{
	unsigned len = 1u << (step->where & 3);
	bool is_write = step->where & 4;
	uint64_t value = step->value * 0x100000001ull;
	uint8_t data[8];

	memcpy(data, &value, sizeof(data));
	switch (step->where >> 3 & 3) {
	case 0:
		bus_access(&m->ports, 0xcf8 + step->offset % 8, data, len,
			   is_write);
		break;
	case 1: /* the function in slot 1 */
		bus_access(&m->mmio, ECAM + 0x8000 + step->offset % 0x1000,
			   data, len, is_write);
		break;
	case 2:
		bus_access(&m->mmio,
			   WINDOW + step->page % 8 * 0x1000 +
				   step->offset % 0x1000,
			   data, len, is_write);
		break;
	default:
		bus_access(&m->mmio, MMIO + step->offset % 0x200, data, len,
			   is_write);
		break;
	}
}

/* Brings the device behind virtio-mmio up, as a driver does; its rings are
 * whatever the memory holds. */
static void bring_up(struct machine *m)
{
	static const struct {
		uint16_t offset;
		uint32_t value;
	} writes[] = {
		{ VIRTIO_MMIO_STATUS, 1 },
		{ VIRTIO_MMIO_STATUS, 3 },
		{ VIRTIO_MMIO_DRIVER_FEATURES, 0x30000000 },
		{ VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1 },
		{ VIRTIO_MMIO_DRIVER_FEATURES, 1 },
		{ VIRTIO_MMIO_STATUS, 11 },
		{ VIRTIO_MMIO_QUEUE_NUM, 16 },
		{ VIRTIO_MMIO_QUEUE_DESC_LOW, 0 },
		{ VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x100 },
		{ VIRTIO_MMIO_QUEUE_USED_LOW, 0x200 },
		{ VIRTIO_MMIO_QUEUE_READY, 1 },
		{ VIRTIO_MMIO_STATUS, 15 },
		{ VIRTIO_MMIO_QUEUE_NOTIFY, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
		struct step step = { .where = 3 << 3 | 4 | 2,
				     .offset = writes[i].offset,
				     .value = writes[i].value };

		step_do(m, &step);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct machine m;
	uint8_t vendor[4];

	if (!m.memory.host) {
		log_set_level(LOG_ERR);
		machine_init(&m);
	}
	if (len >= 0x100 && bytes[0] & 0x80) {
		memcpy(m.memory.host, bytes + 1, 0xff);
		memcpy(m.memory.host + 0x100, bytes + 1, 4 + 2 * 16);
		bring_up(&m);
	}
	for (; len >= sizeof(struct step);
	     bytes += sizeof(struct step), len -= sizeof(struct step)) {
		struct step step;

		memcpy(&step, bytes, sizeof(step));
		step_do(&m, &step);
	}
	bus_reset(&m.ports);
	bus_reset(&m.mmio);
	assert(!m.on_pci->running && !m.on_mmio->running);
	bus_access(&m.mmio, ECAM + 0x8000, vendor, sizeof(vendor), false);
	assert(vendor[0] == 0xf4 && vendor[1] == 0x1a);
	return 0;
}
