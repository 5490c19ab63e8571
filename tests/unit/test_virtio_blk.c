#include "unit.h"

#include "blk_bench.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

static void sectors_are_read_and_written(void **state)
{
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	bench_up(&bench, FEATURES, SIZE);
	assert_int_equal(simple(&bench, VIRTIO_BLK_T_IN, 3, 1024, true), 1025);
	assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_OK);
	assert_memory_equal(guest(&bench, DATA), disk.bytes + 3 * 512, 1024);
	memset(guest(&bench, DATA), 0x5a, 512);
	assert_int_equal(simple(&bench, VIRTIO_BLK_T_OUT, 7, 512, false), 1);
	assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_OK);
	assert_memory_equal(guest(&bench, DATA), disk.bytes + 7 * 512, 512);
	assert_int_equal(disk.flushes, 0);
	bench_end(&bench);
	assert_true(disk.closed);
}

static void any_layout_of_descriptors_is_the_same_request(void **state)
{
	/* Where readable and writable bytes are cut; 0 ends. All reads of two
	 * sectors: 16 readable bytes, 1025 writable ones. */
	static const uint32_t cuts[][10] = {
		{ 16, 1025 },        { 16, 1024, 1 },
		{ 8, 8, 1025 },      { 1, 15, 1, 1023, 1 },
		{ 16, 512, 512, 1 }, { 3, 3, 10, 1000, 25 },
		{ 16, 1023, 2 },
	};
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	bench_up(&bench, FEATURES, SIZE);
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		struct segment segments[10];
		gpa_t out = HEADER, in = DATA;
		int n = 0;

		set_header(&bench, HEADER, VIRTIO_BLK_T_IN, 5);
		memset(guest(&bench, DATA), 0xaa, 1025);
		for (; cuts[i][n]; n++) {
			bool write = out == HEADER + 16;
			gpa_t *at = write ? &in : &out;

			segments[n] =
				(struct segment){ *at, cuts[i][n], write };
			*at += cuts[i][n];
		}
		assert_int_equal(request(&bench, segments, n), 1025);
		assert_memory_equal(guest(&bench, DATA), disk.bytes + 5 * 512,
				    1024);
		assert_int_equal(*guest(&bench, DATA + 1024), 0);
	}
	bench_end(&bench);
}

static void header_and_data_may_share_a_descriptor(void **state)
{
	struct segment segments[] = { { HEADER, 16 + 512, false },
				      { STATUS, 1, true } };
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	bench_up(&bench, FEATURES, SIZE);
	set_header(&bench, HEADER, VIRTIO_BLK_T_OUT, 1);
	memset(guest(&bench, HEADER + 16), 0x77, 512);
	assert_int_equal(request(&bench, segments, 2), 1);
	assert_int_equal(disk.bytes[512], 0x77);
	assert_int_equal(disk.bytes[1023], 0x77);
	bench_end(&bench);
}

static void the_serial_number_fits_its_buffer(void **state)
{
	static const char serial[20] = "serial-0";
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, true);
	bench_up(&bench, FEATURES, SIZE);
	assert_int_equal(simple(&bench, VIRTIO_BLK_T_GET_ID, 0, 20, true), 21);
	assert_memory_equal(guest(&bench, DATA), serial, 20);
	memset(guest(&bench, DATA), 0xaa, 32);
	assert_int_equal(simple(&bench, VIRTIO_BLK_T_GET_ID, 0, 4, true), 5);
	assert_memory_equal(guest(&bench, DATA), "seri\xaa", 5);
	assert_int_equal(simple(&bench, VIRTIO_BLK_T_GET_ID, 0, 32, true), 20);
	assert_int_equal(*guest(&bench, DATA + 20), 0xaa);
	assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_OK);
	bench_end(&bench);
}

static void a_range_is_zeroed(void **state)
{
	struct segment segments[] = { { HEADER, 20, false },
				      { HEADER + 20, 12, false },
				      { STATUS, 1, true } };
	static const uint8_t zeros[2 * 512];
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	bench_up(&bench, BENCH_FEATURES, SIZE);
	set_header(&bench, HEADER, VIRTIO_BLK_T_WRITE_ZEROES, 0);
	put_le64(guest(&bench, HEADER + 16), 5);
	put_le32(guest(&bench, HEADER + 24), 2);
	put_le32(guest(&bench, HEADER + 28), 0);
	assert_int_equal(request(&bench, segments, 3), 1);
	assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_OK);
	assert_memory_equal(disk.bytes + 5 * 512, zeros, sizeof(zeros));
	assert_int_not_equal(disk.bytes[7 * 512], 0);
	/* It is a write, so it is safe now for a driver without FLUSH. */
	assert_int_equal(disk.flushes, 1);
	bench_end(&bench);
}

