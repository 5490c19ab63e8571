/*
 * Crashes, replayed: what was synced is on the disk, of what came after the
 * last sync any part, down to single sectors, in any order. Whatever came
 * through, the image must have no errors but leaks (Q1), and every sector must
 * hold what was last flushed or something written to it since (B2).
 *
 * KVIST_STREAMS=n runs n streams, KVIST_SEED=n only the stream with that seed.
 */
#include "disk_memory.h"

#include "devices/block/qcow2_check.h"
#include "disk_luks.h"
#include "history.h"

#define CRASHES 8
/* There are no threads here for that sanitizer, which makes it slow. */
#ifdef __SANITIZE_THREAD__
#define FEW 1
#else
#define FEW 5
#endif
#define CHANGES 6
#define FILES   2

struct stream {
	uint64_t seed;
	uint64_t sectors;
	bool lazy;          /* refcounts */
	bool external, raw; /* a data file; one that is a raw disk */
	bool luks;          /* encrypted */
	bool tight;         /* full of clusters */
	struct history history;
	/* The image and, if it has one, its data file. */
	struct memory_bytes base[FILES], disk[FILES];
	struct recording recording;
	struct block *block;
};

/* With a recording, requests are in flight together, in an order that *seed
 * decides. */
static struct block *open_memory(struct stream *s,
				 struct memory_bytes memory[FILES],
				 bool read_only, struct recording *recording)
{
	struct block_options options = { .path = "top.qcow2",
					 .key_file = s->luks ? "key" : NULL,
					 .read_only = read_only };
	struct host_file *file[FILES] = { NULL };
	struct block *block;

	for (unsigned i = 0; i < 1u + s->external; i++) {
		file[i] = memory_file_create(&memory[i]);
		assert_non_null(file[i]);
		if (!recording)
			continue;
		file[i] = record_file_create(file[i], recording, i);
		assert_non_null(file[i]);
		file[i] = i ? delay_file_beside(file[i], file[0])
			    : delay_file_create(file[i], &s->seed);
		assert_non_null(file[i]);
	}
	if (!s->external) {
		assert_int_equal(block_open_file(&options, file[0], &block), 0);
		return block;
	}
	assert_int_equal(qcow2_open(file[0], "top.qcow2", read_only, &block),
			 0);
	qcow2_set_data(block, file[1]);
	return block;
}

/* How QEMU's tools are told which image they work on. */
static const char *named(const struct stream *s, const char *name)
{
	return s->luks ? luks_named(name) : name;
}

static void choose_shape(struct stream *s, struct qcow2_shape *shape)
{
	static const unsigned bits[] = { 9, 9, 12, 14, 16 };
	unsigned cluster = bits[rnd_below(&s->seed, ARRAY_SIZE(bits))];

	*shape = qcow2_shape_default;
	shape->cluster_size = 1ull << cluster;
	shape->extended_l2 = cluster >= 14 && rnd_below(&s->seed, 3);
	if (!shape->extended_l2 && rnd_below(&s->seed, 4) == 0)
		shape->version = 2;
	else
		shape->refcount_bits = 8u << rnd_below(&s->seed, 4);
	s->lazy = shape->version == 3 && rnd_below(&s->seed, 3) == 0;
	shape->lazy_refcounts = s->lazy;
	s->external = shape->version == 3 && !s->luks &&
		      rnd_below(&s->seed, 4) == 0;
	s->raw = s->external && rnd(&s->seed) & 1;
	s->sectors = 256 + rnd_below(&s->seed, 1024);
	/* The first table of refcounts of 64 bits counts 2 MiB in clusters of
	 * 512 bytes: an image so full that it has to grow. */
	s->tight = cluster == 9 && shape->refcount_bits == 64 && !s->external;
	if (s->tight)
		s->sectors += 3000;
	shape->size = s->sectors * 512;
}

