/*
 * A census of all references, as in qcow2_rebuild.c, but for an image of which
 * nothing may be taken for granted: what is wrong is told, counted, and passed
 * over.
 *
 *   header, LUKS area, L1 and what it leads to, snapshots, bitmaps,
 *   refcount table and blocks  -> seen[cluster]
 *   refcount blocks            -> kept[cluster]
 *
 * (The snapshot table is read by qcow2_check_list.c.)
 *
 * More seen than kept is an error: the cluster could be taken for free. More
 * kept than seen is a leak.
 */
#include "devices/block/qcow2_check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/layers.h"
#include "devices/block/qcow2_census.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/log.h"

/* More clusters than these cannot be counted in reasonable memory. */
#define CLUSTERS_MAX (1ull << 28)

/* Bits that the specification keeps at zero. */
#define L1_RESERVED       0x7f000000000001ffull
#define L2_RESERVED       0x3f000000000001feull
#define REFTABLE_RESERVED 0x00000000000001ffull
#define BITMAP_RESERVED   0xff000000000001feull

#define LLU(n) ((unsigned long long)(n))

void qcow2_census_damaged(struct qcow2_census *c, const char *fmt, ...)
{
	va_list ap;

	fputs("ERROR ", c->to);
	va_start(ap, fmt);
	vfprintf(c->to, fmt, ap);
	va_end(ap);
	fputc('\n', c->to);
	c->found->corruptions++;
	c->structural++;
}

static bool aligned(const struct qcow2_census *c, uint64_t offset)
{
	return !(offset & (c->q->cluster_size - 1));
}

/* Counts a reference to every cluster that the range touches. */
static void see(struct qcow2_census *c, uint64_t offset, uint64_t bytes)
{
	unsigned bits = c->q->header.cluster_bits;

	if (!bytes)
		return;
	/* The last compressed cluster may be cut short. */
	if (!range_within(offset, bytes,
			  c->file_size + c->q->cluster_size - 1)) {
		qcow2_census_damaged(
			c,
			"counting reference for region exceeding the end of "
			"the file by one cluster or more: offset 0x%llx size "
			"0x%llx",
			LLU(offset), LLU(bytes));
		if (offset < c->beyond)
			c->beyond = offset;
		return;
	}
	for (uint64_t n = offset >> bits; n <= (offset + bytes - 1) >> bits;
	     n++) {
		if (n >= c->clusters)
			c->clusters = n + 1; /* there is room for one more */
		if (c->seen[n] < UINT32_MAX)
			c->seen[n]++;
	}
}

/* What an extended entry says of its subclusters. */
static void see_bitmap_of(struct qcow2_census *c, const uint8_t *at)
{
	uint64_t raw = get_be64(at),
		 bitmap = c->q->extended ? get_be64(at + 8) : 0;
	uint64_t host = raw & QCOW2_OFFSET_MASK;

	if (raw & QCOW2_COMPRESSED && bitmap)
		qcow2_census_damaged(
			c,
			"compressed cluster with non-zero subcluster "
			"allocation bitmap, entry=0x%llx",
			LLU(raw));
	else if (!(raw & QCOW2_COMPRESSED) &&
		 bitmap & bitmap >> 32 & UINT32_MAX)
		qcow2_census_damaged(
			c,
			"offset=%llx: Allocated cluster has corrupted "
			"subcluster allocation bitmap",
			LLU(host));
	else if (!(raw & QCOW2_COMPRESSED) && !host &&
		 !(qcow2_is_external(c->q) && raw & QCOW2_COPIED) &&
		 bitmap & UINT32_MAX)
		qcow2_census_damaged(
			c, "Unallocated cluster has non-zero subcluster "
			   "allocation map");
}

static void see_compressed(struct qcow2_census *c, uint64_t raw, bool active)
{
	struct qcow2_entry entry;

	qcow2_entry_decode(raw, c->q->header.cluster_bits, c->q->header.version,
			   &entry);
	if (raw & QCOW2_COPIED)
		qcow2_census_damaged(
			c,
			"coffset=0x%llx: copied flag must never be set for "
			"compressed clusters",
			LLU(entry.host));
	see(c, entry.host, entry.bytes);
	if (active) {
		c->found->allocated++;
		c->found->compressed++;
		c->found->fragmented++; /* by nature */
	}
}

