/*
 * Copying a disk by several threads: what comes out is what went in, and an
 * error on either side ends it.
 */
#include "disk_test.h"

#include <errno.h>

#include "devices/block/fault.h"
#include "devices/block/image_compare.h"
#include "devices/block/image_copy.h"
#include "devices/block/qcow2_check.h"
#include "devices/block/qcow2_create.h"

#define SIZE ((2u << 20) + 512)

struct world {
	struct memory_bytes source, target;
	struct fault_plan reads, writes;
	struct image_copy copy;
	uint64_t told; /* of progress */
};

static const struct shape {
	const char *name;
	uint64_t cluster;
	bool compress, sparse;
	unsigned workers;
} shapes[] = {
	{ "as it is", 64 << 10, false, true, 0 },
	{ "all of it", 64 << 10, false, false, 0 },
	{ "compressed by one", 64 << 10, true, true, 1 },
	{ "compressed by four", 64 << 10, true, true, 4 },
	{ "compressed in small clusters", 512, true, true, 3 },
	{ "compressed in large ones", 2 << 20, true, true, 2 },
	{ "compressed, zeros as well", 4 << 10, true, false, 2 },
};

/* Text, noise and zeros, in pieces of all sizes. */
static void fill(uint8_t *bytes)
{
	uint8_t *noise = malloc(301000);
	uint64_t seed = 99, at = 0;

	assert_non_null(noise);
	for (size_t i = 0; i < 301000; i++)
		noise[i] = (uint8_t)rnd(&seed);
	memset(bytes, 0, SIZE);
	while (at < SIZE) {
		uint64_t n = 1 + rnd_below(&seed, 300000),
			 kind = rnd(&seed) % 3;

		if (n > SIZE - at)
			n = SIZE - at;
		if (kind == 1)
			memset(bytes + at, 't', n);
		else if (kind == 2)
			memcpy(bytes + at, noise + rnd_below(&seed, 999), n);
		at += n;
	}
	free(noise);
}

static void tell(void *opaque, uint64_t done)
{
	struct world *w = opaque;

	assert_true(done > w->told && done <= SIZE);
	w->told = done;
}

static struct block *open_over(struct memory_bytes *memory,
			       struct fault_plan *plan,
			       enum block_format format, bool read_only)
{
	struct block_options options = { .path = "disk",
					 .format = format,
					 .read_only = read_only };
	struct host_file *file = memory_file_create(memory);
	struct block *block;

	assert_non_null(file);
	file = fault_file_create(file, plan);
	assert_non_null(file);
	assert_int_equal(block_open_file(&options, file, &block), 0);
	return block;
}

static void start(struct world *w, const struct shape *s)
{
	struct qcow2_shape shape = qcow2_shape_default;
	struct host_file *file;

	memset(w, 0, sizeof(*w));
	w->source.limit = w->target.limit = 1 << 28;
	w->source.size = SIZE;
	w->source.bytes = malloc(SIZE);
	assert_non_null(w->source.bytes);
	fill(w->source.bytes);
	shape.size = SIZE;
	shape.cluster_size = s->cluster;
	file = memory_file_create(&w->target);
	assert_non_null(file);
	assert_int_equal(qcow2_create(file, &shape), 0);
	file->ops->close(file);
	w->reads = (struct fault_plan){ .kinds = FAULT_READ, .err = -EIO };
	w->writes = (struct fault_plan){ .kinds = FAULT_WRITE, .err = -ENOSPC };
	w->copy = (struct image_copy){
		.from = open_over(&w->source, &w->reads, BLOCK_RAW, true),
		.to = open_over(&w->target, &w->writes, BLOCK_QCOW2, false),
		.zeroed = true,
		.sparse = s->sparse ? IMAGE_COPY_SPARSE : 0,
		.compress = s->compress,
		.workers = s->workers,
		.progress = tell,
		.opaque = w,
	};
}

static void end(struct world *w)
{
	block_close(w->copy.from);
	block_close(w->copy.to);
	free(w->source.bytes);
	free(w->target.bytes);
}

static void what_comes_out_is_what_went_in(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		struct qcow2_findings found = { 0 };
		struct world w;
		uint64_t at;

		print_message("%s\n", shapes[i].name);
		start(&w, &shapes[i]);
		assert_int_equal(image_copy(&w.copy), 0);
		assert_int_equal(w.told, SIZE);
		assert_int_equal(
			image_compare(w.copy.from, w.copy.to, 0, SIZE, &at), 0);
		assert_int_equal(at, SIZE);
		assert_int_equal(block_flush(w.copy.to), 0);
		assert_int_equal(qcow2_check(memory_file_create(&w.target),
					     "disk", 0, stderr, &found),
				 0);
		assert_int_equal(found.corruptions, 0);
		assert_int_equal(found.leaks, 0);
		assert_int_equal(found.compressed > 0, shapes[i].compress);
		end(&w);
	}
}

static void an_error_on_either_side_ends_it(void **state)
{
	static const struct shape some[] = {
		{ "", 64 << 10, false, true, 0 },
		{ "", 64 << 10, true, true, 3 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(some); i++) {
		for (uint64_t at = 1; at < 12; at += 1 + at) {
			struct world w;

			int err;

			start(&w, &some[i]);
			w.reads.fail_at = w.reads.done + at;
			w.reads.fail_for = 1;
			err = image_copy(&w.copy);
			assert_int_equal(
				err, w.reads.done < w.reads.fail_at ? 0 : -EIO);
			end(&w);
			start(&w, &some[i]);
			w.writes.fail_at = w.writes.done + at;
			w.writes.fail_for = 1;
			err = image_copy(&w.copy);
			assert_int_equal(err, w.writes.done < w.writes.fail_at
						      ? 0
						      : -ENOSPC);
			end(&w);
		}
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_comes_out_is_what_went_in),
		cmocka_unit_test(an_error_on_either_side_ends_it),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
