/*
 * Refcounts made anew, for an image that its last writer left dirty: it put
 * off writing refcounts (lazy refcounts) and did not get to it.
 *
 * Every reference is counted: the header, the L1 tables of the disk and of its
 * snapshots, all that they lead to, the snapshot table, and bitmaps. The new
 * counts are built as a whole after the last cluster in use, old refcounts
 * included (qcow2_counts_write()), then the header switches to them; the old
 * ones are free from then on. A crash before the switch leaves the image dirty
 * as it was.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/log.h"

/* More clusters than these cannot be counted in reasonable memory. */
#define CLUSTERS_MAX (1ull << 28)

/* Entries of tables to look at: the disk of 16 TiB in clusters of 64 KiB has as
 * many. A hostile image names the same table again and again. */
#define ENTRIES_MAX (1ull << 28)

struct census {
	struct qcow2 *q;
	uint64_t clusters; /* of the file; then: up to the last in use */
	uint64_t entries;  /* looked at */
	uint32_t *count;
	uint8_t *roles; /* what they are: TABLE, OTHER, both */
	uint8_t *table; /* one L2 table */
};

/* An L2 table of the disk or of a snapshot, in which COPIED may be set anew. */
#define TABLE 1
#define OTHER 2

static int count_as(struct census *c, uint64_t offset, uint64_t bytes, int role)
{
	unsigned bits = c->q->header.cluster_bits;
	uint64_t first = offset >> bits, last;

	if (!bytes)
		return 0;
	last = (offset + bytes - 1) >> bits;
	if (last < first || last >= c->clusters)
		return -EINVAL;
	for (; first <= last; first++) {
		if (c->count[first] == UINT32_MAX)
			return -EINVAL;
		c->count[first]++;
		c->roles[first] |= role;
	}
	return 0;
}

static int count_range(struct census *c, uint64_t offset, uint64_t bytes)
{
	return count_as(c, offset, bytes, OTHER);
}

static int count_entries(struct census *c, uint64_t entries)
{
	c->entries += entries;
	return c->entries > ENTRIES_MAX ? -EFBIG : 0;
}

static int read_l2(struct census *c, uint64_t raw_l1, uint64_t *offset)
{
	*offset = raw_l1 & QCOW2_OFFSET_MASK;
	if (raw_l1 & ~(QCOW2_OFFSET_MASK | QCOW2_COPIED) ||
	    *offset & (c->q->cluster_size - 1) ||
	    *offset >> c->q->header.cluster_bits >= c->clusters)
		return -EINVAL;
	return host_read(c->q->file, c->table, c->q->cluster_size, *offset);
}

static int count_l2(struct census *c, uint64_t raw_l1)
{
	struct qcow2 *q = c->q;
	uint64_t offset;
	int err = count_entries(c, q->cluster_size / 8);

	if (!err)
		err = read_l2(c, raw_l1, &offset);
	if (!err)
		err = count_as(c, offset, q->cluster_size, TABLE);
	for (uint64_t at = 0; !err && at < q->cluster_size;
	     at += q->entry_bytes) {
		struct qcow2_entry entry;

		err = qcow2_l2_decode(q, c->table + at, &entry);
		if (err)
			return -EINVAL;
		if (qcow2_is_external(q))
			continue;
		if (entry.kind == QCOW2_KIND_COMPRESSED)
			err = count_range(c, entry.host, entry.bytes);
		else if (entry.host)
			err = count_range(c, entry.host, q->cluster_size);
	}
	return err;
}

static int count_l1(struct census *c, uint64_t offset, uint32_t entries)
{
	struct qcow2_table l1;
	int err = count_entries(c, entries);

	if (!err)
		err = count_range(c, offset, entries * 8ull);
	if (!err)
		err = qcow2_table_load(c->q, &l1, offset, entries);
	if (err)
		return err;
	for (uint32_t i = 0; i < entries && !err; i++) {
		if (l1.entry[i])
			err = count_l2(c, l1.entry[i]);
	}
	qcow2_table_fini(&l1);
	return err;
}

static int count_snapshot(void *opaque, const struct qcow2_snapshot *snapshot)
{
	return count_l1(opaque, snapshot->l1_offset, snapshot->l1_entries);
}

