/*
 * Many requests in flight over one qcow2 image: they overlap in clusters and
 * tables, never in sectors, as a guest's do. Each is done once, reads see what
 * was written, and the image is without fault after it. The host is one that
 * delays, then the engines on real files.
 *
 * KVIST_STREAMS=n runs n streams of each, KVIST_SEED=n only the stream with
 * that seed.
 */
#include "disk_test.h"

#include "devices/block/fault.h"
#include "devices/block/qcow2.h"

#define SECTORS 2400
#define DEPTH   24
#define STEPS   400

/* A request in flight, which has its sectors to itself. */
struct flight {
	struct answer answer;
	struct iovec iov[2];
	uint64_t first, n;
	uint8_t *bytes;
	bool busy, asking; /* what a discard left */
};

struct stream {
	uint64_t seed;
	struct block *block;
	struct memory_bytes memory;
	uint8_t model[SECTORS * 512];
	struct flight flights[DEPTH];
};

static void make_image(struct stream *s)
{
	static const char *const options[] = {
		"cluster_size=512", "cluster_size=4k,compat=0.10",
		"cluster_size=64k", "cluster_size=64k,extended_l2=on",
		"cluster_size=2M",  "cluster_size=4k,refcount_bits=8",
	};
	const char *option = options[rnd_below(&s->seed, ARRAY_SIZE(options))];
	unsigned kind = rnd_below(&s->seed, 4);

	must("rm -f *.qcow2 *.raw; head -c %u /dev/urandom >base.raw",
	     kind == 1 ? SECTORS * 300 : SECTORS * 512);
	if (kind == 0)
		must("qemu-img convert -c -f raw -O qcow2 -o %s base.raw "
		     "top.qcow2",
		     option);
	else if (kind == 1)
		must("qemu-img create -q -f qcow2 -o %s -b base.raw -F raw "
		     "top.qcow2 %u",
		     option, SECTORS * 512);
	else if (kind == 2)
		must("qemu-img convert -f raw -O qcow2 base.raw b.qcow2 && "
		     "qemu-img create -q -f qcow2 -o %s -b b.qcow2 -F qcow2 "
		     "top.qcow2 && qemu-io -c 'write 10k 300k' top.qcow2",
		     option);
	else
		must("qemu-img convert -f raw -O qcow2 -o %s base.raw "
		     "top.qcow2 && qemu-img snapshot -c one top.qcow2",
		     option);
}

static void read_whole(const char *path, uint8_t **bytes, uint64_t *size)
{
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	fseek(file, 0, SEEK_END);
	*size = ftell(file);
	*bytes = malloc(*size);
	assert_non_null(*bytes);
	rewind(file);
	assert_int_equal(fread(*bytes, 1, *size, file), *size);
	fclose(file);
}

static void load_model(struct stream *s)
{
	uint8_t *bytes;
	uint64_t size;

	must("qemu-img convert -f qcow2 -O raw top.qcow2 model.raw");
	read_whole("model.raw", &bytes, &size);
	assert_int_equal(size, sizeof(s->model));
	memcpy(s->model, bytes, size);
	free(bytes);
}

static void open_delayed(struct stream *s)
{
	struct block_options options = { .path = "top.qcow2" };
	struct host_file *file;

	read_whole("top.qcow2", &s->memory.bytes, &s->memory.size);
	s->memory.limit = 1 << 30;
	file = memory_file_create(&s->memory);
	assert_non_null(file);
	file = delay_file_create(file, &s->seed);
	assert_non_null(file);
	assert_int_equal(block_open_file(&options, file, &s->block), 0);
}

static void start(struct stream *s, struct flight *f, enum block_op op)
{
	uint64_t length = f->n * 512, cut = rnd_below(&s->seed, length);

	if (op == BLOCK_FLUSH)
		length = cut = 0;
	f->iov[0] = (struct iovec){ .iov_base = f->bytes, .iov_len = cut };
	f->iov[1] = (struct iovec){ .iov_base = f->bytes + cut,
				    .iov_len = length - cut };
	f->answer = (struct answer){ .request = { .op = op,
						  .offset = f->first * 512,
						  .length = length,
						  .iov = f->iov,
						  .iovcnt = 2,
						  .done = answer_done } };
	f->busy = true;
	block_submit(s->block, &f->answer.request);
}

