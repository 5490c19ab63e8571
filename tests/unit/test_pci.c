#include "unit.h"

#include "devices/pci.h"
#include "util/checked.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <pthread.h>
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
	bool intx; /* atomic */
	uint64_t written;
	uint64_t decoded; /* where it was told that it answers, or 0 */
	unsigned resets;
};

static struct card *from_fn(struct pci_function *fn)
{
	return container_of(fn, struct card, fn);
}

static uint64_t card_read(struct pci_function *fn, uint64_t offset,
			  unsigned len)
{
	(void)fn;
	(void)len;
	return offset;
}

static void card_write(struct pci_function *fn, uint64_t offset, unsigned len,
		       uint64_t value)
{
	(void)len;
	from_fn(fn)->written = offset << 32 | value;
}

static void card_decoded(struct pci_function *fn, uint64_t base, bool on)
{
	from_fn(fn)->decoded = on ? base : 0;
}

static bool card_intx(struct pci_function *fn)
{
	return __atomic_load_n(&from_fn(fn)->intx, __ATOMIC_SEQ_CST);
}

static void card_reset(struct pci_function *fn)
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

static uint64_t control_read(struct device *dev, unsigned range,
			     uint64_t offset, unsigned len)
{
	assert_int_equal(range | offset, 0);
	assert_int_equal(len, 1);
	return container_of(dev, struct control, dev)->value;
}

static void control_write(struct device *dev, unsigned range, uint64_t offset,
			  unsigned len, uint64_t value)
{
	assert_int_equal(range | offset, 0);
	assert_int_equal(len, 1);
	container_of(dev, struct control, dev)->value = value;
}

static const struct device_ops control_ops = { .read = control_read,
					       .write = control_write };

/* A bus with a card in slots 1 and 2. KVM is not there: eventfds stay unread,
 * and so tell what was signalled. */
struct bench {
	struct irqchip irqs;
	struct bus ports, mmio;
	struct control control;
	struct pci_host host;
	struct card cards[2];
};

static struct bench *bench_create(void)
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

	bench->irqs.vm_fd = -1;
	pthread_mutex_init(&bench->irqs.lock, NULL);
	bench->irqs.routing = calloc(
		1, sizeof(*bench->irqs.routing) +
			   300 * sizeof(bench->irqs.routing->entries[0]));
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

static void bench_destroy(struct bench *bench)
{
	for (int i = 0; i < 2; i++)
		pci_function_fini(&bench->cards[i].fn);
	pci_host_fini(&bench->host);
	free(bench->irqs.routing);
	test_free(bench);
}

static uint32_t bus_read(struct bus *bus, uint64_t addr, unsigned len)
{
	uint8_t data[8] = { 0 };
	uint32_t value;

	bus_access(bus, addr, data, len, false);
	memcpy(&value, data, sizeof(value));
	return value;
}

static void bus_write(struct bus *bus, uint64_t addr, unsigned len,
		      uint32_t value)
{
	uint8_t data[8] = { 0 };

	memcpy(data, &value, sizeof(value));
	bus_access(bus, addr, data, len, true);
}

/* By ECAM. */
static uint64_t config_at(unsigned slot, unsigned reg)
{
	return ECAM + (slot << 15) + reg;
}

static uint32_t config_read(struct bench *bench, unsigned slot, unsigned reg,
			    unsigned len)
{
	return bus_read(&bench->mmio, config_at(slot, reg), len);
}

static void config_write(struct bench *bench, unsigned slot, unsigned reg,
			 unsigned len, uint32_t value)
{
	bus_write(&bench->mmio, config_at(slot, reg), len, value);
}

static void decode(struct bench *bench, unsigned slot, bool on)
{
	config_write(bench, slot, PCI_COMMAND, 2, on ? PCI_COMMAND_MEMORY : 0);
}

static uint32_t bar_of(struct bench *bench, unsigned slot)
{
	return config_read(bench, slot, PCI_BASE_ADDRESS_0, 4);
}

static void move(struct bench *bench, unsigned slot, uint32_t to)
{
	config_write(bench, slot, PCI_BASE_ADDRESS_0, 4, to);
}

/* True if the card in @slot answers at @base: its registers are what the bus
 * finds there, and it was told so. */
static bool answers(struct bench *bench, unsigned slot, uint32_t base)
{
	struct card *card = &bench->cards[slot - 1];

	card->written = 0;
	bus_write(&bench->mmio, base + 0x10, 4, 0x55);
	return card->written == (0x10ull << 32 | 0x55) && card->decoded == base;
}

