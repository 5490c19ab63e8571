#include "devices/virtio/virtio_pci.h"

#include "devices/virtio/virtio_pci_parts.h"
#include "util/bytes.h"
#include "util/checked.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>

#define VENDOR_VIRTIO 0x1af4
#define DEVICE_FIRST  0x1040 /* + the virtio device id (4.1.2) */
#define SUBSYSTEM     0x1100
#define REVISION      1 /* not transitional */

/* Bits of the ISR (4.1.4.5). */
#define ISR_QUEUE  1u
#define ISR_CONFIG 2u

/* The vector of a queue is vector[1 + queue]. */
#define CONFIG_VECTOR 0

struct virtio_pci {
	struct pci_function fn;
	struct virtio_device *virtio; /* our owner */
	uint32_t feature_select, driver_feature_select;
	uint16_t queue_select;
	uint16_t vector[1 + VIRTIO_QUEUES_MAX]; /* atomic */
	unsigned window;                        /* offset of the PCI_CFG cap */
	/* Under the host's decode_lock: the worker runs, and which doorbells
	 * are ioeventfds. */
	bool running;
	bool doorbell[VIRTIO_QUEUES_MAX];
};

static struct virtio_pci *from_fn(struct pci_function *fn)
{
	return container_of(fn, struct virtio_pci, fn);
}

/*
 * A doorbell that is no ioeventfd (KVM refused, or the worker has just begun)
 * still works: its writes come as exits to bar_write().
 */
static void doorbells(struct virtio_pci *pci, uint64_t base, bool on)
{
	for (unsigned i = 0; i < pci->virtio->nr_queues; i++) {
		struct virtio_queue *queue = &pci->virtio->queues[i];
		uint64_t at = base + BAR_NOTIFY + i * NOTIFY_STEP;
		int err;

		if (on ? !queue->enabled : !pci->doorbell[i])
			continue;
		/* Of any length: KVM then need not decode the instruction. */
		err = bus_ioeventfd(pci->fn.host->mmio, at, 0, queue->kick_fd,
				    NULL, on);
		if (err)
			log_debug("%s: queue %u: no ioeventfd: %s",
				  pci->virtio->name, i, strerror(-err));
		pci->doorbell[i] = on && !err;
	}
}

static void pci_decoded(struct pci_function *fn, uint64_t base, bool on)
{
	struct virtio_pci *pci = from_fn(fn);

	if (pci->running)
		doorbells(pci, base, on);
}

static void transport_running(struct virtio_device *virtio, bool on)
{
	struct virtio_pci *pci = virtio->transport;
	struct pci_host *host = pci->fn.host;

	pthread_mutex_lock(&host->decode_lock);
	pci->running = on;
	if (pci->fn.bar_decoded)
		doorbells(pci, pci->fn.bar_at, on);
	pthread_mutex_unlock(&host->decode_lock);
}

static void transport_interrupt(struct virtio_device *virtio, int queue)
{
	struct virtio_pci *pci = virtio->transport;
	bool config = queue == VIRTIO_CONFIG_INTERRUPT;
	unsigned source = config ? CONFIG_VECTOR : 1 + queue;
	uint16_t vector =
		__atomic_load_n(&pci->vector[source], __ATOMIC_SEQ_CST);

	/* VIRTIO_MSI_NO_VECTOR lies beyond every table. */
	if (pci_msix_raise(&pci->fn, vector))
		return;
	__atomic_fetch_or(&virtio->isr, config ? ISR_CONFIG : ISR_QUEUE,
			  __ATOMIC_SEQ_CST);
	pci_intx_update(&pci->fn);
}

static int transport_call_fd(struct virtio_device *virtio, unsigned queue)
{
	struct virtio_pci *pci = virtio->transport;

	return pci_msix_fd(&pci->fn, __atomic_load_n(&pci->vector[1 + queue],
						     __ATOMIC_SEQ_CST));
}

static void call_changed(struct virtio_pci *pci, unsigned queue)
{
	if (pci->virtio->ops->call_changed)
		pci->virtio->ops->call_changed(pci->virtio, queue);
}

