#include "unit.h"

#include "bus_io.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/virtio_pci.h"
#include "kvm/kvm.h"
#include "ring_driver.h"
#include "util/bytes.h"
#include "util/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MEMORY_SIZE (1u << 20)
#define RING_AT     0x10000
#define DATA_AT     0x40000
#define ECAM        0xe0000000u
#define WINDOW      0xc0000000u
#define GSI         17
#define SLOT        1
#define CFG(name)   VIRTIO_PCI_COMMON_##name

/* An entropy device on a PCI bus, as a rule without KVM: its doorbells are
 * exits, and what it signals stays in the eventfds of its vectors. */
struct bench {
	struct memory memory;
	struct irqchip irqs;
	struct bus ports, mmio;
	struct pci_host host;
	struct virtio_device *virtio;
	struct driver driver;
	uint64_t common, isr, config, notify; /* where they are found */
	uint32_t step;
	unsigned window; /* offset of the PCI_CFG capability */
};

static uint32_t config_read(struct bench *bench, unsigned reg, unsigned len)
{
	return bus_read(&bench->mmio, ECAM + (SLOT << 15) + reg, len);
}

static void config_write(struct bench *bench, unsigned reg, unsigned len,
			 uint32_t value)
{
	bus_write(&bench->mmio, ECAM + (SLOT << 15) + reg, len, value);
}

static uint32_t common_read(struct bench *bench, unsigned reg, unsigned len)
{
	return bus_read(&bench->mmio, bench->common + reg, len);
}

static void common_write(struct bench *bench, unsigned reg, unsigned len,
			 uint32_t value)
{
	bus_write(&bench->mmio, bench->common + reg, len, value);
}

