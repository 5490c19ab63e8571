/*
 * Images with a history: dirty, marked, huge, full of snapshots. Damaged ones
 * are in test_qcow2_damage.c.
 */
#include "image_file.h"

#include <errno.h>
#include <malloc.h>
#include <sys/stat.h>

#include "devices/block/fault.h"
#include "devices/block/layers.h"
#include "devices/block/qcow2_snapshot.h"

static void a_dirty_image_is_repaired_when_opened_for_writing(void **state)
{
	static const char *const options[] = {
		"cluster_size=64k", "cluster_size=512,refcount_bits=64",
		"cluster_size=4k,refcount_bits=32", "cluster_size=2M",
		"cluster_size=64k,extended_l2=on"
	};
	struct block *block;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		must("rm -f d.qcow2; head -c 3000000 /dev/zero | tr '\\0' k > "
		     "d.raw && qemu-img convert -c -O qcow2 -o compat=1.1,%s "
		     "-f raw d.raw d.qcow2 && qemu-img amend -o "
		     "lazy_refcounts=on d.qcow2 && "
		     "qemu-img snapshot -c one d.qcow2",
		     options[i]);
		/* It dies with refcounts in its cache. */
		sh("qemu-io -c 'write -P 3 1M 300k' -c 'write -z 0 128k' "
		   "-c flush -c abort d.qcow2");
		/* The end of the file is not where its clusters end. */
		must("truncate -s 64M d.qcow2");
		assert_int_equal(peek64("d.qcow2", 72) & 1, 1);
		/* Reading leaves it as it is. */
		assert_int_equal(try_open("d.qcow2", BLOCK_QCOW2, true, &block),
				 0);
		assert_filled(block, 3, 1 << 20, 300 << 10);
		assert_int_equal(block_close(block), 0);
		assert_int_equal(peek64("d.qcow2", 72) & 1, 1);
		block = open_disk("d.qcow2");
		assert_filled(block, 3, 1 << 20, 300 << 10);
		assert_int_equal(fill(block, 4, 2 << 20, 100 << 10), 0);
		assert_int_equal(block_close(block), 0);
		assert_int_equal(peek64("d.qcow2", 72) & 1, 0);
		must("test $(stat -c %%s d.qcow2) = 67108864");
		must("qemu-img check d.qcow2");
		must("qemu-io -r -c 'read -P 4 2M 100k' -c 'read -P 3 1M 300k' "
		     "-c 'read -P 0 0 128k' -c 'read -P 107 2500000 100' "
		     "d.qcow2");
		must("qemu-img snapshot -a one d.qcow2 && "
		     "qemu-img compare -f qcow2 -F raw d.qcow2 d.raw");
	}
}

static void a_dirty_image_keeps_its_bitmaps_when_repaired(void **state)
{
	struct block *block;

	(void)state;
	must("rm -f d.qcow2; qemu-img create -q -f qcow2 -o lazy_refcounts=on "
	     "d.qcow2 4M && qemu-img bitmap --add -g 512 d.qcow2 map && "
	     "qemu-io -c 'write -P 3 1M 300k' d.qcow2");
	sh("qemu-io -c 'write -P 4 2M 300k' -c flush -c abort d.qcow2");
	assert_int_equal(peek64("d.qcow2", 72) & 1, 1);
	block = open_disk("d.qcow2");
	assert_filled(block, 4, 2 << 20, 300 << 10);
	assert_int_equal(block_close(block), 0);
	must("qemu-img check d.qcow2 && "
	     "qemu-img info d.qcow2 | grep -q 'name: map'");
}

static void refcounts_may_be_put_off_until_the_end(void **state)
{
	struct block *block;

	(void)state;
	must("rm -f d.qcow2; qemu-img create -q -f qcow2 -o lazy_refcounts=on,"
	     "cluster_size=4k d.qcow2 64M");
	block = open_disk("d.qcow2");
	/* To read is not to change. */
	assert_filled(block, 0, 0, 4096);
	assert_int_equal(peek64("d.qcow2", 72), 0);
	for (unsigned i = 1; i < 60; i++) {
		assert_int_equal(fill(block, i, i << 20, 5000 / 512 * 512), 0);
		if (i % 7 == 0)
			assert_int_equal(disk_flush(block), 0);
	}
	assert_int_equal(disk_flush(block), 0);
	assert_int_equal(peek64("d.qcow2", 72), 1);
	/* What a crash would leave now. */
	must("cp d.qcow2 e.qcow2 && "
	     "test \"$(qemu-img check -U e.qcow2 2>&1 | "
	     "grep -c ^ERROR)\" -gt 50");
	assert_int_equal(block_close(block), 0);
	assert_int_equal(peek64("d.qcow2", 72), 0);
	must("qemu-img check d.qcow2");
	block = open_disk("e.qcow2");
	for (unsigned i = 1; i < 60; i++)
		assert_filled(block, i, i << 20, 5000 / 512 * 512);
	assert_int_equal(block_close(block), 0);
	must("qemu-img check e.qcow2");
}

