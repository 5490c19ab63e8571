/* Images that are damaged: what fails of them, and what must not. */
#include "disk_memory.h"
#include "image_file.h"

#include <errno.h>

#include "devices/block/qcow2_check.h"
#include "util/bytes.h"

static void a_damaged_entry_fails_its_request_and_marks_the_image(void **state)
{
	static const uint64_t entries[] = {
		1ull << 63 | 0x12200, /* not on a cluster boundary */
		1ull << 63 | 0x10002, /* a reserved bit */
		1ull << 63 | 0x10000, /* the refcount table */
		1ull << 61 | 0x50000, /* a reserved bit, high */
	};
	uint8_t buf[512];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(entries); i++) {
		struct block *block;
		uint64_t l2;

		must("rm -f e.qcow2; qemu-img create -q -f qcow2 e.qcow2 1M && "
		     "qemu-io -c 'write -P 1 0 128k' e.qcow2");
		l2 = peek64("e.qcow2", peek64("e.qcow2", 40)) & ~(1ull << 63);
		poke64("e.qcow2", entries[i], l2);
		block = open_disk("e.qcow2");
		assert_int_equal(disk_read(block, buf, 65536, 512), 0);
		assert_int_equal(buf[0], 1);
		assert_int_equal(disk_read(block, buf, 0, 512), -EIO);
		assert_int_equal(disk_write(block, buf, 0, 512), -EIO);
		assert_int_equal(disk_write(block, buf, 65536, 512), -EIO);
		assert_int_equal(disk_read(block, buf, 65536, 512), 0);
		block_close(block);
		assert_int_equal(peek64("e.qcow2", 72), 2);
	}
}

/* An L1 entry, or one of the refcount table, that leads to a table which is
 * whole in memory: what is written there would be written over. */
static void tables_that_lead_to_each_other_are_refused(void **state)
{
	static const struct {
		unsigned at; /* in the header: whose first entry */
		unsigned to; /* in the header: leads there */
	} cases[] = { { 40, 40 }, { 40, 48 }, { 48, 40 }, { 48, 48 } };
	uint8_t buf[512];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t copied = cases[i].at == 40 ? 1ull << 63 : 0;
		struct block *block;

		must("rm -f e.qcow2; qemu-img create -q -f qcow2 e.qcow2 1M");
		poke64("e.qcow2", copied | peek64("e.qcow2", cases[i].to),
		       peek64("e.qcow2", cases[i].at));
		block = open_disk("e.qcow2");
		assert_int_equal(fill(block, 1, 0, 512), -EIO);
		if (copied)
			assert_int_equal(disk_read(block, buf, 0, 512), -EIO);
		block_close(block);
		assert_int_equal(peek64("e.qcow2", 72), 2);
	}
}

/* Refcounts that call all clusters used: 4 times 32768, in @blocks blocks. */
static void call_all_used(const char *name, unsigned blocks)
{
	uint64_t reftable, block_at;
	uint8_t ones[65536];

	memset(ones, 1, sizeof(ones));
	must("rm -f %s; qemu-img create -q -f qcow2 %s 1M", name, name);
	reftable = peek64(name, 48);
	block_at = peek64(name, reftable);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t at = i % blocks ? (i + 64) << 16 : block_at;

		poke(name, ones, sizeof(ones), at);
		poke64(name, at, reftable + 8 * i);
	}
}

/* A write fails, and the image is marked as corrupt. */
static void assert_write_marks(const char *name)
{
	struct block *block = open_disk(name);

	assert_int_equal(fill(block, 1, 0, 512), -EIO);
	block_close(block);
	assert_int_equal(peek64(name, 72), 2);
}

