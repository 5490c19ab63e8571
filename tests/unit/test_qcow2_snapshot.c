/*
 * Snapshots: what their table holds, how they are found, what is refused.
 * Streams of them are in test_qcow2_snapshot_stream.c, crashes and failing
 * hosts in test_qcow2_snapshot_crash.c.
 */
#include <errno.h>

#include "devices/block/qcow2_snapshot.h"
#include "disk_memory.h"
#include "image_file.h"
#include "util/bytes.h"

static const struct timespec now = { .tv_sec = 1700000000, .tv_nsec = 5 };

static void a_refcount_too_wide_is_refused_and_leaks_nothing(void **s)
{
	(void)s;
	for (unsigned bits = 1; bits <= 4; bits *= 2) {
		unsigned fit = (1u << bits) - 2;
		struct block *block;

		must("qemu-img create -q -f qcow2 -o refcount_bits=%u "
		     "narrow.qcow2 1M && "
		     "qemu-io -c 'write -P 5 0 200k' narrow.qcow2",
		     bits);
		block = open_disk("narrow.qcow2");
		for (unsigned i = 0; i < fit; i++)
			assert_int_equal(
				qcow2_snapshot_create(block, "fits", &now), 0);
		assert_int_equal(qcow2_snapshot_create(block, "not", &now),
				 -EINVAL);
		assert_int_equal(block_close(block), 0);
		must("qemu-img check narrow.qcow2");
	}
}

/* The first entry of an image's snapshot table, with room to grow in: the
 * file may end right behind it. */
static uint8_t *first_entry(struct memory_bytes *memory)
{
	uint8_t *bytes = realloc(memory->bytes, memory->size + 512);

	assert_non_null(bytes);
	memset(bytes + memory->size, 0, 512);
	memory->bytes = bytes;
	memory->size += 512;
	return bytes + get_be64(bytes + 64);
}

static void extra_data_that_nobody_knows_is_kept(void **state)
{
	struct memory_bytes memory;
	struct block *block;
	uint8_t *entry, old[64];

	(void)state;
	must("qemu-img create -q -f qcow2 x.qcow2 1M && "
	     "qemu-img snapshot -c a x.qcow2");
	memory_load(&memory, "x.qcow2");
	entry = first_entry(&memory);
	/* 16 more bytes of it: the texts move behind them. */
	memcpy(old, entry, 64);
	put_be32(entry + 36, 40);
	memset(entry + 64, 0xa5, 16);
	memcpy(entry + 80, "1a", 2);
	block = open_over(memory_file_create(&memory), false);
	assert_int_equal(qcow2_snapshot_create(block, "b", &now), 0);
	assert_int_equal(block_close(block), 0);
	entry = first_entry(&memory);
	assert_int_equal(get_be32(entry + 36), 40);
	for (int i = 0; i < 16; i++)
		assert_int_equal(entry[64 + i], 0xa5);
	assert_memory_equal(entry + 80, "1a", 2);
	assert_memory_equal(entry + 40, old + 40, 24);
	check_clean(&memory);
	free(memory.bytes);
}

static void a_table_without_extra_data_gets_what_version_3_asks(void **s)
{
	(void)s;
	for (unsigned version = 2; version <= 3; version++) {
		struct memory_bytes memory;
		struct block *block;
		uint8_t *entry;

		must("qemu-img create -q -f qcow2 -o compat=%s x.qcow2 1M && "
		     "qemu-img snapshot -c a x.qcow2",
		     version == 2 ? "v2" : "v3");
		memory_load(&memory, "x.qcow2");
		entry = first_entry(&memory);
		put_be32(entry + 36, 0);
		memcpy(entry + 40, "1a", 2);
		block = open_over(memory_file_create(&memory), false);
		assert_int_equal(qcow2_snapshot_create(block, "b", &now), 0);
		assert_int_equal(block_close(block), 0);
		entry = first_entry(&memory);
		assert_int_equal(get_be32(entry + 36), version == 2 ? 0 : 16);
		if (version == 3)
			assert_int_equal(get_be64(entry + 48), 1 << 20);
		check_clean(&memory);
		must("qemu-img convert -l snapshot.name=a top.qcow2 a.raw");
		free(memory.bytes);
	}
}

static void a_snapshot_is_found_by_id_and_by_name(void **state)
{
	struct block *block;

	(void)state;
	must("qemu-img create -q -f qcow2 x.qcow2 1M");
	block = open_disk("x.qcow2");
	assert_int_equal(qcow2_snapshot_create(block, "2", &now), 0);
	assert_int_equal(fill(block, 7, 0, 512), 0);
	assert_int_equal(qcow2_snapshot_create(block, "b", &now), 0);
	assert_int_equal(qcow2_snapshot_goto(block, "c"), -ENOENT);
	assert_int_equal(qcow2_snapshot_delete(block, "c"), -ENOENT);
	assert_int_equal(qcow2_snapshot_goto(block, "1"), 0);
	assert_filled(block, 0, 0, 512);
	assert_int_equal(qcow2_snapshot_goto(block, "2"), 0);
	assert_filled(block, 7, 0, 512);
	/* The name "2" is meant, not the id, which is applied. */
	assert_int_equal(qcow2_snapshot_delete(block, "2"), 0);
	assert_int_equal(qcow2_snapshot_goto(block, "2"), 0);
	assert_int_equal(qcow2_snapshot_delete(block, "2"), -ENOENT);
	assert_int_equal(qcow2_snapshot_delete(block, "b"), 0);
	assert_int_equal(block_close(block), 0);
	must("qemu-img check x.qcow2");
}

static void bitmaps_stay_true_until_the_disk_changes(void **state)
{
	struct block *block;

	(void)state;
	must("qemu-img create -q -f qcow2 x.qcow2 1M && "
	     "qemu-img bitmap --add x.qcow2 map");
	block = open_disk("x.qcow2");
	assert_int_equal(qcow2_snapshot_create(block, "a", &now), 0);
	assert_int_equal(qcow2_snapshot_create(block, "b", &now), 0);
	assert_int_equal(qcow2_snapshot_delete(block, "a"), 0);
	assert_int_equal(qcow2_snapshot_goto(block, "a"), -ENOENT);
	assert_int_equal(block_close(block), 0);
	must("qemu-img check x.qcow2");
	must("qemu-img info x.qcow2 | grep -q 'name: map'");
	block = open_disk("x.qcow2");
	assert_int_equal(qcow2_snapshot_goto(block, "b"), 0);
	assert_int_equal(block_close(block), 0);
	assert_int_not_equal(sh("qemu-img info x.qcow2 | grep -q ' auto$'"), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_refcount_too_wide_is_refused_and_leaks_nothing),
		cmocka_unit_test(extra_data_that_nobody_knows_is_kept),
		cmocka_unit_test(
			a_table_without_extra_data_gets_what_version_3_asks),
		cmocka_unit_test(a_snapshot_is_found_by_id_and_by_name),
		cmocka_unit_test(bitmaps_stay_true_until_the_disk_changes),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