static void what_the_header_holds_and_nobody_knows_stays(void **state)
{
	static const struct timespec now;
	/* After the names of features, in place of the end. */
	static const uint8_t unknown[32] = { 0x12, 0x34, 0x56, 0x78, 0,   0,  0,
					     9,    'k',  'e',  'e',  'p', '!' };
	uint8_t before[512], after[512];
	struct block *block;

	(void)state;
	must("rm -f d.qcow2; qemu-img create -q -f qcow2 -o lazy_refcounts=on "
	     "d.qcow2 4M");
	poke("d.qcow2", unknown, sizeof(unknown), 504);
	peek("d.qcow2", before, sizeof(before), 104);
	block = open_disk("d.qcow2");
	assert_int_equal(fill(block, 1, 0, 70000 / 512 * 512), 0);
	assert_int_equal(qcow2_snapshot_create(block, "one", &now), 0);
	assert_int_equal(fill(block, 2, 0, 70000 / 512 * 512), 0);
	assert_int_equal(block->ops->resize(block, 8 << 20), 0);
	assert_int_equal(qcow2_snapshot_goto(block, "one"), 0);
	assert_int_equal(qcow2_snapshot_delete(block, "one"), 0);
	assert_int_equal(block_close(block), 0);
	must("qemu-img check d.qcow2");
	peek("d.qcow2", after, sizeof(after), 104);
	assert_memory_equal(before, after, sizeof(before));
	assert_memory_equal(before + 400, unknown, sizeof(unknown));
}

/* Four million L1 entries, which all lead to the same L2 table: to follow them
 * is to read 8 TiB. */
static void a_dirty_image_that_would_take_hours_is_refused(void **state)
{
	const uint32_t entries = 4u << 20;
	const uint64_t l2 = 14u << 20, l1 = 16u << 20;
	uint64_t *table = malloc(entries * sizeof(*table));
	struct block *block;

	(void)state;
	assert_non_null(table);
	must("qemu-img create -q -f qcow2 -o cluster_size=2M hours.qcow2 1M");
	for (uint32_t i = 0; i < entries; i++)
		put_be64((uint8_t *)&table[i], l2);
	poke("hours.qcow2", table, entries * sizeof(*table), l1);
	free(table);
	poke64("hours.qcow2", entries, 32); /* no encryption, L1 entries */
	poke64("hours.qcow2", l1, 40);
	poke64("hours.qcow2", 1, 72); /* dirty */
	alarm(60);
	assert_int_equal(try_open("hours.qcow2", BLOCK_QCOW2, false, &block),
			 -EFBIG);
	alarm(0);
}

static void what_a_snapshot_shows_does_not_change(void **state)
{
	struct block *block;

	(void)state;
	must("qemu-img create -q -f qcow2 -o cluster_size=4k s.qcow2 4M && "
	     "qemu-io -c 'write -P 1 0 4M' s.qcow2 && qemu-img snapshot -c a "
	     "s.qcow2 && cp s.qcow2 before.qcow2 && "
	     "qemu-io -c 'write -P 2 1M 1M' s.qcow2 && "
	     "qemu-img snapshot -c b s.qcow2");
	block = open_disk("s.qcow2");
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(fill(block, 3, i * 20480, 1024), 0);
	assert_int_equal(
		request(block, BLOCK_DISCARD, NULL, 2 << 20, 1 << 20, false),
		0);
	assert_int_equal(request(block, BLOCK_ZERO, NULL, 0, 1 << 20, false),
			 0);
	assert_int_equal(block_close(block), 0);
	must("qemu-img check s.qcow2");
	must("qemu-img snapshot -a a s.qcow2 && "
	     "qemu-io -r -c 'read -P 1 0 4M' s.qcow2");
	must("qemu-img snapshot -a b s.qcow2 && qemu-io -r "
	     "-c 'read -P 1 0 1M' -c 'read -P 2 1M 1M' -c 'read -P 1 2M 2M' "
	     "s.qcow2");
	must("qemu-img snapshot -d a s.qcow2 && qemu-img snapshot -d b s.qcow2 "
	     "&& qemu-img check s.qcow2");
}

