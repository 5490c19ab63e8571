#include "unit.h"

#include "blk_bench.h"

#define IN  VIRTIO_BLK_T_IN
#define OUT VIRTIO_BLK_T_OUT

/* What a driver asks for: request @i has its header and status in slot @i, and
 * its data in pages of its own. */
struct wish {
	uint32_t type;
	uint64_t sector;
	uint32_t sectors;
};

#define SLOT(i)  (BENCH_DATA + 64 * (i))
#define BYTES(i) (BENCH_DATA + 0x1000 + 0x8000 * (i))

/* Adds it without telling the device. */
static void wish_add(struct bench *bench, unsigned i, const struct wish *wish)
{
	struct segment segments[] = {
		{ SLOT(i), 16, false },
		{ BYTES(i), wish->sectors * BLOCK_SECTOR, wish->type == IN },
		{ SLOT(i) + 16, 1, true },
	};

	set_header(bench, SLOT(i), wish->type, wish->sector);
	*guest(bench, SLOT(i) + 16) = 0xaa;
	memset(guest(bench, BYTES(i)), 0x40 + i, wish->sectors * BLOCK_SECTOR);
	driver_add(&bench->queues[0], segments, 3);
}

/* All of them are there when the worker first looks. */
static void wishes_begin(struct bench *bench, const struct wish *wishes, int n)
{
	bench_negotiate(bench, FEATURES);
	bench_queue(bench, 0, 256);
	for (int i = 0; i < n; i++)
		wish_add(bench, i, &wishes[i]);
	bench_status(bench, VIRTIO_CONFIG_S_DRIVER_OK);
}

static void wait_for(struct bench *bench, int n)
{
	struct vring_used_elem elem;

	while (n--)
		assert_true(driver_wait(&bench->queues[0], &elem));
}

/* The data are those of the request's own sectors. */
static bool went_well(struct bench *bench, const struct disk *disk, unsigned i,
		      const struct wish *wish)
{
	uint64_t at = wish->sector * BLOCK_SECTOR;
	uint64_t length = wish->sectors * BLOCK_SECTOR;

	return *guest(bench, SLOT(i) + 16) == VIRTIO_BLK_S_OK &&
	       memcmp(guest(bench, BYTES(i)), disk->bytes + at, length) == 0 &&
	       (wish->type == IN || disk->bytes[at] == 0x40 + i);
}

static void requests_that_follow_each_other_are_one_on_the_host(void **state)
{
	static const struct {
		struct wish wishes[4];
		int n;
		uint64_t sectors[4]; /* of the host's requests; ends with 0 */
	} cases[] = {
		{ { { IN, 0, 1 }, { IN, 1, 8 }, { IN, 9, 2 } }, 3, { 11 } },
		{ { { OUT, 3, 1 }, { OUT, 4, 1 }, { OUT, 5, 9 } }, 3, { 11 } },
		{ { { IN, 7, 4 } }, 1, { 4 } },
		/* A gap, backwards, the same once more, halfway. */
		{ { { IN, 0, 1 }, { IN, 2, 1 } }, 2, { 1, 1 } },
		{ { { IN, 1, 1 }, { IN, 0, 1 } }, 2, { 1, 1 } },
		{ { { OUT, 1, 1 }, { OUT, 1, 1 } }, 2, { 1, 1 } },
		{ { { IN, 0, 4 }, { IN, 3, 4 } }, 2, { 4, 4 } },
		/* Only with their like. */
		{ { { IN, 0, 1 }, { OUT, 1, 1 }, { OUT, 2, 1 }, { IN, 3, 1 } },
		  4,
		  { 1, 2, 1 } },
		/* Two rows, one after the other. */
		{ { { IN, 0, 1 }, { IN, 1, 1 }, { IN, 9, 1 }, { IN, 10, 1 } },
		  4,
		  { 2, 2 } },
	};

	(void)state;
	/* Done at once, and later. */
	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		const struct wish *wishes = cases[i / 2].wishes;
		const uint64_t *sectors = cases[i / 2].sectors;
		unsigned n = 0;
		struct bench bench;
		struct disk disk;

		disk_create(&bench, &disk, false);
		disk.hold = i % 2;
		wishes_begin(&bench, wishes, cases[i / 2].n);
		while (n < 4 && sectors[n])
			n++;
		assert_true(bench_reaches(&disk.submitted, n));
		if (disk.hold)
			disk_release(&disk);
		wait_for(&bench, cases[i / 2].n);
		virtio_status_write(bench.virtio, 0);
		assert_int_equal(disk.submitted, n);
		for (unsigned k = 0; k < n; k++)
			assert_int_equal(disk.log[k].length, sectors[k] * 512);
		for (int k = 0; k < cases[i / 2].n; k++) {
			if (wishes[0].sector != wishes[1].sector &&
			    !went_well(&bench, &disk, k, &wishes[k]))
				fail_msg("case %zu, request %d", i / 2, k);
		}
		bench_end(&bench);
	}
}