static void refcounts_of_nothing_do_not_hold_up_a_write(void **state)
{
	struct block *block;

	(void)state;
	/* The file does not have so many clusters. */
	call_all_used("o.qcow2", 4);
	assert_write_marks("o.qcow2");
	/* It has, and takes no space for them, nor for their refcounts. */
	call_all_used("o.qcow2", 1);
	must("truncate -s 8G o.qcow2");
	assert_write_marks("o.qcow2");
	/* And when it is full of what it has, it grows. */
	call_all_used("o.qcow2", 4);
	must("truncate -s 8G o.qcow2");
	block = open_disk("o.qcow2");
	assert_int_equal(fill(block, 1, 0, 512), 0);
	assert_int_equal(block_close(block), 0);
	must("test $(stat -c %%s o.qcow2) -gt 8589934592");
}

static void damaged_compressed_data_fail_their_request_only(void **state)
{
	struct block *block;
	uint8_t buf[512];
	uint64_t l2;

	(void)state;
	must("rm -f e.qcow2; qemu-img create -q -f qcow2 e.qcow2 1M && "
	     "qemu-io -c 'write -P 1 0 128k' e.qcow2");
	l2 = peek64("e.qcow2", peek64("e.qcow2", 40)) & ~(1ull << 63);
	poke64("e.qcow2", 1ull << 62 | 0x1000, l2);
	block = open_disk("e.qcow2");
	assert_int_equal(disk_read(block, buf, 0, 512), -EIO);
	assert_int_equal(disk_write(block, buf, 0, 512), -EIO);
	assert_int_equal(fill(block, 7, 65536, 512), 0);
	assert_int_equal(block_close(block), 0);
	assert_int_equal(peek64("e.qcow2", 72), 0);
}

static void free_metadata_are_not_given_to_the_guest(void **state)
{
	uint8_t zeros[65536] = { 0 };
	struct block *block;
	uint64_t refblock;

	(void)state;
	/* Refcounts that call everything free, the L2 table too. */
	must("qemu-img create -q -f qcow2 f.qcow2 1M && "
	     "qemu-io -c 'write -P 1 0 64k' f.qcow2");
	refblock = peek64("f.qcow2", peek64("f.qcow2", 48));
	poke("f.qcow2", zeros, sizeof(zeros), refblock);
	block = open_disk("f.qcow2");
	assert_int_equal(fill(block, 2, 128 << 10, 512), -EIO);
	assert_filled(block, 1, 0, 65536);
	block_close(block);
	assert_int_equal(peek64("f.qcow2", 72), 2);
}

/* Repairs an image; returns how many reads it took. */
static uint64_t count_reads(struct memory_bytes *image, int err,
			    struct qcow2_findings *found)
{
	struct fault_plan plan = { .kinds = FAULT_READ };
	FILE *to = fopen("told", "w");

	assert_non_null(to);
	assert_int_equal(
		qcow2_check(fault_file_create(memory_file_create(image), &plan),
			    "e.qcow2", QCOW2_FIX_ERRORS, to, found),
		err);
	fclose(to);
	return plan.done;
}

/* Likewise one with more tables than can be, so nothing is changed, and frees
 * it. */
static uint64_t count_useless_reads(struct memory_bytes *image)
{
	struct qcow2_findings found;
	struct memory_bytes before;
	uint64_t reads;

	memory_copy(&before, image);
	reads = count_reads(image, -EFBIG, &found);
	assert_int_equal(image->size, before.size);
	assert_memory_equal(image->bytes, before.bytes, before.size);
	free(before.bytes);
	free(image->bytes);
	return reads;
}

/* The image has few clusters, and an L1 table of 2048 entries. */
static void a_table_that_is_named_too_often_is_not_read_each_time(void **state)
{
	struct memory_bytes image;
	uint64_t l1, l2;

	(void)state;
	must("rm -f e.qcow2; qemu-img create -q -f qcow2 -o cluster_size=2M "
	     "e.qcow2 1P && qemu-io -c 'write 0 64k' e.qcow2");
	memory_load(&image, "e.qcow2");
	l1 = get_be64(image.bytes + 40);
	l2 = get_be64(image.bytes + l1);
	for (unsigned i = 1; i < 2048; i++)
		put_be64(image.bytes + l1 + i * 8, l2);
	assert_in_range(count_useless_reads(&image), 32, 100);
}

