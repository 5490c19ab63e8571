/*
 * A host that fails: every write, read, sync of a sequence of operations in
 * turn, once or from then on. A request may fail; the image must not. What was
 * reported as done is there, and QEMU finds nothing but leaks.
 *
 * KVIST_STREAMS=n gives n times the fault points of a plain run.
 */
#include <errno.h>

#include "devices/block/luks.h"
#include "devices/block/qcow2_check.h"
#include "devices/block/qcow2_create.h"
#include "devices/block/qcow2_format.h"
#include "disk_memory.h"
#include "util/bytes.h"

#define SIZE (160 * 1024)

struct rig {
	struct memory_bytes memory, data; /* the image, and its data file */
	struct fault_plan plan;
	uint64_t seed; /* of the delayer: what fails is in flight */
	struct block *block;
	/* What every sector may hold, a bit for each fill byte: one after a
	 * request that succeeded, one more after each that failed. */
	uint64_t may[SIZE / 512];
	unsigned failed; /* requests */
	bool lazy;       /* refcounts */
	bool raw;        /* the data file is a disk that others read */
};

static struct memory_bytes blank[6], blank_data[6];

/* Images with data in them, the second with a snapshot that shares it, then one
 * with subclusters, one that is marked dirty while it is written to, and two
 * with a data file, the second of which is a raw disk. */
static int make_blanks(void **state)
{
	if (disk_folder_make(state))
		return -1;
	must("qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 "
	     "a.qcow2 %d && qemu-io -c 'write -P 9 1k 30k' a.qcow2",
	     SIZE);
	must("qemu-img create -q -f qcow2 -o cluster_size=4k b.qcow2 %d && "
	     "qemu-io -c 'write -P 9 1k 30k' b.qcow2 && "
	     "qemu-img snapshot -c one b.qcow2",
	     SIZE);
	must("qemu-img create -q -f qcow2 -o cluster_size=16k,extended_l2=on "
	     "c.qcow2 %d && qemu-io -c 'write -P 9 1k 30k' c.qcow2 && "
	     "qemu-img snapshot -c one c.qcow2",
	     SIZE);
	must("qemu-img create -q -f qcow2 -o cluster_size=4k,lazy_refcounts=on,"
	     "compression_type=zstd d.qcow2 %d && "
	     "qemu-io -c 'write -P 9 1k 30k' d.qcow2",
	     SIZE);
	must("for n in e f; do qemu-img create -q -f qcow2 -o cluster_size=4k,"
	     "data_file=$n.raw,data_file_raw=$([ $n = e ] && echo off || "
	     "echo on) $n.qcow2 %d && qemu-io -c 'write -P 9 1k 30k' $n.qcow2; "
	     "done",
	     SIZE);
	memory_load(&blank[4], "e.qcow2");
	memory_load(&blank[5], "f.qcow2");
	memory_load(&blank_data[4], "e.raw");
	memory_load(&blank_data[5], "f.raw");
	memory_load(&blank[2], "c.qcow2");
	memory_load(&blank[3], "d.qcow2");
	memory_load(&blank[0], "a.qcow2");
	memory_load(&blank[1], "b.qcow2");
	return 0;
}

static int drop_blanks(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(blank); i++) {
		free(blank[i].bytes);
		free(blank_data[i].bytes);
	}
	return disk_folder_remove(state);
}

static struct host_file *rig_file(struct rig *rig, struct memory_bytes *memory)
{
	struct host_file *file = memory_file_create(memory);

	assert_non_null(file);
	file = fault_file_create(file, &rig->plan);
	assert_non_null(file);
	/* A disk has one engine, so what has one of its own is not reaped. */
	if (memory == &rig->memory)
		file = delay_file_create(file, &rig->seed);
	assert_non_null(file);
	return file;
}

static int rig_open(struct rig *rig)
{
	struct block_options options = { .path = "top.qcow2" };
	struct host_file *file;
	int err;

	rig->seed = 1;
	file = rig_file(rig, &rig->memory);
	err = rig->data.bytes
		      ? qcow2_open(file, options.path, false, &rig->block)
		      : block_open_file(&options, file, &rig->block);
	if (err)
		file->ops->close(file);
	else if (rig->data.bytes)
		qcow2_set_data(rig->block, rig_file(rig, &rig->data));
	return err;
}