static int count_bitmap(void *opaque, const struct qcow2_bitmap *bitmap)
{
	struct census *c = opaque;
	struct qcow2_table table;
	int err = count_entries(c, bitmap->table_entries);

	if (!err)
		err = count_range(c, bitmap->table_offset,
				  bitmap->table_entries * 8ull);
	if (!err)
		err = qcow2_table_load(c->q, &table, bitmap->table_offset,
				       bitmap->table_entries);
	if (err)
		return err;
	for (uint32_t i = 0; i < table.entries && !err; i++) {
		uint64_t host = table.entry[i] & QCOW2_OFFSET_MASK;

		if (host)
			err = count_range(c, host, c->q->cluster_size);
	}
	qcow2_table_fini(&table);
	return err;
}

static int count_all(struct census *c)
{
	const struct qcow2_header *h = &c->q->header;
	uint64_t table_bytes = 0;
	int err = count_range(c, 0, c->q->cluster_size);

	if (!err)
		err = count_range(c, h->luks_offset, h->luks_bytes);
	if (!err)
		err = count_l1(c, h->l1_offset, h->l1_entries);
	if (!err && h->snapshots)
		err = qcow2_each_snapshot(c->q, count_snapshot, c,
					  &table_bytes);
	if (!err)
		err = count_range(c, h->snapshots_offset, table_bytes);
	/* Those without the bit are void, and so is their space. */
	if (!err && h->autoclear & QCOW2_AUTO_BITMAPS)
		err = count_range(c, h->bitmap_directory,
				  h->bitmap_directory_bytes);
	if (!err && h->autoclear & QCOW2_AUTO_BITMAPS)
		err = qcow2_each_bitmap(c->q, count_bitmap, c);
	return err;
}

/* Q3 for one L2 entry or L1 entry of the active tree. */
static uint64_t with_copied(const struct census *c, uint64_t raw)
{
	uint64_t host = raw & QCOW2_OFFSET_MASK;

	if (raw & QCOW2_COMPRESSED || !host)
		return raw;
	return c->count[host >> c->q->header.cluster_bits] == 1
		       ? raw | QCOW2_COPIED
		       : raw & ~QCOW2_COPIED;
}

/* Sets COPIED in the active tables by the new counts. */
static int renew_copied(struct census *c)
{
	struct qcow2 *q = c->q;

	for (uint32_t i = 0; i < q->l1.entries; i++) {
		uint64_t raw = q->l1.entry[i], offset;
		bool changed = false;
		int err;

		if (!raw)
			continue;
		if (with_copied(c, raw) != raw)
			qcow2_table_set(&q->l1, i, with_copied(c, raw));
		if (qcow2_is_external(q))
			continue;
		err = read_l2(c, raw, &offset);
		for (uint64_t at = 0; !err && at < q->cluster_size;
		     at += q->entry_bytes) {
			uint64_t old = get_be64(c->table + at);
			uint64_t new = with_copied(c, old);

			changed |= old != new;
			put_be64(c->table + at, new);
		}
		/* Guest data that a damaged L1 calls a table stay as they
		 * are. */
		if (changed &&
		    c->roles[offset >> q->header.cluster_bits] != TABLE)
			err = -EINVAL;
		if (!err && changed)
			err = qcow2_put(q, c->table, q->cluster_size, offset);
		if (err)
			return err;
	}
	return qcow2_table_write(q, &q->l1);
}

/*
 * Leaves out what is free at the end. The file may be a block device, which
 * has no end to build at, and the old refcounts are still the header's.
 */
static void trim(struct census *c)
{
	const struct qcow2 *q = c->q;
	unsigned bits = q->header.cluster_bits;
	uint64_t block_end = (q->reftable.top >> bits) + 1;
	uint64_t end =
		(q->reftable.offset >> bits) + q->header.reftable_clusters;

	if (end < block_end)
		end = block_end;
	while (c->clusters > end && !c->count[c->clusters - 1])
		c->clusters--;
}

/* The blocks, the first of them at @first; the table names them. */
static int write_blocks(struct qcow2 *q, const uint32_t *count,
			uint64_t clusters, uint64_t end, uint8_t *block,
			uint64_t *table, uint64_t first)
{
	unsigned order = q->header.refcount_order;
	int err = 0;

	for (uint64_t cluster = 0; cluster < end && !err; table++) {
		memset(block, 0, q->cluster_size);
		for (uint64_t i = 0; i < 1ull << q->refblock_bits; i++) {
			uint64_t n = cluster < clusters ? count[cluster]
				     : cluster < end    ? 1
							: 0;

			if (n > qcow2_refcount_max(order))
				return -EINVAL;
			qcow2_refcount_put(block, order, i, n);
			cluster++;
		}
		*table = htobe64(first);
		err = qcow2_put(q, block, q->cluster_size, first);
		first += q->cluster_size;
	}
	return err;
}