static void functions_are_found_by_both_mechanisms(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	assert_int_equal(config_read(bench, 0, 0, 4), 0x00081b36);
	assert_int_equal(config_read(bench, 1, 0, 4), 0x10421af4);
	assert_int_equal(config_read(bench, 1, 2, 2), 0x1042);
	assert_int_equal(config_read(bench, 1, 1, 1), 0x1a);
	assert_int_equal(config_read(bench, 1, PCI_CLASS_REVISION, 4),
			 0x01800001);
	assert_int_equal(config_read(bench, 1, PCI_INTERRUPT_LINE, 2),
			 0x0100 | GSI);
	bus_write(&bench->ports, 0xcf8, 4, 0x80000000 | 1 << 11);
	assert_int_equal(bus_read(&bench->ports, 0xcfc, 4), 0x10421af4);
	assert_int_equal(bus_read(&bench->ports, 0xcfe, 2), 0x1042);
	assert_int_equal(bus_read(&bench->ports, 0xcfd, 1), 0x1a);
	assert_int_equal(bus_read(&bench->ports, 0xcf8, 4),
			 0x80000000 | 1 << 11);
	bench_destroy(bench);
}

static void absent_functions_read_as_ones(void **state)
{
	static const uint32_t addresses[] = {
		0x80000000 | 3 << 11,           /* no such slot */
		0x80000000 | 1 << 11 | 1 << 8,  /* no such function */
		0x80000000 | 1 << 16 | 1 << 11, /* no such bus */
		1 << 11,                        /* not enabled */
	};
	struct bench *bench = bench_create();

	(void)state;
	assert_int_equal(config_read(bench, 3, 0, 4), ~0u);
	assert_int_equal(config_read(bench, 31, 0, 2), 0xffff);
	assert_int_equal(bus_read(&bench->mmio, config_at(1, 0) + 0x1000, 4),
			 ~0u);
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		bus_write(&bench->ports, 0xcf8, 4, addresses[i]);
		assert_int_equal(bus_read(&bench->ports, 0xcfc, 4), ~0u);
		bus_write(&bench->ports, 0xcfc, 4, 0);
	}
	bench_destroy(bench);
}

static void odd_accesses_are_harmless(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	/* Beyond conventional configuration space: no capability there. */
	assert_int_equal(config_read(bench, 1, 0x100, 4), 0);
	assert_int_equal(config_read(bench, 1, 0xffc, 4), 0);
	config_write(bench, 1, 0x100, 4, ~0u);
	/* Across the end of a port, and of widths no port has. */
	assert_int_equal(bus_read(&bench->ports, 0xcff, 2), 0xffff);
	bus_write(&bench->ports, 0xcf8, 4, 0x80000800);
	bus_write(&bench->ports, 0xcf8, 2, 0xffff);
	bus_write(&bench->ports, 0xcfb, 1, 0x01);
	assert_int_equal(bus_read(&bench->ports, 0xcf8, 4), 0x80000800);
	bench_destroy(bench);
}

static void a_byte_at_0xcf9_is_the_reset_control_register(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	bus_write(&bench->ports, 0xcf9, 1, 6);
	assert_int_equal(bench->control.value, 6);
	assert_int_equal(bus_read(&bench->ports, 0xcf9, 1), 6);
	assert_int_equal(bus_read(&bench->ports, 0xcf8, 4), 0);
	bench_destroy(bench);
}

static void read_only_registers_stay(void **state)
{
	static const struct {
		unsigned reg;
		uint32_t after; /* all ones were written */
	} cases[] = {
		{ PCI_VENDOR_ID, 0x10421af4 },
		{ PCI_COMMAND, 0x00100406 },
		{ PCI_CLASS_REVISION, 0x01800001 },
		{ PCI_CACHE_LINE_SIZE, 0x000000ff },
		{ PCI_BASE_ADDRESS_0, -BAR },
		{ PCI_BASE_ADDRESS_1, 0 },
		{ PCI_ROM_ADDRESS, 0 },
		{ PCI_SUBSYSTEM_VENDOR_ID, 0x11001af4 },
		{ PCI_CAPABILITY_LIST, 0x40 },
		{ PCI_INTERRUPT_LINE, 0x000001ff },
		{ 0x40, 0xc0020011 }, /* MSI-X, a table of 3 */
		{ 0x44, TABLE },
		{ 0x48, PBA },
	};
	struct bench *bench = bench_create();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		config_write(bench, 1, cases[i].reg, 4, ~0u);
		assert_int_equal(config_read(bench, 1, cases[i].reg, 4),
				 cases[i].after);
	}
	bench_destroy(bench);
}

