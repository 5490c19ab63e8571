/*
 * A virtio-blk under test: a disk in memory that completes at once, or when the
 * test lets it, and a driver's requests in the usual layout.
 */
#ifndef KVIST_TESTS_BLK_BENCH_H
#define KVIST_TESTS_BLK_BENCH_H

#include "devices/virtio/blk.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "virtio_bench.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SIZE       16
#define DISK_BYTES (64 * BLOCK_SECTOR)

#define FEATURES (BENCH_FEATURES | 1ull << VIRTIO_BLK_F_FLUSH)

struct disk {
	struct block block;
	uint8_t bytes[DISK_BYTES];
	bool hold;         /* atomic: requests wait in the list */
	int err;           /* atomic: how requests end */
	int flushes;       /* atomic */
	int discards;      /* atomic */
	unsigned sleep_us; /* each request takes this long */
	bool closed;
	struct block_request *held; /* worker */
	unsigned submitted;         /* atomic */
	/* What was submitted, the first of it. */
	struct block_request log[SIZE];
	unsigned logged;
	uint64_t
		bad; /* what touches this byte of it fails with -EIO; 0: none */
	bool dry;    /* nothing is copied */
	uint64_t new_size; /* what refresh finds */
};

static inline void disk_perform(struct disk *disk,
				struct block_request *request)
{
	uint8_t *at = disk->bytes + request->offset;
	int err = __atomic_load_n(&disk->err, __ATOMIC_SEQ_CST);
	uint64_t bad = __atomic_load_n(&disk->bad, __ATOMIC_SEQ_CST);

	if (bad && bad >= request->offset &&
	    bad < request->offset + request->length)
		err = -EIO;
	for (int i = 0; i < request->iovcnt && !err && !disk->dry; i++) {
		const struct iovec *iov = &request->iov[i];

		if (request->op == BLOCK_READ)
			memcpy(iov->iov_base, at, iov->iov_len);
		else
			memcpy(at, iov->iov_base, iov->iov_len);
		at += iov->iov_len;
	}
	if (request->op == BLOCK_ZERO && !err)
		memset(at, 0, request->length);
	if (request->op == BLOCK_DISCARD)
		__atomic_fetch_add(&disk->discards, 1, __ATOMIC_SEQ_CST);
	if (request->op == BLOCK_FLUSH)
		__atomic_fetch_add(&disk->flushes, 1, __ATOMIC_SEQ_CST);
	request->done(request, err);
}

static inline void disk_submit(struct block *block,
			       struct block_request *request)
{
	struct disk *disk = container_of(block, struct disk, block);

	if (disk->logged < ARRAY_SIZE(disk->log))
		disk->log[disk->logged++] = *request;
	usleep(disk->sleep_us);
	if (__atomic_load_n(&disk->hold, __ATOMIC_SEQ_CST)) {
		request->next = disk->held;
		disk->held = request;
	} else {
		disk_perform(disk, request);
	}
	__atomic_fetch_add(&disk->submitted, 1, __ATOMIC_SEQ_CST);
}

static inline void disk_reap(struct block *block)
{
	struct disk *disk = container_of(block, struct disk, block);
	uint64_t count;

	if (read(block->event_fd, &count, sizeof(count)) < 0)
		return;
	while (disk->held) {
		struct block_request *request = disk->held;

		disk->held = request->next;
		disk_perform(disk, request);
	}
}

static inline int disk_close(struct block *block)
{
	struct disk *disk = container_of(block, struct disk, block);

	assert_null(disk->held);
	disk->closed = true;
	close(block->event_fd);
	return 0;
}

/* Any thread: what is held completes, and nothing is held any more. */
static inline void disk_release(struct disk *disk)
{
	uint64_t one = 1;

	__atomic_store_n(&disk->hold, false, __ATOMIC_SEQ_CST);
	assert_int_equal(write(disk->block.event_fd, &one, sizeof(one)), 8);
}

static inline int disk_refresh(struct block *block)
{
	block->size = container_of(block, struct disk, block)->new_size;
	return 0;
}

static inline int disk_resize(struct block *block, uint64_t size)
{
	struct disk *disk = container_of(block, struct disk, block);
	int err = __atomic_load_n(&disk->err, __ATOMIC_SEQ_CST);

	if (!err)
		block->size = disk->new_size = size;
	return err;
}

static const struct block_ops disk_ops = {
	.refresh = disk_refresh,
	.resize = disk_resize,
	.submit = disk_submit,
	.reap = disk_reap,
	.close = disk_close,
};

static inline void disk_create_with(struct bench *bench, struct disk *disk,
				    bool read_only,
				    const struct virtio_blk_options *options)
{
	struct virtio_device *virtio;

	bench_memory(bench);
	memset(disk, 0, sizeof(*disk));
	disk->block = (struct block){
		.ops = &disk_ops,
		.size = DISK_BYTES,
		.block_size = 4096,
		.discard_unit = 65536,
		.read_only = read_only,
		.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	for (size_t i = 0; i < DISK_BYTES; i++)
		disk->bytes[i] = i / BLOCK_SECTOR + i;
	assert_int_equal(virtio_blk_create("blk0", &disk->block, options,
					   &bench->memory, &virtio),
			 0);
	bench_attach(bench, virtio);
}

static inline void disk_create(struct bench *bench, struct disk *disk,
			       bool read_only)
{
	disk_create_with(bench, disk, read_only,
			 &(struct virtio_blk_options){
				 .serial = "serial-0",
				 .queues = 1,
				 .discard = true,
			 });
}

/* Where the parts of a request lie. */
#define HEADER BENCH_DATA
#define DATA   (BENCH_DATA + 0x1000)
#define STATUS (BENCH_DATA + 0x800)

static inline uint8_t *guest(struct bench *bench, gpa_t gpa)
{
	return memory_at(&bench->memory, gpa, 1);
}

static inline void set_header(struct bench *bench, gpa_t at, uint32_t type,
			      uint64_t sector)
{
	put_le32(guest(bench, at), type);
	put_le32(guest(bench, at + 4), 0);
	put_le64(guest(bench, at + 8), sector);
}

static inline void offer(struct bench *bench, const struct segment *segments,
			 int n)
{
	*guest(bench, STATUS) = 0xaa;
	driver_add(&bench->queues[0], segments, n);
	virtio_notify(bench->virtio, 0);
}

/* Sends a request and waits; the length in the used ring. */
static inline uint32_t request(struct bench *bench,
			       const struct segment *segments, int n)
{
	struct vring_used_elem elem = { 0 };

	offer(bench, segments, n);
	assert_true(driver_wait(&bench->queues[0], &elem));
	return elem.len;
}

/* The usual layout: header, data, status. */
static inline uint32_t simple(struct bench *bench, uint32_t type,
			      uint64_t sector, uint32_t len, bool in)
{
	struct segment segments[] = { { HEADER, 16, false },
				      { DATA, len, in },
				      { STATUS, 1, true } };

	set_header(bench, HEADER, type, sector);
	return request(bench, segments, 3);
}

#endif