uint64_t qcow2_counts_area(const struct qcow2 *q, uint64_t clusters,
			   uint64_t *table_clusters)
{
	uint64_t size = 0, blocks = 0, need;

	/* The area counts itself: grow it until it does. */
	do {
		need = clusters + size + blocks;
		blocks = (need + (1ull << q->refblock_bits) - 1) >>
			 q->refblock_bits;
		size = (blocks * 8 + q->cluster_size - 1) >>
		       q->header.cluster_bits;
	} while (need != clusters + size + blocks);
	*table_clusters = size;
	return size + blocks;
}

int qcow2_counts_write(struct qcow2 *q, const uint32_t *count,
		       uint64_t clusters, uint8_t *block)
{
	unsigned bits = q->header.cluster_bits;
	uint64_t size, area = qcow2_counts_area(q, clusters, &size);
	uint64_t *table;
	int err;

	if (size << bits > QCOW2_REFTABLE_MAX)
		return -EINVAL;
	table = calloc(size, q->cluster_size);
	if (!table)
		return -ENOMEM;
	err = write_blocks(q, count, clusters, clusters + area, block, table,
			   (clusters + size) << bits);
	if (!err)
		err = qcow2_put(q, table, size << bits, clusters << bits);
	free(table);
	return err;
}

static int rebuild(struct census *c)
{
	struct qcow2 *q = c->q;
	uint64_t table;
	int err = count_all(c);

	trim(c);
	qcow2_counts_area(q, c->clusters, &table);
	if (!err)
		err = qcow2_counts_write(q, c->count, c->clusters, c->table);
	if (!err)
		err = renew_copied(c);
	if (!err)
		err = qcow2_reftable_switch(
			q, c->clusters << q->header.cluster_bits, table,
			q->header.refcount_order);
	if (!err)
		err = qcow2_put_features(q,
					 q->header.incompatible & ~QCOW2_DIRTY,
					 q->header.autoclear);
	return err;
}

int qcow2_rebuild(struct qcow2 *q)
{
	struct census c = { .q = q };
	int err = -EFBIG;

	c.clusters = (q->file_end + q->cluster_size - 1) >>
		     q->header.cluster_bits;
	if (c.clusters <= CLUSTERS_MAX) {
		c.count = calloc(c.clusters, sizeof(*c.count));
		c.roles = calloc(c.clusters, 1);
		c.table = malloc(q->cluster_size);
		err = c.count && c.roles && c.table ? rebuild(&c) : -ENOMEM;
		free(c.count);
		free(c.roles);
		free(c.table);
	}
	if (err == -EFBIG)
		log_err("disk %s: it was not closed properly and is too large "
			"to be repaired here; use kvist img check -r all",
			q->block.name);
	else if (err == -EINVAL)
		log_err("disk %s: it was not closed properly and its tables "
			"are damaged; repair it with kvist img check -r all",
			q->block.name);
	else if (err)
		log_err("disk %s: it was not closed properly and cannot be "
			"repaired: %s",
			q->block.name, strerror(-err));
	else
		log_info("disk %s: it was not closed properly; its refcounts "
			 "are rebuilt",
			 q->block.name);
	return err;
}

int qcow2_each_snapshot(struct qcow2 *q,
			int (*each)(void *opaque,
				    const struct qcow2_snapshot *snapshot),
			void *opaque, uint64_t *table_bytes)
{
	/* The largest entry: its fixed part, extra data, id and name. */
	size_t max = 40 + QCOW2_SNAPSHOT_EXTRA_MAX + 2 * 65535 + 8;
	uint64_t at = q->header.snapshots_offset;
	uint8_t *bytes = malloc(max);
	int err = bytes ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < q->header.snapshots && !err; i++) {
		struct qcow2_snapshot snapshot;
		size_t len;

		err = host_read(q->file, bytes, max, at);
		if (err)
			break;
		len = qcow2_snapshot_parse(bytes, max, q->header.cluster_bits,
					   &snapshot);
		at += len;
		if (!len ||
		    at - q->header.snapshots_offset > QCOW2_SNAPSHOT_TABLE_MAX)
			err = -EINVAL;
		else
			err = each(opaque, &snapshot);
	}
	free(bytes);
	*table_bytes = at - q->header.snapshots_offset;
	return err;
}