/* A vector was masked or unmasked. */
static void pci_vector(struct pci_function *fn, unsigned vector)
{
	struct virtio_pci *pci = from_fn(fn);

	for (unsigned i = 0; i < pci->virtio->nr_queues; i++) {
		if (pci->vector[1 + i] == vector)
			call_changed(pci, i);
	}
}

static bool pci_intx(struct pci_function *fn)
{
	return __atomic_load_n(&from_fn(fn)->virtio->isr, __ATOMIC_SEQ_CST);
}

/* Reading takes the bits and lowers INTA (4.1.4.5). */
static uint8_t isr_read(struct virtio_pci *pci)
{
	uint8_t isr =
		__atomic_exchange_n(&pci->virtio->isr, 0, __ATOMIC_SEQ_CST);

	pci_intx_update(&pci->fn);
	return isr;
}

static uint16_t vector_read(const struct virtio_pci *pci, unsigned source)
{
	return source <= pci->virtio->nr_queues
		       ? __atomic_load_n(&pci->vector[source], __ATOMIC_SEQ_CST)
		       : 0;
}

/* A vector that does not exist reads back as none (4.1.5.1.2.1). */
static void vector_write(struct virtio_pci *pci, unsigned source,
			 uint16_t vector)
{
	if (source > pci->virtio->nr_queues)
		return;
	if (vector >= pci->fn.id.vectors)
		vector = VIRTIO_MSI_NO_VECTOR;
	__atomic_store_n(&pci->vector[source], vector, __ATOMIC_SEQ_CST);
	if (source != CONFIG_VECTOR)
		call_changed(pci, source - 1);
}

/* A field of the common structure: accesses of another size than the field's
 * are not defined; they read as 0 and write nothing. */
#define FIELD(offset, len) ((offset) << 4 | (len))

static uint32_t queue_read(struct virtio_pci *pci, unsigned field)
{
	struct virtio_queue *queue =
		virtio_queue(pci->virtio, pci->queue_select);

	if (!queue)
		return 0;
	switch (field) {
	case FIELD(VIRTIO_PCI_COMMON_Q_SIZE, 2):
		return queue->config.size;
	case FIELD(VIRTIO_PCI_COMMON_Q_MSIX, 2):
		return vector_read(pci, 1 + pci->queue_select);
	case FIELD(VIRTIO_PCI_COMMON_Q_ENABLE, 2):
		return queue->enabled;
	case FIELD(VIRTIO_PCI_COMMON_Q_NOFF, 2):
		return pci->queue_select;
	default:
		return 0;
	}
}

/* Which part and half of a queue's addresses lies at @offset. */
static bool address_field(uint64_t offset, unsigned len,
			  enum virtio_ring_part *part, unsigned *half)
{
	if (len != 4 || offset % 4 || offset < VIRTIO_PCI_COMMON_Q_DESCLO ||
	    offset > VIRTIO_PCI_COMMON_Q_USEDHI)
		return false;
	offset -= VIRTIO_PCI_COMMON_Q_DESCLO;
	*part = VIRTIO_DESC + offset / 8;
	*half = offset / 4 % 2;
	return true;
}

static uint32_t common_read(struct virtio_pci *pci, uint64_t offset,
			    unsigned len)
{
	struct virtio_device *virtio = pci->virtio;
	enum virtio_ring_part part;
	unsigned half;

	if (address_field(offset, len, &part, &half))
		return virtio_queue_address(virtio, pci->queue_select, part,
					    half);
	switch (FIELD(offset, len)) {
	case FIELD(VIRTIO_PCI_COMMON_DFSELECT, 4):
		return pci->feature_select;
	case FIELD(VIRTIO_PCI_COMMON_DF, 4):
		return virtio_features_read(virtio, pci->feature_select);
	case FIELD(VIRTIO_PCI_COMMON_GFSELECT, 4):
		return pci->driver_feature_select;
	case FIELD(VIRTIO_PCI_COMMON_GF, 4):
		return virtio_features_driver(virtio,
					      pci->driver_feature_select);
	case FIELD(VIRTIO_PCI_COMMON_MSIX, 2):
		return vector_read(pci, CONFIG_VECTOR);
	case FIELD(VIRTIO_PCI_COMMON_NUMQ, 2):
		return virtio->nr_queues;
	case FIELD(VIRTIO_PCI_COMMON_STATUS, 1):
		return virtio_status_read(virtio);
	case FIELD(VIRTIO_PCI_COMMON_CFGGENERATION, 1):
		return (uint8_t)__atomic_load_n(&virtio->generation,
						__ATOMIC_SEQ_CST);
	case FIELD(VIRTIO_PCI_COMMON_Q_SELECT, 2):
		return pci->queue_select;
	default:
		return queue_read(pci, FIELD(offset, len));
	}
}

