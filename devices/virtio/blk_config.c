#include "devices/virtio/blk_config.h"

#include "devices/virtio/blk_request.h"
#include "util/bytes.h"

#define FEATURE(bit) (1ull << (bit))

uint64_t blk_features(const struct block *block,
		      const struct virtio_blk_options *options)
{
	uint64_t features =
		FEATURE(VIRTIO_BLK_F_SIZE_MAX) | FEATURE(VIRTIO_BLK_F_SEG_MAX) |
		FEATURE(VIRTIO_BLK_F_BLK_SIZE) |
		FEATURE(VIRTIO_BLK_F_TOPOLOGY) | FEATURE(VIRTIO_BLK_F_FLUSH);

	if (options->queues > 1)
		features |= FEATURE(VIRTIO_BLK_F_MQ);
	if (block->read_only)
		return features | FEATURE(VIRTIO_BLK_F_RO);
	features |= FEATURE(VIRTIO_BLK_F_CONFIG_WCE) |
		    FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
	if (options->discard)
		features |= FEATURE(VIRTIO_BLK_F_DISCARD);
	return features;
}

/* The logical block stays 512 bytes, or partition tables and images made for
 * 512 would be misread; a larger best unit is the physical block's. */
void blk_configuration(const struct block *block,
		       const struct virtio_blk_options *options,
		       struct virtio_blk_config *config)
{
	uint32_t unit = block->discard_unit / BLOCK_SECTOR;

	*config = (struct virtio_blk_config){
		.capacity = htole64(block->size / BLOCK_SECTOR),
		.size_max = htole32(BLK_SEGMENT_BYTES),
		.seg_max = htole32(BLK_SEGMENTS),
		.blk_size = htole32(BLOCK_SECTOR),
		.min_io_size = htole16(block->block_size / BLOCK_SECTOR),
		.opt_io_size = htole32(unit),
		.wce = 1,
		.num_queues = htole16(options->queues),
		.max_write_zeroes_sectors = htole32(BLK_RANGE_MAX),
		.max_write_zeroes_seg = htole32(1),
		.write_zeroes_may_unmap = options->discard,
	};
	if (options->discard) {
		config->max_discard_sectors = htole32(BLK_RANGE_MAX);
		config->max_discard_seg = htole32(1);
		config->discard_sector_alignment = htole32(unit);
	}
	while ((uint32_t)BLOCK_SECTOR << (config->physical_block_exp + 1) <=
	       block->block_size)
		config->physical_block_exp++;
}
