#include "unit.h"

#include "blk_bench.h"

#include <errno.h>

static void a_driver_without_flush_gets_safe_writes(void **state)
{
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	bench_up(&bench, BENCH_FEATURES, SIZE);
	simple(&bench, VIRTIO_BLK_T_OUT, 0, 512, false);
	assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.flushes, 1);
	simple(&bench, VIRTIO_BLK_T_IN, 0, 512, true);
	assert_int_equal(disk.flushes, 1);
	bench_end(&bench);
}

#define WCE      (1ull << VIRTIO_BLK_F_CONFIG_WCE)
#define WCE_BYTE offsetof(struct virtio_blk_config, wce)

static void a_driver_may_switch_the_cache_off(void **state)
{
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	bench_up(&bench, FEATURES | WCE, SIZE);
	assert_int_equal(virtio_config_read(bench.virtio, WCE_BYTE, 1), 1);
	simple(&bench, VIRTIO_BLK_T_OUT, 0, 512, false);
	assert_int_equal(disk.flushes, 0);
	virtio_config_write(bench.virtio, WCE_BYTE, 1, 0);
	assert_int_equal(virtio_config_read(bench.virtio, WCE_BYTE, 1), 0);
	simple(&bench, VIRTIO_BLK_T_OUT, 0, 512, false);
	assert_int_equal(disk.flushes, 1);
	virtio_config_write(bench.virtio, WCE_BYTE, 1, 1);
	simple(&bench, VIRTIO_BLK_T_OUT, 0, 512, false);
	assert_int_equal(disk.flushes, 1);
	/* Nothing else of the configuration is the driver's. */
	virtio_config_write(bench.virtio, WCE_BYTE, 2, 0);
	virtio_config_write(bench.virtio, 0, 1, 0);
	assert_int_equal(virtio_config_read(bench.virtio, WCE_BYTE, 1), 1);
	assert_int_equal(virtio_config_read(bench.virtio, 0, 8), 64);
	bench_end(&bench);
}

static void the_cache_starts_as_the_driver_can_flush(void **state)
{
	static const struct {
		uint64_t features;
		unsigned cache;
	} cases[] = { { FEATURES | WCE, 1 },
		      { FEATURES, 1 },
		      { BENCH_FEATURES | WCE, 0 },
		      { BENCH_FEATURES, 0 } };
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bench_negotiate(&bench, cases[i].features);
		assert_int_equal(virtio_config_read(bench.virtio, WCE_BYTE, 1),
				 cases[i].cache);
		virtio_config_write(bench.virtio, WCE_BYTE, 1, 0);
	}
	virtio_status_write(bench.virtio, 0);
	assert_int_equal(virtio_config_read(bench.virtio, WCE_BYTE, 1), 1);
	bench_end(&bench);
}

static void zeroing_gives_space_back_where_the_driver_lets_it(void **state)
{
	struct segment segments[] = { { HEADER, 32, false },
				      { STATUS, 1, true } };
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	bench_up(&bench, FEATURES, SIZE);
	set_header(&bench, HEADER, VIRTIO_BLK_T_WRITE_ZEROES, 0);
	put_le64(guest(&bench, HEADER + 16), 5);
	put_le32(guest(&bench, HEADER + 24), 2);
	for (unsigned unmap = 0; unmap < 2; unmap++) {
		put_le32(guest(&bench, HEADER + 28), unmap);
		assert_int_equal(request(&bench, segments, 2), 1);
		assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_OK);
		assert_int_equal(disk.bytes[5 * 512], 0);
		assert_int_equal(disk.discards, unmap);
	}
	bench_end(&bench);
}

static void count_stop(void *arg)
{
	__atomic_fetch_add((unsigned *)arg, 1, __ATOMIC_SEQ_CST);
}

/* Lets the device be as on-error=stop makes it. */
static void stops(struct bench *bench, struct disk *disk, unsigned *stopped)
{
	disk_create_with(bench, disk, false,
			 &(struct virtio_blk_options){
				 .serial = "s",
				 .queues = 1,
				 .stop_on_error = true,
				 .stopped = count_stop,
				 .stopped_arg = stopped,
			 });
}

