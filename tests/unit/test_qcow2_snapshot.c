/*
 * Snapshots: random streams against a flat model of the disk and of every
 * snapshot, with QEMU's tools as other writer and as judge; and each change of
 * a small image with a crash or a failing host at every point of it, where
 * the image has to be the old one or the new one.
 *
 * KVIST_STREAMS=n runs n streams, KVIST_SEED=n only the stream with that seed.
 */
#include <errno.h>

#include "devices/block/fault.h"
#include "devices/block/image_info.h"
#include "devices/block/qcow2_snapshot.h"
#include "disk_test.h"
#include "util/bytes.h"

#define MAX 12

static const struct timespec now = { .tv_sec = 1700000000, .tv_nsec = 5 };

struct model {
	char name[24];
	uint8_t *bytes;
	uint64_t size;
};

struct stream {
	uint64_t seed;
	struct model disk, snapshots[MAX];
	unsigned count, made;
	unsigned refcount_bits;
	bool v2;
	struct block *block;
};

static void copy_model(struct model *to, const struct model *from)
{
	free(to->bytes);
	to->size = from->size;
	to->bytes = malloc(from->size + 1);
	assert_non_null(to->bytes);
	memcpy(to->bytes, from->bytes, from->size);
}

/* Makes it anew, full of compressed clusters, which share host clusters. */
static void compress(struct stream *s, const char *options)
{
	FILE *file = fopen("full.raw", "w");

	assert_non_null(file);
	for (uint64_t i = 0; i < s->disk.size; i++)
		s->disk.bytes[i] = i / 3000 + i % 7;
	assert_int_equal(fwrite(s->disk.bytes, 1, s->disk.size, file),
			 s->disk.size);
	assert_int_equal(fclose(file), 0);
	must("qemu-img convert -c -f raw -O qcow2 -o %s full.raw top.qcow2",
	     options);
}

static void stream_make(struct stream *s)
{
	static const unsigned bits[] = { 9, 9, 10, 12, 14, 16, 16, 21 };
	unsigned cluster_bits = bits[rnd_below(&s->seed, ARRAY_SIZE(bits))];
	bool extended = cluster_bits >= 14 && rnd(&s->seed) & 1;
	char options[128];

	s->v2 = !extended && rnd_below(&s->seed, 4) == 0;
	s->refcount_bits = s->v2 ? 16 : 1u << rnd_below(&s->seed, 7);
	s->disk.size = 512 * (1 + rnd_below(&s->seed, 2500));
	s->disk.bytes = calloc(1, s->disk.size);
	assert_non_null(s->disk.bytes);
	snprintf(options, sizeof(options),
		 "compat=%s,cluster_size=%u,refcount_bits=%u%s",
		 s->v2 ? "0.10" : "1.1", 1u << cluster_bits, s->refcount_bits,
		 extended ? ",extended_l2=on" : "");
	must("rm -f *.qcow2; qemu-img create -q -f qcow2 -o %s top.qcow2 %llu",
	     options, (unsigned long long)s->disk.size);
	if (s->refcount_bits >= 8 && rnd_below(&s->seed, 3) == 0)
		compress(s, options);
	s->block = open_disk("top.qcow2");
}

static void change_some(struct stream *s)
{
	uint64_t sectors = s->disk.size / 512;
	uint64_t first = rnd_below(&s->seed, sectors);
	uint64_t n = 1 + rnd_below(&s->seed, 200);
	uint8_t *at = s->disk.bytes + first * 512;
	uint8_t *buf;

	if (n > sectors - first)
		n = sectors - first;
	switch (rnd_below(&s->seed, 6)) {
	case 0:
		memset(at, 0, n * 512);
		assert_int_equal(request(s->block, BLOCK_ZERO, NULL,
					 first * 512, n * 512, false),
				 0);
		return;
	case 1:
		assert_int_equal(request(s->block, BLOCK_DISCARD, NULL,
					 first * 512, n * 512, false),
				 0);
		buf = malloc(n * 512);
		assert_int_equal(disk_read(s->block, buf, first * 512, n * 512),
				 0);
		memcpy(at, buf, n * 512); /* open what it holds: ask */
		free(buf);
		return;
	default:
		memset(at, (int)rnd(&s->seed), n * 512);
		assert_int_equal(disk_write(s->block, at, first * 512, n * 512),
				 0);
	}
}

