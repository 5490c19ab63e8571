/*
 * Random streams of operations over the cross product of format options,
 * against a flat model, with QEMU's tools as other writer and as judge.
 *
 * KVIST_STREAMS=n runs n streams, KVIST_SEED=n only the stream with that seed.
 */
#include "devices/block/compress.h"
#include "disk_test.h"

struct shape {
	unsigned cluster_bits, refcount_bits;
	bool v2;
	enum { ALONE, RAW_BELOW, QCOW2_BELOW, DEEP } below;
	bool compressed, zstd, extended;
	bool external, raw; /* data file */
	uint64_t size, below_size;
};

struct stream {
	struct shape shape;
	uint64_t seed, first_seed;
	uint8_t *model; /* shape.size bytes */
	struct block *block;
};

static void choose_shape(struct stream *s)
{
	struct shape *shape = &s->shape;
	unsigned sizes[] = { 9, 10, 12, 12, 14, 16, 16, 18, 21 };

	shape->cluster_bits = sizes[rnd_below(&s->seed, ARRAY_SIZE(sizes))];
	shape->v2 = rnd_below(&s->seed, 4) == 0;
	shape->refcount_bits = shape->v2 ? 16 : 1u << rnd_below(&s->seed, 7);
	shape->below = rnd_below(&s->seed, 4);
	shape->compressed = rnd_below(&s->seed, 3) == 0;
	shape->zstd = !shape->v2 && rnd_below(&s->seed, 2);
	shape->size = 512 * (1 + rnd_below(&s->seed, 3000));
	shape->below_size = 512 * (1 + rnd_below(&s->seed, 4000));
	shape->extended = !shape->v2 && shape->cluster_bits >= 14 &&
			  rnd_below(&s->seed, 2);
	shape->external = !shape->v2 && rnd_below(&s->seed, 4) == 0;
	shape->raw = shape->external && shape->below == ALONE;
	if (shape->external)
		shape->compressed = false;
	/* Compressed clusters share host clusters: that takes refcounts. */
	if (shape->refcount_bits < 8)
		shape->compressed = false;
}

/* Fills a raw file of @size bytes with runs of bytes, some of them zeros. */
static void make_raw(struct stream *s, const char *path, uint64_t size)
{
	uint8_t *bytes = calloc(1, size);

	assert_non_null(bytes);
	for (uint64_t at = 0; at < size;) {
		uint64_t len = 1 + rnd_below(&s->seed, 40000);

		if (len > size - at)
			len = size - at;
		if (rnd_below(&s->seed, 3))
			memset(bytes + at, (int)rnd(&s->seed), len);
		at += len;
	}
	disk_save(path, bytes, size);
	free(bytes);
}

/* Makes the image, with what lies below it, by QEMU's tools. */
static void make_image(struct stream *s)
{
	const struct shape *shape = &s->shape;
	char options[192];

	snprintf(options, sizeof(options),
		 "compat=%s,cluster_size=%u,refcount_bits=%u%s%s%s%s",
		 shape->v2 ? "0.10" : "1.1", 1u << shape->cluster_bits,
		 shape->refcount_bits,
		 shape->zstd ? ",compression_type=zstd" : "",
		 shape->extended ? ",extended_l2=on" : "",
		 shape->external ? ",data_file=top.raw" : "",
		 shape->raw ? ",data_file_raw=on" : "");
	disk_data_dir = shape->external ? "." : NULL;
	must("rm -f *.qcow2 *.raw");
	make_raw(s, "base.raw", shape->below_size);
	switch (shape->below) {
	case ALONE:
		if (!shape->compressed)
			must("qemu-img create -q -f qcow2 -o %s top.qcow2 %llu",
			     options, (unsigned long long)shape->size);
		else
			must("qemu-img resize -q -f raw --shrink base.raw %llu"
			     " && qemu-img convert -c -f raw -O qcow2 -o %s "
			     "base.raw top.qcow2",
			     (unsigned long long)shape->size, options);
		return;
	case RAW_BELOW:
		must("qemu-img create -q -f qcow2 -o %s -b base.raw -F raw "
		     "top.qcow2 %llu",
		     options, (unsigned long long)shape->size);
		return;
	case QCOW2_BELOW:
		must("qemu-img convert %s -f raw -O qcow2 base.raw b.qcow2 && "
		     "qemu-img create -q -f qcow2 -o %s -b b.qcow2 -F qcow2 "
		     "top.qcow2 %llu",
		     shape->compressed ? "-c" : "", options,
		     (unsigned long long)shape->size);
		return;
	case DEEP:
		must("qemu-img convert -f raw -O qcow2 -o cluster_size=2M "
		     "base.raw b.qcow2 && "
		     "qemu-img create -q -f qcow2 -o cluster_size=512 "
		     "-b b.qcow2 -F qcow2 m.qcow2 && "
		     "qemu-io -c 'write -P 77 0 512' m.qcow2 && "
		     "qemu-img create -q -f qcow2 -o %s -b m.qcow2 -F qcow2 "
		     "top.qcow2 %llu",
		     options, (unsigned long long)shape->size);
	}
}

