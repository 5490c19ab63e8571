/*
 * Crashes, replayed: what was synced is on the disk, of what came after the
 * last sync any part, down to single sectors, in any order. Whatever came
 * through, the image must have no errors but leaks (Q1), and every sector must
 * hold what was last flushed or something written to it since (B2).
 *
 * KVIST_STREAMS=n runs n streams, KVIST_SEED=n only the stream with that seed.
 */
#include "disk_memory.h"

#define CRASHES 12
#define CHANGES 6
#define FILES   2

/* One thing that happened to a sector. */
struct event {
	unsigned op;
	uint64_t value; /* repeated through the sector; 0: zeros */
	struct event *before;
};

struct flush {
	unsigned op;
	size_t record; /* it was complete before this record */
};

struct stream {
	uint64_t seed;
	uint64_t sectors;
	bool lazy;           /* refcounts */
	bool external, raw;  /* a data file; one that is a raw disk */
	struct event **last; /* of each sector */
	struct flush flushes[200];
	unsigned flush_count;
	size_t op_starts[400]; /* the record each operation began at */
	unsigned ops;
	/* The image and, if it has one, its data file. */
	struct memory_bytes base[FILES], disk[FILES];
	struct recording recording;
	struct block *block;
};

/* With a recording, requests are in flight together, in an order that *seed
 * decides. */
static struct host_file *open_file(struct memory_bytes *memory, unsigned number,
				   struct recording *recording, uint64_t *seed)
{
	struct host_file *file = memory_file_create(memory);

	assert_non_null(file);
	if (recording) {
		file = record_file_create(file, recording, number);
		assert_non_null(file);
	}
	/* A disk has one engine, so what has one of its own is not reaped. */
	if (recording && !number) {
		file = delay_file_create(file, seed);
		assert_non_null(file);
	}
	return file;
}

static struct block *open_memory(struct memory_bytes memory[FILES],
				 bool read_only, struct recording *recording,
				 uint64_t *seed)
{
	struct block_options options = { .path = "top.qcow2",
					 .read_only = read_only };
	struct host_file *file = open_file(&memory[0], 0, recording, seed);
	struct block *block;

	if (!memory[1].bytes) {
		assert_int_equal(block_open_file(&options, file, &block), 0);
		return block;
	}
	assert_int_equal(qcow2_open(file, "top.qcow2", read_only, &block), 0);
	qcow2_set_data(block, open_file(&memory[1], 1, recording, seed));
	return block;
}

/* An image with something in it: old data, a snapshot, a backing file. */
static void make_image(struct stream *s)
{
	static const unsigned bits[] = { 9, 9, 12, 14, 16 };
	unsigned cluster = 1u << bits[rnd_below(&s->seed, ARRAY_SIZE(bits))];
	bool extended = cluster >= 1u << 14 && rnd_below(&s->seed, 3);
	bool v2 = !extended && rnd_below(&s->seed, 4) == 0;
	unsigned width = v2 ? 16 : 8u << rnd_below(&s->seed, 4);
	bool backed = rnd(&s->seed) & 1;
	const char *data = "";
	/* The first table of refcounts of 64 bits counts 2 MiB in clusters of
	 * 512 bytes: an image so full that it has to grow. */
	bool tight = cluster == 512 && width == 64;

	s->lazy = !v2 && rnd_below(&s->seed, 3) == 0;
	s->external = !v2 && rnd_below(&s->seed, 4) == 0;
	s->raw = s->external && rnd(&s->seed) & 1;
	if (s->external) {
		data = s->raw ? ",data_file=data.raw,data_file_raw=on"
			      : ",data_file=data.raw";
		backed = false;
		tight = false;
	}
	s->sectors = 256 + rnd_below(&s->seed, 1024);
	if (tight)
		s->sectors += 3000;
	must("rm -f *.qcow2 *.raw; truncate -s %llu base.raw && "
	     "qemu-img create -q -f qcow2 -o compat=%s,cluster_size=%u,"
	     "refcount_bits=%u%s%s%s %s top.qcow2 %llu",
	     (unsigned long long)s->sectors * 400, v2 ? "0.10" : "1.1", cluster,
	     width, extended ? ",extended_l2=on" : "",
	     s->lazy ? ",lazy_refcounts=on" : "", data,
	     backed ? "-b base.raw -F raw" : "",
	     (unsigned long long)s->sectors * 512);
	must("qemu-io -c 'write -P 0 0 70000' -c 'write -P 0 100k 9k' "
	     "top.qcow2");
	if (tight)
		must("qemu-io -c 'write -P 0 200k 1400k' top.qcow2");
	if (!s->external && rnd(&s->seed) & 1)
		must("qemu-img snapshot -c one top.qcow2");
	memory_load(&s->base[0], "top.qcow2");
	memory_copy(&s->disk[0], &s->base[0]);
	if (s->external) {
		memory_load(&s->base[1], "data.raw");
		memory_copy(&s->disk[1], &s->base[1]);
	}
	s->last = calloc(s->sectors, sizeof(*s->last));
	assert_non_null(s->last);
}

static void happened(struct stream *s, uint64_t sector, uint64_t value)
{
	struct event *event = malloc(sizeof(*event));

	assert_non_null(event);
	event->op = s->ops;
	event->value = value;
	event->before = s->last[sector];
	s->last[sector] = event;
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
		change->words[i] = (s->ops + 1ull) << 32 |
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
		happened(s, change->first + i, change->words[i * 64]);
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

	if (s->external)
		return; /* compressed clusters have no place in a data file */
	assert_int_equal(qcow2_compression(s->block, &type, &size), 0);
	sectors = size / 512;
	first = rnd_below(&s->seed, s->sectors);
	first -= first % sectors;
	n = s->sectors - first < sectors ? s->sectors - first : sectors;
	words = malloc(size);
	assert_non_null(words);
	for (uint64_t i = 0; i < n * 64; i++)
		words[i] = (s->ops + 1ull) << 32 | (first + i / 64);
	assert_int_equal(disk_compress(s->block, words, first * 512, n * 512),
			 0);
	for (uint64_t i = 0; i < n; i++)
		happened(s, first + i, words[i * 64]);
	free(words);
}