/* True when the place of an entry is one for later: nothing is in it. */
static bool only_zeros(const struct qcow2_census *c, const uint8_t *at)
{
	return c->q->extended ? !(get_be64(at + 8) & UINT32_MAX)
			      : get_be64(at) & QCOW2_ZERO;
}

/* The misaligned place of the entry that is read at @at, at host offset @host.
 * One that holds nothing may be given up: *gone. But not where an L1 entry calls
 * the header a table, or another table: that has what is in it to itself. */
static int tell_place(struct qcow2_census *c, uint8_t *at, uint64_t host,
		      bool *gone)
{
	uint64_t place = get_be64(at) & QCOW2_OFFSET_MASK;

	*gone = only_zeros(c, at) && c->fix & QCOW2_FIX_ERRORS &&
		!qcow2_is_fixed(c->q, host, 8);
	if (!*gone) {
		qcow2_census_damaged(c,
				     "offset=%llx: %s cluster is not properly "
				     "aligned; L2 entry corrupted.",
				     LLU(place),
				     only_zeros(c, at) ? "Preallocated"
						       : "Data");
		return 0;
	}
	fprintf(c->to,
		"Repairing offset=%llx: Preallocated cluster is not properly "
		"aligned; L2 entry corrupted.\n",
		LLU(place));
	c->found->corruptions_fixed++;
	put_be64(at, c->q->extended ? 0 : QCOW2_ZERO);
	return host_write(c->q->file, at, 8, host);
}

/* The table at @offset; @active: of the disk, not of a snapshot. */
static int see_l2(struct qcow2_census *c, uint64_t offset, bool active)
{
	uint64_t next = 0;
	int err = host_read(c->q->file, c->table, c->q->cluster_size, offset);

	for (uint64_t at = 0; !err && at < c->q->cluster_size;
	     at += c->q->entry_bytes) {
		uint64_t raw = get_be64(c->table + at);
		uint64_t host = raw & QCOW2_OFFSET_MASK;
		bool gone = false;

		see_bitmap_of(c, c->table + at);
		if (raw & QCOW2_COMPRESSED) {
			see_compressed(c, raw, active);
			continue;
		}
		if (!aligned(c, host))
			err = tell_place(c, c->table + at, offset + at, &gone);
		if (gone)
			continue;
		if (raw & (L2_RESERVED | (c->q->extended ? QCOW2_ZERO : 0)))
			qcow2_census_damaged(
				c,
				"found l2 entry with reserved bits set: "
				"%llx",
				LLU(raw));
		if (!host && !(qcow2_is_external(c->q) && raw & QCOW2_COPIED))
			continue;
		if (active) {
			c->found->allocated++;
			c->found->fragmented += next && host != next;
			next = host + c->q->cluster_size;
		}
		if (!qcow2_is_external(c->q))
			see(c, host, c->q->cluster_size);
	}
	return err;
}

static int see_l1(struct qcow2_census *c, uint64_t offset, uint32_t entries,
		  bool active)
{
	struct qcow2_table l1;
	int err = qcow2_table_load(c->q, &l1, offset, entries);

	if (err)
		return err;
	see(c, offset, entries * 8ull);
	for (uint32_t i = 0; i < entries && !err; i++) {
		uint64_t l2 = l1.entry[i] & QCOW2_OFFSET_MASK;

		if (!l1.entry[i])
			continue;
		if (l1.entry[i] & L1_RESERVED)
			qcow2_census_damaged(
				c,
				"found L1 entry with reserved bits set: "
				"%llx",
				LLU(l1.entry[i]));
		see(c, l2, c->q->cluster_size);
		if (!aligned(c, l2))
			qcow2_census_damaged(
				c,
				"l2_offset=%llx: Table is not cluster "
				"aligned; L1 entry corrupted",
				LLU(l2));
		err = see_l2(c, l2, active);
	}
	qcow2_table_fini(&l1);
	return err;
}

static int see_snapshot(struct qcow2_census *c, const struct qcow2_snapshot *s)
{
	return see_l1(c, s->l1_offset, s->l1_entries, false);
}