static void a_flush_is_not_held_back(void **state)
{
	static const struct wish wishes[] = { { OUT, 0, 1 }, { OUT, 1, 1 } };
	struct segment flush[] = { { SLOT(8), 16, false },
				   { SLOT(8) + 16, 1, true } };
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	bench_negotiate(&bench, FEATURES);
	bench_queue(&bench, 0, 256);
	wish_add(&bench, 0, &wishes[0]);
	set_header(&bench, SLOT(8), VIRTIO_BLK_T_FLUSH, 0);
	driver_add(&bench.queues[0], flush, 2);
	wish_add(&bench, 1, &wishes[1]);
	bench_status(&bench, VIRTIO_CONFIG_S_DRIVER_OK);
	wait_for(&bench, 3);
	assert_int_equal(disk.log[0].op, BLOCK_WRITE);
	assert_int_equal(disk.log[1].op, BLOCK_FLUSH);
	assert_int_equal(disk.log[2].op, BLOCK_WRITE);
	bench_end(&bench);
}

static const struct wish row[] = { { OUT, 0, 2 },
				   { OUT, 2, 2 },
				   { OUT, 4, 2 },
				   { OUT, 6, 2 } };

static void each_request_has_the_status_that_is_its_own(void **state)
{
	(void)state;
	for (unsigned later = 0; later < 2; later++) {
		struct bench bench;
		struct disk disk;

		disk_create(&bench, &disk, false);
		disk.bad = 5 * BLOCK_SECTOR;
		disk.hold = later;
		wishes_begin(&bench, row, 4);
		assert_true(bench_reaches(&disk.submitted, 1));
		if (later)
			disk_release(&disk);
		wait_for(&bench, 4);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(*guest(&bench, SLOT(i) + 16),
					 i == 2 ? VIRTIO_BLK_S_IOERR
						: VIRTIO_BLK_S_OK);
		virtio_status_write(bench.virtio, 0);
		/* All together, then one by one. */
		assert_int_equal(disk.submitted, 5);
		bench_end(&bench);
	}
}

static void count_stop(void *arg)
{
	__atomic_fetch_add((unsigned *)arg, 1, __ATOMIC_SEQ_CST);
}

static void only_what_failed_waits_for_the_host(void **state)
{
	struct vring_used_elem elem;
	unsigned stopped = 0;
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create_with(&bench, &disk, false,
			 &(struct virtio_blk_options){
				 .serial = "s",
				 .queues = 1,
				 .stop_on_error = true,
				 .stopped = count_stop,
				 .stopped_arg = &stopped,
			 });
	disk.bad = 5 * BLOCK_SECTOR;
	wishes_begin(&bench, row, 4);
	assert_true(bench_reaches(&stopped, 1));
	wait_for(&bench, 3);
	assert_true(virtio_blk_holds(bench.virtio));
	assert_int_equal(*guest(&bench, SLOT(2) + 16), 0xaa);
	__atomic_store_n(&disk.bad, 0, __ATOMIC_SEQ_CST);
	virtio_blk_retry(bench.virtio);
	assert_true(driver_wait(&bench.queues[0], &elem));
	assert_false(virtio_blk_holds(bench.virtio));
	for (unsigned i = 0; i < 4; i++)
		assert_true(went_well(&bench, &disk, i, &row[i]));
	bench_end(&bench);
}

