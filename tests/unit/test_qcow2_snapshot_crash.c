/*
 * Snapshots: each change of a small image with a crash or a failing host at
 * every point of it. The image has to be the old one or the new one.
 */
#include <errno.h>

#include "devices/block/image_info.h"
#include "devices/block/qcow2_snapshot.h"
#include "disk_memory.h"

static const struct timespec now = { .tv_sec = 1700000000, .tv_nsec = 5 };

#define SIZE (96 * 1024)

enum change { CREATE, GOTO, DELETE, CHANGES };

static struct memory_bytes blank[3];

/* Two images whose disk and snapshots share much and differ in much. */
static int make_blanks(void **state)
{
	static const char *const options[] = {
		"cluster_size=512,refcount_bits=64",
		"cluster_size=4k,compat=0.10",
		"cluster_size=16k,extended_l2=on",
	};

	if (disk_folder_make(state))
		return -1;
	for (unsigned i = 0; i < ARRAY_SIZE(blank); i++) {
		must("qemu-img create -q -f qcow2 -o %s b.qcow2 %d && "
		     "qemu-io -c 'write -P 1 0 64k' b.qcow2 && "
		     "qemu-img snapshot -c one b.qcow2 && "
		     "qemu-io -c 'write -P 2 16k 20k' b.qcow2 && "
		     "qemu-img snapshot -c two b.qcow2 && "
		     "qemu-io -c 'write -P 3 30k 20k' b.qcow2",
		     options[i], SIZE);
		memory_load(&blank[i], "b.qcow2");
	}
	return 0;
}

static int drop_blanks(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(blank); i++)
		free(blank[i].bytes);
	return disk_folder_remove(state);
}

static uint8_t fill_of(unsigned snapshot, unsigned kib)
{
	if (snapshot == 3 && kib >= 30 && kib < 50)
		return 3;
	if (snapshot >= 2 && kib >= 16 && kib < 36)
		return 2;
	return kib < 64;
}

static void assert_filled(struct block *block, unsigned snapshot)
{
	uint8_t *buf = malloc(SIZE);

	assert_non_null(buf);
	assert_int_equal(disk_read(block, buf, 0, SIZE), 0);
	for (unsigned i = 0; i < SIZE; i++) {
		if (buf[i] != fill_of(snapshot, i / 1024))
			fail_msg("offset %u: %u, not as in state %u", i, buf[i],
				 snapshot);
	}
	free(buf);
}

static int do_change(struct block *block, enum change change)
{
	switch (change) {
	case CREATE:
		return qcow2_snapshot_create(block, "three", &now);
	case GOTO:
		return qcow2_snapshot_goto(block, "one");
	default:
		return qcow2_snapshot_delete(block, "two");
	}
}

static struct block *open_memory(struct memory_bytes *memory,
				 struct fault_plan *plan,
				 struct recording *recording)
{
	struct host_file *file = memory_file_create(memory);

	assert_non_null(file);
	if (plan)
		file = fault_file_create(file, plan);
	if (recording)
		file = record_file_create(file, recording, 0);
	return open_over(file, false);
}

/* The image is wholly as before the change or wholly as after it: returns
 * whether it is after. Ruins the image by going to all its snapshots. */
static bool is_after(struct memory_bytes *memory, enum change change)
{
	static const char *const names[] = { "one", "two", "three" };
	static const size_t counts[] = {
		[CREATE] = 3, [GOTO] = 2, [DELETE] = 1
	};
	struct block *block;
	struct image_info info;
	size_t count;
	bool after;
	uint8_t byte[512];

	assert_int_equal(image_info_read(memory_file_create(memory), "x",
					 BLOCK_QCOW2, NULL, &info),
			 0);
	count = info.nr_snapshots;
	block = open_memory(memory, NULL, NULL);
	assert_int_equal(disk_read(block, byte, 40 * 1024, 512), 0);
	after = change == GOTO ? byte[0] == 1 : count != 2;
	assert_int_equal(count, after ? counts[change] : 2);
	assert_filled(block, after && change == GOTO ? 1 : 3);
	for (size_t i = 0; i < count; i++) {
		assert_string_equal(info.snapshots[i].name, names[i]);
		assert_int_equal(qcow2_snapshot_goto(block, names[i]), 0);
		assert_filled(block, i + 1);
	}
	image_info_fini(&info);
	assert_int_equal(block_close(block), 0);
	return after;
}

static void crash_everywhere(const struct memory_bytes *image,
			     enum change change)
{
	struct recording recording = { 0 };
	struct memory_bytes disk;
	struct block *block;
	uint64_t seed = 77 + change;
	unsigned before = 0, after = 0;

	memory_copy(&disk, image);
	block = open_memory(&disk, NULL, &recording);
	assert_int_equal(do_change(block, change), 0);
	assert_int_equal(block_close(block), 0);
	check_clean(&disk);
	for (size_t crash = 0; crash <= recording.count; crash++) {
		bool epoch = crash == recording.count ||
			     recording.records[crash].kind == RECORD_SYNC;
		struct memory_bytes memory;

		memory_crash(&memory, image, &recording, crash, &seed);
		if (epoch)
			check_clean(&memory);
		if (is_after(&memory, change))
			after++;
		else
			before++;
		free(memory.bytes);
	}
	assert_true(before && after);
	recording_fini(&recording);
	free(disk.bytes);
}

static void a_crash_leaves_the_old_image_or_the_new_and_no_leak(void **s)
{
	(void)s;
	for (unsigned i = 0; i < ARRAY_SIZE(blank); i++) {
		for (enum change change = 0; change < CHANGES; change++)
			crash_everywhere(&blank[i], change);
	}
}