static void remember(struct stream *s, const char *name)
{
	struct model *model = &s->snapshots[s->count++];

	snprintf(model->name, sizeof(model->name), "%s", name);
	copy_model(model, &s->disk);
}

static void forget(struct stream *s, unsigned which)
{
	free(s->snapshots[which].bytes);
	s->snapshots[which] = s->snapshots[--s->count];
	memset(&s->snapshots[s->count], 0, sizeof(s->snapshots[0]));
}

static void create_one(struct stream *s, bool by_qemu)
{
	char name[24];
	int err;

	if (s->count == MAX)
		return;
	snprintf(name, sizeof(name), "s%u", s->made++);
	if (by_qemu) {
		/* Its own answer to refcounts that are too narrow leaks. */
		if (s->refcount_bits < 8)
			return;
		must("qemu-img snapshot -c %s top.qcow2", name);
	} else {
		err = qcow2_snapshot_create(s->block, name, &now);
		if (err == -EINVAL && s->refcount_bits < 8)
			return;
		assert_int_equal(err, 0);
	}
	remember(s, name);
}

static void goto_one(struct stream *s, bool by_qemu)
{
	unsigned which;
	int err;

	if (!s->count)
		return;
	which = rnd_below(&s->seed, s->count);
	if (by_qemu) {
		if (s->refcount_bits < 8)
			return;
		must("qemu-img snapshot -a %s top.qcow2",
		     s->snapshots[which].name);
	} else {
		err = qcow2_snapshot_goto(s->block, s->snapshots[which].name);
		if (err == -EINVAL && s->refcount_bits < 8)
			return;
		assert_int_equal(err, 0);
		assert_int_equal(s->block->size, s->snapshots[which].size);
	}
	copy_model(&s->disk, &s->snapshots[which]);
}

static void delete_one(struct stream *s, bool by_qemu)
{
	unsigned which;

	if (!s->count)
		return;
	which = rnd_below(&s->seed, s->count);
	if (by_qemu)
		must("qemu-img snapshot -d %s top.qcow2",
		     s->snapshots[which].name);
	else
		assert_int_equal(qcow2_snapshot_delete(
					 s->block, s->snapshots[which].name),
				 0);
	forget(s, which);
}

static void resize_by_qemu(struct stream *s)
{
	uint64_t size = 512 * (1 + rnd_below(&s->seed, 4000));
	uint8_t *bytes;

	/* QEMU resizes no image of version 2 with snapshots. */
	if (s->v2 || size < s->disk.size)
		return;
	must("qemu-img resize -q -f qcow2 top.qcow2 %llu",
	     (unsigned long long)size);
	bytes = calloc(1, size);
	assert_non_null(bytes);
	memcpy(bytes, s->disk.bytes, s->disk.size);
	free(s->disk.bytes);
	s->disk.bytes = bytes;
	s->disk.size = size;
}

static void let_qemu(struct stream *s)
{
	assert_int_equal(block_close(s->block), 0);
	switch (rnd_below(&s->seed, 5)) {
	case 0:
		create_one(s, true);
		break;
	case 1:
		goto_one(s, true);
		break;
	case 2:
		delete_one(s, true);
		break;
	case 3:
		resize_by_qemu(s);
		break;
	default:
		must("qemu-io -c 'write -P 99 0 512' top.qcow2");
		memset(s->disk.bytes, 99, 512);
	}
	s->block = open_disk("top.qcow2");
}

