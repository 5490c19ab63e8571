/*
 * Bitmaps as bytes, and given to another image: all of them are there or none,
 * whatever becomes of the host.
 */
#include "disk_memory.h"

#include <errno.h>

#include "devices/block/image_info.h"
#include "devices/block/qcow2_bitmap.h"
#include "devices/block/qcow2_check.h"
#include "util/bytes.h"
#include "util/checked.h"

#define BITMAPS 2
#define CLUSTER 65536ull

/* What both tests copy to: with an extension of its own, feature names, a
 * backing file's name, and bitmaps that are void. */
static const char *const targets[] = {
	"",
	"-o cluster_size=512",
	"-o lazy_refcounts=on -u -b none -F raw",
	"-o cluster_size=4k && qemu-img bitmap --add top.qcow2 old",
};

/* What became void, the last of them, leaks: directory, table, no bits. */
static uint64_t void_bitmaps(size_t target)
{
	return target == ARRAY_SIZE(targets) - 1 ? 2 : 0;
}

static struct block *open_file(struct host_file *file, const char *path)
{
	struct block_options options = { .path = path,
					 .unlocked = true,
					 .no_backing = true };
	struct block *block;

	assert_non_null(file);
	assert_int_equal(block_open_file(&options, file, &block), 0);
	return block;
}

static struct block *make_source(struct memory_bytes *bytes)
{
	must("rm -f from.qcow2; qemu-img create -q -f qcow2 from.qcow2 8M && "
	     "qemu-img bitmap --add -g 512 from.qcow2 one && "
	     "qemu-img bitmap --add from.qcow2 two && "
	     "qemu-io -c 'write 1M 64k' -c 'write 7M 512' from.qcow2");
	memory_load(bytes, "from.qcow2");
	return open_file(memory_file_create(bytes), "from.qcow2");
}

static void make_target(const char *how, struct memory_bytes *base)
{
	must("rm -f top.qcow2; qemu-img create -q -f qcow2 top.qcow2 8M %s",
	     how);
	memory_load(base, "top.qcow2");
}

/* The image has the bitmaps or, unless they were copied, others; and is sound,
 * but for so many leaks. */
static void check_image(struct memory_bytes *memory, bool copied,
			uint64_t leaks)
{
	struct qcow2_findings found;
	struct image_info info;

	assert_int_equal(image_info_read(memory_file_create(memory), "top",
					 BLOCK_QCOW2, NULL, &info),
			 0);
	if (copied ||
	    (info.nr_bitmaps && strcmp(info.bitmaps[0].name, "old"))) {
		assert_int_equal(info.nr_bitmaps, BITMAPS);
		assert_string_equal(info.bitmaps[1].name, "two");
		assert_int_equal(info.bitmaps[0].granularity, 512);
		assert_int_equal(info.bitmaps[0].flags, QCOW2_BITMAP_AUTO);
	}
	/* Refcounts that may be late are put right when the image is opened. */
	if (info.header.incompatible & QCOW2_DIRTY)
		block_close(open_file(memory_file_create(memory), "top.qcow2"));
	image_info_fini(&info);
	assert_int_equal(qcow2_check(memory_file_create(memory), "top", 0,
				     stderr, &found),
			 0);
	assert_int_equal(found.corruptions, 0);
	assert_true(found.leaks <= leaks);
}

static void a_crash_leaves_all_bitmaps_or_none(void **state)
{
	struct memory_bytes source;
	struct block *from = make_source(&source);
	uint64_t seed = 7;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		struct recording recording = { 0 };
		struct memory_bytes base, disk, crashed;
		struct block *to;

		make_target(targets[i], &base);
		memory_copy(&disk, &base);
		to = open_file(record_file_create(memory_file_create(&disk),
						  &recording, 0),
			       "top.qcow2");
		assert_int_equal(qcow2_copy_bitmaps(from, to), 0);
		assert_int_equal(block_close(to), 0);
		check_image(&disk, true, void_bitmaps(i));
		memory_save(&disk, "after.qcow2");
		must("qemu-img info -f qcow2 after.qcow2 | "
		     "grep -q 'name: two'");
		for (size_t n = 0; n <= 4 * recording.count; n++) {
			memory_crash(&crashed, &base, &recording,
				     n % (recording.count + 1), &seed);
			check_image(&crashed, false, UINT64_MAX);
			free(crashed.bytes);
		}
		recording_fini(&recording);
		free(disk.bytes);
		free(base.bytes);
	}
	assert_int_equal(block_close(from), 0);
	free(source.bytes);
}

