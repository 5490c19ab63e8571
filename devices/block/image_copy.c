#include "devices/block/image_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/layers.h"
#include "devices/block/qcow2.h"
#include "util/checked.h"
#include "util/log.h"

/* Read at once; and the pieces of it that are written or left out. */
#define COPY_CHUNK (2u << 20)
#define COPY_PIECE 4096u

static bool is_zero(const uint8_t *bytes, size_t len)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, len - 1);
}

static int transfer(struct block *block, enum block_op op, uint8_t *bytes,
		    uint64_t length, uint64_t offset)
{
	struct iovec iov = { .iov_base = bytes, .iov_len = length };

	return block_transfer(block, op, &iov, 1, 0, length, offset);
}

/* Writes those pieces of the chunk that are not zeros, as few times as can
 * be. */
static int write_data(struct block *to, uint8_t *bytes, uint64_t length,
		      uint64_t offset, bool zeroed)
{
	uint64_t begin = 0, at = 0;
	int err = 0;

	while (at < length && !err) {
		uint64_t n = length - at < COPY_PIECE ? length - at
						      : COPY_PIECE;

		if (zeroed && is_zero(bytes + at, n)) {
			if (begin < at)
				err = transfer(to, BLOCK_WRITE, bytes + begin,
					       at - begin, offset + begin);
			begin = at + n;
		}
		at += n;
	}
	if (!err && begin < length)
		err = transfer(to, BLOCK_WRITE, bytes + begin, length - begin,
			       offset + begin);
	return err;
}

/* How many bytes from @offset on need no look, as their table says that they
 * are zeros; 0 when they have to be read. */
static int known_zeros(const struct image_copy *copy, uint64_t offset,
		       uint64_t *length)
{
	struct qcow2_extent extent;
	struct qcow2 *q;
	int err;

	*length = 0;
	if (copy->from_format != BLOCK_QCOW2 || !copy->zeroed)
		return 0;
	q = container_of(copy->from, struct qcow2, block);
	err = qcow2_map(q, offset, q->block.size - offset, &extent);
	if (err)
		return err;
	if (extent.entry.kind == QCOW2_KIND_ZERO ||
	    extent.entry.kind == QCOW2_KIND_ZERO_ALLOCATED ||
	    (extent.entry.kind == QCOW2_KIND_UNALLOCATED && !q->backing))
		*length = extent.length;
	return 0;
}

static int copy_all(const struct image_copy *copy, struct block *to,
		    uint8_t *bytes)
{
	uint64_t size = copy->from->size, at = 0, length;

	while (at < size) {
		const char *what = "reading";
		int err = known_zeros(copy, at, &length);

		if (!err && !length) {
			length = size - at < COPY_CHUNK ? size - at
							: COPY_CHUNK;
			err = transfer(copy->from, BLOCK_READ, bytes, length,
				       at);
			if (!err) {
				what = "writing";
				err = write_data(to, bytes, length, at,
						 copy->zeroed);
			}
		}
		if (err) {
			log_err("%s: error while %s at byte %llu: %s",
				copy->name, what, (unsigned long long)at,
				strerror(-err));
			return err;
		}
		at += length;
		if (copy->progress)
			copy->progress(copy->opaque, at);
	}
	return 0;
}

int image_copy(const struct image_copy *copy)
{
	struct block_options options = { .path = copy->name,
					 .format = copy->format };
	uint8_t *bytes = malloc(COPY_CHUNK);
	struct block *to;
	int err, close_err;

	if (!bytes) {
		log_err("%s: out of memory", copy->name);
		err = -ENOMEM;
	} else {
		err = block_open_file(&options, copy->to, &to);
	}
	if (err) {
		copy->to->ops->close(copy->to);
		free(bytes);
		return err;
	}
	err = copy_all(copy, to, bytes);
	close_err = block_close(to); /* makes it durable */
	free(bytes);
	return err ? err : close_err;
}
