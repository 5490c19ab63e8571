/*
 * Random streams over the cross product of what an image can be, made, changed
 * and judged in memory: after each stream every refcount is right, and the disk
 * and each snapshot hold what a flat model says. Of the images that QEMU knows,
 * some go to its tools: as judges, and as another writer in between.
 *
 * KVIST_STREAMS=n runs n streams, KVIST_SEED=n only the stream with that seed.
 */
#include <errno.h>
#include <fcntl.h>

#include "devices/block/image_map.h"
#include "devices/block/image_rebase.h"
#include "devices/block/luks.h"
#include "devices/block/qcow2_amend.h"
#include "devices/block/qcow2_check.h"
#include "devices/block/qcow2_create.h"
#include "devices/block/qcow2_format.h"
#include "devices/block/qcow2_snapshot.h"
#include "disk_memory.h"

#define SNAPSHOTS 3
#define DISK_MAX  (192u << 10)
#define BASE      (100u << 10) /* bytes of the backing file */

/* QEMU sees one stream in so many, and judges so many at a time. */
#define QEMU_EACH 24
#define BATCH     8

struct model {
	uint8_t *bytes;
	uint64_t size;
	char name[8];
};

struct stream {
	uint64_t seed;
	struct qcow2_shape shape;
	struct memory_bytes memory;
	struct model disk, shots[SNAPSHOTS];
	unsigned nr_shots, made;
	bool external, qemu;
	bool committed; /* the backing file is another now */
	struct block *block;
};

static uint8_t base[BASE], luks[LUKS_AREA];
static unsigned batch;

static const struct timespec now = { .tv_sec = 1700000000 };

static struct host_file *open_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	struct host_file *file = fd < 0 ? NULL : host_file_create(fd);

	assert_non_null(file);
	return file;
}

static int make_common(void **state)
{
	uint64_t seed = 11;

	if (disk_folder_make(state))
		return -1;
	for (unsigned i = 0; i < BASE; i++)
		base[i] = i % 5000 < 2000 ? 0 : rnd(&seed);
	disk_save("base.raw", base, BASE);
	disk_save("key", "pass", 4);
	/* What images in memory call themselves. */
	disk_save("top.qcow2", base, 0);
	return luks_create(luks, &luks_usual,
			   &(struct luks_secret){ (const uint8_t *)"pass", 4 },
			   1);
}

static void choose_shape(struct stream *s)
{
	static const unsigned bits[] = { 9,  9,  10, 10, 12, 12, 12, 14,
					 14, 14, 15, 15, 16, 16, 18, 21 };
	struct qcow2_shape *shape = &s->shape;
	uint64_t *seed = &s->seed;
	unsigned cluster = bits[rnd_below(seed, ARRAY_SIZE(bits))];

	*shape = qcow2_shape_default;
	shape->cluster_size = 1ull << cluster;
	shape->size = 512 * (1 + rnd_below(seed, DISK_MAX / 512));
	shape->version = rnd_below(seed, 4) ? 3 : 2;
	if (rnd_below(seed, 3) == 0) {
		shape->backing = "base.raw";
		shape->backing_fmt = "raw";
	}
	if (rnd_below(seed, 30) == 0)
		shape->luks = luks;
	if (shape->version == 2)
		return;
	shape->refcount_bits = 1u << rnd_below(seed, 7);
	shape->extended_l2 = cluster >= 14 && rnd_below(seed, 3);
	shape->lazy_refcounts = rnd_below(seed, 3) == 0;
	shape->compression = rnd(seed) & 1 ? QCOW2_ZSTD : QCOW2_ZLIB;
	s->external = !shape->luks && rnd_below(seed, 5) == 0;
	shape->data_name = s->external ? "top.data" : NULL;
	shape->data_raw = s->external && !shape->backing && rnd(seed) & 1;
	if ((!shape->backing || shape->extended_l2) &&
	    rnd_below(seed, 6) == 0 && cluster < 18)
		shape->preallocation = QCOW2_PREALLOC_METADATA;
}

static int open_image(struct stream *s, bool read_only, unsigned writable_below,
		      struct block **block)
{
	struct block_options options = { .path = "top.qcow2",
					 .data_is_ours = true,
					 .writable_below = writable_below,
					 .read_only = read_only };
	struct host_file *file = memory_file_create(&s->memory);