static void what_the_host_cannot_do_waits_and_is_tried_again(void **state)
{
	static const int errors[] = { -ENOSPC, -EIO, -EDQUOT };
	struct segment segments[] = { { HEADER, 16, false },
				      { DATA, 512, false },
				      { STATUS, 1, true } };
	struct vring_used_elem elem;
	unsigned stopped = 0;
	struct bench bench;
	struct disk disk;

	(void)state;
	stops(&bench, &disk, &stopped);
	bench_up(&bench, FEATURES, SIZE);
	memset(guest(&bench, DATA), 0x5a, 512);
	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		disk.bytes[7 * 512] = 0;
		__atomic_store_n(&disk.err, errors[i], __ATOMIC_SEQ_CST);
		set_header(&bench, HEADER, VIRTIO_BLK_T_OUT, 7);
		offer(&bench, segments, 3);
		assert_true(bench_reaches(&stopped, 2 * i + 1));
		assert_true(virtio_blk_holds(bench.virtio));
		/* Once more, and it fails again. */
		virtio_blk_retry(bench.virtio);
		assert_true(bench_reaches(&stopped, 2 * i + 2));
		assert_false(driver_take(&bench.queues[0], &elem));
		assert_int_equal(*guest(&bench, STATUS), 0xaa);
		__atomic_store_n(&disk.err, 0, __ATOMIC_SEQ_CST);
		virtio_blk_retry(bench.virtio);
		assert_true(driver_wait(&bench.queues[0], &elem));
		assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_OK);
		assert_int_equal(disk.bytes[7 * 512], 0x5a);
		assert_false(virtio_blk_holds(bench.virtio));
	}
	bench_end(&bench);
}

static void the_guests_own_mistakes_stop_nothing(void **state)
{
	unsigned stopped = 0;
	struct bench bench;
	struct disk disk;

	(void)state;
	stops(&bench, &disk, &stopped);
	bench_up(&bench, FEATURES, SIZE);
	simple(&bench, VIRTIO_BLK_T_OUT, 64, 512, false);
	assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_IOERR);
	assert_int_equal(stopped, 0);
	bench_end(&bench);
}

static void a_reset_forgets_what_waits(void **state)
{
	struct segment segments[] = { { HEADER, 16, false },
				      { STATUS, 1, true } };
	unsigned stopped = 0;
	struct bench bench;
	struct disk disk;

	(void)state;
	stops(&bench, &disk, &stopped);
	bench_up(&bench, FEATURES, SIZE);
	__atomic_store_n(&disk.err, -EIO, __ATOMIC_SEQ_CST);
	set_header(&bench, HEADER, VIRTIO_BLK_T_FLUSH, 0);
	offer(&bench, segments, 2);
	assert_true(bench_reaches(&stopped, 1));
	virtio_status_write(bench.virtio, 0);
	assert_false(virtio_blk_holds(bench.virtio));
	virtio_blk_retry(bench.virtio);
	__atomic_store_n(&disk.err, 0, __ATOMIC_SEQ_CST);
	bench_up(&bench, FEATURES, SIZE);
	simple(&bench, VIRTIO_BLK_T_IN, 0, 512, true);
	assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_OK);
	/* And the end of the process waits for nothing. */
	__atomic_store_n(&disk.err, -EIO, __ATOMIC_SEQ_CST);
	offer(&bench, segments, 2);
	assert_true(bench_reaches(&stopped, 2));
	bench_end(&bench);
	assert_true(disk.closed);
}

/* Two requests at once, then one every 20 ms; flushes cost nothing. */
static void requests_above_the_limit_wait_for_the_timer(void **state)
{
	struct segment flush[] = { { HEADER, 16, false }, { STATUS, 1, true } };
	struct vring_used_elem elem;
	struct timespec start, end;
	struct bench bench;
	struct disk disk;
	uint64_t ms;

	(void)state;
	disk_create_with(&bench, &disk, false,
			 &(struct virtio_blk_options){
				 .serial = "s",
				 .queues = 1,
				 .limit = { .iops = 50, .iops_burst = 2 },
			 });
	bench_up(&bench, FEATURES, SIZE);
	set_header(&bench, HEADER, VIRTIO_BLK_T_FLUSH, 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int i = 0; i < 8; i++) {
		offer(&bench, flush, 2);
		assert_true(driver_wait(&bench.queues[0], &elem));
	}
	for (int i = 0; i < 7; i++) {
		simple(&bench, VIRTIO_BLK_T_IN, i, 512, true);
		assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_OK);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	ms = (end.tv_sec - start.tv_sec) * 1000 +
	     (end.tv_nsec - start.tv_nsec) / 1000000;
	/* A third may begin as soon as the least of time has passed. */
	assert_true(ms >= 79);
	/* One that waits does not hold up a reset. */
	offer(&bench, flush, 2);
	virtio_status_write(bench.virtio, 0);
	bench_end(&bench);
}

