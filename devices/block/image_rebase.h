/*
 * Moving data between a disk and what lies below it: for tools, between
 * requests.
 */
#ifndef KVIST_BLOCK_IMAGE_REBASE_H
#define KVIST_BLOCK_IMAGE_REBASE_H

#include "devices/block/block.h"

struct image_rebase {
	struct block *disk;
	struct block *backing; /* the new one, or NULL for none */
	/* Told how far it is, in bytes of the disk; or NULL. */
	void (*progress)(void *opaque, uint64_t done);
	void *opaque;
};

/*
 * Writes into the disk all that would read differently with @backing below it
 * instead of the present backing file. The caller changes its header then. 0 or
 * -errno, logged; durable when it returns 0.
 */
int image_rebase(const struct image_rebase *rebase);

struct image_commit {
	struct block *disk;
	struct block *base; /* a layer below, which can be written to */
	uint64_t rate;      /* bytes written in a second, at most; 0: any */
	void (*progress)(void *opaque, uint64_t done);
	void *opaque;
};

/* Writes into @base, which grows if need be, all that the layers above it hold.
 * 0 or -errno, logged; durable when it returns 0. */
int image_commit(const struct image_commit *commit);

#endif