static void copy_blank(struct memory_bytes *to, const struct memory_bytes *from)
{
	to->size = from->size;
	to->limit = 64 << 20;
	to->bytes = from->bytes ? malloc(from->size) : NULL;
	if (!from->bytes)
		return;
	assert_non_null(to->bytes);
	memcpy(to->bytes, from->bytes, from->size);
}

static void rig_free(struct rig *rig)
{
	free(rig->memory.bytes);
	free(rig->data.bytes);
}

static void rig_init(struct rig *rig, const struct memory_bytes *image)
{
	memset(rig, 0, sizeof(*rig));
	rig->lazy = image == &blank[3];
	rig->raw = image == &blank[5];
	copy_blank(&rig->memory, image);
	copy_blank(&rig->data, &blank_data[image - blank]);
	for (unsigned i = 0; i < SIZE / 512; i++)
		rig->may[i] = 1ull << (i >= 2 && i < 62 ? 9 : 0);
	assert_int_equal(rig_open(rig), 0);
}

static int change(struct rig *rig, enum block_op op, uint8_t fill,
		  uint64_t offset, uint64_t length)
{
	uint8_t buf[65536];
	int err;

	memset(buf, fill, sizeof(buf));
	err = request(rig->block, op, buf, offset, length, false);
	for (unsigned i = offset / 512; i < (offset + length) / 512; i++)
		rig->may[i] = (err ? rig->may[i] : 0) | 1ull << fill;
	if (err)
		rig->failed++;
	return err;
}

/* Writes the cluster at @offset compressed. */
static void compress(struct rig *rig, uint8_t fill, uint64_t offset)
{
	static uint8_t in[65536];
	uint64_t size;
	unsigned type;
	int err;

	if (rig->data.bytes)
		return; /* compressed clusters have no place there */
	assert_int_equal(qcow2_compression(rig->block, &type, &size), 0);
	offset -= offset % size;
	memset(in, fill, size);
	err = disk_compress(rig->block, in, offset, size);
	for (unsigned i = offset / 512; i < (offset + size) / 512; i++)
		rig->may[i] = (err ? rig->may[i] : 0) | 1ull << fill;
	if (err)
		rig->failed++;
}

/* Touches all there is: new and shared clusters, new tables, zeros, frees. */
static void operate(struct rig *rig)
{
	for (unsigned i = 0; i < 6; i++) {
		change(rig, BLOCK_WRITE, 0x10 + i, i * 24576 + 512, 3072);
		change(rig, BLOCK_ZERO, 0, i * 10240, 8192);
		if (disk_flush(rig->block))
			rig->failed++;
		change(rig, BLOCK_WRITE, 0x20 + i, i * 20480, 20480);
		change(rig, BLOCK_WRITE, 0x30 + i, i * 4608, 1024);
		compress(rig, 0x36 + i, i * 20480);
		compress(rig, 0x36 + i, 65536 + i * 4096);
	}
}

static void check_bytes(const struct rig *rig, const uint8_t *bytes)
{
	for (unsigned i = 0; i < SIZE; i++) {
		if (bytes[i] > 63 || !(rig->may[i / 512] >> bytes[i] & 1))
			fail_msg("offset %#x: %#x, not one of %#llx", i,
				 bytes[i],
				 (unsigned long long)rig->may[i / 512]);
	}
}

static void check_contents(const struct rig *rig)
{
	uint8_t *buf = malloc(SIZE);

	assert_non_null(buf);
	assert_int_equal(disk_read(rig->block, buf, 0, SIZE), 0);
	check_bytes(rig, buf);
	free(buf);
	if (rig->raw) {
		assert_true(rig->data.size >= SIZE);
		check_bytes(rig, rig->data.bytes);
	}
}

/* QEMU's verdict on the file: no errors; leaks only if @leaks. */
static void check_image(const struct rig *rig, bool leaks)
{
	int code;

	memory_save(&rig->memory, "top.qcow2");
	if (rig->data.bytes)
		memory_save(&rig->data, rig->raw ? "f.raw" : "e.raw");
	/* Refcounts that were put off and failed are made anew. */
	code = rig->lazy && leaks && rig->memory.bytes[79] & 1
		       ? sh("qemu-img check -r all -f qcow2 top.qcow2")
		       : sh("qemu-img check -f qcow2 top.qcow2");
	if (code && !(leaks && code == 3)) {
		must("cat said >&2; false");
		fail();
	}
}