static void run_ops(struct stream *s)
{
	unsigned ops = 20 + rnd_below(&s->seed, 120);

	s->block = open_memory(s->disk, false, &s->recording, &s->seed);
	for (s->ops = 0; s->ops < ops; s->ops++) {
		s->op_starts[s->ops] = s->recording.count;
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
			s->flushes[s->flush_count].op = s->ops;
			s->flushes[s->flush_count++].record =
				s->recording.count;
			break;
		default:
			change_some(s, BLOCK_WRITE);
		}
	}
	assert_int_equal(block_close(s->block), 0);
	assert_false(s->recording.failed);
}

static void check_sector(struct stream *s, uint64_t sector, uint64_t value,
			 unsigned flushed, unsigned begun)
{
	struct event *event = s->last[sector];

	for (; event; event = event->before) {
		if (event->op > begun)
			continue;
		if (event->value == value)
			return;
		if (event->op < flushed)
			break;
	}
	if (!event && !value)
		return; /* never touched, or nothing of it flushed */
	print_error("sector %llu: %#llx is neither flushed nor newer\n",
		    (unsigned long long)sector, (unsigned long long)value);
	fail();
}

static void check_words(struct stream *s, const uint64_t *words, size_t crash)
{
	unsigned flushed = 0, begun = 0;

	for (unsigned i = 0; i < s->flush_count; i++) {
		if (s->flushes[i].record <= crash)
			flushed = s->flushes[i].op;
	}
	while (begun + 1 < s->ops && s->op_starts[begun + 1] <= crash)
		begun++;
	for (uint64_t i = 0; i < s->sectors; i++) {
		for (unsigned w = 1; w < 64; w++)
			assert_int_equal(words[i * 64 + w], words[i * 64]);
		check_sector(s, i, words[i * 64], flushed, begun);
	}
}

static void check_contents(struct stream *s, struct memory_bytes memory[FILES],
			   size_t crash)
{
	struct block *block = open_memory(memory, true, NULL, NULL);
	uint64_t *words = malloc(s->sectors * 512);

	assert_non_null(words);
	assert_int_equal(disk_read(block, words, 0, s->sectors * 512), 0);
	check_words(s, words, crash);
	assert_int_equal(block_close(block), 0);
	/* Who reads it as a raw disk finds no less. */
	if (s->raw) {
		assert_true(memory[1].size >= s->sectors * 512);
		memcpy(words, memory[1].bytes, s->sectors * 512);
		check_words(s, words, crash);
	}
	free(words);
}

/* Refcounts that were put off are made anew by whoever opens the image. */
static void repair(struct stream *s, struct memory_bytes memory[FILES])
{
	if (rnd(&s->seed) & 1) {
		assert_int_equal(
			block_close(open_memory(memory, false, NULL, NULL)), 0);
	} else {
		memory_save(&memory[0], "crash.qcow2");
		if (s->external)
			memory_save(&memory[1], "data.raw");
		must("qemu-img check -r all -f qcow2 crash.qcow2");
		free(memory[0].bytes);
		memory_load(&memory[0], "crash.qcow2");
	}
}

static bool is_dirty(const struct memory_bytes *memory)
{
	return memory->bytes[79] & 1;
}

static void crash_once(struct stream *s)
{
	size_t crash = rnd_below(&s->seed, s->recording.count + 1);
	size_t synced[FILES] = { 0 };
	enum crash_mode mode = rnd_below(&s->seed, CRASH_MODES);
	struct memory_bytes memory[FILES] = { 0 };
	int code;

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
	memory_save(&memory[0], "crash.qcow2");
	if (s->external)
		memory_save(&memory[1], "data.raw");
	code = sh("qemu-img check -f qcow2 crash.qcow2");
	if (code != 0 && code != 3) {
		print_error("mode %u, record %zu of %zu\n", mode, crash,
			    s->recording.count);
		must("cat said; false");
	}
	free(memory[0].bytes);
	free(memory[1].bytes);
}

static void free_stream(struct stream *s)
{
	for (uint64_t i = 0; i < s->sectors; i++) {
		while (s->last[i]) {
			struct event *event = s->last[i];

			s->last[i] = event->before;
			free(event);
		}
	}
	free(s->last);
	for (unsigned i = 0; i < FILES; i++) {
		free(s->base[i].bytes);
		free(s->disk[i].bytes);
	}
	recording_fini(&s->recording);
}

static void run_stream(uint64_t seed)
{
	struct stream s = { .seed = seed * 0x9e3779b97f4a7c15ull + 1 };

	print_message("seed %llu\n", (unsigned long long)seed);
	make_image(&s);
	run_ops(&s);
	memory_save(&s.disk[0], "closed.qcow2");
	if (s.external)
		memory_save(&s.disk[1], "data.raw");
	must("qemu-img check -f qcow2 closed.qcow2");
	for (int i = 0; i < CRASHES; i++)
		crash_once(&s);
	free_stream(&s);
}

static void a_crash_leaves_flushed_bytes_exact_and_only_leaks(void **state)
{
	const char *only = getenv("KVIST_SEED");

	(void)state;
	if (only) {
		run_stream(strtoull(only, NULL, 0));
		return;
	}
	for (unsigned seed = 1; seed <= streams(5); seed++)
		run_stream(seed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_crash_leaves_flushed_bytes_exact_and_only_leaks),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
