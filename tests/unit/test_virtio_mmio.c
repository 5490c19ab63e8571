#include "unit.h"

#include "bus_io.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/virtio_mmio.h"
#include "ring_driver.h"
#include "util/bytes.h"
#include "util/checked.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <unistd.h>

#define MEMORY_SIZE (1u << 20)
#define RING_AT     0x10000
#define DATA_AT     0x40000
#define BASE        0xfea00000u
#define GSI         17
#define REG(name)   VIRTIO_MMIO_##name

/* An entropy device on a bus without KVM: its doorbell is an exit. */
struct bench {
	struct memory memory;
	struct irqchip irqs;
	struct bus mmio;
	struct virtio_device *virtio;
	struct driver driver;
};

static struct bench *bench_create(void)
{
	struct bench *bench = test_calloc(1, sizeof(*bench));

	assert_int_equal(memory_create(&bench->memory, MEMORY_SIZE), 0);
	bench->irqs.vm_fd = -1;
	pthread_mutex_init(&bench->irqs.lock, NULL);
	bus_init(&bench->mmio, "address", -1, false);
	assert_int_equal(
		virtio_rng_create("rng0", &bench->memory, &bench->virtio), 0);
	assert_int_equal(virtio_mmio_attach(bench->virtio, &bench->mmio, BASE,
					    &bench->irqs, GSI),
			 0);
	return bench;
}

static void bench_destroy(struct bench *bench)
{
	virtio_destroy(bench->virtio);
	memory_destroy(&bench->memory);
	test_free(bench);
}

static uint64_t reg_read(struct bench *bench, unsigned reg, unsigned len)
{
	return bus_read(&bench->mmio, BASE + reg, len);
}

static void reg_write(struct bench *bench, unsigned reg, unsigned len,
		      uint64_t value)
{
	bus_write(&bench->mmio, BASE + reg, len, value);
}

static uint32_t get(struct bench *bench, unsigned reg)
{
	return reg_read(bench, reg, 4);
}

static void set(struct bench *bench, unsigned reg, uint32_t value)
{
	reg_write(bench, reg, 4, value);
}

static void add_status(struct bench *bench, uint32_t bit)
{
	set(bench, REG(STATUS), get(bench, REG(STATUS)) | bit);
}

static void set_address(struct bench *bench, unsigned reg, gpa_t gpa)
{
	set(bench, reg, (uint32_t)gpa);
	set(bench, reg + 4, gpa >> 32);
}

