#include "devices/block/image_rebase.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/image_copy.h"
#include "devices/block/image_map.h"
#include "devices/block/layers.h"
#include "util/log.h"

#define PIECE (1u << 20)

/* The disk's bytes as @below has them; zeros where it ends or is not. */
static int read_below(struct block *below, uint8_t *bytes, uint64_t length,
		      uint64_t offset)
{
	uint64_t there = 0;
	int err;

	if (below && offset < below->size)
		there = below->size - offset < length ? below->size - offset
						      : length;
	memset(bytes + there, 0, length - there);
	err = image_transfer(below, BLOCK_READ, bytes, there, offset);
	return err ? image_failed(below, "reading", offset, err) : 0;
}

/* Writes those sectors of the disk that differ, as few times as can be. */
static int keep_differences(struct block *disk, uint8_t *old,
			    const uint8_t *new, uint64_t length,
			    uint64_t offset)
{
	uint64_t begin = 0, at = 0;
	int err = 0;

	for (; at < length && !err; at += BLOCK_SECTOR) {
		if (memcmp(old + at, new + at, BLOCK_SECTOR))
			continue;
		err = image_transfer(disk, BLOCK_WRITE, old + begin, at - begin,
				     offset + begin);
		begin = at + BLOCK_SECTOR;
	}
	if (!err)
		err = image_transfer(disk, BLOCK_WRITE, old + begin, at - begin,
				     offset + begin);
	return err ? image_failed(disk, "writing", offset, err) : 0;
}

static bool reads_as_zeros(struct block *below, uint64_t offset,
			   uint64_t length)
{
	struct image_extent e;

	if (!below || offset >= below->size)
		return true;
	return length <= below->size - offset &&
	       !image_map(below, offset, length, &e) && e.at.zero &&
	       e.at.length >= length;
}

static int rebase_piece(const struct image_rebase *r, uint8_t *bytes,
			uint64_t length, uint64_t offset)
{
	struct block *old = image_backing(r->disk);
	int err;

	if (reads_as_zeros(old, offset, length) &&
	    reads_as_zeros(r->backing, offset, length))
		return 0;
	err = read_below(old, bytes, length, offset);
	if (!err)
		err = read_below(r->backing, bytes + PIECE, length, offset);
	return err ? err
		   : keep_differences(r->disk, bytes, bytes + PIECE, length,
				      offset);
}

static int finish(struct block *block)
{
	int err = block_flush(block);

	if (err)
		log_err("%s: cannot be written out: %s", block->name,
			strerror(-err));
	return err;
}

int image_rebase(const struct image_rebase *r)
{
	uint8_t *bytes = malloc(2 * (size_t)PIECE);
	uint64_t size = r->disk->size, at = 0;
	int err = bytes ? 0 : -ENOMEM;

	if (err)
		log_err("%s: out of memory", r->disk->name);
	while (!err && at < size) {
		uint64_t length = size - at < PIECE ? size - at : PIECE;
		struct block_extent e;

		err = image_map_layer(r->disk, at, length, &e);
		if (err) {
			image_failed(r->disk, "looking", at, err);
			break;
		}
		if (!e.allocated)
			err = rebase_piece(r, bytes, e.length, at);
		at += e.length;
		if (r->progress && !err)
			r->progress(r->opaque, at);
	}
	free(bytes);
	return err ? err : finish(r->disk);
}

/* What the layers above the base have at @offset: *above is false when they
 * have nothing. */
static int map_above(const struct image_commit *c, uint64_t offset,
		     uint64_t length, bool *above, struct block_extent *e)
{
	struct block *layer = c->disk;

	*above = false;
	for (;;) {
		int err;

		/* A layer between that is shorter hides the base by zeros. */
		if (offset >= layer->size) {
			*e = (struct block_extent){ .length = length,
						    .zero = true };
			*above = true;
			return 0;
		}
		if (length > layer->size - offset)
			length = layer->size - offset;
		err = image_map_layer(layer, offset, length, e);
		*above = e->allocated;
		length = e->length;
		layer = image_backing(layer);
		if (err || *above || layer == c->base)
			return err;
	}
}

static int commit_piece(const struct image_commit *c,
			const struct block_extent *e, uint8_t *bytes,
			uint64_t offset)
{
	int err;

	if (e->zero) {
		err = image_transfer(c->base, BLOCK_ZERO, NULL, e->length,
				     offset);
		return err ? image_failed(c->base, "writing", offset, err) : 0;
	}
	err = image_transfer(c->disk, BLOCK_READ, bytes, e->length, offset);
	if (err)
		return image_failed(c->disk, "reading", offset, err);
	err = image_transfer(c->base, BLOCK_WRITE, bytes, e->length, offset);
	return err ? image_failed(c->base, "writing", offset, err) : 0;
}

/* The base is at least as large as the disk. */
static int make_room(const struct image_commit *c)
{
	int err = 0;

	if (c->base->size < c->disk->size)
		err = c->base->ops->resize
			      ? c->base->ops->resize(c->base, c->disk->size)
			      : -ENOTSUP;
	if (err)
		log_err("%s: cannot become as large as %s: %s", c->base->name,
			c->disk->name, strerror(-err));
	return err;
}

int image_commit(const struct image_commit *c)
{
	uint8_t *bytes = malloc(PIECE);
	uint64_t size = c->disk->size, at = 0;
	int err = bytes ? make_room(c) : -ENOMEM;
	struct image_rate rate;

	if (!bytes)
		log_err("%s: out of memory", c->disk->name);
	image_rate_begin(&rate, c->rate);
	while (!err && at < size) {
		uint64_t length = size - at < PIECE ? size - at : PIECE;
		struct block_extent e;
		bool above;

		err = map_above(c, at, length, &above, &e);
		if (err)
			image_failed(c->disk, "looking", at, err);
		else if (above)
			err = commit_piece(c, &e, bytes, at);
		at += e.length;
		image_rate_hold(&rate, err || !above ? 0 : e.length);
		if (c->progress && !err)
			c->progress(c->opaque, at);
	}
	free(bytes);
	return err ? err : finish(c->base);
}
