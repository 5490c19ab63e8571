#include "unit.h"

#include "devices/virtio/blk.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "virtio_bench.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SIZE       16
#define DISK_BYTES (64 * BLOCK_SECTOR)

#define FEATURES (BENCH_FEATURES | 1ull << VIRTIO_BLK_F_FLUSH)

/* A disk in memory that completes at once, or when the test lets it. */
struct disk {
	struct block block;
	uint8_t bytes[DISK_BYTES];
	bool hold;         /* atomic: requests wait in the list */
	int err;           /* atomic: how requests end */
	int flushes;       /* atomic */
	int discards;      /* atomic */
	unsigned sleep_us; /* each request takes this long */
	bool closed;
	struct block_request *held; /* worker */
	unsigned submitted;         /* atomic */
};

static void disk_perform(struct disk *disk, struct block_request *request)
{
	uint8_t *at = disk->bytes + request->offset;
	int err = __atomic_load_n(&disk->err, __ATOMIC_SEQ_CST);

	for (int i = 0; i < request->iovcnt && !err; i++) {
		const struct iovec *iov = &request->iov[i];

		if (request->op == BLOCK_READ)
			memcpy(iov->iov_base, at, iov->iov_len);
		else
			memcpy(at, iov->iov_base, iov->iov_len);
		at += iov->iov_len;
	}
	if (request->op == BLOCK_ZERO && !err)
		memset(at, 0, request->length);
	if (request->op == BLOCK_DISCARD)
		__atomic_fetch_add(&disk->discards, 1, __ATOMIC_SEQ_CST);
	if (request->op == BLOCK_FLUSH)
		__atomic_fetch_add(&disk->flushes, 1, __ATOMIC_SEQ_CST);
	request->done(request, err);
}

static void disk_submit(struct block *block, struct block_request *request)
{
	struct disk *disk = container_of(block, struct disk, block);

	usleep(disk->sleep_us);
	if (__atomic_load_n(&disk->hold, __ATOMIC_SEQ_CST)) {
		request->next = disk->held;
		disk->held = request;
	} else {
		disk_perform(disk, request);
	}
	__atomic_fetch_add(&disk->submitted, 1, __ATOMIC_SEQ_CST);
}

static void disk_reap(struct block *block)
{
	struct disk *disk = container_of(block, struct disk, block);
	uint64_t count;

	if (read(block->event_fd, &count, sizeof(count)) < 0)
		return;
	while (disk->held) {
		struct block_request *request = disk->held;

		disk->held = request->next;
		disk_perform(disk, request);
	}
}

static int disk_close(struct block *block)
{
	struct disk *disk = container_of(block, struct disk, block);

	assert_null(disk->held);
	disk->closed = true;
	close(block->event_fd);
	return 0;
}

/* Any thread: what is held completes, and nothing is held any more. */
static void disk_release(struct disk *disk)
{
	uint64_t one = 1;

	__atomic_store_n(&disk->hold, false, __ATOMIC_SEQ_CST);
	assert_int_equal(write(disk->block.event_fd, &one, sizeof(one)), 8);
}

static const struct block_ops disk_ops = {
	.submit = disk_submit,
	.reap = disk_reap,
	.close = disk_close,
};

static void disk_create_queues(struct bench *bench, struct disk *disk,
			       bool read_only, unsigned queues)
{
	const struct virtio_blk_options options = {
		.serial = "serial-0",
		.queues = queues,
		.discard = true,
	};
	struct virtio_device *virtio;

	bench_memory(bench);
	memset(disk, 0, sizeof(*disk));
	disk->block = (struct block){
		.ops = &disk_ops,
		.size = DISK_BYTES,
		.block_size = 4096,
		.discard_unit = 65536,
		.read_only = read_only,
		.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	for (size_t i = 0; i < DISK_BYTES; i++)
		disk->bytes[i] = i / BLOCK_SECTOR + i;
	assert_int_equal(virtio_blk_create("blk0", &disk->block, &options,
					   &bench->memory, &virtio),
			 0);
	bench_attach(bench, virtio);
}

static void disk_create(struct bench *bench, struct disk *disk, bool read_only)
{
	disk_create_queues(bench, disk, read_only, 1);
}

/* Where the parts of a request lie. */
#define HEADER BENCH_DATA
#define DATA   (BENCH_DATA + 0x1000)
#define STATUS (BENCH_DATA + 0x800)

static uint8_t *guest(struct bench *bench, gpa_t gpa)
{
	return memory_at(&bench->memory, gpa, 1);
}

static void set_header(struct bench *bench, gpa_t at, uint32_t type,
		       uint64_t sector)
{
	put_le32(guest(bench, at), type);
	put_le32(guest(bench, at + 4), 0);
	put_le64(guest(bench, at + 8), sector);
}

static void offer(struct bench *bench, const struct segment *segments, int n)
{
	*guest(bench, STATUS) = 0xaa;
	driver_add(&bench->queues[0], segments, n);
	virtio_notify(bench->virtio, 0);
}

/* Sends a request and waits; the length in the used ring. */
static uint32_t request(struct bench *bench, const struct segment *segments,
			int n)
{
	struct vring_used_elem elem = { 0 };

	offer(bench, segments, n);
	assert_true(driver_wait(&bench->queues[0], &elem));
	return elem.len;
}

/* The usual layout: header, data, status. */
static uint32_t simple(struct bench *bench, uint32_t type, uint64_t sector,
		       uint32_t len, bool in)
{
	struct segment segments[] = { { HEADER, 16, false },
				      { DATA, len, in },
				      { STATUS, 1, true } };

	set_header(bench, HEADER, type, sector);
	return request(bench, segments, 3);
}

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

static void every_queue_serves_requests(void **state)
{
	struct segment segments[] = { { HEADER, 16, false },
				      { DATA, 512, true },
				      { STATUS, 1, true } };
	struct vring_used_elem elem;
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create_queues(&bench, &disk, false, 4);
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

static uint16_t used_index(struct driver *driver)
{
	return __atomic_load_n(&driver_ring_used(driver)->idx,
			       __ATOMIC_ACQUIRE);
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
	virtio_notify(bench.virtio, 0);
	usleep(2000);
	assert_int_equal(__atomic_load_n(&disk.submitted, __ATOMIC_SEQ_CST), 4);
	disk_release(&disk);
	/* Eight elements in a ring of four: only their number is left to see. */
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
	cmocka_unit_test(a_driver_without_flush_gets_safe_writes),
	cmocka_unit_test(a_driver_may_switch_the_cache_off),
	cmocka_unit_test(the_cache_starts_as_the_driver_can_flush),
	cmocka_unit_test(zeroing_gives_space_back_where_the_driver_lets_it),
	cmocka_unit_test(every_queue_serves_requests),
	cmocka_unit_test(a_batch_makes_one_interrupt),
	cmocka_unit_test(more_requests_than_slots_are_all_served),
	cmocka_unit_test(a_reset_drains_the_disk_and_then_is_silent),
	cmocka_unit_test(a_reset_waits_for_one_request_not_for_the_queue),
	cmocka_unit_test(the_configuration_describes_the_disk),
};

UNIT_MAIN(tests)
