/*
 * `kvist io`: any range of a disk, though requests of the block layer are whole
 * sectors.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/io.h"
#include "devices/block/compress.h"
#include "devices/block/image_map.h"
#include "devices/block/layers.h"
#include "util/checked.h"

static int move(struct io *io, enum block_op op, uint8_t *bytes,
		uint64_t length, uint64_t offset)
{
	struct iovec iov = { .iov_base = bytes, .iov_len = length };

	return block_transfer(io->disk, op, &iov, 1, 0, length, offset);
}

int io_access(struct io *io, enum block_op op, uint8_t *bytes, uint64_t length,
	      uint64_t offset)
{
	uint64_t begin = align_down(offset, BLOCK_SECTOR);
	uint64_t whole = align_up(offset + length, BLOCK_SECTOR) - begin;
	uint8_t *sectors;
	int err;

	if (!range_within(offset, length, io->disk->size))
		return -EIO;
	if (begin == offset && whole == length)
		return move(io, op, bytes, length, offset);
	sectors = malloc(whole);
	if (!sectors)
		return -ENOMEM;
	err = move(io, BLOCK_READ, sectors, whole, begin);
	if (!err && op == BLOCK_READ)
		memcpy(bytes, sectors + (offset - begin), length);
	if (!err && op == BLOCK_WRITE) {
		memcpy(sectors + (offset - begin), bytes, length);
		err = move(io, op, sectors, whole, begin);
	}
	free(sectors);
	return err;
}

int io_copy_up(struct io *io, uint64_t offset, uint64_t length)
{
	uint64_t unit = io->disk->discard_unit, end = offset + length;
	struct block_extent e;
	int err = 0;

	end = end < io->disk->size ? align_up(end, unit) : end;
	if (end > io->disk->size)
		end = io->disk->size;
	offset = align_down(offset, unit);
	for (; !err && offset < end; offset += e.length) {
		uint8_t *bytes;
		bool zeros;

		err = image_map_layer(io->disk, offset, end - offset, &e);
		if (err)
			break;
		if (e.allocated)
			continue;
		bytes = malloc(e.length);
		err = bytes ? io_access(io, BLOCK_READ, bytes, e.length, offset)
			    : -ENOMEM;
		zeros = !err && !*bytes &&
			!memcmp(bytes, bytes + 1, e.length - 1);
		if (!err)
			err = zeros ? io_clear(io, BLOCK_ZERO, e.length, offset)
				    : io_access(io, BLOCK_WRITE, bytes,
						e.length, offset);
		free(bytes);
	}
	return err;
}

int io_clear(struct io *io, enum block_op op, uint64_t length, uint64_t offset)
{
	uint64_t begin = align_up(offset, BLOCK_SECTOR);
	uint64_t end = align_down(offset + length, BLOCK_SECTOR);
	uint8_t zeros[BLOCK_SECTOR] = { 0 };
	uint64_t head = begin - offset, tail = offset + length - end;
	int err = 0;

	if (!range_within(offset, length, io->disk->size))
		return -EIO;
	if (begin > end) {
		head = length;
		tail = 0;
	}
	if (op == BLOCK_ZERO && head)
		err = io_access(io, BLOCK_WRITE, zeros, head, offset);
	if (!err && begin < end)
		err = move(io, op, NULL, end - begin, begin);
	if (!err && op == BLOCK_ZERO && tail)
		err = io_access(io, BLOCK_WRITE, zeros, tail, end);
	return err;
}

int io_sync(struct io *io)
{
	return block_flush(io->disk);
}

int io_access_compressed(struct io *io, const uint8_t *bytes, uint64_t length,
			 uint64_t offset)
{
	struct block *disk = io->disk;
	struct compressor *c;
	uint8_t *packed;
	uint64_t cluster, at = 0;
	unsigned type;
	int err = qcow2_compression(disk, &type, &cluster);

	if (!err && (offset % cluster ||
		     (length % cluster && offset + length != disk->size)))
		err = -EINVAL;
	if (!err && !range_within(offset, length, disk->size))
		err = -EIO;
	if (err)
		return err;
	c = compressor_create(type);
	packed = malloc(2 * cluster);
	err = c && packed ? 0 : -ENOMEM;
	for (; !err && at < length; at += cluster) {
		uint64_t n = length - at < cluster ? length - at : cluster;
		uint8_t *whole = packed + cluster;
		size_t len;

		memset(whole, 0, cluster);
		memcpy(whole, bytes + at, n);
		len = compressor_run(c, whole, cluster, packed);
		err = len ? qcow2_write_compressed(disk, offset + at, packed,
						   len)
			  : move(io, BLOCK_WRITE, whole, n, offset + at);
	}
	free(packed);
	compressor_destroy(c);
	return err;
}