	assert_non_null(file);
	options.key_file = s->shape.luks ? "key" : NULL;
	options.backing_dir = s->external ? "." : NULL;
	return block_open_file(&options, file, block);
}

static void reopen(struct stream *s)
{
	if (s->block)
		assert_int_equal(block_close(s->block), 0);
	assert_int_equal(open_image(s, false, 0, &s->block), 0);
}

static void make_image(struct stream *s)
{
	struct host_file *file;

	s->memory.limit = 64u << 20;
	file = memory_file_create(&s->memory);
	assert_non_null(file);
	assert_null(qcow2_shape_wrong(&s->shape));
	if (s->external)
		s->shape.data = open_file("top.data");
	assert_int_equal(qcow2_create(file, &s->shape), 0);
	file->ops->close(file);
	if (s->external)
		s->shape.data->ops->close(s->shape.data);
	s->disk.size = s->shape.size;
	s->disk.bytes = calloc(1, 2 * DISK_MAX);
	assert_non_null(s->disk.bytes);
	if (s->shape.backing)
		memcpy(s->disk.bytes, base,
		       s->disk.size < BASE ? s->disk.size : BASE);
	reopen(s);
}

/* Mostly small, now and then large or whole clusters. */
static void choose_range(struct stream *s, uint64_t *offset, uint64_t *length)
{
	uint64_t sectors = s->disk.size / 512;
	uint64_t cluster = s->shape.cluster_size / 512;

	*offset = rnd_below(&s->seed, sectors);
	if (rnd_below(&s->seed, 3) == 0)
		*offset -= *offset % cluster;
	*length = 1 + rnd_below(&s->seed, rnd(&s->seed) & 3 ? 24 : sectors);
	if (rnd_below(&s->seed, 3) == 0)
		*length += -*length % cluster;
	if (*length > sectors - *offset)
		*length = sectors - *offset;
	*offset *= 512;
	*length *= 512;
}

static void change_some(struct stream *s, enum block_op op)
{
	uint64_t offset, length;
	uint8_t *at;

	choose_range(s, &offset, &length);
	at = s->disk.bytes + offset;
	if (op == BLOCK_WRITE) {
		memset(at, (int)rnd(&s->seed), length);
		for (uint64_t i = 0; i < length; i += 512)
			at[i] = rnd(&s->seed);
	} else if (op == BLOCK_ZERO) {
		memset(at, 0, length);
	}
	assert_int_equal(
		request(s->block, op, at, offset, length, rnd(&s->seed) & 1),
		0);
	/* What a discard leaves is open. */
	if (op == BLOCK_DISCARD)
		assert_int_equal(disk_read(s->block, at, offset, length), 0);
}

static void compress_some(struct stream *s)
{
	uint64_t size, offset, length;
	unsigned type;

	if (qcow2_compression(s->block, &type, &size)) {
		assert_true(s->external || s->shape.luks);
		return;
	}
	assert_int_equal(type, s->shape.compression);
	choose_range(s, &offset, &length);
	offset -= offset % size;
	length = s->disk.size - offset < size ? s->disk.size - offset : size;
	memset(s->disk.bytes + offset, (int)rnd(&s->seed),
	       1 + rnd_below(&s->seed, length));
	assert_int_equal(
		disk_compress(s->block, s->disk.bytes + offset, offset, length),
		0);
}

static void copy_model(struct model *to, const struct model *from)
{
	to->size = from->size;
	if (!to->bytes)
		to->bytes = malloc(2 * DISK_MAX);
	assert_non_null(to->bytes);
	memcpy(to->bytes, from->bytes, 2 * DISK_MAX);
}

static void drop_shot(struct stream *s, unsigned which)
{
	free(s->shots[which].bytes);
	s->shots[which] = s->shots[--s->nr_shots];
	memset(&s->shots[s->nr_shots], 0, sizeof(s->shots[0]));
}

