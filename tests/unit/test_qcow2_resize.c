/*
 * A disk of another size: what it holds before and after, at every crash, and
 * when the host fails.
 */
#include "disk_memory.h"

#include <errno.h>

#include "devices/block/qcow2_check.h"

#define OLD (1u << 20)

static const struct change {
	const char *name;
	const char *make; /* options of qemu-img create */
	const char *then; /* what else is done to top.qcow2 */
	uint64_t size;    /* the new one */
} changes[] = {
	{ "larger, within the L1 table", "", "true", 3 * OLD },
	{ "larger, by the L1 table", "-o cluster_size=512", "true", 5 * OLD },
	{ "larger, with a snapshot", "-o cluster_size=512",
	  "qemu-img snapshot -c one top.qcow2", 5 * OLD },
	{ "larger, version 2", "-o cluster_size=4k,compat=0.10", "true",
	  3 * OLD },
	{ "larger, on a backing file that is larger still",
	  "-b base.raw -F raw -o cluster_size=4k", "true", 3 * OLD },
	{ "larger, on a backing file, in version 2",
	  "-b base.raw -F raw -o cluster_size=64k,compat=0.10", "true",
	  2 * OLD },
	{ "smaller", "-o cluster_size=512", "true", 100 << 10 },
	{ "larger, with subclusters",
	  "-b base.raw -F raw -o "
	  "cluster_size=16k,extended_l2=on",
	  "true", 3 * OLD },
	{ "smaller, with subclusters", "-o cluster_size=16k,extended_l2=on",
	  "true", 40 << 10 },
	{ "smaller, within a cluster", "", "true", 33 << 10 },
	{ "smaller, with a snapshot", "-o cluster_size=512",
	  "qemu-img snapshot -c one top.qcow2", 5 << 10 },
	{ "nothing at all", "-o cluster_size=1k", "true", 0 },
	{ "smaller, compressed", "",
	  "qemu-img convert -c -O qcow2 top.qcow2 c.qcow2 && "
	  "mv c.qcow2 top.qcow2",
	  70 << 10 },
};

static void make(const struct change *c, struct memory_bytes *base)
{
	must("rm -f *.qcow2 base.raw; truncate -s 4M base.raw && "
	     "qemu-io -f raw -c 'write -P 9 0 4M' base.raw && "
	     "qemu-img create -q -f qcow2 %s top.qcow2 1M && "
	     "qemu-io -c 'write -P 1 0 1M' top.qcow2 && %s",
	     c->make, c->then);
	memory_load(base, "top.qcow2");
}

/* 1 up to @data, 0 from there on. */
static void check_bytes(const uint8_t *bytes, uint64_t size, uint64_t data)
{
	if (data) {
		assert_int_equal(bytes[0], 1);
		assert_memory_equal(bytes, bytes + 1, data - 1);
	}
	if (data < size) {
		assert_int_equal(bytes[data], 0);
		assert_memory_equal(bytes + data, bytes + data + 1,
				    size - data - 1);
	}
}

/* The disk has @size bytes: 1 where it was, zeros behind. */
static void check_disk(struct block *block, uint64_t size)
{
	uint8_t *bytes = malloc(size ? size : 1);

	assert_non_null(bytes);
	assert_int_equal(block->size, size);
	assert_int_equal(disk_read(block, bytes, 0, size), 0);
	check_bytes(bytes, size, size < OLD ? size : OLD);
	free(bytes);
}

static void check_sound(struct memory_bytes *memory, bool leaks_are_fine)
{
	struct qcow2_findings found = { 0 };

	assert_int_equal(qcow2_check(memory_file_create(memory), "top.qcow2", 0,
				     stderr, &found),
			 0);
	assert_int_equal(found.corruptions, 0);
	if (!leaks_are_fine)
		assert_int_equal(found.leaks, 0);
}

/* The old disk or the new one, however far its file is. */
static void check_either(const struct change *c, struct memory_bytes *memory)
{
	struct block *block = open_over(memory_file_create(memory), true);

	check_disk(block, block->size == OLD ? OLD : c->size);
	assert_int_equal(block_close(block), 0);
	check_sound(memory, true);
}