static uint64_t count_faults(const struct memory_bytes *image, unsigned kinds)
{
	struct rig rig;

	rig_init(&rig, image);
	rig.plan.kinds = kinds;
	operate(&rig);
	assert_int_equal(rig.failed, 0);
	check_contents(&rig);
	assert_int_equal(block_close(rig.block), 0);
	check_image(&rig, false);
	rig_free(&rig);
	return rig.plan.done;
}

/* The @at-th operation of these kinds fails, and the ones after it. */
static void fail_once(const struct memory_bytes *image, unsigned kinds,
		      uint64_t at, uint64_t times, int err, bool judge)
{
	struct rig rig;
	int closed;

	rig_init(&rig, image);
	rig.plan.kinds = kinds;
	rig.plan.fail_at = at;
	rig.plan.fail_for = times;
	rig.plan.err = err;
	operate(&rig);
	rig.plan.fail_at = 0;
	check_contents(&rig);
	closed = block_close(rig.block);
	if (judge)
		check_image(&rig, true);
	/* What was reported as done survives a close that succeeded. */
	assert_int_equal(rig_open(&rig), 0);
	if (!closed)
		check_contents(&rig);
	assert_int_equal(block_close(rig.block), 0);
	rig_free(&rig);
}

static void every_fault_point(unsigned kinds, int err, uint64_t times)
{
	unsigned judged = 4 * streams(1);

	for (unsigned i = 0; i < ARRAY_SIZE(blank); i++) {
		uint64_t points = count_faults(&blank[i], kinds);

		assert_true(points > 4);
		for (uint64_t at = 1; at <= points; at++)
			fail_once(&blank[i], kinds, at, times, err,
				  at * judged / points !=
					  (at - 1) * judged / points);
	}
}

static void a_write_that_fails_once_harms_nothing_else(void **state)
{
	(void)state;
	every_fault_point(FAULT_WRITE | FAULT_PUNCH, -EIO, 1);
}

static void a_full_host_disk_leaves_the_image_valid(void **state)
{
	(void)state;
	every_fault_point(FAULT_WRITE, -ENOSPC, 1000000);
}

static void a_read_that_fails_harms_nothing_else(void **state)
{
	(void)state;
	every_fault_point(FAULT_READ, -EIO, 2);
}

static void a_sync_that_fails_is_never_called_a_success_again(void **state)
{
	(void)state;
	for (unsigned at = 1; at <= 3; at++) {
		struct rig rig;

		rig_init(&rig, &blank[0]);
		rig.plan.kinds = FAULT_SYNC;
		rig.plan.fail_at = at;
		rig.plan.fail_for = 1;
		rig.plan.err = -EIO;
		change(&rig, BLOCK_WRITE, 1, 50 * 1024, 2048);
		assert_int_equal(disk_flush(rig.block), -EIO);
		assert_int_equal(disk_flush(rig.block), -EIO);
		assert_int_equal(change(&rig, BLOCK_WRITE, 2, 0, 512), -EIO);
		assert_int_equal(disk_flush(rig.block), -EIO);
		assert_int_equal(block_close(rig.block), -EIO);
		check_image(&rig, true);
		rig_free(&rig);
	}
}

static void writes_work_again_when_the_host_has_space_again(void **state)
{
	struct rig rig;
	int err = 0;

	(void)state;
	rig_init(&rig, &blank[1]);
	rig.memory.limit = rig.memory.size + 20000;
	for (unsigned at = 0; at < 60 * 1024 && !err; at += 2048)
		err = change(&rig, BLOCK_WRITE, 3, 90 * 1024 + at, 2048);
	assert_int_equal(err, -ENOSPC);
	/* What is there already can still be written. */
	assert_int_equal(change(&rig, BLOCK_WRITE, 4, 90 * 1024, 512), 0);
	assert_int_equal(disk_flush(rig.block), 0);
	check_image(&rig, true);
	rig.memory.limit = 64 << 20;
	assert_int_equal(
		change(&rig, BLOCK_WRITE, 5, 40 * 1024, 60000 / 512 * 512), 0);
	assert_int_equal(disk_flush(rig.block), 0);
	check_contents(&rig);
	assert_int_equal(block_close(rig.block), 0);
	check_image(&rig, false);
	rig_free(&rig);
}

