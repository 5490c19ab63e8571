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
	/* The new image has the same backing file as @from: what @from has not
	 * allocated is left out, and so are zeros behind the backing file's
	 * end. */
	bool backed;
	uint64_t backing_size;
	/* Runs of zeros among data are left out if they have at least this many
	 * bytes, a multiple of a sector; 0: all is written. */
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

/* For those who copy: how many bytes may be written in a second; 0: any number.
 * hold(): @written more were written; it waits until that is slow enough. */
struct image_rate {
	uint64_t bytes, written;
	struct timespec begin;
};

void image_rate_begin(struct image_rate *rate, uint64_t bytes);
void image_rate_hold(struct image_rate *rate, uint64_t written);

/* Likewise: reads or writes bytes of a disk in one piece; and logs that @what
 * was done failed at byte @at. 0 or -errno; the latter returns @err. */
int image_transfer(struct block *block, enum block_op op, uint8_t *bytes,
		   uint64_t length, uint64_t offset);
int image_failed(const struct block *block, const char *what, uint64_t at,
		 int err);

#endif