static void the_refcount_table_grows_as_the_file_does(void **state)
{
	struct block *block;

	(void)state;
	/* One cluster of table counts 2 MiB. */
	must("qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 "
	     "g.qcow2 24M");
	block = open_disk("g.qcow2");
	for (unsigned i = 0; i < 24; i++)
		assert_int_equal(fill(block, i + 1, (uint64_t)i << 20, 1 << 20),
				 0);
	for (unsigned i = 0; i < 24; i++)
		assert_filled(block, i + 1, (uint64_t)i << 20, 1 << 20);
	assert_int_equal(block_close(block), 0);
	must("qemu-img check g.qcow2");
	must("qemu-io -r -c 'read -P 1 0 1M' -c 'read -P 24 23M 1M' g.qcow2");
}

static void a_huge_disk_takes_little_memory_and_every_offset(void **state)
{
	static const uint64_t offsets[] = { 0, 4ull << 30, (5ull << 30) - 4096,
					    (1ull << 40) - 512, 777ull << 30 };
	size_t before = mallinfo2().uordblks;
	struct block *block;

	(void)state;
	must("qemu-img create -q -f qcow2 h.qcow2 1T");
	block = open_disk("h.qcow2");
	assert_int_equal(block->size, 1ull << 40);
	for (unsigned i = 0; i < ARRAY_SIZE(offsets); i++)
		assert_int_equal(fill(block, i + 1, offsets[i], 512), 0);
	assert_true(mallinfo2().uordblks - before < 512 << 10);
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(fill(block, 9, (uint64_t)i * 97 << 20, 512),
				 0);
	assert_true(mallinfo2().uordblks - before < 1 << 20);
	assert_filled(block, 4, offsets[3], 512);
	assert_filled(block, 0, 1ull << 39, 65536);
	assert_int_equal(block_close(block), 0);
	must("qemu-img check h.qcow2");
	must("qemu-io -r -c 'read -P 2 4G 512' -c 'read -P 5 777G 512' "
	     "-c 'read -P 4 1099511627264 512' h.qcow2");
}

static void a_change_of_tables_alone_survives_the_close(void **state)
{
	struct block *block;

	(void)state;
	must("qemu-img create -q -f qcow2 o.qcow2 1M && "
	     "qemu-io -c 'write -P 1 0 1M' o.qcow2");
	block = open_disk("o.qcow2");
	assert_int_equal(request(block, BLOCK_ZERO, NULL, 65536, 65536, false),
			 0);
	assert_int_equal(block_close(block), 0);
	block = open_disk("o.qcow2");
	assert_int_equal(
		request(block, BLOCK_DISCARD, NULL, 262144, 131072, false), 0);
	assert_int_equal(block_close(block), 0);
	must("qemu-img check o.qcow2");
	must("qemu-io -r -c 'read -P 1 0 64k' -c 'read -P 0 64k 64k' "
	     "-c 'read -P 0 256k 128k' -c 'read -P 1 384k 640k' o.qcow2");
}

static void an_empty_disk_is_a_disk(void **state)
{
	struct block *block;

	(void)state;
	must("qemu-img create -q -f qcow2 z.qcow2 0");
	block = open_disk("z.qcow2");
	assert_int_equal(block->size, 0);
	assert_int_equal(disk_read(block, NULL, 0, 0), 0);
	assert_int_equal(disk_write(block, NULL, 0, 512), -EINVAL);
	assert_int_equal(disk_flush(block), 0);
	assert_int_equal(block_close(block), 0);
	must("qemu-img check z.qcow2");
}

static void a_preallocated_image_is_written_in_place(void **state)
{
	struct stat before, after;
	struct block *block;

	(void)state;
	must("qemu-img create -q -f qcow2 -o preallocation=metadata p.qcow2 "
	     "8M");
	assert_int_equal(stat("p.qcow2", &before), 0);
	block = open_disk("p.qcow2");
	assert_filled(block, 0, 0, 8 << 20);
	assert_int_equal(fill(block, 1, 512, 7 << 20), 0);
	assert_int_equal(block_close(block), 0);
	assert_int_equal(stat("p.qcow2", &after), 0);
	assert_int_equal(before.st_size, after.st_size);
	must("qemu-img check p.qcow2");
}

