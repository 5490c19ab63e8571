/*
 * What a virtio-blk request asks for (virtio 1.2, 5.2.6): a pure function on a
 * header that was copied out of guest memory.
 */
#ifndef KVIST_VIRTIO_BLK_REQUEST_H
#define KVIST_VIRTIO_BLK_REQUEST_H

#include "devices/block/block.h"

#include <linux/virtio_blk.h>
#include <stdbool.h>
#include <stdint.h>

/* What the disk is and what came with the header. */
struct blk_context {
	uint64_t size; /* of the disk, bytes */
	bool read_only;
	bool discard; /* DISCARD is offered, and zeroing may give space back */
	uint64_t out_bytes; /* readable, after the header */
	uint64_t in_bytes;  /* writable, before the status byte */
	/* A copy of the first of them, if there are as many. */
	struct virtio_blk_discard_write_zeroes range;
};

/* The largest read or write: what a driver may ask for that keeps to SIZE_MAX
 * and SEG_MAX. A request must not keep the worker for seconds, as one of 4 GiB
 * could, which a chain may have. */
#define BLK_SEGMENT_BYTES (1u << 20)
#define BLK_SEGMENTS      254u /* with header and status a queue of 256 */
#define BLK_TRANSFER_MAX  (BLK_SEGMENT_BYTES * BLK_SEGMENTS)

/* Sectors of one DISCARD or WRITE_ZEROES, which names one range: a request
 * must not keep the worker for seconds. */
#define BLK_RANGE_MAX (64u << 20 >> 9)

struct blk_command {
	bool get_id; /* answer with the serial number; else op */
	enum block_op op;
	uint64_t offset, length; /* bytes, multiples of BLOCK_SECTOR */
	bool unmap; /* BLOCK_ZERO: then give the space back as well */
};

/*
 * VIRTIO_BLK_S_OK with *command filled; or the status with which the request
 * must be answered without touching the disk: VIRTIO_BLK_S_UNSUPP for a type
 * that kvist does not know, VIRTIO_BLK_S_IOERR for one that may not be done.
 */
uint8_t blk_parse(const struct virtio_blk_outhdr *header,
		  const struct blk_context *context,
		  struct blk_command *command);

#endif
