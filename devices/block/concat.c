#include "devices/block/concat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/image_map.h"
#include "devices/block/layers.h"
#include "util/checked.h"

struct concat {
	struct block block;
	int count;
	struct block *parts[];
};

static struct concat *to_concat(struct block *block)
{
	return container_of(block, struct concat, block);
}

/*
 * The part that holds the byte at *offset, which then counts from that part's
 * beginning; *length is made to end with the part.
 *
 *   offset      v
 *   | part 0 | part 1      | part 2 |
 *            |--|.........>|
 *          *offset  *length
 */
static struct block *part_at(const struct concat *c, uint64_t *offset,
			     uint64_t *length)
{
	int i = 0;

	while (*offset >= c->parts[i]->size)
		*offset -= c->parts[i++]->size;
	if (*length > c->parts[i]->size - *offset)
		*length = c->parts[i]->size - *offset;
	return c->parts[i];
}

static int concat_read(struct block *block, const struct iovec *iov, int iovcnt,
		       uint64_t skip, uint64_t length, uint64_t offset)
{
	const struct concat *c = to_concat(block);
	int err = 0;

	while (length && !err) {
		uint64_t at = offset, n = length;
		struct block *part = part_at(c, &at, &n);

		err = block_transfer(part, BLOCK_READ, iov, iovcnt, skip, n,
				     at);
		skip += n;
		offset += n;
		length -= n;
	}
	return err;
}

static void concat_submit(struct block *block, struct block_request *request)
{
	int err = 0;

	if (request->op == BLOCK_READ)
		err = concat_read(block, request->iov, request->iovcnt, 0,
				  request->length, request->offset);
	request->done(request, err);
}

static int concat_map(struct block *block, uint64_t offset, uint64_t length,
		      struct block_extent *extent)
{
	struct block *part = part_at(to_concat(block), &offset, &length);
	struct image_extent found;
	int err = image_map(part, offset, length, &found);

	*extent = found.at;
	/* There is nothing below this one that might have it. */
	extent->allocated = true;
	extent->placed = false;
	return err;
}

static int concat_close(struct block *block)
{
	struct concat *c = to_concat(block);
	int first = 0;

	for (int i = 0; i < c->count; i++) {
		int err = block_close(c->parts[i]);

		first = first ? first : err;
	}
	free(block->name);
	free(c);
	return first;
}

int concat_create(struct block *const *parts, int count, struct block **block)
{
	static const struct block_ops ops = { .submit = concat_submit,
					      .read = concat_read,
					      .map = concat_map,
					      .close = concat_close };
	struct concat *c = calloc(1, sizeof(*c) + count * sizeof(*parts));
	char *name = strdup(parts[0]->name);
	int err = c && name ? 0 : -ENOMEM;

	for (int i = 0; i < count && !err; i++) {
		c->parts[i] = parts[i];
		if (!checked_add(c->block.size, parts[i]->size,
				 &c->block.size) ||
		    c->block.size > INT64_MAX)
			err = -EFBIG;
	}
	if (err) {
		free(name);
		free(c);
		return err;
	}
	c->count = count;
	c->block.ops = &ops;
	c->block.name = name;
	c->block.block_size = c->block.discard_unit = BLOCK_SECTOR;
	c->block.read_only = true;
	c->block.event_fd = -1;
	*block = &c->block;
	return 0;
}
