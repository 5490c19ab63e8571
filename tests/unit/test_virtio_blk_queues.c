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

static struct block *open_image(struct memory_bytes *memory, uint64_t *seed)
{
	struct block_options options = { .path = "top.qcow2" };
	struct host_file *file = memory_file_create(memory);
	struct block *block;

	assert_non_null(file);
	if (seed)
		file = delay_file_create(file, seed);
	assert_non_null(file);
	assert_int_equal(block_open_file(&options, file, &block), 0);
	return block;
}

/* An image with a snapshot, so that writes copy. */
static void make_image(struct memory_bytes *memory, unsigned cluster,
		       bool extended)
{
	static const struct timespec now;
	struct qcow2_shape shape = qcow2_shape_default;
	struct host_file *file = memory_file_create(memory);
	struct block *block;

	assert_non_null(file);
	shape.cluster_size = cluster;
	shape.size = SECTORS * BLOCK_SECTOR;
	shape.extended_l2 = extended;
	assert_int_equal(qcow2_create(file, &shape), 0);
	file->ops->close(file);
	block = open_image(memory, NULL);
	assert_int_equal(qcow2_snapshot_create(block, "empty", &now), 0);
	assert_int_equal(block_close(block), 0);
}

static void check_image(struct memory_bytes *memory,
			const struct guest_queue queues[QUEUES])
{
	struct qcow2_findings found;
	uint32_t words[LENGTH / 4];
	struct iovec iov = { words, LENGTH };
	struct block *block = open_image(memory, NULL);
	struct host_file *file = memory_file_create(memory);

	for (unsigned i = 0; i < QUEUES * STRIPES; i++) {
		const struct guest_queue *q = &queues[i % QUEUES];

		assert_int_equal(block_transfer(block, BLOCK_READ, &iov, 1, 0,
						LENGTH, (uint64_t)i * LENGTH),
				 0);
		for (unsigned w = 0; w < LENGTH / 4; w++)
			assert_int_equal(words[w], q->wrote[i / QUEUES]);
	}
	assert_int_equal(block_close(block), 0);
	assert_non_null(file);
	assert_int_equal(qcow2_check(file, "top.qcow2", 0, stderr, &found), 0);
	assert_int_equal(found.corruptions, 0);
	assert_int_equal(found.leaks, 0);
}

static void drive_all(unsigned cluster, bool extended, uint64_t number)
{
	uint64_t seed = number; /* of the delayer: the worker's from now on */
	struct memory_bytes memory = { .limit = 64u << 20 };
	struct virtio_blk_options options = { .serial = "s",
					      .queues = QUEUES,
					      .discard = true };
	struct guest_queue queues[QUEUES];
	pthread_t threads[QUEUES];
	struct virtio_device *virtio;
	struct bench bench;

	make_image(&memory, cluster, extended);
	bench_memory(&bench);
	assert_int_equal(virtio_blk_create("blk0", open_image(&memory, &seed),
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
	check_image(&memory, queues);
	free(memory.bytes);
}

static void four_queues_at_once_share_clusters_and_lose_nothing(void **state)
{
	static const struct {
		unsigned cluster;
		bool extended;
	} shapes[] = { { 512, false },
		       { 4096, false },
		       { 65536, false },
		       { 16384, true } };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++)
		drive_all(shapes[i].cluster, shapes[i].extended, i + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			four_queues_at_once_share_clusters_and_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
