/*
 * Interrupts of PCI functions: INTA as a level, MSI-X with its masks, and the
 * races between those who raise and those who mask.
 */
#include "pci_bench.h"
#include "said.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

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

/* While the other thread looks at the level, it changes. */
static void *change_meanwhile(void *arg)
{
	struct card *card = arg;

	while (__atomic_load_n(&card->linger, __ATOMIC_SEQ_CST))
		sched_yield();
	__atomic_store_n(&card->intx, !card->intx, __ATOMIC_SEQ_CST);
	pci_intx_update(&card->fn);
	return NULL;
}

static void the_line_is_never_left_behind_by_a_race(void **state)
{
	struct bench *bench = bench_create();
	struct card *card = &bench->cards[0];

	(void)state;
	for (int round = 0; round < 10; round++) {
		pthread_t thread;

		__atomic_store_n(&card->linger, 2000, __ATOMIC_SEQ_CST);
		pthread_create(&thread, NULL, change_meanwhile, card);
		pci_intx_update(&card->fn);
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
	/* Nor do bits that mean nothing stay. */
	bus_write(&bench->mmio, table + 28, 4, 0xffffffff);
	assert_int_equal(bus_read(&bench->mmio, table + 28, 4), 1);
	assert_int_equal(bench->cards[0].written, 0);
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
	assert_false(fn->vector[2].pending);
	bench_destroy(bench);
}

#define ROUNDS 2000

struct meeting {
	pthread_barrier_t barrier;
	struct pci_function *fn;
};

static bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_SEQ_CST);
}

/* The worker: signals until the vector is unmasked, in each round. */
static void *raise_meanwhile(void *arg)
{
	struct meeting *meeting = arg;

	for (int round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&meeting->barrier);
		for (int i = 0; !i || is_set(&meeting->fn->vector[1].masked);
		     i++) {
			pci_msix_raise(meeting->fn, 1);
			if (i % 64 == 63) /* there may be one CPU only */
				sched_yield();
		}
		pthread_barrier_wait(&meeting->barrier);
	}
	return NULL;
}

static void no_signal_is_lost_by_masking(void **state)
{
	struct bench *bench = bench_create();
	struct meeting meeting = { .fn = &bench->cards[0].fn };
	const struct pci_msix_entry *vector = &meeting.fn->vector[1];
	const uint32_t control = WINDOW + TABLE + 28;
	unsigned lost = 0;
	pthread_t thread;
	struct said said;
	char text[1];

	(void)state;
	said = said_begin(); /* that there is no KVM to route it */
	decode(bench, 1, true);
	config_write(bench, 1, 0x42, 2, PCI_MSIX_FLAGS_ENABLE);
	pthread_barrier_init(&meeting.barrier, NULL, 2);
	pthread_create(&thread, NULL, raise_meanwhile, &meeting);
	for (int round = 0; round < ROUNDS; round++) {
		bus_write(&bench->mmio, control, 4, 1);
		pthread_barrier_wait(&meeting.barrier);
		while (!is_set(&vector->pending)) /* the worker is at it */
			sched_yield();
		bus_write(&bench->mmio, control, 4, 0);
		pthread_barrier_wait(&meeting.barrier);
		lost += vector->pending || !signals(bench, 1);
	}
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&meeting.barrier);
	said_end(said, text, sizeof(text));
	assert_int_equal(lost, 0);
	bench_destroy(bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(inta_follows_the_device_unless_it_is_turned_off),
	cmocka_unit_test(the_line_is_never_left_behind_by_a_race),
	cmocka_unit_test(the_table_of_vectors_is_read_as_written),
	cmocka_unit_test(a_masked_vector_is_pending_until_it_is_unmasked),
	cmocka_unit_test(no_signal_is_lost_by_masking),
};

UNIT_MAIN(tests)