static void short_transfers_are_carried_on(void **state)
{
	static const size_t cuts[] = { 1000, 512, 77 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cuts); i++) {
		struct rig rig;

		rig_init(&rig, &blank[1]);
		rig.plan.cut = cuts[i];
		operate(&rig);
		assert_int_equal(rig.failed, 0);
		check_contents(&rig);
		assert_int_equal(block_close(rig.block), 0);
		check_image(&rig, false);
		rig_free(&rig);
	}
}

/* Makes an image of that shape while the host fails as the plan says. An image
 * that calls itself one is whole. */
static int create_once(const struct qcow2_shape *from, struct fault_plan *plan)
{
	struct memory_bytes memory = { .limit = 64 << 20 };
	struct memory_bytes data = { .limit = 64 << 20 };
	struct qcow2_shape shape = *from;
	struct host_file *file =
		fault_file_create(memory_file_create(&memory), plan);
	struct qcow2_findings found;
	int err;

	if (shape.data_name)
		shape.data = fault_file_create(memory_file_create(&data), plan);
	err = qcow2_create(file, &shape);
	file->ops->close(file);
	if (shape.data_name)
		shape.data->ops->close(shape.data);
	if (memory.size > 4 && get_be32(memory.bytes) == QCOW2_MAGIC) {
		file = memory_file_create(&memory);
		assert_int_equal(
			qcow2_check(file, "new.qcow2", 0, stderr, &found), 0);
		assert_int_equal(found.corruptions, 0);
		assert_int_equal(found.leaks, 0);
	} else {
		assert_int_not_equal(err, 0);
	}
	free(memory.bytes);
	free(data.bytes);
	return err;
}

static void a_new_image_is_whole_or_none(void **state)
{
	static uint8_t luks[LUKS_AREA];
	struct qcow2_shape shapes[6];

	(void)state;
	assert_int_equal(
		luks_create(luks, &luks_usual,
			    &(struct luks_secret){ (const uint8_t *)"pass", 4 },
			    1),
		0);
	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
		shapes[i] = qcow2_shape_default;
		shapes[i].size = SIZE;
	}
	shapes[1].version = 2;
	shapes[2].cluster_size = 512;
	shapes[2].preallocation = QCOW2_PREALLOC_METADATA;
	shapes[3].luks = luks;
	shapes[4].data_name = "g.raw";
	shapes[4].data_raw = true;
	shapes[4].preallocation = QCOW2_PREALLOC_METADATA;
	shapes[5].extended_l2 = true;
	shapes[5].preallocation = QCOW2_PREALLOC_FULL;
	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
		struct fault_plan plan = { .kinds = FAULT_WRITE | FAULT_SYNC };
		uint64_t points, failed = 0;

		assert_int_equal(create_once(&shapes[i], &plan), 0);
		points = plan.done;
		assert_true(points > 2);
		for (uint64_t at = 1; at <= points; at++) {
			plan = (struct fault_plan){ .kinds = plan.kinds,
						    .fail_at = at,
						    .fail_for = 1,
						    .err = -EIO };
			/* A file need not be cut, or given space in advance. */
			failed += create_once(&shapes[i], &plan) != 0;
		}
		assert_true(failed >= points - 2);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_write_that_fails_once_harms_nothing_else),
		cmocka_unit_test(a_full_host_disk_leaves_the_image_valid),
		cmocka_unit_test(a_read_that_fails_harms_nothing_else),
		cmocka_unit_test(
			a_sync_that_fails_is_never_called_a_success_again),
		cmocka_unit_test(
			writes_work_again_when_the_host_has_space_again),
		cmocka_unit_test(short_transfers_are_carried_on),
		cmocka_unit_test(a_new_image_is_whole_or_none),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, make_blanks, drop_blanks);
}