static void load_model(struct stream *s)
{
	FILE *file;

	must("qemu-img convert -f qcow2 -O raw top.qcow2 model.raw");
	file = fopen("model.raw", "r");
	assert_non_null(file);
	assert_int_equal(fread(s->model, 1, s->shape.size, file),
			 s->shape.size);
	fclose(file);
}

/* A range of whole sectors: mostly small, now and then large or aligned. */
static void choose_range(struct stream *s, uint64_t *offset, uint64_t *length)
{
	uint64_t sectors = s->shape.size / 512, most = sectors;
	uint64_t cluster = 1ull << s->shape.cluster_bits >> 9;

	if (rnd_below(&s->seed, 4))
		most = sectors < 64 ? sectors : 64;
	*offset = rnd_below(&s->seed, sectors);
	if (rnd_below(&s->seed, 3) == 0)
		*offset -= *offset % cluster;
	*length = 1 + rnd_below(&s->seed, most);
	if (rnd_below(&s->seed, 3) == 0)
		*length = *length - *length % cluster + cluster;
	if (*length > sectors - *offset)
		*length = sectors - *offset;
	*offset *= 512;
	*length *= 512;
}

static void write_some(struct stream *s)
{
	uint64_t offset, length;

	choose_range(s, &offset, &length);
	for (uint64_t i = 0; i < length; i++)
		s->model[offset + i] = rnd_below(&s->seed, 8) ? (uint8_t)i : 7;
	assert_int_equal(request(s->block, BLOCK_WRITE, s->model + offset,
				 offset, length, rnd(&s->seed) & 1),
			 0);
}

/* A whole cluster, compressed by us. */
static void compress_some(struct stream *s)
{
	uint64_t size = 1ull << s->shape.cluster_bits, offset, length;
	uint8_t *at;

	choose_range(s, &offset, &length);
	offset = align_down(offset, size);
	length = s->shape.size - offset < size ? s->shape.size - offset : size;
	at = s->model + offset;
	memset(at, (int)rnd(&s->seed), length / 2);
	if (s->shape.external)
		assert_int_equal(disk_write(s->block, at, offset, length), 0);
	else
		assert_int_equal(disk_compress(s->block, at, offset, length),
				 0);
}

static void read_some(struct stream *s)
{
	uint64_t offset, length;
	uint8_t *buf;

	choose_range(s, &offset, &length);
	buf = malloc(length);
	assert_non_null(buf);
	assert_int_equal(request(s->block, BLOCK_READ, buf, offset, length,
				 rnd(&s->seed) & 1),
			 0);
	assert_memory_equal(buf, s->model + offset, length);
	free(buf);
}

static void zero_some(struct stream *s)
{
	uint64_t offset, length;

	choose_range(s, &offset, &length);
	memset(s->model + offset, 0, length);
	assert_int_equal(
		request(s->block, BLOCK_ZERO, NULL, offset, length, false), 0);
}