static bool choose_range(struct stream *s, struct flight *f)
{
	uint64_t near = rnd_below(&s->seed, 3) ? 200 : SECTORS;

	f->first = rnd_below(&s->seed, near);
	f->n = 1 + rnd_below(&s->seed, rnd_below(&s->seed, 8) ? 16 : 400);
	if (f->n > SECTORS - f->first)
		f->n = SECTORS - f->first;
	for (unsigned i = 0; i < DEPTH; i++) {
		const struct flight *o = &s->flights[i];

		if (o->busy && ranges_overlap(f->first, f->n, o->first, o->n))
			return false;
	}
	return true;
}

static void start_any(struct stream *s, struct flight *f)
{
	static const enum block_op ops[] = {
		BLOCK_WRITE,   BLOCK_WRITE, BLOCK_WRITE, BLOCK_READ,
		BLOCK_READ,    BLOCK_ZERO,  BLOCK_WRITE, BLOCK_WRITE,
		BLOCK_DISCARD, BLOCK_FLUSH,
	};
	enum block_op op = ops[rnd_below(&s->seed, ARRAY_SIZE(ops))];
	uint8_t *model = s->model + f->first * 512;

	f->bytes = malloc(f->n * 512);
	assert_non_null(f->bytes);
	for (uint64_t i = 0; i < f->n * 512; i += 8) {
		uint64_t word = rnd(&s->seed);

		memcpy(f->bytes + i, &word, 8);
	}
	if (op == BLOCK_WRITE)
		memcpy(model, f->bytes, f->n * 512);
	else if (op == BLOCK_ZERO)
		memset(model, 0, f->n * 512);
	start(s, f, op);
}

static void finish(struct stream *s, struct flight *f)
{
	enum block_op op = f->answer.request.op;
	uint8_t *model = s->model + f->first * 512;

	assert_int_equal(f->answer.times, 1);
	assert_int_equal(f->answer.err, 0);
	if (op == BLOCK_DISCARD) {
		f->asking = true;
		start(s, f, BLOCK_READ);
		return;
	}
	for (uint64_t i = 0; op == BLOCK_READ && i < f->n * 512; i++) {
		if (f->asking && !f->bytes[i])
			model[i] = 0;
		if (f->bytes[i] != model[i])
			fail_msg("offset %#llx: %#x, not %#x",
				 (unsigned long long)f->first * 512 + i,
				 f->bytes[i], model[i]);
	}
	free(f->bytes);
	f->asking = f->busy = false;
}

/* Finishes what is done; the number still in flight. */
static unsigned collect(struct stream *s)
{
	unsigned busy = 0;

	for (unsigned i = 0; i < DEPTH; i++) {
		struct flight *f = &s->flights[i];

		if (f->busy && f->answer.times)
			finish(s, f);
		busy += f->busy;
	}
	return busy;
}

static void run_requests(struct stream *s)
{
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned some = 1 + rnd_below(&s->seed, 6);

		for (unsigned i = 0; i < DEPTH && some; i++) {
			struct flight *f = &s->flights[i];

			if (!f->busy && choose_range(s, f)) {
				start_any(s, f);
				some--;
			}
		}
		block_kick(s->block);
		if (collect(s))
			block_reap(s->block);
	}
	block_kick(s->block);
	while (collect(s)) {
		block_kick(s->block);
		if (collect(s))
			block_wait(s->block);
	}
}

static void judge(struct stream *s)
{
	disk_save("model.raw", s->model, sizeof(s->model));
	must("qemu-img check -f qcow2 top.qcow2 && "
	     "qemu-img compare -f qcow2 -F raw top.qcow2 model.raw");
}

