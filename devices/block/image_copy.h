/*
 * Copies a disk to another image.
 */
#ifndef KVIST_BLOCK_IMAGE_COPY_H
#define KVIST_BLOCK_IMAGE_COPY_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "devices/block/block.h"

struct image_copy {
	/* Both are open, and used by nobody else; @to is at least as large. */
	struct block *from, *to;
	bool zeroed; /* the new image reads as zeros: write none */
	/* The new image has the same backing file as @from: what that one has
	 * not allocated is left out, and so are zeros behind the backing file's
	 * end. */
	bool backed;
	uint64_t backing_size;
	/* Zeros among data are left out from so many bytes on, a multiple of
	 * a sector; 0: all is written, and nothing is left out. */
	uint64_t sparse;
	bool compress;    /* where a cluster gets smaller by it */
	unsigned workers; /* threads that compress */
	uint64_t rate;    /* bytes written in a second, at most; 0: any */
	/* What cannot be read is zeros in the copy; a line says where. */
	bool salvage;
	/* Told how far it is, in bytes of the disk; or NULL. */
	void (*progress)(void *opaque, uint64_t done);
	void *opaque;
};

#define IMAGE_COPY_SPARSE 4096

/* Copies all of @from. 0 or -errno, logged; durable after a flush. */
int image_copy(const struct image_copy *copy);

/* For those who copy: how fast, in bytes written in a second; 0: at any speed.
 * The wait is for as long as there have been more of them than that. */
struct image_rate {
	uint64_t bytes, written;
	struct timespec begin;
};

void image_rate_begin(struct image_rate *rate, uint64_t bytes);
void image_rate_hold(struct image_rate *rate, uint64_t written);

/* Likewise: bytes of a disk in one piece, and what is logged when
 * that fails, at byte @at, while @what was done. Each 0 or -errno; the latter
 * is @err. */
int image_transfer(struct block *block, enum block_op op, uint8_t *bytes,
		   uint64_t length, uint64_t offset);
int image_failed(const struct block *block, const char *what, uint64_t at,
		 int err);

#endif