static void a_new_size_is_told_to_the_driver(void **state)
{
	struct bench bench;
	struct disk disk;
	uint32_t generation;

	(void)state;
	disk_create(&bench, &disk, false);
	/* Before there is a driver, nobody is told. */
	disk.new_size = DISK_BYTES - 1024;
	assert_int_equal(virtio_blk_resize(bench.virtio, 0), 0);
	assert_int_equal(virtio_config_read(bench.virtio, 0, 8), 62);
	assert_int_equal(bench.config_interrupts, 0);
	bench_up(&bench, FEATURES, SIZE);
	simple(&bench, VIRTIO_BLK_T_IN, 62, 512, true);
	assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_IOERR);
	disk.new_size = DISK_BYTES;
	generation = bench.virtio->generation;
	assert_int_equal(virtio_blk_resize(bench.virtio, 0), 0);
	assert_int_equal(virtio_config_read(bench.virtio, 0, 8), 64);
	assert_int_equal(bench.config_interrupts, 1);
	assert_int_not_equal(bench.virtio->generation, generation);
	simple(&bench, VIRTIO_BLK_T_IN, 63, 512, true);
	assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_OK);
	/* The same once more is no news. */
	assert_int_equal(virtio_blk_resize(bench.virtio, 0), 0);
	assert_int_equal(bench.config_interrupts, 1);
	bench_end(&bench);
}

static void a_disk_gets_another_size_while_its_driver_runs(void **state)
{
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	disk.block.size = disk.new_size = DISK_BYTES - 1024;
	bench_up(&bench, FEATURES, SIZE);
	assert_int_equal(virtio_blk_resize(bench.virtio, DISK_BYTES - 512), 0);
	assert_int_equal(virtio_blk_size(bench.virtio), DISK_BYTES - 512);
	assert_int_equal(virtio_config_read(bench.virtio, 0, 8), 63);
	assert_int_equal(bench.config_interrupts, 1);
	simple(&bench, VIRTIO_BLK_T_IN, 63, 512, true);
	assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_IOERR);
	/* Where the host cannot, nothing has changed. */
	disk.err = -ENOSPC;
	assert_int_equal(virtio_blk_resize(bench.virtio, DISK_BYTES), -ENOSPC);
	assert_int_equal(virtio_blk_size(bench.virtio), DISK_BYTES - 512);
	assert_int_equal(bench.config_interrupts, 1);
	disk.err = 0;
	disk.block.read_only = true;
	assert_int_equal(virtio_blk_resize(bench.virtio, DISK_BYTES), -EROFS);
	disk.block.read_only = false;
	assert_int_equal(virtio_blk_resize(bench.virtio, DISK_BYTES), 0);
	assert_int_equal(bench.config_interrupts, 2);
	simple(&bench, VIRTIO_BLK_T_IN, 63, 512, true);
	assert_int_equal(*guest(&bench, STATUS), VIRTIO_BLK_S_OK);
	bench_end(&bench);
}

static void what_the_host_has_added_is_not_cut_off(void **state)
{
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	disk.block.size = DISK_BYTES - 1024;
	disk.new_size = DISK_BYTES;
	assert_int_equal(virtio_blk_resize(bench.virtio, DISK_BYTES - 512),
			 -ERANGE);
	assert_int_equal(disk.new_size, DISK_BYTES);
	assert_int_equal(virtio_blk_size(bench.virtio), DISK_BYTES);
	bench_end(&bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_driver_without_flush_gets_safe_writes),
	cmocka_unit_test(a_driver_may_switch_the_cache_off),
	cmocka_unit_test(the_cache_starts_as_the_driver_can_flush),
	cmocka_unit_test(zeroing_gives_space_back_where_the_driver_lets_it),
	cmocka_unit_test(what_the_host_cannot_do_waits_and_is_tried_again),
	cmocka_unit_test(the_guests_own_mistakes_stop_nothing),
	cmocka_unit_test(a_reset_forgets_what_waits),
	cmocka_unit_test(a_new_size_is_told_to_the_driver),
	cmocka_unit_test(a_disk_gets_another_size_while_its_driver_runs),
	cmocka_unit_test(what_the_host_has_added_is_not_cut_off),
	cmocka_unit_test(requests_above_the_limit_wait_for_the_timer),
};

UNIT_MAIN(tests)