static int see_bitmap(void *opaque, const struct qcow2_bitmap *bitmap)
{
	struct qcow2_census *c = opaque;
	struct qcow2_table table;
	int err = qcow2_table_load(c->q, &table, bitmap->table_offset,
				   bitmap->table_entries);

	if (err)
		return err;
	see(c, bitmap->table_offset, bitmap->table_entries * 8ull);
	for (uint32_t i = 0; i < table.entries; i++) {
		uint64_t host = table.entry[i] & QCOW2_OFFSET_MASK;

		if (table.entry[i] & BITMAP_RESERVED || !aligned(c, host))
			qcow2_census_damaged(
				c, "bitmap table entry %llx is invalid",
				LLU(table.entry[i]));
		else if (host)
			see(c, host, c->q->cluster_size);
	}
	qcow2_table_fini(&table);
	return 0;
}

static void read_refblock(struct qcow2_census *c, uint64_t first)
{
	unsigned order = c->q->header.refcount_order;

	for (uint64_t i = 0; i < 1ull << c->q->refblock_bits; i++) {
		uint64_t kept = qcow2_refcount_get(c->table, order, i);

		if (first + i >= c->clusters)
			break;
		c->kept[first + i] = kept > UINT32_MAX ? UINT32_MAX : kept;
	}
}

bool qcow2_census_block(const struct qcow2_census *c, uint64_t entry)
{
	return entry && !(entry & REFTABLE_RESERVED) && aligned(c, entry) &&
	       range_within(entry, c->q->cluster_size,
			    align_up(c->file_size, c->q->cluster_size));
}

/* Why an entry of the refcount table names no block. */
static void tell_block(struct qcow2_census *c, uint32_t i)
{
	uint64_t entry = c->reftable.entry[i];

	c->misplaced++;
	if (entry & REFTABLE_RESERVED || !aligned(c, entry))
		qcow2_census_damaged(c,
				     "refcount block %u is not cluster "
				     "aligned; refcount table entry corrupted",
				     i);
	else
		qcow2_census_damaged(c, "refcount block %u is outside image",
				     i);
}

/* A block has one reference, or is something else as well. */
static void see_block(struct qcow2_census *c, uint32_t i)
{
	uint64_t block = c->reftable.entry[i];
	uint32_t seen;

	see(c, block, c->q->cluster_size);
	seen = c->seen[block >> c->q->header.cluster_bits];
	if (seen == 1)
		return;
	c->misplaced++;
	qcow2_census_damaged(c, "refcount block %u refcount=%u", i, seen);
}

/* The refcount blocks: what they hold, and what holds them. */
static int see_refcounts(struct qcow2_census *c)
{
	const struct qcow2_header *h = &c->q->header;
	int err = 0;

	see(c, h->reftable_offset,
	    (uint64_t)h->reftable_clusters << h->cluster_bits);
	for (uint32_t i = 0; i < c->reftable.entries && !err; i++) {
		uint64_t block = c->reftable.entry[i];

		if (!block)
			continue;
		if (!qcow2_census_block(c, block)) {
			tell_block(c, i);
			continue;
		}
		see_block(c, i);
		err = host_read(c->q->file, c->table, c->q->cluster_size,
				block);
		if (!err)
			read_refblock(c, (uint64_t)i << c->q->refblock_bits);
	}
	return err;
}

static int see_all(struct qcow2_census *c)
{
	const struct qcow2_header *h = &c->q->header;
	int err;

	see(c, 0, c->q->cluster_size);
	see(c, h->luks_offset, h->luks_bytes);
	err = see_l1(c, h->l1_offset, h->l1_entries, true);
	if (!err)
		err = qcow2_census_snapshots(c, see_snapshot);
	if (!err)
		see(c, h->snapshots_offset, c->snapshots.old_bytes);
	/* Without the bit they are void: a writer passed them over. */
	if (!err && h->autoclear & QCOW2_AUTO_BITMAPS) {
		see(c, h->bitmap_directory, h->bitmap_directory_bytes);
		err = qcow2_each_bitmap(c->q, see_bitmap, c);
	}
	return err ? err : see_refcounts(c);
}

static void compare(struct qcow2_census *c)
{
	for (uint64_t n = 0; n < c->clusters; n++) {
		uint32_t seen = c->seen[n], kept = c->kept[n];

		if (seen || kept)
			c->found->end_offset = (n + 1)
					       << c->q->header.cluster_bits;
		if (seen == kept)
			continue;
		fprintf(c->to, "%s cluster %llu refcount=%u reference=%u\n",
			kept < seen ? "ERROR" : "Leaked", LLU(n), kept, seen);
		if (kept < seen)
			c->found->corruptions++;
		else
			c->found->leaks++;
	}
}

