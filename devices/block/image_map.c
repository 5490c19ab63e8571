#include "devices/block/image_map.h"

#include "devices/block/qcow2.h"

struct block *image_backing(struct block *block)
{
	struct qcow2 *q = qcow2_of(block);

	return q ? q->backing : NULL;
}

int image_map_layer(struct block *block, uint64_t offset, uint64_t length,
		    struct block_extent *extent)
{
	if (block->ops->map)
		return block->ops->map(block, offset, length, extent);
	*extent = (struct block_extent){ .length = length,
					 .allocated = true,
					 .data = true };
	return 0;
}

int image_map(struct block *block, uint64_t offset, uint64_t length,
	      struct image_extent *extent)
{
	extent->layer = block;
	extent->depth = 0;
	for (;;) {
		struct block *below = image_backing(extent->layer);
		int err = image_map_layer(extent->layer, offset, length,
					  &extent->at);

		if (err || extent->at.allocated)
			return err;
		/* Behind the end of a backing file that is shorter, zeros. */
		if (!below || offset >= below->size) {
			extent->at.zero = true;
			return 0;
		}
		length = extent->at.length;
		if (length > below->size - offset)
			length = below->size - offset;
		extent->layer = below;
		extent->depth++;
	}
}