static void make_by_qemu(struct stream *s, const struct qcow2_shape *shape)
{
	bool backed = !s->external && rnd(&s->seed) & 1;

	must("rm -f *.qcow2 *.raw; truncate -s %llu base.raw && "
	     "qemu-img create -q -f qcow2 -o compat=%s,cluster_size=%u,"
	     "refcount_bits=%u%s%s%s%s %s top.qcow2 %llu",
	     (unsigned long long)s->sectors * 400,
	     shape->version == 2 ? "0.10" : "1.1",
	     (unsigned)shape->cluster_size, (unsigned)shape->refcount_bits,
	     shape->extended_l2 ? ",extended_l2=on" : "",
	     s->lazy ? ",lazy_refcounts=on" : "",
	     s->external ? ",data_file=data.raw" : "",
	     s->raw ? ",data_file_raw=on" : "",
	     backed ? "-b base.raw -F raw" : "",
	     (unsigned long long)shape->size);
}

/* An image with something in it: old data, a snapshot, a backing file. */
static void make_image(struct stream *s)
{
	struct qcow2_shape shape;

	choose_shape(s, &shape);
	if (s->luks)
		luks_image_create("top.qcow2", &shape);
	else
		make_by_qemu(s, &shape);
	must("qemu-io -c 'write -P 0 0 70000' -c 'write -P 0 100k 9k' %s",
	     named(s, "top.qcow2"));
	if (s->tight)
		must("qemu-io -c 'write -P 0 200k 1400k' %s",
		     named(s, "top.qcow2"));
	if (!s->external && rnd(&s->seed) & 1)
		must("qemu-img snapshot -c one %s", named(s, "top.qcow2"));
	memory_load(&s->base[0], "top.qcow2");
	memory_copy(&s->disk[0], &s->base[0]);
	if (s->external) {
		memory_load(&s->base[1], "data.raw");
		memory_copy(&s->disk[1], &s->base[1]);
	}
	history_init(&s->history, s->sectors);
}

/* A change that is in flight. */
struct change {
	struct answer answer;
	struct iovec iov;
	uint64_t first, n; /* sectors */
	uint64_t *words;
};

static void change_start(struct stream *s, struct change *change,
			 enum block_op op)
{
	uint64_t length = change->n * 512;

	change->words = malloc(length);
	assert_non_null(change->words);
	for (uint64_t i = 0; i < change->n * 64; i++)
		change->words[i] = (s->history.ops + 1ull) << 32 |
				   (change->first + i / 64);
	change->iov.iov_base = change->words;
	change->iov.iov_len = length;
	change->answer = (struct answer){ .request = {
						  .op = op,
						  .offset = change->first * 512,
						  .length = length,
						  .iov = &change->iov,
						  .iovcnt = 1,
						  .done = answer_done,
					  } };
	block_submit(s->block, &change->answer.request);
}

static void change_end(struct stream *s, struct change *change)
{
	while (!change->answer.times)
		block_wait(s->block);
	assert_int_equal(change->answer.times, 1);
	assert_int_equal(change->answer.err, 0);
	/* What a discard leaves is open: ask. */
	assert_int_equal(disk_read(s->block, change->words, change->first * 512,
				   change->n * 512),
			 0);
	for (uint64_t i = 0; i < change->n; i++)
		history_add(&s->history, change->first + i,
			    change->words[i * 64]);
	free(change->words);
}

/* Up to CHANGES neighbouring ranges change at one time: they share clusters. */
static void change_some(struct stream *s, enum block_op op)
{
	uint64_t first = rnd_below(&s->seed, s->sectors);
	struct change changes[CHANGES];
	unsigned count = 0;

	while (count < CHANGES && first < s->sectors) {
		uint64_t n = 1 + rnd_below(&s->seed, count ? 20 : 100);

		if (n > s->sectors - first)
			n = s->sectors - first;
		changes[count].first = first;
		changes[count].n = n;
		change_start(s, &changes[count++], op);
		op = rnd_below(&s->seed, 5) ? BLOCK_WRITE : BLOCK_ZERO;
		first += n + rnd_below(&s->seed, 3);
	}
	block_kick(s->block);
	for (unsigned i = 0; i < count; i++)
		change_end(s, &changes[i]);
}