/* Refcounts may be too narrow for what is asked; then nothing happens. */
static void use_snapshots(struct stream *s)
{
	unsigned which = rnd_below(&s->seed, SNAPSHOTS);
	struct model *shot = &s->shots[s->nr_shots];
	int err;

	if (which < s->nr_shots && rnd(&s->seed) & 1) {
		err = qcow2_snapshot_goto(s->block, s->shots[which].name);
		if (!err)
			copy_model(&s->disk, &s->shots[which]);
	} else if (which < s->nr_shots) {
		err = qcow2_snapshot_delete(s->block, s->shots[which].name);
		if (!err)
			drop_shot(s, which);
	} else if (s->nr_shots < SNAPSHOTS) {
		snprintf(shot->name, sizeof(shot->name), "s%u", s->made++);
		err = qcow2_snapshot_create(s->block, shot->name, &now);
		if (!err) {
			copy_model(shot, &s->disk);
			s->nr_shots++;
		}
	} else {
		return;
	}
	if (s->external)
		assert_int_equal(err, -EXDEV);
	else if (err)
		assert_true(err == -EINVAL && s->shape.refcount_bits < 8);
}

static void resize_some(struct stream *s)
{
	uint64_t old = s->disk.size;
	uint64_t size = 512 * (1 + rnd_below(&s->seed, 2 * DISK_MAX / 512));
	unsigned space = rnd_below(&s->seed, BLOCK_FILL + 2);
	int err = s->block->ops->resize(s->block, size);

	if (err) {
		/* Old snapshots do not say how large the disk was. */
		assert_int_equal(err, -ENOTSUP);
		assert_true(s->nr_shots && s->shape.version == 2);
		return;
	}
	if (size > old)
		memset(s->disk.bytes + old, 0, size - old);
	s->disk.size = size;
	assert_int_equal(s->block->size, size);
	if (size > old && space <= BLOCK_FILL)
		assert_int_equal(s->block->ops->allocate(s->block, old,
							 size - old, space),
				 0);
}

/* All images that wait, in one call. */
static void judge_by_qemu(void)
{
	if (batch)
		must("for n in q*.qcow2; do qemu-img check -q -f qcow2 $n || "
		     "{ echo $n; exit 1; }; qemu-img compare -q -f qcow2 "
		     "-F raw $n ${n%%.qcow2}.raw || { echo $n; exit 1; }; "
		     "done; rm -f q*.qcow2 q*.raw");
	batch = 0;
}

/* What the disk holds goes into its backing file, and the disk is empty. Of
 * snapshots that would change what they hold. */
static void commit_some(struct stream *s)
{
	struct image_commit job = { 0 };

	if (!s->shape.backing || s->nr_shots)
		return;
	judge_by_qemu(); /* of all that have the same backing file */
	assert_int_equal(block_close(s->block), 0);
	assert_int_equal(open_image(s, false, 1, &s->block), 0);
	job.disk = s->block;
	job.base = image_backing(s->block);
	assert_non_null(job.base);
	assert_int_equal(image_commit(&job), 0);
	if (rnd(&s->seed) & 1)
		assert_int_equal(qcow2_make_empty(s->block), 0);
	s->committed = true;
	assert_disk(s->block, s->disk.bytes);
	reopen(s);
}

static void step(struct stream *s)
{
	switch (rnd_below(&s->seed, 25)) {
	case 24:
		commit_some(s);
		break;
	case 0 ... 9:
		change_some(s, BLOCK_WRITE);
		break;
	case 10 ... 11:
		change_some(s, BLOCK_ZERO);
		break;
	case 12 ... 13:
		change_some(s, BLOCK_DISCARD);
		break;
	case 14 ... 16:
		compress_some(s);
		break;
	case 17 ... 18:
		assert_int_equal(disk_flush(s->block), 0);
		break;
	case 19:
		reopen(s);
		break;
	case 20:
		resize_some(s);
		break;
	default:
		use_snapshots(s);
	}
}

/* No errors and no leaks, by our own check. */
static void check(struct stream *s)
{
	struct host_file *file = memory_file_create(&s->memory);
	struct qcow2_findings found;
	char *said = NULL;
	size_t len;
	FILE *to = open_memstream(&said, &len);

	assert_non_null(file);
	assert_non_null(to);
	assert_int_equal(qcow2_check(file, "top.qcow2", 0, to, &found), 0);
	assert_int_equal(fclose(to), 0);
	if (found.corruptions || found.leaks)
		fail_msg("%s", said);
	free(said);
}