static void compare_snapshot(const struct model *model)
{
	FILE *file;
	uint8_t *bytes = malloc(model->size + 1);
	size_t size;

	assert_non_null(bytes);
	must("qemu-img convert -f qcow2 -O raw -l snapshot.name=%s top.qcow2 "
	     "model.raw",
	     model->name);
	file = fopen("model.raw", "r");
	assert_non_null(file);
	/* Of a snapshot of a larger disk, QEMU gives as much as the disk has
	 * now; going to it shows the rest. */
	size = fread(bytes, 1, model->size, file);
	assert_true(size > 0);
	fclose(file);
	assert_memory_equal(bytes, model->bytes, size);
	free(bytes);
}

static void judge(struct stream *s)
{
	assert_int_equal(block_close(s->block), 0);
	must("qemu-img check -f qcow2 top.qcow2");
	for (unsigned i = 0; i < s->count; i++)
		compare_snapshot(&s->snapshots[i]);
	s->block = open_disk("top.qcow2");
	assert_int_equal(s->block->size, s->disk.size);
	assert_disk(s->block, s->disk.bytes);
}

static void run_stream(uint64_t seed)
{
	struct stream s = { .seed = seed * 0x9e3779b97f4a7c15ull + 1 };
	unsigned steps;

	print_message("seed %llu\n", (unsigned long long)seed);
	stream_make(&s);
	steps = 40 + rnd_below(&s.seed, 60);
	for (unsigned step = 0; step < steps; step++) {
		switch (rnd_below(&s.seed, 24)) {
		case 0:
			let_qemu(&s);
			break;
		case 1:
			assert_int_equal(disk_flush(s.block), 0);
			break;
		case 2 ... 4:
			create_one(&s, false);
			break;
		case 5 ... 6:
			goto_one(&s, false);
			break;
		case 7 ... 8:
			delete_one(&s, false);
			break;
		default:
			change_some(&s);
		}
		if (rnd_below(&s.seed, 40) == 0)
			judge(&s);
	}
	judge(&s);
	while (s.count)
		delete_one(&s, false);
	judge(&s);
	assert_int_equal(block_close(s.block), 0);
	free(s.disk.bytes);
}

static void a_random_stream_keeps_every_snapshot_exact(void **state)
{
	const char *only = getenv("KVIST_SEED");

	(void)state;
	if (only) {
		run_stream(strtoull(only, NULL, 0));
		return;
	}
	for (unsigned seed = 1; seed <= streams(6); seed++)
		run_stream(seed);
}

static void read_file(const char *path, struct memory_bytes *memory)
{
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	fseek(file, 0, SEEK_END);
	memory->size = ftell(file);
	memory->limit = 64 << 20;
	memory->bytes = malloc(memory->size);
	assert_non_null(memory->bytes);
	rewind(file);
	assert_int_equal(fread(memory->bytes, 1, memory->size, file),
			 memory->size);
	fclose(file);
}

static void write_file(const char *path, const struct memory_bytes *memory)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(memory->bytes, 1, memory->size, file),
			 memory->size);
	assert_int_equal(fclose(file), 0);
}

static void copy_memory(struct memory_bytes *to,
			const struct memory_bytes *from)
{
	*to = *from;
	to->bytes = malloc(from->size);
	assert_non_null(to->bytes);
	memcpy(to->bytes, from->bytes, from->size);
}

/* ---- each change of a small image, with something going wrong ---- */

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
		read_file("b.qcow2", &blank[i]);
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
	struct block_options options = { .path = "top.qcow2" };
	struct host_file *file = memory_file_create(memory);
	struct block *block;

	assert_non_null(file);
	if (plan)
		file = fault_file_create(file, plan);
	if (recording)
		file = record_file_create(file, recording, 0);
	assert_non_null(file);
	assert_int_equal(block_open_file(&options, file, &block), 0);
	return block;
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
					 BLOCK_QCOW2, &info),
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

static void check_clean(const struct memory_bytes *memory)
{
	write_file("top.qcow2", memory);
	must("qemu-img check -f qcow2 top.qcow2");
}