/* Walks the list of capabilities as a driver does (virtio 1.2, 4.1.4). */
static void find_structures(struct bench *bench)
{
	uint32_t bar = config_read(bench, PCI_BASE_ADDRESS_0, 4);
	unsigned at = config_read(bench, PCI_CAPABILITY_LIST, 1);

	for (; at; at = config_read(bench, at + PCI_CAP_LIST_NEXT, 1)) {
		uint64_t where =
			bar + config_read(bench, at + VIRTIO_PCI_CAP_OFFSET, 4);

		if (config_read(bench, at, 1) != PCI_CAP_ID_VNDR)
			continue;
		switch (config_read(bench, at + VIRTIO_PCI_CAP_CFG_TYPE, 1)) {
		case VIRTIO_PCI_CAP_COMMON_CFG:
			bench->common = where;
			break;
		case VIRTIO_PCI_CAP_ISR_CFG:
			bench->isr = where;
			break;
		case VIRTIO_PCI_CAP_DEVICE_CFG:
			bench->config = where;
			break;
		case VIRTIO_PCI_CAP_NOTIFY_CFG:
			bench->notify = where;
			bench->step = config_read(
				bench, at + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
			break;
		case VIRTIO_PCI_CAP_PCI_CFG:
			bench->window = at;
			break;
		}
	}
}

static struct bench *bench_create(void)
{
	static const struct pci_layout layout = { .address_port = 0xcf8,
						  .data_port = 0xcfc,
						  .ecam = ECAM,
						  .window = WINDOW,
						  .window_size = 1 << 20 };
	struct bench *bench = test_calloc(1, sizeof(*bench));

	assert_int_equal(memory_create(&bench->memory, MEMORY_SIZE), 0);
	irqs_init(&bench->irqs);
	bus_init(&bench->ports, "port", -1, true);
	bus_init(&bench->mmio, "address", -1, false);
	assert_int_equal(pci_host_init(&bench->host, &bench->ports,
				       &bench->mmio, &bench->irqs, &layout,
				       NULL),
			 0);
	assert_int_equal(
		virtio_rng_create("rng0", &bench->memory, &bench->virtio), 0);
	assert_int_equal(
		virtio_pci_attach(bench->virtio, &bench->host, SLOT, GSI), 0);
	config_write(bench, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	find_structures(bench);
	return bench;
}

static void bench_destroy(struct bench *bench)
{
	virtio_destroy(bench->virtio);
	pci_host_fini(&bench->host);
	memory_destroy(&bench->memory);
	free(bench->irqs.routing);
	test_free(bench);
}

static void add_status(struct bench *bench, uint8_t bit)
{
	common_write(bench, CFG(STATUS), 1,
		     common_read(bench, CFG(STATUS), 1) | bit);
}

static void set_address(struct bench *bench, unsigned reg, gpa_t gpa)
{
	common_write(bench, reg, 4, (uint32_t)gpa);
	common_write(bench, reg + 4, 4, gpa >> 32);
}

/* By registers alone (virtio 1.2, 3.1.1), as any driver would. */
static void bring_up(struct bench *bench)
{
	common_write(bench, CFG(STATUS), 1, 0);
	add_status(bench, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(bench, VIRTIO_CONFIG_S_DRIVER);
	common_write(bench, CFG(GFSELECT), 4, 1);
	common_write(bench, CFG(GF), 4, 1u << (VIRTIO_F_VERSION_1 - 32));
	add_status(bench, VIRTIO_CONFIG_S_FEATURES_OK);
	bench->driver = driver_init(&bench->memory, RING_AT, 8);
	common_write(bench, CFG(Q_SELECT), 2, 0);
	common_write(bench, CFG(Q_SIZE), 2, 8);
	set_address(bench, CFG(Q_DESCLO), bench->driver.desc);
	set_address(bench, CFG(Q_AVAILLO), bench->driver.avail);
	set_address(bench, CFG(Q_USEDLO), bench->driver.used);
	common_write(bench, CFG(Q_ENABLE), 2, 1);
	add_status(bench, VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Asks for random bytes and waits until they are there. */
static void ask(struct bench *bench)
{
	struct vring_used_elem elem;

	driver_add(&bench->driver, &(struct segment){ DATA_AT, 16, true }, 1);
	bus_write(&bench->mmio, bench->notify, 2, 0);
	assert_true(driver_wait(&bench->driver, &elem));
}

/* The worker raises the interrupt just after the element shows. */
static bool becomes(bool (*is)(struct bench *bench), struct bench *bench)
{
	for (int i = 0; i < 10000 && !is(bench); i++)
		usleep(100);
	return is(bench);
}

static bool line_is_high(struct bench *bench)
{
	return line_is_raised(&bench->irqs, GSI);
}

static void a_driver_finds_all_structures(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	assert_int_equal(config_read(bench, PCI_VENDOR_ID, 4), 0x10441af4);
	assert_int_equal(config_read(bench, PCI_REVISION_ID, 1), 1);
	assert_int_not_equal(bench->common, 0);
	assert_int_not_equal(bench->isr, 0);
	assert_int_not_equal(bench->notify, 0);
	assert_int_not_equal(bench->window, 0);
	assert_int_equal(common_read(bench, CFG(NUMQ), 2), 1);
	bench_destroy(bench);
}

static void registers_bring_the_device_up(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	bring_up(bench);
	assert_int_equal(common_read(bench, CFG(STATUS), 1),
			 VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
				 VIRTIO_CONFIG_S_FEATURES_OK |
				 VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(common_read(bench, CFG(Q_ENABLE), 2), 1);
	assert_int_equal(common_read(bench, CFG(Q_USEDLO), 4),
			 bench->driver.used);
	ask(bench);
	bench_destroy(bench);
}

static void inta_is_raised_and_reading_the_isr_lowers_it(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	bring_up(bench);
	for (int i = 0; i < 3; i++) {
		ask(bench);
		assert_true(becomes(line_is_high, bench));
		assert_int_equal(bus_read(&bench->mmio, bench->isr, 1), 1);
		assert_false(line_is_high(bench));
		assert_int_equal(bus_read(&bench->mmio, bench->isr, 1), 0);
	}
	/* A reset takes an interrupt back as well. */
	ask(bench);
	assert_true(becomes(line_is_high, bench));
	common_write(bench, CFG(STATUS), 1, 0);
	assert_false(line_is_high(bench));
	bench_destroy(bench);
}

/* The first entry of the MSI-X table is masked: bit 1 says it is pending. */
static bool vector_1_is_pending(struct bench *bench)
{
	unsigned cap = config_read(bench, PCI_CAPABILITY_LIST, 1);
	uint32_t bar = config_read(bench, PCI_BASE_ADDRESS_0, 4);
	uint32_t pba = config_read(bench, cap + PCI_MSIX_PBA, 4);

	return bus_read(&bench->mmio, bar + pba, 4) & 2;
}

static void a_vector_replaces_inta(void **state)
{
	struct bench *bench = bench_create();
	unsigned cap = config_read(bench, PCI_CAPABILITY_LIST, 1);

	(void)state;
	assert_int_equal(config_read(bench, cap, 1), PCI_CAP_ID_MSIX);
	assert_int_equal(config_read(bench, cap + PCI_MSIX_FLAGS, 2), 1);
	config_write(bench, cap + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	bring_up(bench);
	common_write(bench, CFG(Q_SELECT), 2, 0);
	common_write(bench, CFG(Q_MSIX), 2, 1);
	assert_int_equal(common_read(bench, CFG(Q_MSIX), 2), 1);
	ask(bench);
	assert_true(becomes(vector_1_is_pending, bench));
	assert_false(line_is_high(bench));
	assert_int_equal(bus_read(&bench->mmio, bench->isr, 1), 0);
	bench_destroy(bench);
}

static void vectors_that_do_not_exist_are_refused(void **state)
{
	static const struct {
		uint16_t wanted, got;
	} cases[] = { { 0, 0 },
		      { 1, 1 },
		      { 2, VIRTIO_MSI_NO_VECTOR },
		      { 0x7fff, VIRTIO_MSI_NO_VECTOR },
		      { VIRTIO_MSI_NO_VECTOR, VIRTIO_MSI_NO_VECTOR } };
	struct bench *bench = bench_create();

	(void)state;
	assert_int_equal(common_read(bench, CFG(MSIX), 2),
			 VIRTIO_MSI_NO_VECTOR);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		common_write(bench, CFG(MSIX), 2, cases[i].wanted);
		assert_int_equal(common_read(bench, CFG(MSIX), 2),
				 cases[i].got);
		common_write(bench, CFG(Q_MSIX), 2, cases[i].wanted);
		assert_int_equal(common_read(bench, CFG(Q_MSIX), 2),
				 cases[i].got);
	}
	common_write(bench, CFG(MSIX), 2, 0);
	common_write(bench, CFG(STATUS), 1, 0);
	assert_int_equal(common_read(bench, CFG(MSIX), 2),
			 VIRTIO_MSI_NO_VECTOR);
	bench_destroy(bench);
}

static void a_queue_that_does_not_exist_reads_as_zeros(void **state)
{
	static const uint16_t selects[] = { 1, 8, 9, 0x8000, 0xffff };
	struct bench *bench = bench_create();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(selects); i++) {
		common_write(bench, CFG(Q_SELECT), 2, selects[i]);
		for (unsigned reg = CFG(Q_SIZE); reg < 32; reg += 2)
			common_write(bench, reg, 2, 1);
		for (unsigned reg = 32; reg < 60; reg += 4)
			common_write(bench, reg, 4, 0x1000);
		for (unsigned reg = CFG(Q_SIZE); reg < 32; reg += 2)
			assert_int_equal(common_read(bench, reg, 2), 0);
		for (unsigned reg = 32; reg < 60; reg += 4)
			assert_int_equal(common_read(bench, reg, 4), 0);
		assert_int_equal(common_read(bench, CFG(Q_SELECT), 2),
				 selects[i]);
	}
	bench_destroy(bench);
}

/* Every offset and width of the BAR: nothing happens but that it answers. */
static void odd_widths_and_places_are_harmless(void **state)
{
	static const unsigned widths[] = { 1, 2, 4, 8 };
	struct bench *bench = bench_create();
	uint32_t bar = config_read(bench, PCI_BASE_ADDRESS_0, 4);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
		for (unsigned at = 0; at < 0x8000; at++) {
			bus_write(&bench->mmio, bar + at, widths[i], ~0ull);
			bus_read(&bench->mmio, bar + at, widths[i]);
		}
		common_write(bench, CFG(STATUS), 1, 0);
	}
	/* A field is read as a whole or not at all. */
	assert_int_equal(common_read(bench, CFG(Q_SIZE), 1), 0);
	assert_int_equal(common_read(bench, CFG(NUMQ), 4), 0);
	assert_int_equal(common_read(bench, CFG(STATUS), 2), 0);
	bring_up(bench);
	ask(bench);
	bench_destroy(bench);
}

/* True if the kernel takes guest writes at @addr for itself. */
static bool kernel_has(struct bench *bench, uint64_t addr)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	int err = bus_ioeventfd(&bench->mmio, addr, 0, fd, NULL, true);

	if (!err)
		bus_ioeventfd(&bench->mmio, addr, 0, fd, NULL, false);
	close(fd);
	return err == -EEXIST;
}

/* One left behind would steal the doorbell of a device that moves there. */
static void the_kernels_doorbell_goes_where_the_bar_goes(void **state)
{
	int kvm;
	struct bench *bench;
	uint64_t to, old;

	(void)state;
	need_kvm();
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	bench = bench_create();
	bench->mmio.vm_fd = kvm_ioctl_value(kvm, KVM_CREATE_VM, 0);
	assert_true(bench->mmio.vm_fd >= 0);
	old = bench->notify;
	to = old + 0x40000;
	assert_false(kernel_has(bench, old));
	bring_up(bench);
	assert_true(kernel_has(bench, old));
	config_write(bench, PCI_BASE_ADDRESS_0, 4,
		     config_read(bench, PCI_BASE_ADDRESS_0, 4) + 0x40000);
	assert_false(kernel_has(bench, old));
	assert_true(kernel_has(bench, to));
	config_write(bench, PCI_COMMAND, 2, 0);
	assert_false(kernel_has(bench, to));
	config_write(bench, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_true(kernel_has(bench, to));
	find_structures(bench);
	common_write(bench, CFG(STATUS), 1, 0);
	assert_false(kernel_has(bench, to));
	close(bench->mmio.vm_fd);
	bench_destroy(bench);
	close(kvm);
}

static void doorbells_beyond_the_last_queue_are_ignored(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	bring_up(bench);
	for (unsigned i = 1; i < 0x400; i++)
		bus_write(&bench->mmio, bench->notify + i * bench->step, 2, i);
	ask(bench);
	bench_destroy(bench);
}

static void the_device_works_where_its_bar_is_moved(void **state)
{
	struct bench *bench = bench_create();
	uint32_t bar = config_read(bench, PCI_BASE_ADDRESS_0, 4);

	(void)state;
	bring_up(bench);
	ask(bench);
	config_write(bench, PCI_BASE_ADDRESS_0, 4, bar + 0x10000);
	assert_int_equal(common_read(bench, CFG(NUMQ), 2), 0xffff);
	find_structures(bench);
	ask(bench);
	config_write(bench, PCI_COMMAND, 2, 0);
	assert_int_equal(common_read(bench, CFG(NUMQ), 2), 0xffff);
	config_write(bench, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	ask(bench);
	bench_destroy(bench);
}

/* Access by the PCI_CFG capability: @value or the value read. */
static uint32_t window(struct bench *bench, uint32_t offset, uint32_t len,
		       bool is_write, uint32_t value)
{
	unsigned data = bench->window + sizeof(struct virtio_pci_cap);

	config_write(bench, bench->window + VIRTIO_PCI_CAP_BAR, 1, 0);
	config_write(bench, bench->window + VIRTIO_PCI_CAP_OFFSET, 4, offset);
	config_write(bench, bench->window + VIRTIO_PCI_CAP_LENGTH, 4, len);
	if (!is_write)
		return config_read(bench, data, len == 4 ? 4 : len & 3);
	config_write(bench, data, 4, value);
	return value;
}

static void the_window_in_configuration_space_reaches_the_bar(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	/* Even when the BAR itself answers nowhere. */
	config_write(bench, PCI_COMMAND, 2, 0);
	assert_int_equal(window(bench, CFG(NUMQ), 2, false, 0), 1);
	window(bench, CFG(STATUS), 1, true, 1);
	assert_int_equal(window(bench, CFG(STATUS), 1, false, 0), 1);
	/* Out of bounds, unaligned and of no width: nothing. */
	window(bench, 0x8000, 4, true, 0);
	window(bench, 0xffffffff, 1, true, 0);
	window(bench, 0xfffffffe, 2, true, 0);
	window(bench, CFG(STATUS) - 1, 2, true, 0);
	window(bench, CFG(STATUS), 3, true, 0);
	window(bench, CFG(STATUS), 0xffffffff, true, 0);
	assert_int_equal(window(bench, CFG(STATUS), 1, false, 0), 1);
	bench_destroy(bench);
}

static void a_reset_of_the_machine_stops_the_device(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	bring_up(bench);
	ask(bench);
	bus_reset(&bench->ports);
	bus_reset(&bench->mmio);
	assert_false(bench->virtio->running);
	assert_int_equal(virtio_status_read(bench->virtio), 0);
	assert_false(line_is_high(bench));
	config_write(bench, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	find_structures(bench);
	bring_up(bench);
	ask(bench);
	bench_destroy(bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_driver_finds_all_structures),
	cmocka_unit_test(registers_bring_the_device_up),
	cmocka_unit_test(inta_is_raised_and_reading_the_isr_lowers_it),
	cmocka_unit_test(a_vector_replaces_inta),
	cmocka_unit_test(vectors_that_do_not_exist_are_refused),
	cmocka_unit_test(a_queue_that_does_not_exist_reads_as_zeros),
	cmocka_unit_test(odd_widths_and_places_are_harmless),
	cmocka_unit_test(the_kernels_doorbell_goes_where_the_bar_goes),
	cmocka_unit_test(doorbells_beyond_the_last_queue_are_ignored),
	cmocka_unit_test(the_device_works_where_its_bar_is_moved),
	cmocka_unit_test(the_window_in_configuration_space_reaches_the_bar),
	cmocka_unit_test(a_reset_of_the_machine_stops_the_device),
};

UNIT_MAIN(tests)
