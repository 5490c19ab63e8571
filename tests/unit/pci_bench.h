/*
 * A PCI bus with two cards on it, for tests, and how its registers are reached.
 */
#ifndef KVIST_TESTS_PCI_BENCH_H
#define KVIST_TESTS_PCI_BENCH_H

#include "unit.h"

#include "bus_io.h"
#include "devices/pci.h"
#include "util/checked.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ECAM   0xe0000000u
#define WINDOW 0xc0000000u
#define SIZE   0x10000u /* of the window: room for four BARs */
#define BAR    0x1000u
#define TABLE  0x800u
#define PBA    0xc00u
#define GSI    16

/* A function whose registers read as their offset, and what happened to it. */
struct card {
	struct pci_function fn;
	bool intx;       /* atomic */
	unsigned linger; /* atomic: the next look at it takes so many us */
	uint64_t written;
	uint64_t decoded; /* where it was told that it answers, or 0 */
	unsigned resets;
};

static inline struct card *from_fn(struct pci_function *fn)
{
	return container_of(fn, struct card, fn);
}

static inline uint64_t card_read(struct pci_function *fn, uint64_t offset,
				 unsigned len)
{
	(void)fn;
	(void)len;
	return offset;
}

static inline void card_write(struct pci_function *fn, uint64_t offset,
			      unsigned len, uint64_t value)
{
	(void)len;
	from_fn(fn)->written = offset << 32 | value;
}

static inline void card_decoded(struct pci_function *fn, uint64_t base, bool on)
{
	from_fn(fn)->decoded = on ? base : 0;
}

static inline bool card_intx(struct pci_function *fn)
{
	struct card *card = from_fn(fn);
	bool intx = __atomic_load_n(&card->intx, __ATOMIC_SEQ_CST);

	usleep(__atomic_exchange_n(&card->linger, 0, __ATOMIC_SEQ_CST));
	return intx;
}

static inline void card_reset(struct pci_function *fn)
{
	from_fn(fn)->resets++;
}

static const struct pci_ops card_ops = {
	.read = card_read,
	.write = card_write,
	.decoded = card_decoded,
	.intx = card_intx,
	.reset = card_reset,
};

/* Stands for the reset control register. */
struct control {
	struct device dev;
	uint8_t value;
};

static inline uint64_t control_read(struct device *dev, unsigned range,
				    uint64_t offset, unsigned len)
{
	assert_int_equal(range | offset, 0);
	assert_int_equal(len, 1);
	return container_of(dev, struct control, dev)->value;
}

static inline void control_write(struct device *dev, unsigned range,
				 uint64_t offset, unsigned len, uint64_t value)
{
	assert_int_equal(range | offset, 0);
	assert_int_equal(len, 1);
	container_of(dev, struct control, dev)->value = value;
}

static const struct device_ops control_ops = { .read = control_read,
					       .write = control_write };

/* A bus with a card in slots 1 and 2. */
struct bench {
	struct irqchip irqs;
	struct bus ports, mmio;
	struct control control;
	struct pci_host host;
	struct card cards[2];
};

static inline struct bench *bench_create(void)
{
	static const struct pci_layout layout = { .address_port = 0xcf8,
						  .data_port = 0xcfc,
						  .ecam = ECAM,
						  .window = WINDOW,
						  .window_size = SIZE };
	static const struct pci_identity id = { .vendor = 0x1af4,
						.device = 0x1042,
						.subsystem_vendor = 0x1af4,
						.subsystem = 0x1100,
						.class_code = 0x018000,
						.revision = 1,
						.bar_size = BAR,
						.vectors = 3,
						.msix_table = TABLE,
						.msix_pba = PBA };
	struct bench *bench = test_calloc(1, sizeof(*bench));

	irqs_init(&bench->irqs);
	bus_init(&bench->ports, "port", -1, true);
	bus_init(&bench->mmio, "address", -1, false);
	device_init(&bench->control.dev, "control", &control_ops, 1);
	assert_int_equal(pci_host_init(&bench->host, &bench->ports,
				       &bench->mmio, &bench->irqs, &layout,
				       &bench->control.dev),
			 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pci_function_init(&bench->cards[i].fn,
						   &bench->host, i + 1, "card",
						   &id, &card_ops, GSI + i),
				 0);
	return bench;
}

static inline void bench_destroy(struct bench *bench)
{
	for (int i = 0; i < 2; i++)
		pci_function_fini(&bench->cards[i].fn);
	pci_host_fini(&bench->host);
	free(bench->irqs.routing);
	test_free(bench);
}

/* By ECAM. */
static inline uint64_t config_at(unsigned slot, unsigned reg)
{
	return ECAM + (slot << 15) + reg;
}

static inline uint32_t config_read(struct bench *bench, unsigned slot,
				   unsigned reg, unsigned len)
{
	return bus_read(&bench->mmio, config_at(slot, reg), len);
}

static inline void config_write(struct bench *bench, unsigned slot,
				unsigned reg, unsigned len, uint32_t value)
{
	bus_write(&bench->mmio, config_at(slot, reg), len, value);
}

static inline void decode(struct bench *bench, unsigned slot, bool on)
{
	config_write(bench, slot, PCI_COMMAND, 2, on ? PCI_COMMAND_MEMORY : 0);
}

static inline uint32_t bar_of(struct bench *bench, unsigned slot)
{
	return config_read(bench, slot, PCI_BASE_ADDRESS_0, 4);
}

static inline void move(struct bench *bench, unsigned slot, uint32_t to)
{
	config_write(bench, slot, PCI_BASE_ADDRESS_0, 4, to);
}

/* True if the card in @slot answers at @base: its registers are what the bus
 * finds there, and it was told so. */
static inline bool answers(struct bench *bench, unsigned slot, uint32_t base)
{
	struct card *card = &bench->cards[slot - 1];

	card->written = 0;
	bus_write(&bench->mmio, base + 0x10, 4, 0x55);
	return card->written == (0x10ull << 32 | 0x55) && card->decoded == base;
}

#endif
