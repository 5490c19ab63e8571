/*
 * What a disk says of itself: the features it offers and its configuration
 * (virtio 1.2, 5.2.3 and 5.2.4). Pure.
 */
#ifndef KVIST_VIRTIO_BLK_CONFIG_H
#define KVIST_VIRTIO_BLK_CONFIG_H

#include "devices/virtio/blk.h"

#include <linux/virtio_blk.h>
#include <stdint.h>

/* The feature bits of a disk over @block, besides those of every device. */
uint64_t blk_features(const struct block *block,
		      const struct virtio_blk_options *options);

void blk_configuration(const struct block *block,
		       const struct virtio_blk_options *options,
		       struct virtio_blk_config *config);

#endif