static void check_snapshot(struct stream *s, const struct model *shot)
{
	struct block *block;

	assert_int_equal(open_image(s, true, 0, &block), 0);
	assert_int_equal(qcow2_snapshot_view(block, NULL, shot->name), 0);
	assert_int_equal(block->size, shot->size);
	assert_disk(block, shot->bytes);
	assert_int_equal(block_close(block), 0);
}

static void judge(struct stream *s)
{
	struct block *block;

	assert_int_equal(block_close(s->block), 0);
	s->block = NULL;
	check(s);
	assert_int_equal(open_image(s, true, 0, &block), 0);
	assert_int_equal(block->size, s->disk.size);
	assert_disk(block, s->disk.bytes);
	assert_int_equal(block_close(block), 0);
	for (unsigned i = 0; i < s->nr_shots; i++)
		check_snapshot(s, &s->shots[i]);
	if (s->shape.data_raw) {
		struct memory_bytes raw;

		memory_load(&raw, "top.data");
		assert_int_equal(raw.size, s->disk.size);
		assert_memory_equal(raw.bytes, s->disk.bytes, raw.size);
		free(raw.bytes);
	}
}

static void keep_for_qemu(struct stream *s, uint64_t seed)
{
	char path[32];

	snprintf(path, sizeof(path), "q%llu.qcow2", (unsigned long long)seed);
	memory_save(&s->memory, path);
	snprintf(path, sizeof(path), "q%llu.raw", (unsigned long long)seed);
	disk_save(path, s->disk.bytes, s->disk.size);
	if (++batch == BATCH)
		judge_by_qemu();
}

/* QEMU writes in between. */
static void let_qemu_write(struct stream *s)
{
	struct memory_bytes raw;
	uint64_t offset, length;

	assert_int_equal(block_close(s->block), 0);
	s->block = NULL;
	memory_save(&s->memory, "top.qcow2");
	choose_range(s, &offset, &length);
	must("qemu-io -c 'write -P 201 %llu %llu' -c 'discard 0 64k' "
	     "-c 'write -z 8k 2k' -c 'write -P 9 0 512' top.qcow2 || true",
	     (unsigned long long)offset, (unsigned long long)length);
	free(s->memory.bytes);
	memory_load(&s->memory, "top.qcow2");
	reopen(s);
	/* What that made of it is for QEMU to say. */
	must("qemu-img convert -f qcow2 -O raw top.qcow2 top.raw");
	memory_load(&raw, "top.raw");
	assert_int_equal(raw.size, s->disk.size);
	memcpy(s->disk.bytes, raw.bytes, raw.size);
	free(raw.bytes);
	assert_disk(s->block, s->disk.bytes);
}

static void run_stream(uint64_t seed)
{
	struct stream s = { .seed = seed * 0x9e3779b97f4a7c15ull + 1 };
	unsigned steps;

	choose_shape(&s);
	s.qemu = seed % QEMU_EACH == 0 && !s.external && !s.shape.luks;
	make_image(&s);
	steps = 10 + rnd_below(&s.seed, 30);
	for (unsigned i = 0; i < steps; i++) {
		if (s.qemu && i == steps / 2)
			let_qemu_write(&s);
		step(&s);
	}
	judge(&s);
	if (s.qemu)
		keep_for_qemu(&s, seed);
	if (s.committed) {
		judge_by_qemu();
		disk_save("base.raw", base, BASE);
	}
	while (s.nr_shots)
		drop_shot(&s, 0);
	free(s.disk.bytes);
	free(s.memory.bytes);
}

static void every_stream_ends_as_its_model_with_right_refcounts(void **state)
{
	const char *only = getenv("KVIST_SEED");
	unsigned last = streams(100);

	(void)state;
	if (only) {
		run_stream(strtoull(only, NULL, 0));
		judge_by_qemu();
		return;
	}
	for (unsigned seed = 1; seed <= last; seed++) {
		note_seed(seed);
		if (seed % 100 == 0 || getenv("KVIST_TEST_LOG"))
			print_message("seed %u\n", seed);
		run_stream(seed);
	}
	judge_by_qemu();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			every_stream_ends_as_its_model_with_right_refcounts),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, make_common, disk_folder_remove);
}