/* A whole cluster, compressed. */
static void compress_some(struct stream *s)
{
	uint64_t size, sectors, first, n;
	uint64_t *words;
	unsigned type;

	if (s->external || s->luks)
		return; /* compressed clusters have no place there */
	assert_int_equal(qcow2_compression(s->block, &type, &size), 0);
	sectors = size / 512;
	first = rnd_below(&s->seed, s->sectors);
	first -= first % sectors;
	n = s->sectors - first < sectors ? s->sectors - first : sectors;
	words = malloc(size);
	assert_non_null(words);
	for (uint64_t i = 0; i < n * 64; i++)
		words[i] = (s->history.ops + 1ull) << 32 | (first + i / 64);
	assert_int_equal(disk_compress(s->block, words, first * 512, n * 512),
			 0);
	for (uint64_t i = 0; i < n; i++)
		history_add(&s->history, first + i, words[i * 64]);
	free(words);
}

static void run_ops(struct stream *s)
{
	unsigned ops = 20 + rnd_below(&s->seed, 120);

	s->block = open_memory(s, s->disk, false, &s->recording);
	while (ops--) {
		history_next(&s->history, s->recording.count);
		switch (rnd_below(&s->seed, 12)) {
		case 10:
			compress_some(s);
			break;
		case 0:
			change_some(s, BLOCK_ZERO);
			break;
		case 1:
			change_some(s, BLOCK_DISCARD);
			break;
		case 2:
			assert_int_equal(disk_flush(s->block), 0);
			history_flushed(&s->history, s->recording.count);
			break;
		default:
			change_some(s, BLOCK_WRITE);
		}
	}
	assert_int_equal(block_close(s->block), 0);
	assert_false(s->recording.failed);
}

static void check_contents(struct stream *s, struct memory_bytes memory[FILES],
			   size_t crash)
{
	struct block *block = open_memory(s, memory, true, NULL);
	uint64_t *words = malloc(s->sectors * 512);

	assert_non_null(words);
	assert_int_equal(disk_read(block, words, 0, s->sectors * 512), 0);
	history_check(&s->history, words, crash);
	assert_int_equal(block_close(block), 0);
	/* Who reads it as a raw disk finds no less. */
	if (s->raw) {
		assert_true(memory[1].size >= s->sectors * 512);
		memcpy(words, memory[1].bytes, s->sectors * 512);
		history_check(&s->history, words, crash);
	}
	free(words);
}

/* Refcounts that were put off are made anew by whoever opens the image. */
static void repair(struct stream *s, struct memory_bytes memory[FILES])
{
	if (rnd_below(&s->seed, 8)) {
		assert_int_equal(
			block_close(open_memory(s, memory, false, NULL)), 0);
	} else {
		memory_save(&memory[0], "crash.qcow2");
		if (s->external)
			memory_save(&memory[1], "data.raw");
		must("qemu-img check -r all %s", named(s, "crash.qcow2"));
		free(memory[0].bytes);
		memory_load(&memory[0], "crash.qcow2");
	}
}

static bool is_dirty(const struct memory_bytes *memory)
{
	return memory->bytes[79] & 1;
}

/* No errors but leaks, by the judgement of both. */
static void check_image(struct stream *s, struct memory_bytes memory[FILES],
			bool by_qemu)
{
	struct qcow2_findings found = { 0 };
	int code;

	if (!s->external) {
		assert_int_equal(qcow2_check(memory_file_create(&memory[0]),
					     "top.qcow2", 0, stderr, &found),
				 0);
		assert_int_equal(found.corruptions, 0);
	}
	if (!by_qemu)
		return;
	memory_save(&memory[0], "crash.qcow2");
	if (s->external)
		memory_save(&memory[1], "data.raw");
	code = sh("qemu-img check %s", named(s, "crash.qcow2"));
	if (code != 0 && code != 3)
		must("cat said; false");
}