/* What a discarded sector holds is open: it is what it was, or zero. */
static void discard_some(struct stream *s)
{
	uint64_t offset, length;
	uint8_t *buf;

	choose_range(s, &offset, &length);
	buf = malloc(length);
	assert_non_null(buf);
	assert_int_equal(
		request(s->block, BLOCK_DISCARD, NULL, offset, length, false),
		0);
	assert_int_equal(disk_read(s->block, buf, offset, length), 0);
	for (uint64_t i = 0; i < length; i++) {
		if (buf[i])
			assert_int_equal(buf[i], s->model[offset + i]);
		s->model[offset + i] = buf[i];
	}
	free(buf);
}

/* QEMU writes, makes a snapshot, deletes one. */
static void let_qemu_write(struct stream *s)
{
	uint64_t offset, length;

	assert_int_equal(block_close(s->block), 0);
	choose_range(s, &offset, &length);
	switch (rnd_below(&s->seed, 4)) {
	case 0:
		must("qemu-io -c 'write -P 201 %llu %llu' top.qcow2",
		     (unsigned long long)offset, (unsigned long long)length);
		memset(s->model + offset, 201, length);
		break;
	case 1:
		must("qemu-io -c 'write -z %llu %llu' top.qcow2",
		     (unsigned long long)offset, (unsigned long long)length);
		memset(s->model + offset, 0, length);
		break;
	case 2:
		/* Refcounts of one bit cannot count a snapshot. */
		if (s->shape.refcount_bits > 4 && !s->shape.external)
			must("qemu-img snapshot -c s%llu top.qcow2",
			     (unsigned long long)s->seed);
		break;
	case 3:
		sh("qemu-img snapshot -d \"$(qemu-img snapshot -l top.qcow2 | "
		   "awk 'NR==3 {print $2}')\" top.qcow2");
	}
	s->block = open_disk("top.qcow2");
}

static void judge(struct stream *s)
{
	assert_int_equal(block_close(s->block), 0);
	must("qemu-img check -f qcow2 top.qcow2");
	disk_save("model.raw", s->model, s->shape.size);
	must("qemu-img compare -f qcow2 -F raw top.qcow2 model.raw");
	if (s->shape.raw)
		/* QEMU writes up to the end of the last cluster. */
		must("cmp -n %llu top.raw model.raw",
		     (unsigned long long)s->shape.size);
	s->block = open_disk("top.qcow2");
	assert_disk(s->block, s->model);
}

static void run_stream(uint64_t seed)
{
	struct stream s = { .seed = seed * 0x9e3779b97f4a7c15ull + 1,
			    .first_seed = seed };
	unsigned steps;

	choose_shape(&s);
	s.model = malloc(s.shape.size);
	assert_non_null(s.model);
	make_image(&s);
	load_model(&s);
	s.block = open_disk("top.qcow2");
	assert_int_equal(s.block->size, s.shape.size);
	assert_disk(s.block, s.model);
	steps = 40 + rnd_below(&s.seed, 100);
	for (unsigned step = 0; step < steps; step++) {
		switch (rnd_below(&s.seed, 40)) {
		case 0:
			let_qemu_write(&s);
			break;
		case 1 ... 4:
			zero_some(&s);
			break;
		case 5 ... 7:
			discard_some(&s);
			break;
		case 8 ... 9:
			compress_some(&s);
			break;
		case 10 ... 12:
			assert_int_equal(disk_flush(s.block), 0);
			break;
		case 13 ... 20:
			read_some(&s);
			break;
		default:
			write_some(&s);
		}
	}
	judge(&s);
	assert_int_equal(block_close(s.block), 0);
	free(s.model);
}

static void a_random_stream_leaves_its_model_and_a_clean_image(void **state)
{
	const char *only = getenv("KVIST_SEED");

	(void)state;
	if (only) {
		run_stream(strtoull(only, NULL, 0));
		return;
	}
	for (unsigned seed = 1; seed <= streams(6); seed++) {
		note_seed(seed);
		print_message("seed %u\n", seed);
		run_stream(seed);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_random_stream_leaves_its_model_and_a_clean_image),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