static void transport_reset(struct virtio_pci *pci)
{
	pci->feature_select = 0;
	pci->driver_feature_select = 0;
	pci->queue_select = 0;
	for (unsigned i = 0; i <= pci->virtio->nr_queues; i++)
		__atomic_store_n(&pci->vector[i], VIRTIO_MSI_NO_VECTOR,
				 __ATOMIC_SEQ_CST);
}

static void status_write(struct virtio_pci *pci, uint8_t status)
{
	virtio_status_write(pci->virtio, status);
	if (!status) {
		transport_reset(pci);
		pci_intx_update(&pci->fn);
	}
}

static void common_write(struct virtio_pci *pci, uint64_t offset, unsigned len,
			 uint32_t value)
{
	struct virtio_device *virtio = pci->virtio;
	enum virtio_ring_part part;
	unsigned half;

	if (address_field(offset, len, &part, &half)) {
		virtio_queue_set_address(virtio, pci->queue_select, part, half,
					 value);
		return;
	}
	switch (FIELD(offset, len)) {
	case FIELD(VIRTIO_PCI_COMMON_DFSELECT, 4):
		pci->feature_select = value;
		break;
	case FIELD(VIRTIO_PCI_COMMON_GFSELECT, 4):
		pci->driver_feature_select = value;
		break;
	case FIELD(VIRTIO_PCI_COMMON_GF, 4):
		virtio_features_write(virtio, pci->driver_feature_select,
				      value);
		break;
	case FIELD(VIRTIO_PCI_COMMON_MSIX, 2):
		vector_write(pci, CONFIG_VECTOR, value);
		break;
	case FIELD(VIRTIO_PCI_COMMON_STATUS, 1):
		status_write(pci, value);
		break;
	case FIELD(VIRTIO_PCI_COMMON_Q_SELECT, 2):
		pci->queue_select = value;
		break;
	case FIELD(VIRTIO_PCI_COMMON_Q_SIZE, 2):
		virtio_queue_set_size(virtio, pci->queue_select, value);
		break;
	case FIELD(VIRTIO_PCI_COMMON_Q_MSIX, 2):
		vector_write(pci, 1 + pci->queue_select, value);
		break;
	case FIELD(VIRTIO_PCI_COMMON_Q_ENABLE, 2):
		if (value == 1)
			virtio_queue_enable(virtio, pci->queue_select);
		break;
	}
}

static uint64_t bar_read(struct pci_function *fn, uint64_t offset, unsigned len)
{
	struct virtio_pci *pci = from_fn(fn);

	switch (offset / BAR_PAGE * BAR_PAGE) {
	case BAR_COMMON:
		return common_read(pci, offset - BAR_COMMON, len);
	case BAR_ISR:
		return offset == BAR_ISR ? isr_read(pci) : 0;
	case BAR_DEVICE:
		return virtio_config_read(pci->virtio, offset - BAR_DEVICE,
					  len);
	default:
		return 0;
	}
}

static void bar_write(struct pci_function *fn, uint64_t offset, unsigned len,
		      uint64_t value)
{
	struct virtio_pci *pci = from_fn(fn);

	switch (offset / BAR_PAGE * BAR_PAGE) {
	case BAR_COMMON:
		common_write(pci, offset - BAR_COMMON, len, value);
		break;
	case BAR_DEVICE:
		virtio_config_write(pci->virtio, offset - BAR_DEVICE, len,
				    value);
		break;
	case BAR_NOTIFY:
		if (!(offset % NOTIFY_STEP))
			virtio_notify(pci->virtio,
				      (offset - BAR_NOTIFY) / NOTIFY_STEP);
		break;
	}
}