/* Whatever is left of a change, growing far beyond shows zeros. */
static void check_growth(struct memory_bytes *memory)
{
	struct block *block = open_over(memory_file_create(memory), false);
	uint64_t old = block->size, size = 6 * OLD;
	uint8_t *bytes = malloc(size);

	assert_non_null(bytes);
	assert_int_equal(block->ops->resize(block, size), 0);
	assert_int_equal(disk_read(block, bytes, 0, size), 0);
	check_bytes(bytes, size, old < OLD ? old : OLD);
	free(bytes);
	assert_int_equal(block_close(block), 0);
	check_sound(memory, true);
}

static void replay(const struct change *c, const struct memory_bytes *base,
		   const struct recording *recording, uint64_t *seed)
{
	for (size_t n = 0; n <= recording->count; n++) {
		struct memory_bytes memory;

		memory_crash(&memory, base, recording, n, seed);
		check_either(c, &memory);
		if (n % 8 == 0)
			check_growth(&memory);
		free(memory.bytes);
	}
}

static void a_crash_leaves_the_old_size_or_the_new_then_zeros(void **state)
{
	uint64_t seed = 77;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		const struct change *c = &changes[i];
		struct recording recording = { 0 };
		struct memory_bytes base, disk;
		struct block *block;

		print_message("%s\n", c->name);
		make(c, &base);
		memory_copy(&disk, &base);
		block = open_over(record_file_create(memory_file_create(&disk),
						     &recording, 0),
				  false);
		assert_int_equal(block->ops->resize(block, c->size), 0);
		check_disk(block, c->size);
		assert_int_equal(block_close(block), 0);
		assert_false(recording.failed);
		check_sound(&disk, false);
		memory_save(&disk, "after.qcow2");
		must("qemu-img check -f qcow2 after.qcow2");
		replay(c, &base, &recording, &seed);
		recording_fini(&recording);
		free(disk.bytes);
		free(base.bytes);
	}
}

static size_t count_syncs(const struct recording *recording)
{
	size_t syncs = 0;

	for (size_t i = 0; i < recording->count; i++)
		syncs += recording->records[i].kind == RECORD_SYNC;
	return syncs;
}

static void all_tables_behind_the_end_go_in_one_commit(void **state)
{
	/* 32 tables, of 64 clusters each. */
	const struct change c = { "", "-o cluster_size=512", "true", 512 };
	struct recording recording = { 0 };
	struct memory_bytes disk;
	struct block *block;

	(void)state;
	make(&c, &disk);
	block = open_over(
		record_file_create(memory_file_create(&disk), &recording, 0),
		false);
	assert_int_equal(block->ops->resize(block, c.size), 0);
	assert_int_equal(block_close(block), 0);
	assert_false(recording.failed);
	assert_in_range(count_syncs(&recording), 1, 16);
	check_sound(&disk, false);
	recording_fini(&recording);
	free(disk.bytes);
}

static void a_host_that_fails_leaves_the_old_size_or_the_new(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		const struct change *c = &changes[i];
		struct memory_bytes base;
		bool done = false;

		make(c, &base);
		for (uint64_t at = 1; !done; at += 1 + at / 8) {
			struct fault_plan plan = { .kinds = FAULT_WRITE |
							    FAULT_SYNC,
						   .fail_at = 0,
						   .fail_for = 1,
						   .err = -EIO };
			struct memory_bytes disk;
			struct block *block;

			memory_copy(&disk, &base);
			block = open_over(
				fault_file_create(memory_file_create(&disk),
						  &plan),
				false);
			plan.fail_at = plan.done + at;
			block->ops->resize(block, c->size);
			block_close(block);
			done = plan.done < plan.fail_at;
			plan.fail_at = 0;
			check_either(c, &disk);
			free(disk.bytes);
		}
		free(base.bytes);
	}
}

/* The image of @image with a place for all that is new behind @old bytes, of
 * which the first @below are 9. */