/* Applies the records up to @crash: what was synced, and of the rest any
 * part, sector by sector. */
static void replay(const struct recording *recording, size_t crash,
		   uint64_t *seed, struct memory_bytes *memory)
{
	size_t synced = 0;

	for (size_t i = 0; i < crash; i++) {
		if (recording->records[i].kind == RECORD_SYNC)
			synced = i;
	}
	for (size_t i = 0; i < crash; i++) {
		const struct record *record = &recording->records[i];

		if (i < synced || record->kind != RECORD_WRITE) {
			record_apply(record, 0, record->length, memory);
			continue;
		}
		for (uint64_t at = 0; at < record->length;) {
			uint64_t n = 512 - (record->offset + at) % 512;

			if (n > record->length - at)
				n = record->length - at;
			if (rnd(seed) & 1)
				record_apply(record, at, n, memory);
			at += n;
		}
	}
}

static void crash_everywhere(const struct memory_bytes *image,
			     enum change change)
{
	struct recording recording = { 0 };
	struct memory_bytes disk;
	struct block *block;
	uint64_t seed = 77 + change;
	unsigned before = 0, after = 0;

	copy_memory(&disk, image);
	block = open_memory(&disk, NULL, &recording);
	assert_int_equal(do_change(block, change), 0);
	assert_int_equal(block_close(block), 0);
	check_clean(&disk);
	for (size_t crash = 0; crash <= recording.count; crash++) {
		bool epoch = crash == recording.count ||
			     recording.records[crash].kind == RECORD_SYNC;
		struct memory_bytes memory;

		copy_memory(&memory, image);
		replay(&recording, crash, &seed, &memory);
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

	copy_memory(&memory, image);
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

		copy_memory(&memory, &blank[0]);
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

static void a_change_can_be_tried_again_after_an_error(void **state)
{
	struct fault_plan plan = { .kinds = FAULT_WRITE, .err = -ENOSPC };
	struct memory_bytes memory;
	struct block *block;

	(void)state;
	copy_memory(&memory, &blank[1]);
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
	read_file("x.qcow2", &memory);
	entry = first_entry(&memory);
	/* 16 more bytes of it: the texts move behind them. */
	memcpy(old, entry, 64);
	put_be32(entry + 36, 40);
	memset(entry + 64, 0xa5, 16);
	memcpy(entry + 80, "1a", 2);
	block = open_memory(&memory, NULL, NULL);
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
		read_file("x.qcow2", &memory);
		entry = first_entry(&memory);
		put_be32(entry + 36, 0);
		memcpy(entry + 40, "1a", 2);
		block = open_memory(&memory, NULL, NULL);
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
	assert_int_equal(qcow2_snapshot_create(block, "b", &now), 0);
	assert_int_equal(qcow2_snapshot_goto(block, "c"), -ENOENT);
	assert_int_equal(qcow2_snapshot_delete(block, "c"), -ENOENT);
	assert_int_equal(qcow2_snapshot_goto(block, "1"), 0);
	/* The name "2" goes before the id 2. */
	assert_int_equal(qcow2_snapshot_delete(block, "2"), 0);
	assert_int_equal(qcow2_snapshot_goto(block, "2"), 0);
	assert_int_equal(qcow2_snapshot_delete(block, "2"), 0);
	assert_int_equal(qcow2_snapshot_delete(block, "b"), -ENOENT);
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
		cmocka_unit_test(a_random_stream_keeps_every_snapshot_exact),
		cmocka_unit_test(
			a_crash_leaves_the_old_image_or_the_new_and_no_leak),
		cmocka_unit_test(a_host_that_fails_a_write_keeps_the_old_image),
		cmocka_unit_test(a_host_that_fails_a_read_keeps_the_old_image),
		cmocka_unit_test(
			a_sync_that_fails_is_never_called_a_success_again),
		cmocka_unit_test(a_change_can_be_tried_again_after_an_error),
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
	return cmocka_run_group_tests(tests, make_blanks, drop_blanks);
}
