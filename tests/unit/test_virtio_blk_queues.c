/*
 * Four queues at once over one qcow2 disk: each has a driver of its own, in a
 * thread of its own, which writes, zeroes, discards, flushes and reads sectors
 * that lie between those of the others, in the same clusters. What is in flight
 * ends in an order of its own, too. Every driver reads what it wrote, and the
 * image is whole in the end.
 */
#include "unit.h"

#include "blk_bench.h"

#include <pthread.h>
#include <stdlib.h>

#include "devices/block/fault.h"
#include "devices/block/layers.h"
#include "devices/block/qcow2_check.h"
#include "devices/block/qcow2_create.h"
#include "devices/block/qcow2_snapshot.h"

#define QUEUES  4
#define STRIPE  3u   /* sectors that belong to the same queue */
#define STRIPES 200u /* of one queue */
#define SECTORS (STRIPE * STRIPES * QUEUES)
#define BATCH   5u  /* requests of one queue in flight */
#define ROUNDS  60u /* of batches */
#define LENGTH  (STRIPE * BLOCK_SECTOR)
#define ROOM    0x2000 /* of guest memory, for one request */

struct guest_queue {
	struct bench *bench;
	unsigned number;
	uint64_t seed;
	uint32_t wrote[STRIPES]; /* in every word of it; 0: zeros */
	unsigned wrong;
};

static uint64_t next_random(uint64_t *seed, uint64_t limit)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (*seed >> 33) % limit;
}

static gpa_t room(const struct guest_queue *q, unsigned i)
{
	return BENCH_DATA + (q->number * BATCH + i) * ROOM;
}

static uint64_t first_sector(const struct guest_queue *q, unsigned stripe)
{
	return ((uint64_t)stripe * QUEUES + q->number) * STRIPE;
}

/* Offers a request for @stripe; what it does is @type. */
static void start(struct guest_queue *q, unsigned i, uint32_t type,
		  unsigned stripe, uint32_t word)
{
	struct virtio_blk_discard_write_zeroes range = {
		.sector = first_sector(q, stripe),
		.num_sectors = STRIPE,
	};
	gpa_t at = room(q, i);
	struct segment segments[] = {
		{ at, 16, false },
		{ at + 0x1000, LENGTH, type == VIRTIO_BLK_T_IN },
		{ at + 0x800, 1, true },
	};
	uint32_t *words = (uint32_t *)(void *)guest(q->bench, at + 0x1000);

	set_header(q->bench, at, type, range.sector);
	*guest(q->bench, at + 0x800) = 0xaa;
	if (type == VIRTIO_BLK_T_FLUSH) {
		set_header(q->bench, at, type, 0);
		segments[1] = segments[2];
		driver_add(&q->bench->queues[q->number], segments, 2);
		return;
	}
	if (type == VIRTIO_BLK_T_OUT) {
		for (unsigned w = 0; w < LENGTH / 4; w++)
			words[w] = word;
	} else if (type != VIRTIO_BLK_T_IN) {
		memcpy(words, &range, sizeof(range));
		segments[1].len = sizeof(range);
	}
	driver_add(&q->bench->queues[q->number], segments, 3);
}

/* One batch: different stripes, so that the order does not matter. */
static void run_batch(struct guest_queue *q, unsigned round)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_IN,
					  VIRTIO_BLK_T_WRITE_ZEROES,
					  VIRTIO_BLK_T_FLUSH };
	unsigned first = next_random(&q->seed, STRIPES), stripe[BATCH];
	uint32_t type[BATCH], word = round * QUEUES + q->number + 1;
	struct vring_used_elem elem;

	for (unsigned i = 0; i < BATCH; i++) {
		type[i] = types[next_random(&q->seed, ARRAY_SIZE(types))];
		stripe[i] = (first + i) % STRIPES;
		start(q, i, type[i], stripe[i], word);
	}
	virtio_notify(q->bench->virtio, q->number);
	for (unsigned i = 0; i < BATCH; i++)
		q->wrong += !driver_wait(&q->bench->queues[q->number], &elem);
	for (unsigned i = 0; i < BATCH; i++) {
		const uint32_t *words = (uint32_t *)(void *)guest(
			q->bench, room(q, i) + 0x1000);

		q->wrong += *guest(q->bench, room(q, i) + 0x800) !=
			    VIRTIO_BLK_S_OK;
		if (type[i] == VIRTIO_BLK_T_OUT)
			q->wrote[stripe[i]] = word;
		if (type[i] == VIRTIO_BLK_T_WRITE_ZEROES)
			q->wrote[stripe[i]] = 0;
		for (unsigned w = 0;
		     type[i] == VIRTIO_BLK_T_IN && w < LENGTH / 4; w++)
			q->wrong += words[w] != q->wrote[stripe[i]];
	}
}

static void *drive(void *opaque)
{
	struct guest_queue *q = opaque;

	for (unsigned round = 0; round < ROUNDS && !q->wrong; round++)
		run_batch(q, round);
	return NULL;
}

