/*
 * PCI: configuration space by both mechanisms, and BARs that move.
 */
#include "pci_bench.h"

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
	cmocka_unit_test(slots_and_the_window_run_out_with_an_error),
};

UNIT_MAIN(tests)