static void every_answer_has_its_status_byte(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t len;
		bool in;
		uint8_t status;
		uint32_t used;
	} cases[] = {
		{ VIRTIO_BLK_T_IN, 64, 512, true, VIRTIO_BLK_S_IOERR, 0 },
		{ VIRTIO_BLK_T_IN, UINT64_MAX, 512, true, VIRTIO_BLK_S_IOERR,
		  0 },
		{ VIRTIO_BLK_T_IN, 0, 100, true, VIRTIO_BLK_S_IOERR, 0 },
		{ VIRTIO_BLK_T_OUT, 63, 1024, false, VIRTIO_BLK_S_IOERR, 1 },
		{ VIRTIO_BLK_T_OUT, 0, 1, false, VIRTIO_BLK_S_IOERR, 1 },
		{ VIRTIO_BLK_T_FLUSH, 0, 0, false, VIRTIO_BLK_S_OK, 1 },
		{ 99, 0, 512, true, VIRTIO_BLK_S_UNSUPP, 0 },
		{ 99, 0, 512, false, VIRTIO_BLK_S_UNSUPP, 1 },
	};
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	bench_up(&bench, FEATURES, SIZE);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(simple(&bench, cases[i].type, cases[i].sector,
					cases[i].len, cases[i].in),
				 cases[i].used);
		assert_int_equal(*guest(&bench, STATUS), cases[i].status);
	}
	bench_end(&bench);
}

static void a_short_header_is_an_error_with_a_status(void **state)
{
	struct segment segments[] = { { HEADER, 15, false },
				      { STATUS, 1, true } };
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	bench_up(&bench, FEATURES, SIZE);
	assert_int_equal(request(&bench, segments, 2), 1);
	assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&bench, segments + 1, 1), 1);
	assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_IOERR);
	bench_end(&bench);
}

static void without_a_status_byte_the_device_needs_a_reset(void **state)
{
	struct segment segments[] = { { HEADER, 16, false },
				      { DATA, 512, false } };
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	bench_up(&bench, FEATURES, SIZE);
	set_header(&bench, HEADER, VIRTIO_BLK_T_OUT, 0);
	offer(&bench, segments, 2);
	assert_true(bench_breaks(&bench));
	assert_int_equal(disk.submitted, 0);
	bench_end(&bench);
}

static void a_read_only_disk_is_not_written(void **state)
{
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, true);
	assert_true(virtio_features_read(bench.virtio, 0) &
		    1u << VIRTIO_BLK_F_RO);
	bench_up(&bench, FEATURES, SIZE);
	assert_int_equal(simple(&bench, VIRTIO_BLK_T_OUT, 0, 512, false), 1);
	assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk.submitted, 0);
	bench_end(&bench);
}

static void errors_of_the_disk_reach_the_guest(void **state)
{
	static const struct {
		int err;
		uint8_t status;
	} cases[] = { { -EIO, VIRTIO_BLK_S_IOERR },
		      { -ENOSPC, VIRTIO_BLK_S_IOERR },
		      { -ENOTSUP, VIRTIO_BLK_S_UNSUPP } };
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	bench_up(&bench, FEATURES, SIZE);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		__atomic_store_n(&disk.err, cases[i].err, __ATOMIC_SEQ_CST);
		assert_int_equal(simple(&bench, VIRTIO_BLK_T_IN, 0, 512, true),
				 0);
		assert_int_equal(*guest(&bench, STATUS), cases[i].status);
	}
	bench_end(&bench);
}

static void every_queue_serves_requests(void **state)
{
	struct segment segments[] = { { HEADER, 16, false },
				      { DATA, 512, true },
				      { STATUS, 1, true } };
	struct vring_used_elem elem;
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create_with(
		&bench, &disk, false,
		&(struct virtio_blk_options){ .serial = "s", .queues = 4 });
	assert_true(virtio_features_read(bench.virtio, 0) &
		    1u << VIRTIO_BLK_F_MQ);
	assert_int_equal(virtio_config_read(
				 bench.virtio,
				 offsetof(struct virtio_blk_config, num_queues),
				 2),
			 4);
	bench_up(&bench, FEATURES | 1ull << VIRTIO_BLK_F_MQ, SIZE);
	set_header(&bench, HEADER, VIRTIO_BLK_T_IN, 9);
	for (unsigned i = 0; i < 4; i++) {
		*guest(&bench, STATUS) = 0xaa;
		driver_add(&bench.queues[i], segments, 3);
		virtio_notify(bench.virtio, i);
		assert_true(driver_wait(&bench.queues[i], &elem));
		assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_OK);
		assert_int_equal(elem.len, 513);
		assert_true(bench_reaches(&bench.interrupts[i], 1));
	}
	bench_end(&bench);
}