/* By registers alone (virtio 1.2, 4.2.3.1), as any driver would. */
static void bring_up(struct bench *bench)
{
	set(bench, REG(STATUS), 0);
	add_status(bench, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(bench, VIRTIO_CONFIG_S_DRIVER);
	set(bench, REG(DRIVER_FEATURES_SEL), 1);
	set(bench, REG(DRIVER_FEATURES), 1u << (VIRTIO_F_VERSION_1 - 32));
	add_status(bench, VIRTIO_CONFIG_S_FEATURES_OK);
	bench->driver = driver_init(&bench->memory, RING_AT, 8);
	set(bench, REG(QUEUE_SEL), 0);
	set(bench, REG(QUEUE_NUM), 8);
	set_address(bench, REG(QUEUE_DESC_LOW), bench->driver.desc);
	set_address(bench, REG(QUEUE_AVAIL_LOW), bench->driver.avail);
	set_address(bench, REG(QUEUE_USED_LOW), bench->driver.used);
	set(bench, REG(QUEUE_READY), 1);
	add_status(bench, VIRTIO_CONFIG_S_DRIVER_OK);
}

static void ask(struct bench *bench)
{
	struct vring_used_elem elem;

	driver_add(&bench->driver, &(struct segment){ DATA_AT, 16, true }, 1);
	set(bench, REG(QUEUE_NOTIFY), 0);
	assert_true(driver_wait(&bench->driver, &elem));
}

static bool line_is_high(struct bench *bench)
{
	return line_is_raised(&bench->irqs, GSI);
}

/* The worker raises the interrupt just after the element shows. */
static bool line_rises(struct bench *bench)
{
	for (int i = 0; i < 10000 && !line_is_high(bench); i++)
		usleep(100);
	return line_is_high(bench);
}

static void the_registers_say_what_it_is(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	assert_int_equal(get(bench, REG(MAGIC_VALUE)), 0x74726976);
	assert_int_equal(get(bench, REG(VERSION)), 2);
	assert_int_equal(get(bench, REG(DEVICE_ID)), 4);
	assert_int_equal(get(bench, REG(QUEUE_NUM_MAX)), 64);
	set(bench, REG(DEVICE_FEATURES_SEL), 1);
	assert_int_equal(get(bench, REG(DEVICE_FEATURES)),
			 1u << (VIRTIO_F_VERSION_1 - 32));
	/* No shared memory. */
	assert_int_equal(get(bench, REG(SHM_LEN_LOW)), ~0u);
	bench_destroy(bench);
}

static void registers_bring_the_device_up(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	bring_up(bench);
	assert_int_equal(get(bench, REG(QUEUE_READY)), 1);
	for (int i = 0; i < 20; i++)
		ask(bench);
	bench_destroy(bench);
}

static void the_line_is_high_until_all_is_acknowledged(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	bring_up(bench);
	ask(bench);
	assert_true(line_rises(bench));
	virtio_needs_reset(bench->virtio);
	assert_int_equal(get(bench, REG(INTERRUPT_STATUS)), 3);
	set(bench, REG(INTERRUPT_ACK), 1);
	assert_true(line_is_high(bench));
	assert_int_equal(get(bench, REG(INTERRUPT_STATUS)), 2);
	set(bench, REG(INTERRUPT_ACK), 2);
	assert_false(line_is_high(bench));
	bring_up(bench);
	ask(bench);
	assert_true(line_rises(bench));
	set(bench, REG(STATUS), 0);
	assert_false(line_is_high(bench));
	assert_int_equal(get(bench, REG(INTERRUPT_STATUS)), 0);
	bench_destroy(bench);
}

static void a_queue_can_be_taken_back(void **state)
{
	struct bench *bench = bench_create();
	struct vring_used_elem elem;

	(void)state;
	bring_up(bench);
	ask(bench);
	set(bench, REG(QUEUE_READY), 0);
	assert_int_equal(get(bench, REG(QUEUE_READY)), 0);
	driver_add(&bench->driver, &(struct segment){ DATA_AT, 16, true }, 1);
	set(bench, REG(QUEUE_NOTIFY), 0);
	usleep(2000);
	assert_false(driver_take(&bench->driver, &elem));
	bring_up(bench);
	ask(bench);
	bench_destroy(bench);
}

static void queues_that_do_not_exist_do_nothing(void **state)
{
	static const uint32_t selects[] = { 1, 8, 9, 0x10000, ~0u };
	struct bench *bench = bench_create();

	(void)state;
	bring_up(bench);
	for (size_t i = 0; i < ARRAY_SIZE(selects); i++) {
		set(bench, REG(QUEUE_SEL), selects[i]);
		assert_int_equal(get(bench, REG(QUEUE_NUM_MAX)), 0);
		set(bench, REG(QUEUE_NUM), 4);
		set(bench, REG(QUEUE_DESC_LOW), 0x1000);
		set(bench, REG(QUEUE_READY), 1);
		assert_int_equal(get(bench, REG(QUEUE_READY)), 0);
		set(bench, REG(QUEUE_READY), 0);
		set(bench, REG(QUEUE_NOTIFY), selects[i]);
	}
	ask(bench);
	bench_destroy(bench);
}

/* Every offset and width: nothing happens but that it answers. */
static void odd_widths_and_places_are_harmless(void **state)
{
	static const unsigned widths[] = { 1, 2, 4, 8 };
	struct bench *bench = bench_create();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
		for (unsigned at = 0; at < VIRTIO_MMIO_SIZE; at++) {
			reg_write(bench, at, widths[i], ~0ull);
			reg_read(bench, at, widths[i]);
		}
	}
	/* Registers are read as a whole or not at all. */
	assert_int_equal(reg_read(bench, REG(MAGIC_VALUE), 1), 0);
	assert_int_equal(reg_read(bench, REG(MAGIC_VALUE) + 2, 4), 0);
	assert_int_equal(reg_read(bench, REG(VERSION), 2), 0);
	/* Past the end, and past the end of the configuration. */
	assert_int_equal(get(bench, REG(CONFIG)), 0);
	assert_int_equal(get(bench, VIRTIO_MMIO_SIZE), ~0u);
	bring_up(bench);
	ask(bench);
	bench_destroy(bench);
}

static void two_devices_do_not_share_a_place(void **state)
{
	struct bench *bench = bench_create();
	struct virtio_device *other;

	(void)state;
	assert_int_equal(virtio_rng_create("rng1", &bench->memory, &other), 0);
	assert_int_equal(virtio_mmio_attach(other, &bench->mmio, BASE + 0x100,
					    &bench->irqs, GSI),
			 -EEXIST);
	virtio_destroy(other);
	bench_destroy(bench);
}

static void a_reset_of_the_machine_stops_the_device(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	bring_up(bench);
	ask(bench);
	assert_true(line_rises(bench));
	bus_reset(&bench->mmio);
	assert_false(bench->virtio->running);
	assert_int_equal(get(bench, REG(STATUS)), 0);
	assert_false(line_is_high(bench));
	bring_up(bench);
	ask(bench);
	bench_destroy(bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_registers_say_what_it_is),
	cmocka_unit_test(registers_bring_the_device_up),
	cmocka_unit_test(the_line_is_high_until_all_is_acknowledged),
	cmocka_unit_test(a_queue_can_be_taken_back),
	cmocka_unit_test(queues_that_do_not_exist_do_nothing),
	cmocka_unit_test(odd_widths_and_places_are_harmless),
	cmocka_unit_test(two_devices_do_not_share_a_place),
	cmocka_unit_test(a_reset_of_the_machine_stops_the_device),
};

UNIT_MAIN(tests)