/*
 * The window of the PCI_CFG capability (4.1.4.9): what the driver put into its
 * bar, offset and length is accessed through its data.
 */
static bool window_target(struct virtio_pci *pci, unsigned offset, unsigned len,
			  uint32_t *at, uint32_t *n)
{
	const uint8_t *cap = pci->fn.config + pci->window;

	if (!ranges_overlap(offset, len,
			    pci->window + sizeof(struct virtio_pci_cap), 4))
		return false;
	*at = get_le32(cap + VIRTIO_PCI_CAP_OFFSET);
	*n = get_le32(cap + VIRTIO_PCI_CAP_LENGTH);
	return cap[VIRTIO_PCI_CAP_BAR] == 0 &&
	       (*n == 1 || *n == 2 || *n == 4) && *at % *n == 0 &&
	       range_within(*at, *n, BAR_SIZE);
}

static void pci_config_before_read(struct pci_function *fn, unsigned offset,
				   unsigned len)
{
	struct virtio_pci *pci = from_fn(fn);
	uint32_t at, n, value;

	if (!window_target(pci, offset, len, &at, &n))
		return;
	value = fn->dev.ops->read(&fn->dev, 0, at, n);
	memcpy(fn->config + pci->window + sizeof(struct virtio_pci_cap), &value,
	       n);
}

static void pci_config_after_write(struct pci_function *fn, unsigned offset,
				   unsigned len)
{
	struct virtio_pci *pci = from_fn(fn);
	uint32_t at, n, value = 0;

	if (!window_target(pci, offset, len, &at, &n))
		return;
	memcpy(&value, fn->config + pci->window + sizeof(struct virtio_pci_cap),
	       n);
	fn->dev.ops->write(&fn->dev, 0, at, n, value);
}

static void pci_reset(struct pci_function *fn)
{
	struct virtio_pci *pci = from_fn(fn);

	virtio_reset(pci->virtio);
	transport_reset(pci);
}

static const struct pci_ops pci_ops = {
	.read = bar_read,
	.write = bar_write,
	.config_read = pci_config_before_read,
	.config_write = pci_config_after_write,
	.decoded = pci_decoded,
	.intx = pci_intx,
	.vector = pci_vector,
	.reset = pci_reset,
};

static void transport_destroy(void *transport)
{
	struct virtio_pci *pci = transport;

	pci_function_fini(&pci->fn);
	free(pci);
}

static const struct virtio_transport_ops transport_ops = {
	.interrupt = transport_interrupt,
	.call_fd = transport_call_fd,
	.running = transport_running,
	.destroy = transport_destroy,
};

int virtio_pci_attach(struct virtio_device *virtio, struct pci_host *host,
		      unsigned slot, uint32_t gsi)
{
	const struct pci_identity id = {
		.vendor = VENDOR_VIRTIO,
		.device = DEVICE_FIRST + virtio->id,
		.subsystem_vendor = VENDOR_VIRTIO,
		.subsystem = SUBSYSTEM,
		.class_code = virtio_pci_class(virtio->id),
		.revision = REVISION,
		.bar_size = BAR_SIZE,
		.vectors = 1 + virtio->nr_queues,
		.msix_table = BAR_TABLE,
		.msix_pba = BAR_PBA,
	};
	struct virtio_pci *pci = calloc(1, sizeof(*pci));
	int err = -ENOMEM;

	if (pci) {
		pci->virtio = virtio;
		err = pci_function_init(&pci->fn, host, slot, virtio->name, &id,
					&pci_ops, gsi);
	}
	if (err) {
		free(pci);
		return err;
	}
	transport_reset(pci);
	pci->window = virtio_pci_capabilities(&pci->fn, virtio);
	virtio->dev = &pci->fn.dev;
	virtio->transport_ops = &transport_ops;
	virtio->transport = pci;
	return 0;
}
