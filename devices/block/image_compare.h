/*
 * Compares two disks.
 */
#ifndef KVIST_BLOCK_IMAGE_COMPARE_H
#define KVIST_BLOCK_IMAGE_COMPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/block/block.h"

/*
 * Looks for the first sector of [begin, end) that differs, and sets *at to its
 * offset in bytes, or to @end when there is none. Behind its own end a disk
 * reads as zeros. Both ends are multiples of a sector. 0 or -errno, logged.
 */
int image_compare(struct block *a, struct block *b, uint64_t begin,
		  uint64_t end, uint64_t *at);

#endif