/* Returns whether the fault point was reached. */
static bool fail_at(const struct memory_bytes *image, enum change change,
		    const struct fault_plan *how, bool judge)
{
	struct fault_plan plan = { .kinds = how->kinds, .err = how->err };
	struct memory_bytes memory;
	struct block *block;
	bool reached;
	int err;

	memory_copy(&memory, image);
	block = open_memory(&memory, &plan, NULL);
	plan.fail_at = plan.done + how->fail_at;
	plan.fail_for = how->fail_for;
	err = do_change(block, change);
	reached = plan.done >= plan.fail_at;
	plan.fail_at = 0;
	if (err) {
		assert_int_equal(err, how->err);
		/* What is not latched can be tried again, and works. */
		if (block_close(block) == 0 && judge)
			check_clean(&memory);
	} else {
		assert_int_equal(block_close(block), 0);
	}
	if (judge)
		check_clean(&memory);
	assert_int_equal(is_after(&memory, change), !err);
	free(memory.bytes);
	return reached;
}

static void every_fault_point(unsigned kinds, int err, uint64_t times)
{
	for (unsigned i = 0; i < ARRAY_SIZE(blank); i++) {
		for (enum change change = 0; change < CHANGES; change++) {
			struct fault_plan how = { .kinds = kinds,
						  .fail_at = 1,
						  .fail_for = times,
						  .err = err };

			while (fail_at(&blank[i], change, &how,
				       how.fail_at % 8 == 0))
				how.fail_at++;
			assert_true(how.fail_at > 3);
		}
	}
}

static void a_host_that_fails_a_write_keeps_the_old_image(void **state)
{
	(void)state;
	every_fault_point(FAULT_WRITE, -EIO, 1);
	every_fault_point(FAULT_WRITE, -ENOSPC, 1000000);
}

static void a_host_that_fails_a_read_keeps_the_old_image(void **state)
{
	(void)state;
	every_fault_point(FAULT_READ, -EIO, 1);
}

static void a_sync_that_fails_is_never_called_a_success_again(void **state)
{
	(void)state;
	for (unsigned at = 1; at <= 2; at++) {
		struct fault_plan plan = { .kinds = FAULT_SYNC, .err = -EIO };
		struct memory_bytes memory;
		struct block *block;

		memory_copy(&memory, &blank[0]);
		block = open_memory(&memory, &plan, NULL);
		plan.fail_at = plan.done + at;
		plan.fail_for = 1;
		assert_int_equal(do_change(block, DELETE), -EIO);
		assert_int_equal(do_change(block, CREATE), -EIO);
		assert_int_equal(disk_flush(block), -EIO);
		assert_int_equal(block_close(block), -EIO);
		check_clean(&memory);
		/* The second sync comes after the switch, which this host did
		 * keep. */
		assert_int_equal(is_after(&memory, DELETE), at == 2);
		free(memory.bytes);
	}
}

/* How many writes the change takes, of which the last is the switch itself; the
 * one with the number @fail_at fails, if any does, and nothing after it. */
static uint64_t count_writes(struct memory_bytes *memory,
			     const struct memory_bytes *image,
			     enum change change, uint64_t fail_at)
{
	struct fault_plan plan = { .kinds = FAULT_WRITE,
				   .fail_for = 1,
				   .err = -EIO };
	uint8_t sector[512] = { 0 };
	int err = fail_at ? -EIO : 0;
	struct block *block;
	uint64_t opened, writes;

	memory_copy(memory, image);
	block = open_memory(memory, &plan, NULL);
	opened = plan.done;
	plan.fail_at = fail_at ? opened + fail_at : 0;
	assert_int_equal(do_change(block, change), err);
	writes = plan.done - opened;
	assert_int_equal(disk_write(block, sector, 0, sizeof(sector)), err);
	assert_int_equal(disk_flush(block), err);
	assert_int_equal(block_close(block), err);
	return writes;
}

/* Which of the two images it is, only the next open can tell. */
static void nothing_is_written_after_a_switch_that_failed(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(blank); i++) {
		for (enum change change = 0; change < CHANGES; change++) {
			struct memory_bytes memory;
			uint64_t writes =
				count_writes(&memory, &blank[i], change, 0);

			free(memory.bytes);
			count_writes(&memory, &blank[i], change, writes);
			check_clean(&memory);
			assert_false(is_after(&memory, change));
			free(memory.bytes);
		}
	}
}

static void a_change_can_be_tried_again_after_an_error(void **state)
{
	struct fault_plan plan = { .kinds = FAULT_WRITE, .err = -ENOSPC };
	struct memory_bytes memory;
	struct block *block;

	(void)state;
	memory_copy(&memory, &blank[1]);
	block = open_memory(&memory, &plan, NULL);
	plan.fail_at = plan.done + 2;
	plan.fail_for = 1;
	assert_int_equal(do_change(block, CREATE), -ENOSPC);
	assert_int_equal(do_change(block, CREATE), 0);
	assert_int_equal(block_close(block), 0);
	check_clean(&memory);
	assert_true(is_after(&memory, CREATE));
	free(memory.bytes);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_crash_leaves_the_old_image_or_the_new_and_no_leak),
		cmocka_unit_test(a_host_that_fails_a_write_keeps_the_old_image),
		cmocka_unit_test(a_host_that_fails_a_read_keeps_the_old_image),
		cmocka_unit_test(
			a_sync_that_fails_is_never_called_a_success_again),
		cmocka_unit_test(nothing_is_written_after_a_switch_that_failed),
		cmocka_unit_test(a_change_can_be_tried_again_after_an_error),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, make_blanks, drop_blanks);
}