/* Every write and sync in turn, by a full or a broken disk. */
static void a_host_that_fails_leaves_no_leak(void **state)
{
	struct memory_bytes source;
	struct block *from = make_source(&source);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		struct memory_bytes base, disk;
		bool done = false;

		make_target(targets[i], &base);
		for (uint64_t at = 1; !done; at++) {
			struct fault_plan plan = {
				.kinds = FAULT_WRITE | FAULT_SYNC,
				.fail_for = 1,
				.err = at % 2 ? -EIO : -ENOSPC
			};
			struct block *to;
			int err;

			memory_copy(&disk, &base);
			to = open_file(
				fault_file_create(memory_file_create(&disk),
						  &plan),
				"top.qcow2");
			plan.fail_at = plan.done + at;
			err = qcow2_copy_bitmaps(from, to);
			done = plan.done < plan.fail_at;
			assert_true(done == !err);
			plan.fail_at = 0;
			/* A sync that failed is the end of all writing. */
			check_image(&disk, done,
				    block_close(to) ? UINT64_MAX
						    : void_bitmaps(i));
			free(disk.bytes);
		}
		free(base.bytes);
	}
	assert_int_equal(block_close(from), 0);
	free(source.bytes);
}

static void a_table_too_large_for_its_clusters_is_refused(void **state)
{
	struct block *from, *to;

	(void)state;
	must("rm -f *.qcow2; qemu-img create -q -f qcow2 from.qcow2 64G && "
	     "qemu-img bitmap --add -g 512 from.qcow2 one && "
	     "qemu-img create -q -f qcow2 -o cluster_size=512 top.qcow2 64G");
	from = open_disk("from.qcow2");
	to = open_disk("top.qcow2");
	assert_int_equal(qcow2_copy_bitmaps(from, to), -EFBIG);
	assert_int_equal(block_close(to), 0);
	assert_int_equal(block_close(from), 0);
	must("qemu-img check -q top.qcow2");
}

/* Of a bitmap with a name of four letters; its table has three entries. */
static void make_entry(uint8_t *entry)
{
	put_be64(entry, 5 * CLUSTER);
	put_be32(entry + 8, 3);
	entry[16] = 1;
	entry[19] = 4;
}

static void a_damaged_bitmap_entry_is_refused(void **state)
{
	static const struct {
		size_t at;
		uint8_t byte;
	} faults[] = { { 6, 2 },   { 12, 1 }, { 15, 8 }, { 16, 2 },
		       { 17, 64 }, { 18, 4 }, { 19, 0 }, { 23, 9 } };
	uint8_t entry[32] = { 0 };
	struct qcow2_bitmap bitmap;

	(void)state;
	make_entry(entry);
	entry[15] = 7;
	entry[17] = 16;
	assert_int_equal(qcow2_bitmap_parse(entry, 32, 16, &bitmap), 32);
	assert_int_equal(qcow2_bitmap_parse(entry, 31, 16, &bitmap), 0);
	assert_int_equal(bitmap.flags, 7);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		uint8_t old = entry[faults[i].at];

		entry[faults[i].at] = faults[i].byte;
		assert_int_equal(qcow2_bitmap_parse(entry, 32, 16, &bitmap), 0);
		entry[faults[i].at] = old;
	}
}

static void a_bitmap_with_unknown_extra_data_is_not_to_be_used(void **state)
{
	uint8_t entry[40] = { 0 };
	struct qcow2_bitmap bitmap;

	(void)state;
	make_entry(entry);
	entry[23] = 8;
	memcpy(entry + 32, "name", 4);
	for (unsigned usable = 0; usable < 2; usable++) {
		entry[15] = usable ? QCOW2_BITMAP_EXTRA : 0;
		assert_int_equal(qcow2_bitmap_parse(entry, 40, 16, &bitmap),
				 40);
		assert_memory_equal(bitmap.name, "name", 4);
		assert_int_equal(!(bitmap.flags & QCOW2_BITMAP_IN_USE), usable);
	}
}