static void without_a_cache_each_write_is_safe_when_it_ends(void **state)
{
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create(&bench, &disk, false);
	bench_negotiate(&bench, BENCH_FEATURES);
	bench_queue(&bench, 0, 256);
	for (unsigned i = 0; i < 4; i++)
		wish_add(&bench, i, &row[i]);
	bench_status(&bench, VIRTIO_CONFIG_S_DRIVER_OK);
	wait_for(&bench, 4);
	assert_int_equal(disk.log[0].length, 8 * BLOCK_SECTOR);
	assert_int_equal(disk.flushes, 4);
	bench_end(&bench);
}

/* A limit counts what the guest asks for. */
static void what_is_joined_counts_as_it_came(void **state)
{
	struct bench bench;
	struct disk disk;

	(void)state;
	disk_create_with(&bench, &disk, false,
			 &(struct virtio_blk_options){
				 .serial = "s",
				 .queues = 1,
				 .limit = { .iops = 50, .iops_burst = 2 },
			 });
	wishes_begin(&bench, row, 4);
	wait_for(&bench, 4);
	/* A third may begin as soon as the least of time has passed. */
	assert_in_range(disk.log[0].length, 4 * BLOCK_SECTOR, 6 * BLOCK_SECTOR);
	bench_end(&bench);
}

/* @n reads of @pieces pieces of @bytes each; what the first of the host is. */
static struct block_request first_of(int n, int pieces, uint32_t bytes,
				     uint16_t size)
{
	struct segment segments[64] = { { SLOT(0), 16, false } };
	struct block_request first;
	struct bench bench;
	struct disk disk;

	assert_true(pieces < 62);
	disk_create(&bench, &disk, false);
	disk.block.size = 1ull << 40;
	disk.dry = true;
	bench_negotiate(&bench, FEATURES);
	bench_queue(&bench, 0, size);
	for (int i = 0; i < pieces; i++)
		segments[1 + i] = (struct segment){ BYTES(0), bytes, true };
	segments[1 + pieces] = (struct segment){ SLOT(0) + 16, 1, true };
	for (int i = 0; i < n; i++) {
		gpa_t table = BENCH_DATA + 0x10000 + 0x1000 * i;
		struct driver indirect =
			driver_init(&bench.memory, BENCH_RINGS + 0x8000, 64);
		struct segment whole = { table, 16 * (pieces + 2), false };
		uint16_t head;

		segments[0].addr = SLOT(1 + i);
		set_header(&bench, SLOT(1 + i), IN,
			   (uint64_t)i * pieces * bytes / BLOCK_SECTOR);
		indirect.desc = table;
		driver_chain(&indirect, segments, pieces + 2);
		head = driver_chain(&bench.queues[0], &whole, 1);
		driver_desc(&bench.queues[0], head)->flags =
			VRING_DESC_F_INDIRECT;
		driver_offer(&bench.queues[0], head);
	}
	bench_status(&bench, VIRTIO_CONFIG_S_DRIVER_OK);
	wait_for(&bench, n);
	first = disk.log[0];
	bench_end(&bench);
	return first;
}

static void no_more_is_joined_than_pays(void **state)
{
	(void)state;
	/* A megabyte. */
	assert_int_equal(first_of(4, 1, 256 << 10, 256).length, 1 << 20);
	assert_int_equal(first_of(5, 1, 256 << 10, 256).length, 1 << 20);
	assert_int_equal(first_of(2, 1, (1 << 20) + 512, 256).length,
			 (1 << 20) + 512);
	/* 256 pieces. */
	assert_int_equal(first_of(8, 60, 512, 256).iovcnt, 240);
	/* As many as the longest chain of the queue may have, here with their
	 * header: 8 for 4 descriptors. */
	assert_int_equal(first_of(4, 2, 512, 4).iovcnt, 6);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(requests_that_follow_each_other_are_one_on_the_host),
	cmocka_unit_test(a_flush_is_not_held_back),
	cmocka_unit_test(each_request_has_the_status_that_is_its_own),
	cmocka_unit_test(only_what_failed_waits_for_the_host),
	cmocka_unit_test(without_a_cache_each_write_is_safe_when_it_ends),
	cmocka_unit_test(what_is_joined_counts_as_it_came),
	cmocka_unit_test(no_more_is_joined_than_pays),
};

UNIT_MAIN(tests)