static void run_stream(uint64_t seed, bool delayed)
{
	struct stream *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	print_message("seed %llu\n", (unsigned long long)seed);
	s->seed = seed * 0x9e3779b97f4a7c15ull + 1;
	make_image(s);
	load_model(s);
	if (delayed)
		open_delayed(s);
	else
		s->block = open_disk("top.qcow2");
	run_requests(s);
	assert_disk(s->block, s->model);
	assert_int_equal(block_close(s->block), 0);
	if (delayed) {
		disk_save("top.qcow2", s->memory.bytes, s->memory.size);
		free(s->memory.bytes);
	}
	judge(s);
	free(s);
}

static void run_streams(unsigned few, bool delayed)
{
	const char *only = getenv("KVIST_SEED");

	if (only) {
		run_stream(strtoull(only, NULL, 0), delayed);
		return;
	}
	for (unsigned seed = 1; seed <= streams(few); seed++)
		run_stream(seed, delayed);
}

static void requests_may_end_in_any_order(void **state)
{
	(void)state;
	run_streams(12, true);
}

/* Submits a whole cluster's worth of @fill, and does not wait. */
static void start_cluster(struct stream *s, struct flight *f, enum block_op op,
			  uint64_t cluster, uint8_t fill)
{
	f->first = cluster * 128;
	f->n = 128;
	f->bytes = malloc(65536);
	assert_non_null(f->bytes);
	memset(f->bytes, fill, 65536);
	start(s, f, op);
}

/* Every second cluster first, so that no two neighbours lie side by side. */
static void one_request_is_not_ten_thousand_in_flight(void **state)
{
	enum { CLUSTERS = 3000 };
	struct stream *s = calloc(1, sizeof(*s));
	struct flight *f = &s->flights[0];
	uint8_t wanted[CLUSTERS * 512];

	(void)state;
	assert_non_null(s);
	must("rm -f *.qcow2; qemu-img create -q -f qcow2 -o cluster_size=512 "
	     "top.qcow2 %u",
	     CLUSTERS * 512);
	s->block = open_disk("top.qcow2");
	for (unsigned i = 0; i < CLUSTERS; i++) {
		unsigned at = i < CLUSTERS / 2 ? 2 * i : 2 * i - CLUSTERS + 1;

		memset(wanted + at * 512, (int)(at % 251), 512);
		assert_int_equal(
			disk_write(s->block, wanted + at * 512, at * 512, 512),
			0);
	}
	assert_int_equal(block_close(s->block), 0);
	s->seed = 1;
	open_delayed(s);
	for (unsigned write = 0; write < 2; write++) {
		f->first = 0;
		f->n = CLUSTERS;
		f->bytes = calloc(CLUSTERS, 512);
		assert_non_null(f->bytes);
		if (write)
			memset(f->bytes, 7, CLUSTERS * 512);
		f->answer.times = 0;
		start(s, f, write ? BLOCK_WRITE : BLOCK_READ);
		assert_in_range(qcow2_of(s->block)->pieces, 1000, 2048);
		while (!f->answer.times)
			block_wait(s->block);
		assert_int_equal(f->answer.err, 0);
		if (!write)
			assert_memory_equal(f->bytes, wanted, sizeof(wanted));
		free(f->bytes);
	}
	memset(wanted, 7, sizeof(wanted));
	assert_disk(s->block, wanted);
	assert_int_equal(block_close(s->block), 0);
	free(s->memory.bytes);
	free(s);
}