static void an_entry_of_a_bitmap_names_a_cluster_or_says_all(void **state)
{
	static const struct {
		uint64_t entry;
		bool ok;
	} cases[] = { { 0, true },
		      { 1, true },
		      { CLUSTER, true },
		      { CLUSTER | 1, false },
		      { CLUSTER / 2, false },
		      { CLUSTER | 2, false },
		      { CLUSTER | 1ull << 56, false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(qcow2_bitmap_entry_ok(cases[i].entry, 16),
				 cases[i].ok);
}

/* The extension of the header that names the directory. */
static uint8_t *find_extension(const struct memory_bytes *image)
{
	static const uint8_t magic[] = { 0x23, 0x85, 0x28, 0x75 };
	uint8_t *at = memmem(image->bytes, CLUSTER, magic, sizeof(magic));

	assert_non_null(at);
	return at;
}

/* And not what was there of the one before, which is longer. */
static void behind_the_end_of_a_bitmap_there_are_zeros(void **state)
{
	static const uint8_t zeros[CLUSTER];
	struct memory_bytes source, disk;
	struct block *from = make_source(&source), *to;
	const uint8_t *entry, *table, *bits;

	(void)state;
	make_target("", &disk);
	to = open_file(memory_file_create(&disk), "top.qcow2");
	assert_int_equal(qcow2_copy_bitmaps(from, to), 0);
	assert_int_equal(block_close(to), 0);
	assert_int_equal(block_close(from), 0);
	entry = disk.bytes + get_be64(find_extension(&disk) + 24) + 32;
	table = disk.bytes + get_be64(entry);
	bits = disk.bytes + get_be64(table);
	/* A bit for each 64 KiB of 8 MiB. */
	assert_memory_not_equal(bits, zeros, 16);
	assert_memory_equal(bits + 16, zeros, CLUSTER - 16);
	free(disk.bytes);
	free(source.bytes);
}

/* An image with @n bitmaps of the same table, which is the last cluster. */
static struct block *make_sharing(struct memory_bytes *image, uint8_t n)
{
	uint8_t *at, *entry;

	must("rm -f from.qcow2; qemu-img create -q -f qcow2 from.qcow2 2T && "
	     "qemu-img bitmap --add from.qcow2 a && "
	     "truncate -s %%64k from.qcow2 && truncate -s +64k from.qcow2");
	memory_load(image, "from.qcow2");
	at = find_extension(image);
	put_be32(at + 8, n);
	entry = image->bytes + get_be64(at + 24);
	put_be64(at + 16, n * 32ull);
	put_be64(entry, image->size - CLUSTER);
	put_be32(entry + 8, CLUSTER / 8);
	entry[17] = 9; /* then that is the length of its table */
	for (unsigned i = 1; i < n; i++) {
		memcpy(entry + i * 32, entry, 32);
		entry[i * 32 + 24] += i;
	}
	return open_file(memory_file_create(image), "from.qcow2");
}

/* Or who reads them would read as much as the image likes. */
static void tables_without_room_for_all_are_not_read(void **s)
{
	static const struct {
		uint8_t n;
		int err;
		uint64_t leaks; /* the old table, and what is void */
	} cases[] = { { 1, 0, 1 }, { 200, -EINVAL, 2 } };

	(void)s;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct qcow2_findings found;
		struct memory_bytes source, disk;
		struct block *from = make_sharing(&source, cases[i].n), *to;

		must("rm -f to.qcow2; qemu-img create -q -f qcow2 to.qcow2 2T");
		memory_load(&disk, "to.qcow2");
		to = open_file(memory_file_create(&disk), "to.qcow2");
		assert_int_equal(qcow2_copy_bitmaps(from, to), cases[i].err);
		assert_int_equal(block_close(to), 0);
		assert_int_equal(block_close(from), 0);
		assert_int_equal(qcow2_check(memory_file_create(&source), "x",
					     QCOW2_FIX_ERRORS, stderr, &found),
				 0);
		/* The last cluster has no refcount, or they are void. */
		assert_int_equal(found.corruptions_fixed, 1);
		assert_int_equal(found.leaks, cases[i].leaks);
		free(disk.bytes);
		free(source.bytes);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_damaged_bitmap_entry_is_refused),
		cmocka_unit_test(
			a_bitmap_with_unknown_extra_data_is_not_to_be_used),
		cmocka_unit_test(
			an_entry_of_a_bitmap_names_a_cluster_or_says_all),
		cmocka_unit_test(behind_the_end_of_a_bitmap_there_are_zeros),
		cmocka_unit_test(a_crash_leaves_all_bitmaps_or_none),
		cmocka_unit_test(a_host_that_fails_leaves_no_leak),
		cmocka_unit_test(tables_without_room_for_all_are_not_read),
		cmocka_unit_test(a_table_too_large_for_its_clusters_is_refused),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