/* The host crashes before the @crash-th record. */
static void crash_at(struct stream *s, size_t crash, enum crash_mode mode,
		     bool by_qemu)
{
	size_t synced[FILES] = { 0 };
	struct memory_bytes memory[FILES] = { 0 };

	for (unsigned i = 0; i < 1u + s->external; i++)
		memory_copy(&memory[i], &s->base[i]);
	for (size_t i = 0; i < crash; i++) {
		if (s->recording.records[i].kind == RECORD_SYNC)
			synced[s->recording.records[i].file] = i;
	}
	for (size_t i = 0; i < crash; i++) {
		const struct record *record = &s->recording.records[i];

		crash_apply(record, i < synced[record->file] ? CRASH_ALL : mode,
			    &s->seed, &memory[record->file]);
	}
	check_contents(s, memory, crash);
	if (s->lazy && is_dirty(memory)) {
		repair(s, memory);
		assert_false(is_dirty(memory));
		check_contents(s, memory, crash);
	}
	check_image(s, memory, by_qemu);
	free(memory[0].bytes);
	free(memory[1].bytes);
}

/* At the end of every epoch, when as much as ever is on its way; the last one
 * ends with the log. Of an encrypted image in every mode, else in one. */
static void crash_everywhere(struct stream *s)
{
	for (size_t i = 1; i <= s->recording.count; i++) {
		if (i < s->recording.count &&
		    s->recording.records[i].kind != RECORD_SYNC)
			continue;
		for (enum crash_mode mode = 0; mode < CRASH_MODES; mode++) {
			if (s->luks || rnd_below(&s->seed, CRASH_MODES) == mode)
				crash_at(s, i, mode,
					 rnd_below(&s->seed, 32) == 0);
		}
	}
}

static void free_stream(struct stream *s)
{
	history_fini(&s->history);
	for (unsigned i = 0; i < FILES; i++) {
		free(s->base[i].bytes);
		free(s->disk[i].bytes);
	}
	recording_fini(&s->recording);
}

static void run_stream(uint64_t seed, bool luks)
{
	struct stream s = { .seed = seed * 0x9e3779b97f4a7c15ull + 1,
			    .luks = luks };

	print_message("seed %llu\n", (unsigned long long)seed);
	make_image(&s);
	run_ops(&s);
	memory_save(&s.disk[0], "closed.qcow2");
	if (s.external)
		memory_save(&s.disk[1], "data.raw");
	must("qemu-img check %s", named(&s, "closed.qcow2"));
	crash_everywhere(&s);
	for (int i = 0; i < CRASHES; i++)
		crash_at(&s, rnd_below(&s.seed, s.recording.count + 1),
			 rnd_below(&s.seed, CRASH_MODES), true);
	free_stream(&s);
}

static void run_streams(unsigned few, bool luks)
{
	const char *only = getenv("KVIST_SEED");

	if (only) {
		run_stream(strtoull(only, NULL, 0), luks);
		return;
	}
	for (unsigned seed = 1; seed <= streams(few); seed++)
		run_stream(seed, luks);
}

static void a_crash_leaves_flushed_bytes_exact_and_only_leaks(void **state)
{
	(void)state;
	run_streams(FEW, false);
}

/* What never arrived of a cluster that an encrypted image has linked would not
 * even read as zeros. */
static void a_crash_leaves_an_encrypted_image_that_decrypts(void **state)
{
	(void)state;
	if (FEW > 1)
		run_streams(1, true);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_crash_leaves_flushed_bytes_exact_and_only_leaks),
		cmocka_unit_test(
			a_crash_leaves_an_encrypted_image_that_decrypts),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