/* A write of one sector takes a cluster of memory along. */
static void old_contents_in_flight_are_bounded(void **state)
{
	enum { WRITES = 100, CLUSTER = 256 << 10 };
	struct stream *s = calloc(1, sizeof(*s));
	struct flight *flights = calloc(WRITES, sizeof(*flights));
	uint8_t got[1024], wanted[1024];

	(void)state;
	assert_non_null(s);
	assert_non_null(flights);
	must("rm -f *.qcow2; qemu-img create -q -f qcow2 -o cluster_size=256k "
	     "top.qcow2 25M && qemu-io -c 'write -P 5 0 25M' top.qcow2 && "
	     "qemu-img snapshot -c one top.qcow2");
	s->seed = 1;
	open_delayed(s);
	for (unsigned i = 0; i < WRITES; i++) {
		struct flight *f = &flights[i];

		f->first = i * (CLUSTER / 512);
		f->n = 1;
		f->bytes = malloc(512);
		assert_non_null(f->bytes);
		memset(f->bytes, 100 + (int)i, 512);
		start(s, f, BLOCK_WRITE);
		assert_in_range(qcow2_of(s->block)->around_bytes, 0,
				QCOW2_AROUND_MAX);
	}
	assert_in_range(qcow2_of(s->block)->around_bytes,
			QCOW2_AROUND_MAX - CLUSTER, QCOW2_AROUND_MAX);
	for (unsigned i = 0; i < WRITES; i++) {
		while (!flights[i].answer.times)
			block_wait(s->block);
		assert_int_equal(flights[i].answer.err, 0);
		free(flights[i].bytes);
		memset(wanted, 5, sizeof(wanted));
		memset(wanted, 100 + (int)i, 512);
		assert_int_equal(disk_read(s->block, got, i * CLUSTER, 1024),
				 0);
		assert_memory_equal(got, wanted, sizeof(got));
	}
	assert_int_equal(qcow2_of(s->block)->around_bytes, 0);
	assert_int_equal(block_close(s->block), 0);
	free(s->memory.bytes);
	free(flights);
	free(s);
}

/* The guest discards what it is writing, and the clusters have a new owner
 * before that write has landed (Q2). */
static void a_write_in_flight_never_lands_in_another_cluster(void **state)
{
	(void)state;
	must("rm -f *.qcow2; qemu-img create -q -f qcow2 top.qcow2 %u && "
	     "qemu-io -c 'write -P 1 0 64k' top.qcow2 && "
	     "cp top.qcow2 first.qcow2",
	     SECTORS * 512);
	for (unsigned seed = 1; seed <= 20; seed++) {
		struct stream *s = calloc(1, sizeof(*s));
		uint8_t wanted[65536], got[65536];

		assert_non_null(s);
		must("cp first.qcow2 top.qcow2");
		s->seed = seed;
		open_delayed(s);
		start_cluster(s, &s->flights[0], BLOCK_WRITE, 0, 2);
		start_cluster(s, &s->flights[1], BLOCK_DISCARD, 0, 0);
		start_cluster(s, &s->flights[2], BLOCK_FLUSH, 0, 0);
		start_cluster(s, &s->flights[3], BLOCK_WRITE, 4, 3);
		for (unsigned i = 0; i < 4; i++) {
			while (!s->flights[i].answer.times)
				block_wait(s->block);
			assert_int_equal(s->flights[i].answer.err, 0);
			free(s->flights[i].bytes);
		}
		memset(wanted, 3, sizeof(wanted));
		assert_int_equal(disk_read(s->block, got, 4 * 65536, 65536), 0);
		assert_memory_equal(got, wanted, sizeof(got));
		assert_int_equal(block_close(s->block), 0);
		free(s->memory.bytes);
		free(s);
	}
}

static void each_engine_leaves_what_was_written(void **state)
{
	static const char *const ways[][2] = {
		{ "uring", NULL },
		{ "uring", "none" },
		{ "threads", NULL },
		{ "threads", "none" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		print_message("%s\n", ways[i][0]);
		setenv("KVIST_IO", ways[i][0], 1);
		if (ways[i][1])
			setenv("KVIST_CACHE", ways[i][1], 1);
		else
			unsetenv("KVIST_CACHE");
		run_streams(3, false);
	}
	unsetenv("KVIST_IO");
	unsetenv("KVIST_CACHE");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_may_end_in_any_order),
		cmocka_unit_test(one_request_is_not_ten_thousand_in_flight),
		cmocka_unit_test(old_contents_in_flight_are_bounded),
		cmocka_unit_test(
			a_write_in_flight_never_lands_in_another_cluster),
		cmocka_unit_test(each_engine_leaves_what_was_written),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
