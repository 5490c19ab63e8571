#include "devices/virtio/blk_request.h"

#include "util/checked.h"

/* DISCARD and WRITE_ZEROES: the payload says where (5.2.6). */
static uint8_t parse_range(uint32_t type, const struct blk_context *context,
			   struct blk_command *command)
{
	const struct virtio_blk_discard_write_zeroes *range = &context->range;
	uint32_t known = type == VIRTIO_BLK_T_WRITE_ZEROES
				 ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP
				 : 0;

	if (type == VIRTIO_BLK_T_DISCARD && !context->discard)
		return VIRTIO_BLK_S_UNSUPP;
	if (context->read_only || context->out_bytes != sizeof(*range))
		return VIRTIO_BLK_S_IOERR;
	if (range->flags & ~known)
		return VIRTIO_BLK_S_UNSUPP;
	if (range->num_sectors > BLK_RANGE_MAX)
		return VIRTIO_BLK_S_IOERR;
	command->unmap = context->discard && range->flags;
	command->op = type == VIRTIO_BLK_T_DISCARD ? BLOCK_DISCARD : BLOCK_ZERO;
	command->length = (uint64_t)range->num_sectors * BLOCK_SECTOR;
	return VIRTIO_BLK_S_OK;
}

uint8_t blk_parse(const struct virtio_blk_outhdr *header,
		  const struct blk_context *context,
		  struct blk_command *command)
{
	uint64_t sector = header->sector;
	uint8_t status;

	*command = (struct blk_command){ 0 };
	switch (header->type) {
	case VIRTIO_BLK_T_IN:
		command->op = BLOCK_READ;
		command->length = context->in_bytes;
		if (command->length > BLK_TRANSFER_MAX)
			return VIRTIO_BLK_S_IOERR;
		break;
	case VIRTIO_BLK_T_OUT:
		command->op = BLOCK_WRITE;
		command->length = context->out_bytes;
		if (context->read_only || command->length > BLK_TRANSFER_MAX)
			return VIRTIO_BLK_S_IOERR;
		break;
	case VIRTIO_BLK_T_FLUSH:
		/* The sector is reserved here (5.2.6.1). */
		command->op = BLOCK_FLUSH;
		return VIRTIO_BLK_S_OK;
	case VIRTIO_BLK_T_GET_ID:
		command->get_id = true;
		return VIRTIO_BLK_S_OK;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		status = parse_range(header->type, context, command);
		if (status != VIRTIO_BLK_S_OK)
			return status;
		sector = context->range.sector;
		break;
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
	if (command->length % BLOCK_SECTOR ||
	    !checked_mul(sector, BLOCK_SECTOR, &command->offset) ||
	    !range_within(command->offset, command->length, context->size))
		return VIRTIO_BLK_S_IOERR;
	return VIRTIO_BLK_S_OK;
}