static void a_bar_answers_where_it_is_put_while_decoding_is_on(void **state)
{
	struct bench *bench = bench_create();
	uint32_t first = bar_of(bench, 1);

	(void)state;
	assert_int_equal(first, WINDOW);
	assert_int_equal(bar_of(bench, 2), WINDOW + BAR);
	assert_int_equal(bus_read(&bench->mmio, first + 0x10, 4), ~0u);
	decode(bench, 1, true);
	assert_true(answers(bench, 1, first));
	assert_int_equal(bus_read(&bench->mmio, first + 0x20, 4), 0x20);
	move(bench, 1, WINDOW + 8 * BAR);
	assert_false(answers(bench, 1, first));
	assert_true(answers(bench, 1, WINDOW + 8 * BAR));
	decode(bench, 1, false);
	assert_false(answers(bench, 1, WINDOW + 8 * BAR));
	bench_destroy(bench);
}

static void the_size_of_a_bar_is_asked_as_kernels_do(void **state)
{
	struct bench *bench = bench_create();
	uint32_t bar;

	(void)state;
	decode(bench, 1, true);
	bar = bar_of(bench, 1);
	move(bench, 1, ~0u);
	assert_int_equal(bar_of(bench, 1), -BAR);
	move(bench, 1, bar);
	assert_true(answers(bench, 1, bar));
	bench_destroy(bench);
}

/* P1. */
static void a_bar_elsewhere_than_in_free_window_answers_nowhere(void **state)
{
	static const uint32_t bad[] = {
		0,             /* RAM */
		WINDOW - BAR,  /* RAM, just below */
		WINDOW + SIZE, /* just above */
		ECAM,          /* another device */
		0xfee00000,    /* the local APICs */
		WINDOW + BAR,  /* the other card */
	};
	struct bench *bench = bench_create();

	(void)state;
	decode(bench, 1, true);
	decode(bench, 2, true);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		move(bench, 1, bad[i]);
		assert_false(answers(bench, 1, bad[i]));
		assert_int_equal(bar_of(bench, 1), bad[i]);
		assert_true(answers(bench, 2, WINDOW + BAR));
		move(bench, 1, WINDOW + 2 * BAR);
		assert_true(answers(bench, 1, WINDOW + 2 * BAR));
	}
	bench_destroy(bench);
}

static void two_bars_can_be_swapped(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	decode(bench, 1, true);
	decode(bench, 2, true);
	move(bench, 1, WINDOW + BAR);
	assert_true(answers(bench, 2, WINDOW + BAR));
	move(bench, 2, WINDOW);
	/* The place the first one waited for has become free. */
	assert_true(answers(bench, 1, WINDOW + BAR));
	assert_true(answers(bench, 2, WINDOW));
	bench_destroy(bench);
}

static void a_reset_puts_everything_back(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	decode(bench, 1, true);
	move(bench, 1, WINDOW + 4 * BAR);
	config_write(bench, 1, PCI_INTERRUPT_LINE, 1, 99);
	config_write(bench, 1, 0x42, 2, 0x8000);
	bus_write(&bench->ports, 0xcf8, 4, 0x80000800);
	bus_reset(&bench->ports);
	assert_int_equal(bench->cards[0].resets, 1);
	assert_int_equal(bench->cards[1].resets, 1);
	assert_int_equal(bar_of(bench, 1), WINDOW);
	assert_int_equal(config_read(bench, 1, PCI_COMMAND, 2), 0);
	assert_int_equal(config_read(bench, 1, PCI_INTERRUPT_LINE, 1), GSI);
	assert_int_equal(config_read(bench, 1, 0x42, 2), 2);
	assert_false(answers(bench, 1, WINDOW + 4 * BAR));
	assert_int_equal(bus_read(&bench->ports, 0xcf8, 4), 0);
	bench_destroy(bench);
}

static bool line_is_high(struct bench *bench)
{
	return bench->irqs.asserted[GSI];
}