static uint16_t used_index(struct driver *driver)
{
	return __atomic_load_n(&driver_ring_used(driver)->idx,
			       __ATOMIC_ACQUIRE);
}

static void a_batch_makes_one_interrupt(void **state)
{
	struct segment segments[] = { { HEADER, 16, false },
				      { STATUS, 1, true } };
	struct vring_used_elem elem;
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	bench_negotiate(&bench, FEATURES & ~(1ull << VIRTIO_RING_F_EVENT_IDX));
	bench_queue(&bench, 0, SIZE);
	set_header(&bench, HEADER, VIRTIO_BLK_T_FLUSH, 0);
	for (int i = 0; i < SIZE / 2; i++)
		driver_add(&bench.queues[0], segments, 2);
	bench_status(&bench, VIRTIO_CONFIG_S_DRIVER_OK);
	for (int i = 0; i < SIZE / 2; i++)
		assert_true(driver_wait(&bench.queues[0], &elem));
	virtio_status_write(bench.virtio, 0);
	assert_int_equal(bench.interrupts[0], 1);
	bench_end(&bench);
}

static void more_requests_than_slots_are_all_served(void **state)
{
	struct segment segments[] = { { HEADER, 16, false },
				      { STATUS, 1, true } };
	struct bench bench;
	struct disk disk;
	uint16_t head;

	(void)state;
	disk_create(&bench, &disk, false);
	__atomic_store_n(&disk.hold, true, __ATOMIC_SEQ_CST);
	bench_up(&bench, FEATURES, 4);
	set_header(&bench, HEADER, VIRTIO_BLK_T_FLUSH, 0);
	/* A driver that makes the same chain available again and again. */
	head = driver_chain(&bench.queues[0], segments, 2);
	for (unsigned i = 0; i < 4; i++) {
		driver_offer(&bench.queues[0], head);
		virtio_notify(bench.virtio, 0);
		assert_true(bench_reaches(&disk.submitted, i + 1));
	}
	for (unsigned i = 0; i < 4; i++)
		driver_offer(&bench.queues[0], head);
	bench_fence(&bench, 0);
	assert_int_equal(__atomic_load_n(&disk.submitted, __ATOMIC_SEQ_CST), 4);
	disk_release(&disk);
	/* Eight elements in a ring of four: their number is left to see. */
	for (int i = 0; i < 10000 && used_index(&bench.queues[0]) != 8; i++)
		usleep(100);
	assert_int_equal(used_index(&bench.queues[0]), 8);
	bench_end(&bench);
}

static void *release_later(void *arg)
{
	usleep(3000);
	disk_release(arg);
	return NULL;
}

static void a_reset_drains_the_disk_and_then_is_silent(void **state)
{
	struct segment segments[] = { { HEADER, 16, false },
				      { DATA, 512, true },
				      { STATUS, 1, true } };
	struct bench bench;
	struct disk disk;
	pthread_t thread;

	(void)state;
	disk_create(&bench, &disk, false);
	__atomic_store_n(&disk.hold, true, __ATOMIC_SEQ_CST);
	bench_up(&bench, FEATURES, SIZE);
	set_header(&bench, HEADER, VIRTIO_BLK_T_IN, 0);
	offer(&bench, segments, 3);
	assert_true(bench_reaches(&disk.submitted, 1));
	pthread_create(&thread, NULL, release_later, &disk);
	virtio_status_write(bench.virtio, 0);
	/* The guest may use the memory for something else from now on. */
	memset(guest(&bench, DATA), 0x33, 513);
	pthread_join(thread, NULL);
	usleep(1000);
	for (int i = 0; i < 513; i++)
		assert_int_equal(*guest(&bench, DATA + i), 0x33);
	bench_end(&bench);
}

/* Or a driver with a queue full of requests of 4 GiB each would hold up the end
 * of the run for minutes. */
static void a_reset_waits_for_one_request_not_for_the_queue(void **state)
{
	struct segment segments[] = { { HEADER, 16, false },
				      { STATUS, 1, true } };
	struct bench bench;
	struct disk disk;
	uint16_t head;

	(void)state;
	disk_create(&bench, &disk, false);
	disk.sleep_us = 20000;
	bench_up(&bench, FEATURES, SIZE);
	set_header(&bench, HEADER, VIRTIO_BLK_T_FLUSH, 0);
	head = driver_chain(&bench.queues[0], segments, 2);
	for (unsigned i = 0; i < SIZE; i++)
		driver_offer(&bench.queues[0], head);
	virtio_notify(bench.virtio, 0);
	assert_true(bench_reaches(&disk.submitted, 1));
	virtio_status_write(bench.virtio, 0);
	assert_in_range(disk.submitted, 1, 3);
	bench_end(&bench);
}

