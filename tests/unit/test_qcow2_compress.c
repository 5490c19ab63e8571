/* Compressed clusters, written: packed, counted, read by QEMU. */
#include <errno.h>

#include "devices/block/compress.h"
#include "devices/block/qcow2.h"
#include "disk_test.h"

/* The last cluster is a part of one. */
#define HALF (512u << 10)
#define SIZE (2 * HALF + 5 * 512)

static uint8_t model[SIZE];

/* Words that repeat, the more so the smaller @words is; noise for 0. */
static void make_text(uint64_t *seed, uint8_t *to, size_t len, unsigned words)
{
	for (size_t at = 0; at < len; at += 8) {
		uint64_t word = words ? rnd_below(seed, words) * 0x01010101u
				      : rnd(seed) << 16 ^ rnd(seed);

		memcpy(to + at, &word, len - at < 8 ? len - at : 8);
	}
}

/* Writes a cluster as `kvist img convert -c` does. */
static void write_cluster(struct block *block, struct compressor *c,
			  uint64_t offset, bool expect_packed)
{
	uint64_t size, len;
	unsigned type;
	uint8_t *in, *out;
	size_t packed;

	assert_int_equal(qcow2_compression(block, &type, &size), 0);
	in = calloc(1, size);
	out = malloc(size);
	assert_non_null(in);
	assert_non_null(out);
	len = block->size - offset < size ? block->size - offset : size;
	memcpy(in, model + offset, len);
	packed = compressor_run(c, in, size, out);
	if (expect_packed)
		assert_true(packed > 0);
	if (packed)
		assert_int_equal(
			qcow2_write_compressed(block, offset, out, packed), 0);
	else
		assert_int_equal(disk_write(block, model + offset, offset, len),
				 0);
	free(in);
	free(out);
}

static void judge(struct block *block)
{
	assert_disk(block, model);
	assert_int_equal(block_close(block), 0);
	must("qemu-img check -f qcow2 c.qcow2");
	disk_save("model.raw", model, SIZE);
	must("qemu-img compare -f qcow2 -F raw c.qcow2 model.raw");
}

static struct block *make(const char *options)
{
	memset(model, 0, sizeof(model));
	must("rm -f c.qcow2; qemu-img create -q -f qcow2 -o %s c.qcow2 %u",
	     options, SIZE);
	return open_disk("c.qcow2");
}

static const char *const shapes[] = {
	"cluster_size=512",
	"cluster_size=512,refcount_bits=1",
	"cluster_size=4k,refcount_bits=2",
	"cluster_size=64k,compat=0.10",
	"cluster_size=64k,refcount_bits=64",
	"cluster_size=2M",
	"cluster_size=16k,extended_l2=on",
	"cluster_size=512,compression_type=zstd",
	"cluster_size=64k,compression_type=zstd",
	"cluster_size=2M,compression_type=zstd",
};

static void compressed_clusters_of_every_shape_are_read_by_both(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
		struct block *block = make(shapes[i]);
		struct compressor *c;
		uint64_t size, seed = i + 1;
		unsigned type;

		assert_int_equal(qcow2_compression(block, &type, &size), 0);
		c = compressor_create(type);
		assert_non_null(c);
		make_text(&seed, model, SIZE, 9);
		/* Some do not get smaller. */
		make_text(&seed, model + HALF, SIZE / 16, 0);
		for (uint64_t at = 0; at < SIZE; at += size)
			write_cluster(block, c, at,
				      size > 512 && at + size <= HALF);
		/* Writes to a part of one take it apart. */
		memset(model + 700 * 512, 5, 1024);
		assert_int_equal(
			disk_write(block, model + 700 * 512, 700 * 512, 1024),
			0);
		judge(block);
		compressor_destroy(c);
	}
}

static void a_cluster_may_be_compressed_again_and_again(void **state)
{
	struct block *block = make("cluster_size=4k");
	struct compressor *c = compressor_create(QCOW2_ZLIB);
	uint64_t seed = 7;

	(void)state;
	assert_non_null(c);
	for (unsigned i = 0; i < 600; i++) {
		uint64_t at = rnd_below(&seed, 40) * 4096;

		make_text(&seed, model + at, 4096, 1 + rnd_below(&seed, 500));
		if (rnd_below(&seed, 5))
			write_cluster(block, c, at, true);
		else
			assert_int_equal(
				disk_write(block, model + at, at, 4096), 0);
		if (!rnd_below(&seed, 20))
			assert_int_equal(disk_flush(block), 0);
		if (!rnd_below(&seed, 20)) {
			memset(model + at, 0, 4096);
			assert_int_equal(request(block, BLOCK_DISCARD, NULL, at,
						 4096, false),
					 0);
		}
	}
	/* What was freed is used again: 40 clusters and little more. */
	judge(block);
	must("test $(stat -c %%s c.qcow2) -lt 700000");
	compressor_destroy(c);
}

static void compressed_clusters_are_shared_with_snapshots(void **state)
{
	struct block *block = make("cluster_size=4k,refcount_bits=4");
	struct compressor *c = compressor_create(QCOW2_ZLIB);
	uint64_t seed = 3;

	(void)state;
	make_text(&seed, model, SIZE, 40);
	for (uint64_t at = 0; at < HALF; at += 4096)
		write_cluster(block, c, at, true);
	memset(model + HALF, 0, SIZE - HALF);
	assert_int_equal(block_close(block), 0);
	/* Half of a width of 4 bits is taken by then: some do not fit. */
	must("qemu-img snapshot -c a c.qcow2 || true");
	must("qemu-img check c.qcow2");
	block = open_disk("c.qcow2");
	make_text(&seed, model, HALF / 2, 40);
	for (uint64_t at = 0; at < HALF / 2; at += 4096)
		write_cluster(block, c, at, true);
	judge(block);
	compressor_destroy(c);
}

static void what_is_no_cluster_of_the_image_is_refused(void **state)
{
	struct block *block = make("cluster_size=4k");
	uint8_t bytes[4096] = { 0 };

	(void)state;
	assert_int_equal(qcow2_write_compressed(block, 512, bytes, 10),
			 -EINVAL);
	assert_int_equal(qcow2_write_compressed(block, SIZE, bytes, 10),
			 -EINVAL);
	assert_int_equal(qcow2_write_compressed(block, 0, bytes, 4096),
			 -EINVAL);
	assert_int_equal(qcow2_write_compressed(block, 0, bytes, 0), -EINVAL);
	assert_int_equal(block_close(block), 0);
	assert_int_equal(try_open("c.qcow2", BLOCK_QCOW2, true, &block), 0);
	assert_int_equal(qcow2_write_compressed(block, 0, bytes, 10), -EROFS);
	assert_int_equal(block_close(block), 0);
	assert_int_equal(try_open("c.qcow2", BLOCK_RAW, true, &block), 0);
	assert_int_equal(qcow2_write_compressed(block, 0, bytes, 10), -ENOTSUP);
	assert_int_equal(block_close(block), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			compressed_clusters_of_every_shape_are_read_by_both),
		cmocka_unit_test(a_cluster_may_be_compressed_again_and_again),
		cmocka_unit_test(compressed_clusters_are_shared_with_snapshots),
		cmocka_unit_test(what_is_no_cluster_of_the_image_is_refused),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
