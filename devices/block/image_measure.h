/*
 * How large an image becomes: for tools.
 */
#ifndef KVIST_BLOCK_IMAGE_MEASURE_H
#define KVIST_BLOCK_IMAGE_MEASURE_H

#include "devices/block/block.h"
#include "devices/block/qcow2_create.h"

struct image_measure {
	uint64_t required; /* bytes, when it is made of the disk as it is */
	uint64_t full;     /* and when all of it is allocated */
};

/*
 * The sizes of a qcow2 image of that shape, perhaps encrypted, made of @from,
 * or empty when that is NULL; the shape has passed qcow2_shape_wrong(). An
 * upper bound, and QEMU's figure. 0 or -errno, not logged.
 */
int image_measure(const struct qcow2_shape *shape, bool encrypted,
		  struct block *from, struct image_measure *measure);

#endif
