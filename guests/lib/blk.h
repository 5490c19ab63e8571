/*
 * A disk driver of one request at a time, over virtio-blk.
 */
#ifndef GUESTS_LIB_BLK_H
#define GUESTS_LIB_BLK_H

#include "guests/lib/virtio.h"

#include <linux/virtio_blk.h>

#define SECTOR       512
#define BLK_SEGMENTS 16
#define BLK_UNSET    0xff /* a status nobody has written */

struct blk {
	struct virtio dev;
	struct virtqueue vq;
	uint64_t sectors;
	uint32_t used_length; /* of the last request */
	struct virtio_blk_outhdr header;
	uint8_t status;
};

/* The @index-th disk, with the features of @wanted that it offers. False when
 * there is none. */
bool blk_find(struct blk *blk, int index);
/* Resets it and sets it up again; a queue of @queue_size (0: the largest). */
void blk_start(struct blk *blk, uint64_t wanted, uint16_t queue_size);

/* Queues a request without notifying: header, @count data buffers, status. */
uint16_t blk_queue(struct blk *blk, uint32_t type, uint64_t sector,
		   const struct vq_buffer *data, int count);
/* Does one and waits; its status. Fails the guest when it does not end. */
uint8_t blk_request(struct blk *blk, uint32_t type, uint64_t sector,
		    const struct vq_buffer *data, int count);
uint8_t blk_read(struct blk *blk, uint64_t sector, void *to, uint32_t size);
uint8_t blk_write(struct blk *blk, uint64_t sector, const void *from,
		  uint32_t size);

#endif