/* An image in memory, and the data file it may have. */
struct image {
	struct memory_bytes memory, data;
	bool external, raw;
};

static struct block *open_image(struct image *image, uint64_t *seed)
{
	struct host_file *file = memory_file_create(&image->memory);
	struct host_file *data = NULL;
	struct block *block;

	if (image->external)
		data = memory_file_create(&image->data);
	assert_true(file && (data || !image->external));
	if (seed)
		file = delay_file_create(file, seed);
	assert_non_null(file);
	if (seed && data)
		data = delay_file_beside(data, file);
	assert_int_equal(qcow2_open(file, "top.qcow2", false, &block), 0);
	if (image->external)
		qcow2_set_data(block, data);
	return block;
}

struct kind {
	unsigned cluster;
	bool extended;
	bool external, raw; /* a data file; one that is a raw disk */
};

/* An image with a snapshot, so that writes copy; none with a data file. */
static void make_image(struct image *image, const struct kind *kind)
{
	static const struct timespec now;
	struct qcow2_shape shape = qcow2_shape_default;
	struct host_file *file = memory_file_create(&image->memory);
	struct block *block;

	assert_non_null(file);
	shape.cluster_size = kind->cluster;
	shape.size = SECTORS * BLOCK_SECTOR;
	shape.extended_l2 = kind->extended;
	image->external = kind->external;
	image->raw = kind->raw;
	if (kind->external) {
		shape.data_name = "top.data";
		shape.data_raw = kind->raw;
		shape.data = memory_file_create(&image->data);
		assert_non_null(shape.data);
	}
	assert_int_equal(qcow2_create(file, &shape), 0);
	file->ops->close(file);
	if (kind->external) {
		shape.data->ops->close(shape.data);
		return;
	}
	block = open_image(image, NULL);
	assert_int_equal(qcow2_snapshot_create(block, "empty", &now), 0);
	assert_int_equal(block_close(block), 0);
}

static void check_image(struct image *image,
			const struct guest_queue queues[QUEUES])
{
	struct qcow2_findings found;
	uint32_t words[LENGTH / 4];
	struct iovec iov = { words, LENGTH };
	struct block *block = open_image(image, NULL);
	struct host_file *file = memory_file_create(&image->memory);

	for (unsigned i = 0; i < QUEUES * STRIPES; i++) {
		const struct guest_queue *q = &queues[i % QUEUES];

		assert_int_equal(block_transfer(block, BLOCK_READ, &iov, 1, 0,
						LENGTH, (uint64_t)i * LENGTH),
				 0);
		for (unsigned w = 0; w < LENGTH / 4; w++)
			assert_int_equal(words[w], q->wrote[i / QUEUES]);
		if (image->raw)
			assert_memory_equal(image->data.bytes + i * LENGTH,
					    words, LENGTH);
	}
	assert_int_equal(block_close(block), 0);
	assert_non_null(file);
	assert_int_equal(qcow2_check(file, "top.qcow2", 0, stderr, &found), 0);
	assert_int_equal(found.corruptions, 0);
	assert_int_equal(found.leaks, 0);
}

static void drive_all(const struct kind *kind, uint64_t number)
{
	uint64_t seed = number; /* of the delayer: the worker's from now on */
	struct image image = { .memory.limit = 64u << 20,
			       .data.limit = 64u << 20 };
	struct virtio_blk_options options = { .serial = "s",
					      .queues = QUEUES,
					      .discard = true };
	struct guest_queue queues[QUEUES];
	pthread_t threads[QUEUES];
	struct virtio_device *virtio;
	struct bench bench;

	make_image(&image, kind);
	bench_memory(&bench);
	assert_int_equal(virtio_blk_create("blk0", open_image(&image, &seed),
					   &options, &bench.memory, &virtio),
			 0);
	bench_attach(&bench, virtio);
	bench_up(&bench,
		 FEATURES | 1ull << VIRTIO_BLK_F_MQ |
			 1ull << VIRTIO_BLK_F_WRITE_ZEROES,
		 32);
	for (unsigned i = 0; i < QUEUES; i++) {
		queues[i] = (struct guest_queue){ .bench = &bench,
						  .number = i,
						  .seed = number + i };
		assert_int_equal(
			pthread_create(&threads[i], NULL, drive, &queues[i]),
			0);
	}
	for (unsigned i = 0; i < QUEUES; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(queues[i].wrong, 0);
	}
	bench_end(&bench);
	check_image(&image, queues);
	free(image.memory.bytes);
	free(image.data.bytes);
}

static void four_queues_at_once_share_clusters_and_lose_nothing(void **state)
{
	static const struct kind kinds[] = {
		{ 512, false, false, false },   { 4096, false, false, false },
		{ 65536, false, false, false }, { 16384, true, false, false },
		{ 4096, false, true, false },   { 65536, false, true, true },
		{ 16384, true, true, false },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		drive_all(&kinds[i], i + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			four_queues_at_once_share_clusters_and_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