static void check_allocated(const struct memory_bytes *image, uint64_t old,
			    uint64_t below, enum block_space space)
{
	struct memory_bytes after;
	struct block *block;
	uint8_t *bytes = malloc(OLD), *want = calloc(1, OLD);

	assert_non_null(bytes);
	assert_non_null(want);
	memset(want, 9, below);
	memory_save(image, "top.qcow2");
	block = open_disk("top.qcow2");
	assert_int_equal(block->size, old);
	assert_int_equal(block->ops->resize(block, OLD), 0);
	assert_int_equal(block->ops->allocate(block, old, OLD - old, space), 0);
	assert_int_equal(block_close(block), 0);
	memory_load(&after, "top.qcow2");
	check_sound(&after, false);
	block = open_disk("top.qcow2");
	assert_int_equal(disk_read(block, bytes, 0, OLD), 0);
	assert_memory_equal(bytes, want, OLD);
	assert_int_equal(block_close(block), 0);
	free(after.bytes);
	free(want);
	free(bytes);
}

static void a_place_for_what_is_new_hides_no_backing_file(void **state)
{
	static const char *const makes[] = {
		"cluster_size=512",
		"cluster_size=64k",
		"cluster_size=64k,compat=0.10",
		"cluster_size=128k,extended_l2=on",
		"cluster_size=64k,data_file=far",
		"cluster_size=128k,extended_l2=on,data_file=far",
	};
	/* KiB of the backing file and of the disk, which end in one cluster, or
	 * subcluster; and a disk that shows a part of it. */
	static const struct {
		unsigned base, disk;
	} ends[] = { { 101, 101 }, { 101, 103 }, { 1500, 101 } };

	(void)state;
	disk_data_dir = ".";
	for (size_t i = 0; i < ARRAY_SIZE(makes) * ARRAY_SIZE(ends); i++) {
		const char *make = makes[i / ARRAY_SIZE(ends)];
		unsigned below = ends[i % ARRAY_SIZE(ends)].base;
		unsigned disk = ends[i % ARRAY_SIZE(ends)].disk;
		struct memory_bytes image;

		print_message("%s, %u of %u\n", make, disk, below);
		must("head -c %uk /dev/zero | tr '\\0' '\\11' >base.raw && "
		     "rm -f far && qemu-img create -q -f qcow2 -o %s "
		     "-b base.raw -F raw top.qcow2 %uk",
		     below, make, disk);
		memory_load(&image, "top.qcow2");
		if (below > disk)
			below = disk;
		for (unsigned space = BLOCK_PLACE; space <= BLOCK_FILL; space++)
			check_allocated(&image, disk << 10, below << 10, space);
		free(image.bytes);
	}
	disk_data_dir = NULL;
}

static void a_disk_that_cannot_change_says_why(void **state)
{
	struct block *block;

	(void)state;
	must("rm -f *.qcow2; qemu-img create -q -f qcow2 -o compat=0.10 "
	     "top.qcow2 1M && qemu-img snapshot -c one top.qcow2");
	block = open_disk("top.qcow2");
	assert_int_equal(block->ops->resize(block, 2 * OLD), -ENOTSUP);
	assert_int_equal(block->ops->resize(block, 100), -EINVAL);
	assert_int_equal(block_close(block), 0);
	must("rm -f *.qcow2; qemu-img create -q -f qcow2 -o cluster_size=512 "
	     "top.qcow2 1M");
	block = open_disk("top.qcow2");
	assert_int_equal(block->ops->resize(block, 1ull << 40), -EFBIG);
	assert_int_equal(block->size, OLD);
	assert_int_equal(block_close(block), 0);
	assert_int_equal(try_open("top.qcow2", BLOCK_QCOW2, true, &block), 0);
	assert_int_equal(block->ops->resize(block, 2 * OLD), -EROFS);
	assert_int_equal(block_close(block), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_crash_leaves_the_old_size_or_the_new_then_zeros),
		cmocka_unit_test(
			a_host_that_fails_leaves_the_old_size_or_the_new),
		cmocka_unit_test(all_tables_behind_the_end_go_in_one_commit),
		cmocka_unit_test(a_place_for_what_is_new_hides_no_backing_file),
		cmocka_unit_test(a_disk_that_cannot_change_says_why),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