static void inta_follows_the_device_unless_it_is_turned_off(void **state)
{
	struct bench *bench = bench_create();
	struct card *card = &bench->cards[0];

	(void)state;
	card->intx = true;
	assert_false(line_is_high(bench));
	pci_intx_update(&card->fn);
	assert_true(line_is_high(bench));
	assert_int_equal(config_read(bench, 1, PCI_STATUS, 2) &
				 PCI_STATUS_INTERRUPT,
			 PCI_STATUS_INTERRUPT);
	config_write(bench, 1, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	assert_false(line_is_high(bench));
	config_write(bench, 1, PCI_COMMAND, 2, 0);
	assert_true(line_is_high(bench));
	/* MSI-X replaces it. */
	config_write(bench, 1, 0x42, 2, PCI_MSIX_FLAGS_ENABLE);
	assert_false(line_is_high(bench));
	config_write(bench, 1, 0x42, 2, 0);
	assert_true(line_is_high(bench));
	card->intx = false;
	pci_intx_update(&card->fn);
	assert_false(line_is_high(bench));
	assert_int_equal(
		config_read(bench, 1, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	bench_destroy(bench);
}

struct raiser {
	struct card *card;
	bool stop; /* atomic */
};

/* The worker: an interrupt again and again. */
static void *raise_often(void *arg)
{
	struct raiser *raiser = arg;

	while (!__atomic_load_n(&raiser->stop, __ATOMIC_SEQ_CST)) {
		__atomic_store_n(&raiser->card->intx, true, __ATOMIC_SEQ_CST);
		pci_intx_update(&raiser->card->fn);
	}
	return NULL;
}

static void the_line_is_never_left_behind_by_a_race(void **state)
{
	struct bench *bench = bench_create();
	struct card *card = &bench->cards[0];

	(void)state;
	for (int round = 0; round < 50; round++) {
		struct raiser raiser = { .card = card };
		pthread_t thread;

		pthread_create(&thread, NULL, raise_often, &raiser);
		/* The driver: takes the interrupt, as a read of the ISR does.
		 */
		for (int i = 0; i < 100; i++) {
			(void)__atomic_exchange_n(&card->intx, false,
						  __ATOMIC_SEQ_CST);
			pci_intx_update(&card->fn);
		}
		__atomic_store_n(&raiser.stop, true, __ATOMIC_SEQ_CST);
		pthread_join(thread, NULL);
		assert_int_equal(line_is_high(bench), card->intx);
	}
	bench_destroy(bench);
}

/* Signals of vector @i that KVM has not taken. */
static uint64_t signals(struct bench *bench, unsigned i)
{
	uint64_t count = 0;

	if (read(bench->cards[0].fn.vector[i].msi.fd, &count, sizeof(count)) <
	    0)
		return 0;
	return count;
}

static void the_table_of_vectors_is_read_as_written(void **state)
{
	struct bench *bench = bench_create();
	uint32_t table = WINDOW + TABLE;

	(void)state;
	decode(bench, 1, true);
	bus_write(&bench->mmio, table + 16, 4, 0xfee01003);
	bus_write(&bench->mmio, table + 20, 4, 1);
	bus_write(&bench->mmio, table + 24, 4, 0x4041);
	assert_int_equal(bus_read(&bench->mmio, table + 16, 4), 0xfee01000);
	assert_int_equal(bus_read(&bench->mmio, table + 20, 4), 1);
	assert_int_equal(bus_read(&bench->mmio, table + 24, 4), 0x4041);
	assert_int_equal(bus_read(&bench->mmio, table + 28, 4), 1);
	assert_int_equal(bench->cards[0].fn.vector[1].address, 0x1fee01000);
	/* Other widths and places do nothing. */
	bus_write(&bench->mmio, table + 24, 2, 0xffff);
	bus_write(&bench->mmio, table + 26, 4, 0xffffffff);
	bus_write(&bench->mmio, WINDOW + PBA, 4, 0xffffffff);
	assert_int_equal(bus_read(&bench->mmio, table + 24, 4), 0x4041);
	assert_int_equal(bus_read(&bench->mmio, table + 24, 1), 0);
	assert_int_equal(bus_read(&bench->mmio, WINDOW + PBA, 4), 0);
	/* Behind the last entry the device's own registers go on. */
	assert_int_equal(bus_read(&bench->mmio, table + 48, 4), TABLE + 48);
	bench_destroy(bench);
}

static void a_masked_vector_is_pending_until_it_is_unmasked(void **state)
{
	struct bench *bench = bench_create();
	struct pci_function *fn = &bench->cards[0].fn;

	(void)state;
	decode(bench, 1, true);
	assert_false(pci_msix_raise(fn, 1)); /* MSI-X is off */
	assert_int_equal(pci_msix_fd(fn, 1), -1);
	config_write(bench, 1, 0x42, 2, PCI_MSIX_FLAGS_ENABLE);
	assert_true(pci_msix_raise(fn, 1));
	assert_int_equal(bus_read(&bench->mmio, WINDOW + PBA, 4), 2);
	assert_true(pci_msix_raise(fn, 2));
	assert_int_equal(bus_read(&bench->mmio, WINDOW + PBA, 4), 6);
	assert_int_equal(signals(bench, 1), 0);
	/* Nor may anybody raise it behind our back. */
	assert_int_equal(pci_msix_fd(fn, 1), -1);
	bus_write(&bench->mmio, WINDOW + TABLE + 28, 4, 0);
	assert_int_equal(signals(bench, 1), 1);
	assert_int_equal(pci_msix_fd(fn, 1), fn->vector[1].msi.fd);
	assert_int_equal(pci_msix_fd(fn, 0xffff), -1);
	assert_int_equal(bus_read(&bench->mmio, WINDOW + PBA, 4), 4);
	assert_true(pci_msix_raise(fn, 1));
	assert_int_equal(signals(bench, 1), 1);
	/* The function's mask holds all of them back. */
	config_write(bench, 1, 0x42, 2,
		     PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	assert_true(pci_msix_raise(fn, 1));
	assert_int_equal(signals(bench, 1), 0);
	assert_int_equal(bus_read(&bench->mmio, WINDOW + PBA, 4), 6);
	config_write(bench, 1, 0x42, 2, PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(signals(bench, 1), 1);
	/* One that does not exist: dropped, and no INTA either. */
	assert_true(pci_msix_raise(fn, 3));
	assert_true(pci_msix_raise(fn, 0xffff));
	bus_reset(&bench->ports);
	assert_int_equal(signals(bench, 2), 0);
	bench_destroy(bench);
}

static void *raise_thousands(void *arg)
{
	for (int i = 0; i < 5000; i++)
		pci_msix_raise(arg, 1);
	return NULL;
}

static void no_signal_is_lost_by_masking(void **state)
{
	struct bench *bench = bench_create();
	struct pci_function *fn = &bench->cards[0].fn;
	pthread_t thread;

	(void)state;
	log_set_level(LOG_ERR - 1); /* there is no KVM to route it */
	decode(bench, 1, true);
	config_write(bench, 1, 0x42, 2, PCI_MSIX_FLAGS_ENABLE);
	for (int round = 0; round < 20; round++) {
		pthread_create(&thread, NULL, raise_thousands, fn);
		for (int i = 0; i < 100; i++)
			bus_write(&bench->mmio, WINDOW + TABLE + 28, 4, i & 1);
		bus_write(&bench->mmio, WINDOW + TABLE + 28, 4, 0);
		signals(bench, 1);
		/* What comes from now on is seen, masked or not. */
		pci_msix_raise(fn, 1);
		assert_int_not_equal(signals(bench, 1), 0);
		pthread_join(thread, NULL);
		assert_false(fn->vector[1].pending);
	}
	log_set_level(LOG_WARN);
	bench_destroy(bench);
}

static void slots_and_the_window_run_out_with_an_error(void **state)
{
	static const struct pci_identity huge = { .vendor = 1,
						  .bar_size = SIZE };
	static const struct pci_identity none = { .vendor = 1 };
	struct bench *bench = bench_create();
	struct card card = { 0 };

	(void)state;
	assert_int_equal(pci_function_init(&card.fn, &bench->host, 1, "card",
					   &none, &card_ops, PCI_NO_PIN),
			 -EBUSY);
	assert_int_equal(pci_function_init(&card.fn, &bench->host, 32, "card",
					   &none, &card_ops, PCI_NO_PIN),
			 -EBUSY);
	assert_int_equal(pci_function_init(&card.fn, &bench->host, 3, "card",
					   &huge, &card_ops, PCI_NO_PIN),
			 -ENOSPC);
	assert_int_equal(config_read(bench, 3, 0, 4), ~0u);
	bench_destroy(bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(functions_are_found_by_both_mechanisms),
	cmocka_unit_test(absent_functions_read_as_ones),
	cmocka_unit_test(odd_accesses_are_harmless),
	cmocka_unit_test(a_byte_at_0xcf9_is_the_reset_control_register),
	cmocka_unit_test(read_only_registers_stay),
	cmocka_unit_test(a_bar_answers_where_it_is_put_while_decoding_is_on),
	cmocka_unit_test(the_size_of_a_bar_is_asked_as_kernels_do),
	cmocka_unit_test(a_bar_elsewhere_than_in_free_window_answers_nowhere),
	cmocka_unit_test(two_bars_can_be_swapped),
	cmocka_unit_test(a_reset_puts_everything_back),
	cmocka_unit_test(inta_follows_the_device_unless_it_is_turned_off),
	cmocka_unit_test(the_line_is_never_left_behind_by_a_race),
	cmocka_unit_test(the_table_of_vectors_is_read_as_written),
	cmocka_unit_test(a_masked_vector_is_pending_until_it_is_unmasked),
	cmocka_unit_test(no_signal_is_lost_by_masking),
	cmocka_unit_test(slots_and_the_window_run_out_with_an_error),
};

UNIT_MAIN(tests)