/* Loads e.qcow2 with its snapshot @count times. Returns where the L1 table of
 * that one is. */
static uint64_t load_snapshots(struct memory_bytes *image, size_t count)
{
	size_t length;
	uint8_t *at;

	memory_load(image, "e.qcow2");
	put_be32(image->bytes + 60, count);
	at = image->bytes + get_be64(image->bytes + 64);
	length = align_up(40 + get_be32(at + 36) + 2, 8);
	image->size = at + count * length - image->bytes;
	image->bytes = realloc(image->bytes, image->size);
	assert_non_null(image->bytes);
	at = image->bytes + get_be64(image->bytes + 64);
	for (size_t i = 1; i < count; i++)
		memcpy(at + i * length, at, length);
	return get_be64(at);
}

/* Of 256 KiB. */
static void snapshots_of_one_table_do_not_have_it_read_each_time(void **state)
{
	struct memory_bytes image;

	(void)state;
	must("rm -f e.qcow2; qemu-img create -q -f qcow2 e.qcow2 16T && "
	     "qemu-img snapshot -c a e.qcow2");
	load_snapshots(&image, 500);
	/* Four for each. */
	assert_in_range(count_useless_reads(&image), 4 * 256, 4 * 300);
}

/* Each L1 table has 24 entries, which is not too often. */
static void a_table_is_not_read_again_for_each_of_many_snapshots(void **state)
{
	struct memory_bytes image;
	uint64_t l1;

	(void)state;
	must("rm -f e.qcow2; qemu-img create -q -f qcow2 -o cluster_size=2M "
	     "e.qcow2 12T && qemu-io -c 'write 0 64k' e.qcow2 && "
	     "qemu-img snapshot -c a e.qcow2");
	l1 = load_snapshots(&image, 20);
	for (unsigned i = 1; i < 24; i++)
		memcpy(image.bytes + l1 + i * 8, image.bytes + l1, 8);
	assert_in_range(count_useless_reads(&image), 32, 100);
}

/* What is to be mended is read once more each. */
static void an_entry_that_snapshots_share_is_mended_once(void **state)
{
	enum { SNAPSHOTS = 100, ENTRIES = 512 };
	struct qcow2_findings found;
	struct memory_bytes image;
	uint64_t l1, l2;

	(void)state;
	must("rm -f e.qcow2; qemu-img create -q -f qcow2 -o cluster_size=4k "
	     "e.qcow2 2M && qemu-io -c 'write 0 2M' e.qcow2 && "
	     "qemu-img snapshot -c a e.qcow2");
	l1 = load_snapshots(&image, SNAPSHOTS);
	l2 = get_be64(image.bytes + l1) & ~(1ull << 63);
	for (unsigned i = 0; i < ENTRIES; i++)
		put_be64(image.bytes + l2 + i * 8, 0x201);
	/* Of a snapshot its entry, its L1 and its L2 table. */
	assert_in_range(count_reads(&image, 0, &found), ENTRIES,
			ENTRIES + 10 * SNAPSHOTS);
	assert_int_equal(found.corruptions, 0);
	for (unsigned i = 0; i < ENTRIES; i++)
		assert_int_equal(get_be64(image.bytes + l2 + i * 8), 1);
	free(image.bytes);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_damaged_entry_fails_its_request_and_marks_the_image),
		cmocka_unit_test(tables_that_lead_to_each_other_are_refused),
		cmocka_unit_test(refcounts_of_nothing_do_not_hold_up_a_write),
		cmocka_unit_test(
			damaged_compressed_data_fail_their_request_only),
		cmocka_unit_test(
			a_table_that_is_named_too_often_is_not_read_each_time),
		cmocka_unit_test(
			snapshots_of_one_table_do_not_have_it_read_each_time),
		cmocka_unit_test(
			a_table_is_not_read_again_for_each_of_many_snapshots),
		cmocka_unit_test(an_entry_that_snapshots_share_is_mended_once),
		cmocka_unit_test(free_metadata_are_not_given_to_the_guest),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