/* Four requests of 60 MiB, all of it the same memory of the guest's. */
static void the_bytes_in_flight_are_bounded(void **state)
{
	struct segment segments[62] = { { HEADER, 16, false } };
	struct vring_used_elem elem;
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	disk.block.size = 1ull << 40;
	disk.err = -EIO; /* nothing is copied */
	__atomic_store_n(&disk.hold, true, __ATOMIC_SEQ_CST);
	bench_up(&bench, FEATURES, 256);
	for (int i = 1; i < 61; i++)
		segments[i] = (struct segment){ DATA, 1 << 20, true };
	segments[61] = (struct segment){ STATUS, 1, true };
	set_header(&bench, HEADER, VIRTIO_BLK_T_IN, 0);
	for (int i = 0; i < 4; i++)
		driver_add(&bench.queues[0], segments, 62);
	virtio_notify(bench.virtio, 0);
	assert_true(bench_reaches(&disk.submitted, 2));
	bench_fence(&bench, 0);
	assert_int_equal(__atomic_load_n(&disk.submitted, __ATOMIC_SEQ_CST), 2);
	disk_release(&disk);
	for (int i = 0; i < 4; i++)
		assert_true(driver_wait(&bench.queues[0], &elem));
	bench_end(&bench);
}

/* Linux uses no more queues than it has CPUs. */
static void
a_queue_that_is_not_used_does_not_keep_the_worker_awake(void **state)
{
	struct timespec before, after;
	struct bench bench;
	struct disk disk;
	clockid_t clock;

	(void)state;
	disk_create_with(
		&bench, &disk, false,
		&(struct virtio_blk_options){ .serial = "s", .queues = 2 });
	bench_negotiate(&bench, FEATURES);
	bench_queue(&bench, 0, SIZE);
	bench_status(&bench, VIRTIO_CONFIG_S_DRIVER_OK);
	simple(&bench, VIRTIO_BLK_T_IN, 0, 512, true);
	assert_int_equal(pthread_getcpuclockid(bench.virtio->thread, &clock),
			 0);
	clock_gettime(clock, &before);
	usleep(40000);
	clock_gettime(clock, &after);
	assert_in_range((after.tv_sec - before.tv_sec) * 1000000000l +
				after.tv_nsec - before.tv_nsec,
			0, 8000000);
	bench_end(&bench);
}

static void the_configuration_describes_the_disk(void **state)
{
	struct virtio_blk_config config;
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	for (unsigned i = 0; i < sizeof(config); i++)
		((uint8_t *)&config)[i] =
			virtio_config_read(bench.virtio, i, 1);
	assert_int_equal(config.capacity, 64);
	assert_int_equal(config.size_max, 1 << 20);
	assert_int_equal(config.seg_max, 254);
	assert_int_equal(config.wce, 1);
	assert_int_equal(config.blk_size, 512);
	assert_int_equal(config.physical_block_exp, 3);
	assert_int_equal(config.discard_sector_alignment, 128);
	bench_end(&bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(sectors_are_read_and_written),
	cmocka_unit_test(any_layout_of_descriptors_is_the_same_request),
	cmocka_unit_test(header_and_data_may_share_a_descriptor),
	cmocka_unit_test(the_serial_number_fits_its_buffer),
	cmocka_unit_test(a_range_is_zeroed),
	cmocka_unit_test(every_answer_has_its_status_byte),
	cmocka_unit_test(a_short_header_is_an_error_with_a_status),
	cmocka_unit_test(without_a_status_byte_the_device_needs_a_reset),
	cmocka_unit_test(a_read_only_disk_is_not_written),
	cmocka_unit_test(errors_of_the_disk_reach_the_guest),
	cmocka_unit_test(every_queue_serves_requests),
	cmocka_unit_test(a_batch_makes_one_interrupt),
	cmocka_unit_test(more_requests_than_slots_are_all_served),
	cmocka_unit_test(a_reset_drains_the_disk_and_then_is_silent),
	cmocka_unit_test(a_reset_waits_for_one_request_not_for_the_queue),
	cmocka_unit_test(the_bytes_in_flight_are_bounded),
	cmocka_unit_test(
		a_queue_that_is_not_used_does_not_keep_the_worker_awake),
	cmocka_unit_test(the_configuration_describes_the_disk),
};

UNIT_MAIN(tests)