uint32_t qcow2_census_kept(const struct qcow2_census *c, uint64_t offset)
{
	uint64_t n = offset >> c->q->header.cluster_bits;

	return n < c->clusters ? c->kept[n] : 0;
}

static bool copied_wrong(const struct qcow2_census *c, uint64_t raw)
{
	uint64_t host = raw & QCOW2_OFFSET_MASK;

	return host && !(raw & QCOW2_COMPRESSED) &&
	       (qcow2_census_kept(c, host) == 1) != !!(raw & QCOW2_COPIED);
}

int qcow2_census_copied(struct qcow2_census *c,
			int (*each)(struct qcow2_census *c, uint64_t raw,
				    uint64_t at))
{
	struct qcow2 *q = c->q;
	int err = 0;

	for (uint32_t i = 0; i < q->l1.entries && !err; i++) {
		/* The compressed bit means nothing in an L1 table. */
		uint64_t raw = q->l1.entry[i] & ~QCOW2_COMPRESSED;
		uint64_t l2 = raw & QCOW2_OFFSET_MASK;

		if (!l2)
			continue;
		if (copied_wrong(c, raw))
			err = each(c, raw, q->l1.offset + i * 8ull);
		if (qcow2_is_external(q))
			continue; /* nor are its clusters shared */
		if (!err)
			err = host_read(q->file, c->table, q->cluster_size, l2);
		for (uint64_t at = 0; !err && at < q->cluster_size;
		     at += q->entry_bytes) {
			raw = get_be64(c->table + at);
			if (copied_wrong(c, raw))
				err = each(c, raw, l2 + at);
		}
	}
	return err;
}

int qcow2_census_tell(struct qcow2_census *c, uint64_t raw, uint64_t at)
{
	fprintf(c->to,
		"ERROR OFLAG_COPIED %s cluster: entry=%llx refcount=%u\n",
		qcow2_is_l1(c->q, at) ? "L2" : "data", LLU(raw),
		qcow2_census_kept(c, raw & QCOW2_OFFSET_MASK));
	c->found->corruptions++;
	return 0;
}

static int take(struct qcow2_census *c)
{
	const struct qcow2_header *h = &c->q->header;
	int err = c->q->file->ops->size(c->q->file, &c->file_size);

	if (err)
		return err;
	c->clusters = (c->file_size + c->q->cluster_size - 1) >>
		      h->cluster_bits;
	if (c->clusters > CLUSTERS_MAX)
		return -EFBIG;
	c->seen = calloc(c->clusters + 1, sizeof(*c->seen));
	c->kept = calloc(c->clusters + 1, sizeof(*c->kept));
	c->table = malloc(c->q->cluster_size);
	if (!c->seen || !c->kept || !c->table)
		return -ENOMEM;
	err = qcow2_table_load(c->q, &c->reftable, h->reftable_offset,
			       h->reftable_clusters << (h->cluster_bits - 3));
	if (err)
		return err;
	c->found->total = (h->size + c->q->cluster_size - 1) >> h->cluster_bits;
	err = see_all(c);
	if (!err)
		compare(c);
	if (!err && c->fix)
		err = qcow2_repair(c);
	/* What COPIED should be is known when the refcounts are right. */
	if (!err && !c->fix)
		err = qcow2_census_copied(c, qcow2_census_tell);
	return err;
}

int qcow2_check(struct host_file *file, const char *name, unsigned fix,
		FILE *to, struct qcow2_findings *findings)
{
	struct qcow2_census c = {
		.to = to, .found = findings, .fix = fix, .beyond = UINT64_MAX
	};
	struct block *block;
	int err;

	memset(findings, 0, sizeof(*findings));
	err = qcow2_open_damaged(file, name, &block);
	if (err) {
		file->ops->close(file);
		return err;
	}
	c.q = container_of(block, struct qcow2, block);
	err = take(&c);
	if (err)
		log_err("%s: Check failed: %s", name,
			err == -EFBIG ? "the file is too large to be counted"
				      : strerror(-err));
	if (c.reftable.entry)
		qcow2_table_fini(&c.reftable);
	free(c.snapshots.bytes);
	free(c.seen);
	free(c.kept);
	free(c.table);
	block_close(block);
	return err;
}