static void the_first_write_clears_autoclear_bits_and_keeps_others(void **s)
{
	uint8_t before[512], after[512];
	struct block *block;

	(void)s;
	must("qemu-img create -q -f qcow2 x.qcow2 1M && "
	     "qemu-img bitmap --add x.qcow2 b0");
	/* A feature of the future. */
	poke64("x.qcow2", peek64("x.qcow2", 88) | 1ull << 40, 88);
	block = open_disk("x.qcow2");
	assert_filled(block, 0, 0, 1 << 20);
	assert_int_equal(disk_flush(block), 0);
	assert_int_equal(block_close(block), 0);
	peek("x.qcow2", before, 512, 0);
	assert_int_equal(get_be64(before + 88), 1ull << 40 | 1);
	block = open_disk("x.qcow2");
	assert_int_equal(fill(block, 1, 0, 512), 0);
	assert_int_equal(block_close(block), 0);
	peek("x.qcow2", after, 512, 0);
	assert_int_equal(get_be64(after + 88), 0);
	memset(before + 88, 0, 8);
	assert_memory_equal(before, after, 512);
}

static void discard_gives_the_space_back(void **state)
{
	struct stat before, after;
	struct block *block;

	(void)state;
	must("qemu-img create -q -f qcow2 t.qcow2 8M");
	block = open_disk("t.qcow2");
	assert_int_equal(fill(block, 1, 0, 8 << 20), 0);
	assert_int_equal(disk_flush(block), 0);
	assert_int_equal(stat("t.qcow2", &before), 0);
	assert_int_equal(request(block, BLOCK_DISCARD, NULL, 0, 6 << 20, false),
			 0);
	assert_filled(block, 0, 0, 6 << 20);
	assert_int_equal(disk_flush(block), 0);
	assert_int_equal(stat("t.qcow2", &after), 0);
	assert_true(after.st_blocks + (5 << 11) < before.st_blocks);
	/* The clusters are used again. */
	assert_int_equal(fill(block, 2, 0, 6 << 20), 0);
	assert_int_equal(block_close(block), 0);
	assert_int_equal(stat("t.qcow2", &after), 0);
	assert_true(after.st_size <= before.st_size + 65536);
	must("qemu-img check t.qcow2");
}

/* Reads a sector of each of 256 tables of d.qcow2, twice: how many reads of its
 * file the second time took, with a cache of @l2_cache bytes. */
static uint64_t reads_of_tables(size_t l2_cache)
{
	struct block_options options = { .path = "d.qcow2",
					 .l2_cache = l2_cache };
	struct fault_plan plan = { .kinds = FAULT_READ };
	struct memory_bytes memory = { .limit = 64 << 20 };
	struct host_file *file;
	struct block *block;
	struct stat st;
	uint64_t first = 0;

	assert_int_equal(stat("d.qcow2", &st), 0);
	memory.size = st.st_size;
	memory.bytes = malloc(memory.size);
	assert_non_null(memory.bytes);
	peek("d.qcow2", memory.bytes, memory.size, 0);
	file = fault_file_create(memory_file_create(&memory), &plan);
	assert_non_null(file);
	assert_int_equal(block_open_file(&options, file, &block), 0);
	for (unsigned i = 0; i < 512; i++) {
		if (i == 256)
			first = plan.done;
		assert_filled(block, 0, i % 256 * 32768, 512);
	}
	assert_int_equal(block_close(block), 0);
	free(memory.bytes);
	return plan.done - first;
}

static void the_cache_of_tables_is_as_large_as_it_is_told(void **state)
{
	uint64_t data;

	(void)state;
	/* A table of 512 bytes maps 32 KiB. */
	must("rm -f d.qcow2; qemu-img create -q -f qcow2 -o cluster_size=512,"
	     "preallocation=metadata d.qcow2 8M");
	data = reads_of_tables(0);
	assert_int_equal(reads_of_tables(1 << 20), data);
	assert_in_range(reads_of_tables(64 << 10), data + 128, data + 256);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_dirty_image_is_repaired_when_opened_for_writing),
		cmocka_unit_test(a_dirty_image_keeps_its_bitmaps_when_repaired),
		cmocka_unit_test(refcounts_may_be_put_off_until_the_end),
		cmocka_unit_test(what_the_header_holds_and_nobody_knows_stays),
		cmocka_unit_test(
			a_dirty_image_that_would_take_hours_is_refused),
		cmocka_unit_test(what_a_snapshot_shows_does_not_change),
		cmocka_unit_test(the_refcount_table_grows_as_the_file_does),
		cmocka_unit_test(
			a_huge_disk_takes_little_memory_and_every_offset),
		cmocka_unit_test(a_change_of_tables_alone_survives_the_close),
		cmocka_unit_test(an_empty_disk_is_a_disk),
		cmocka_unit_test(a_preallocated_image_is_written_in_place),
		cmocka_unit_test(
			the_first_write_clears_autoclear_bits_and_keeps_others),
		cmocka_unit_test(discard_gives_the_space_back),
		cmocka_unit_test(the_cache_of_tables_is_as_large_as_it_is_told),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
