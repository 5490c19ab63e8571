#include "guests/lib/blk.h"
#include "guests/lib/lib.h"

bool blk_find(struct blk *blk, int index)
{
	return virtio_find(&blk->dev, VIRTIO_BLOCK, index);
}

void blk_start(struct blk *blk, uint64_t wanted, uint16_t queue_size)
{
	CHECK(virtio_start(&blk->dev, wanted), "features are accepted");
	vq_init(&blk->vq, &blk->dev, 0, queue_size);
	virtio_driver_ok(&blk->dev);
	blk->sectors = virtio_config64(&blk->dev, 0);
}

uint16_t blk_queue(struct blk *blk, uint32_t type, uint64_t sector,
		   const struct vq_buffer *data, int count)
{
	struct vq_buffer buffers[BLK_SEGMENTS + 2];

	CHECK(count <= BLK_SEGMENTS, "data buffers of a request");
	blk->header = (struct virtio_blk_outhdr){
		.type = type,
		.sector = sector,
	};
	blk->status = BLK_UNSET;
	buffers[0] = (struct vq_buffer){
		(uint64_t)&blk->header,
		sizeof(blk->header),
		false,
	};
	for (int i = 0; i < count; i++)
		buffers[1 + i] = data[i];
	buffers[1 + count] = (struct vq_buffer){
		(uint64_t)&blk->status,
		1,
		true,
	};
	return vq_add(&blk->vq, buffers, count + 2);
}

uint8_t blk_request(struct blk *blk, uint32_t type, uint64_t sector,
		    const struct vq_buffer *data, int count)
{
	uint16_t head = blk_queue(blk, type, sector, data, count);
	uint32_t used;

	vq_kick(&blk->vq);
	if (!vq_take(&blk->vq, &used, &blk->used_length))
		fail("%s:%d request type %u, sector %lu: not used in 2 s",
		     __FILE__, __LINE__, type, sector);
	CHECK_EQ(used, head, "head of the used element");
	return *(volatile uint8_t *)&blk->status;
}

uint8_t blk_read(struct blk *blk, uint64_t sector, void *to, uint32_t size)
{
	struct vq_buffer data = { (uint64_t)to, size, true };

	return blk_request(blk, VIRTIO_BLK_T_IN, sector, &data, 1);
}

uint8_t blk_write(struct blk *blk, uint64_t sector, const void *from,
		  uint32_t size)
{
	struct vq_buffer data = { (uint64_t)from, size, false };

	return blk_request(blk, VIRTIO_BLK_T_OUT, sector, &data, 1);
}
