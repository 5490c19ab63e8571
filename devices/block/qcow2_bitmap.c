/*
 * A bitmap is one bit for each piece of the disk; its granularity says how many
 * bytes a piece has. Its table names the clusters that hold it:
 *
 *   header --> directory: | entry and name | entry and name | ...
 *                            |
 *                          table:  | 0 | 1 | cluster | 0 | ...
 *                                    |   |     |
 *                                zeros  ones  bits
 *
 * All of that is written to new clusters, and then the header names it.
 */
#include "devices/block/qcow2_bitmap.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2.h"
#include "devices/block/qcow2_amend.h"
#include "util/bytes.h"
#include "util/checked.h"

struct copying {
	struct qcow2 *from, *to;
	uint8_t *cluster; /* one of @to */
	uint8_t *directory;
	size_t length; /* of it */
	uint32_t count;
	/* What was allocated, each in one piece, to be given back. */
	struct qcow2_freed *taken;
	size_t nr_taken;
};

static uint64_t clusters(const struct qcow2 *q, uint64_t bytes)
{
	return (bytes >> q->header.cluster_bits) +
	       !!(bytes & (q->cluster_size - 1));
}

/* Finds @n free clusters behind each other. */
static int find(struct qcow2 *q, uint64_t n, uint64_t *offset)
{
	uint64_t hint = QCOW2_OFFSET_END, got;
	int err;

	/* A block of refcounts may be in between, but only one. */
	if (n >= 1ull << q->refblock_bits)
		return -EFBIG;
	do {
		err = qcow2_alloc(q, n, offset, &got);
		if (err || got == n)
			break;
		qcow2_release(q, *offset, got);
		if (q->free_hint < hint)
			hint = q->free_hint;
		q->free_hint = (*offset >> q->header.cluster_bits) + got;
	} while (true);
	if (hint < q->free_hint)
		q->free_hint = hint;
	return err;
}

/* Writes @len bytes to new clusters: *offset. */
static int put(struct copying *c, const void *bytes, size_t len,
	       uint64_t *offset)
{
	uint64_t n = clusters(c->to, len);
	struct qcow2_freed *taken =
		realloc(c->taken, (c->nr_taken + 1) * sizeof(*taken));
	int err;

	if (!taken)
		return -ENOMEM;
	c->taken = taken;
	err = find(c->to, n, offset);
	if (err)
		return err;
	taken[c->nr_taken++] =
		(struct qcow2_freed){ .offset = *offset, .clusters = n };
	return qcow2_put(c->to, bytes, len, *offset);
}

/* Reads bytes [at, at + len) of a bitmap. */
static int read_bits(struct qcow2 *q, const struct qcow2_table *table,
		     uint64_t at, uint8_t *to, size_t len)
{
	int err = 0;

	while (len && !err) {
		uint64_t entry = table->entry[at >> q->header.cluster_bits];
		uint64_t skip = at & (q->cluster_size - 1);
		uint64_t host = entry & QCOW2_OFFSET_MASK;
		size_t n = q->cluster_size - skip;

		if (n > len)
			n = len;
		if (host)
			err = host_read(q->file, to, n, host + skip);
		else
			memset(to, entry & QCOW2_BITMAP_ONES ? 0xff : 0, n);
		at += n;
		to += n;
		len -= n;
	}
	return err;
}

/* Copies what is set in the bitmap of @bytes bytes, and fills the new table. */
static int copy_bits(struct copying *c, const struct qcow2_table *table,
		     uint64_t bytes, uint64_t *entries)
{
	size_t size = c->to->cluster_size;
	int err = 0;

	for (uint64_t at = 0; at < bytes && !err; at += size) {
		uint64_t offset = 0, n = bytes - at < size ? bytes - at : size;

		memset(c->cluster + n, 0, size - n);
		err = read_bits(c->from, table, at, c->cluster, n);
		if (err || (!c->cluster[0] &&
			    !memcmp(c->cluster, c->cluster + 1, size - 1)))
			continue;
		err = put(c, c->cluster, size, &offset);
		entries[at / size] = htobe64(offset);
	}
	return err;
}

