/*
 * Which of a disk's bytes are data, which zeros, and which layer of the chain
 * of backing files holds them: for tools.
 *
 * To be called between requests, by the thread that uses the block.
 */
#ifndef KVIST_BLOCK_IMAGE_MAP_H
#define KVIST_BLOCK_IMAGE_MAP_H

#include "devices/block/block.h"

struct image_extent {
	struct block_extent at; /* as the layer that decides it holds it */
	struct block *layer;    /* that one; borrowed */
	int depth;              /* 0: the disk's own, 1: its backing file's */
};

/* What @block alone holds. As block_ops.map, of any block. */
int image_map_layer(struct block *block, uint64_t offset, uint64_t length,
		    struct block_extent *extent);

/*
 * What the disk reads as, at most @length bytes of it that are alike. Where no
 * layer has anything, at.zero is set and at.allocated is not. 0 or -errno.
 */
int image_map(struct block *block, uint64_t offset, uint64_t length,
	      struct image_extent *extent);

/* The layer below, borrowed; or NULL. */
struct block *image_backing(struct block *block);

#endif
