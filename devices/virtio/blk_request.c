#include "devices/virtio/blk_request.h"

#include "util/checked.h"

uint8_t blk_parse(const struct virtio_blk_outhdr *header,
		  const struct blk_context *context,
		  struct blk_command *command)
{
	*command = (struct blk_command){ 0 };
	switch (header->type) {
	case VIRTIO_BLK_T_IN:
		command->op = BLOCK_READ;
		command->length = context->in_bytes;
		break;
	case VIRTIO_BLK_T_OUT:
		if (context->read_only)
			return VIRTIO_BLK_S_IOERR;
		command->op = BLOCK_WRITE;
		command->length = context->out_bytes;
		break;
	case VIRTIO_BLK_T_FLUSH:
		/* The sector is reserved here (5.2.6.1). */
		command->op = BLOCK_FLUSH;
		return VIRTIO_BLK_S_OK;
	case VIRTIO_BLK_T_GET_ID:
		command->get_id = true;
		return VIRTIO_BLK_S_OK;
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
	if (command->length % BLOCK_SECTOR ||
	    !checked_mul(header->sector, BLOCK_SECTOR, &command->offset) ||
	    !range_within(command->offset, command->length, context->size))
		return VIRTIO_BLK_S_IOERR;
	return VIRTIO_BLK_S_OK;
}