static int add_to_directory(struct copying *c, const struct qcow2_bitmap *b,
			    uint64_t table, uint64_t entries)
{
	size_t length = align_up(QCOW2_BITMAP_FIXED + b->name_len, 8);
	uint8_t *to = realloc(c->directory, c->length + length);

	if (!to)
		return -ENOMEM;
	c->directory = to;
	to += c->length;
	memset(to, 0, length);
	put_be64(to, table);
	put_be32(to + 8, entries);
	put_be32(to + 12, b->flags & QCOW2_BITMAP_AUTO);
	to[16] = QCOW2_BITMAP_TRACKS;
	to[17] = b->granularity_bits;
	put_be16(to + 18, b->name_len);
	memcpy(to + QCOW2_BITMAP_FIXED, b->name, b->name_len);
	c->length += length;
	c->count++;
	return 0;
}

static bool table_ok(const struct qcow2 *q, const struct qcow2_table *table,
		     uint64_t bytes)
{
	if (table->entries < clusters(q, bytes))
		return false;
	for (uint32_t i = 0; i < table->entries; i++) {
		if (!qcow2_bitmap_entry_ok(table->entry[i],
					   q->header.cluster_bits))
			return false;
	}
	return true;
}

static int copy_bitmap(void *opaque, const struct qcow2_bitmap *b)
{
	struct copying *c = opaque;
	uint64_t bytes =
		qcow2_bitmap_bytes(c->from->header.size, b->granularity_bits);
	uint64_t n = clusters(c->to, bytes), offset = 0, *entries;
	struct qcow2_table table;
	int err;

	if (b->again)
		return -EINVAL;
	if (b->flags & QCOW2_BITMAP_IN_USE)
		return 0;
	err = qcow2_table_load(c->from, &table, b->table_offset,
			       b->table_entries);
	if (err)
		return err;
	entries = calloc(n + 1, sizeof(*entries));
	if (!entries)
		err = -ENOMEM;
	else
		err = table_ok(c->from, &table, bytes) ? 0 : -EINVAL;
	if (!err)
		err = copy_bits(c, &table, bytes, entries);
	if (!err && n)
		err = put(c, entries, n * sizeof(*entries), &offset);
	if (!err)
		err = add_to_directory(c, b, offset, n);
	free(entries);
	qcow2_table_fini(&table);
	return err;
}

/* The header names the directory. */
static int show(struct copying *c, struct block *to, uint64_t directory)
{
	uint8_t extension[QCOW2_BITMAPS_EXTENSION] = { 0 };
	struct qcow2_amendment a;
	int err = qcow2_amendment_of(to, &a);

	if (err)
		return err;
	put_be32(extension, c->count);
	put_be64(extension + 8, c->length);
	put_be64(extension + 16, directory);
	a.bitmaps = extension;
	return qcow2_amend(to, &a);
}

int qcow2_has_bitmaps(struct block *block)
{
	const struct qcow2 *q = qcow2_of(block);

	return q && q->header.version == 3 ? 0 : -ENOTSUP;
}

int qcow2_copy_bitmaps(struct block *from, struct block *to)
{
	struct copying c = { .from = qcow2_of(from), .to = qcow2_of(to) };
	uint64_t directory;
	int err = qcow2_has_bitmaps(from);

	if (!err)
		err = qcow2_has_bitmaps(to);
	if (err || !(c.from->header.autoclear & QCOW2_AUTO_BITMAPS))
		return err;
	err = qcow2_begin_writing(c.to);
	c.cluster = malloc(c.to->cluster_size);
	if (!err)
		err = c.cluster ? qcow2_each_bitmap(c.from, copy_bitmap, &c)
				: -ENOMEM;
	if (!err && c.count)
		err = put(&c, c.directory, c.length, &directory);
	if (!err && c.count)
		err = show(&c, to, directory);
	while (err && c.nr_taken--)
		qcow2_release(c.to, c.taken[c.nr_taken].offset,
			      c.taken[c.nr_taken].clusters);
	free(c.taken);
	free(c.directory);
	free(c.cluster);
	return err;
}
