/*
 * Snapshots: random streams against a flat model of the disk and of every
 * snapshot, with QEMU's tools as other writer and as judge.
 *
 * KVIST_STREAMS=n runs n streams, KVIST_SEED=n only the stream with that seed.
 */
#include <errno.h>

#include "devices/block/qcow2_snapshot.h"
#include "disk_memory.h"

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
	for (uint64_t i = 0; i < s->disk.size; i++)
		s->disk.bytes[i] = i / 3000 + i % 7;
	disk_save("full.raw", s->disk.bytes, s->disk.size);
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_random_stream_keeps_every_snapshot_exact),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
