/*
 * A census of all references, as in qcow2_rebuild.c. Here nothing of the image
 * is taken for granted: what is wrong is told, counted, and passed over.
 *
 *   header, LUKS area, L1 and what it leads to, snapshots, bitmaps,
 *   refcount table and blocks  -> seen[cluster]
 *   refcount blocks            -> kept[cluster]
 *
 * (The tables of the disk and its snapshots are walked by qcow2_check_map.c,
 * the snapshot table is read by qcow2_check_list.c.)
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
#define REFTABLE_RESERVED 0x00000000000001ffull

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

bool qcow2_census_aligned(const struct qcow2_census *c, uint64_t offset)
{
	return !(offset & (c->q->cluster_size - 1));
}

bool qcow2_census_count(struct qcow2_census *c, uint64_t offset, uint64_t bytes,
			enum qcow2_role role, int change)
{
	unsigned bits = c->q->header.cluster_bits;

	if (!bytes)
		return true;
	/* The last compressed cluster may be cut short. */
	if (!range_within(offset, bytes, c->file_size + c->q->cluster_size - 1))
		return false;
	for (uint64_t n = offset >> bits; n <= (offset + bytes - 1) >> bits;
	     n++) {
		if (n >= c->clusters)
			c->clusters = n + 1; /* there is room for one more */
		if (c->seen[n] < UINT32_MAX)
			c->seen[n] += change;
		if (role == QCOW2_NO_TABLE && c->other[n] < UINT8_MAX)
			c->other[n] += change;
	}
	return true;
}

void qcow2_census_see(struct qcow2_census *c, uint64_t offset, uint64_t bytes,
		      enum qcow2_role role)
{
	if (qcow2_census_count(c, offset, bytes, role, 1))
		return;
	qcow2_census_damaged(
		c,
		"counting reference for region exceeding the end of the file "
		"by one cluster or more: offset 0x%llx size 0x%llx",
		LLU(offset), LLU(bytes));
	if (offset < c->beyond)
		c->beyond = offset;
}

static void see(struct qcow2_census *c, uint64_t offset, uint64_t bytes)
{
	qcow2_census_see(c, offset, bytes, QCOW2_NO_TABLE);
}

static int see_snapshot(struct qcow2_census *c, const struct qcow2_snapshot *s)
{
	return qcow2_census_l1(c, s->l1_offset, s->l1_entries, false);
}

static int see_bitmap(void *opaque, const struct qcow2_bitmap *bitmap)
{
	struct qcow2_census *c = opaque;
	uint64_t bytes = c->q->header.size >> bitmap->granularity_bits >> 3;
	struct qcow2_table table;
	int err;

	if (bitmap->again)
		qcow2_census_damaged(c, "Bitmap already exists: %.*s",
				     bitmap->name_len, bitmap->name);
	/* Rounded up at each step there may be one more. One that is in use was
	 * void before its size changed. */
	if (!(bitmap->flags & QCOW2_BITMAP_IN_USE) &&
	    bitmap->table_entries - (bytes >> c->q->header.cluster_bits) > 1)
		return -EINVAL;
	err = qcow2_table_load(c->q, &table, bitmap->table_offset,
			       bitmap->table_entries);
	if (err)
		return err;
	see(c, bitmap->table_offset, bitmap->table_entries * 8ull);
	for (uint32_t i = 0; i < table.entries; i++) {
		uint64_t host = table.entry[i] & QCOW2_OFFSET_MASK;

		if (!qcow2_bitmap_entry_ok(table.entry[i],
					   c->q->header.cluster_bits))
			qcow2_census_damaged(
				c, "bitmap table entry %llx is invalid",
				LLU(table.entry[i]));
		else if (host)
			see(c, host, c->q->cluster_size);
	}
	qcow2_table_fini(&table);
	return 0;
}

/*
 * Without their bit bitmaps are void: a writer passed them over. So do damaged
 * ones become: they tell which data are new since a backup, and the next one
 * then takes all. They come first, so that nothing else was counted yet.
 */
static int see_bitmaps(struct qcow2_census *c)
{
	struct qcow2_header *h = &c->q->header;
	uint64_t clusters = c->clusters;
	uint8_t field[8];
	int err;

	if (!(h->autoclear & QCOW2_AUTO_BITMAPS))
		return 0;
	see(c, h->bitmap_directory, h->bitmap_directory_bytes);
	err = qcow2_each_bitmap(c->q, see_bitmap, c);
	if (err == -EINVAL) {
		qcow2_census_damaged(c, "the bitmap directory is damaged");
		err = 0;
	}
	if (err || !c->structural || !(c->fix & QCOW2_FIX_ERRORS))
		return err;
	fprintf(c->to, "Repairing bitmaps: they are damaged and become void\n");
	c->clusters = clusters; /* one more may have been seen */
	memset(c->seen, 0, (clusters + 1) * sizeof(*c->seen));
	memset(c->other, 0, clusters + 1);
	c->found->corruptions_fixed = c->found->corruptions;
	c->found->corruptions = 0;
	c->structural = 0;
	c->beyond = UINT64_MAX;
	h->autoclear &= ~QCOW2_AUTO_BITMAPS;
	put_be64(field, h->autoclear);
	err = host_write(c->q->file, field, sizeof(field), QCOW2_AT_AUTOCLEAR);
	return err ? err : c->q->file->ops->sync(c->q->file);
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
	return entry && !(entry & REFTABLE_RESERVED) &&
	       qcow2_census_aligned(c, entry) &&
	       range_within(entry, c->q->cluster_size,
			    align_up(c->file_size, c->q->cluster_size));
}

/* Why an entry of the refcount table names no block. */
static void tell_block(struct qcow2_census *c, uint32_t i)
{
	uint64_t entry = c->reftable.entry[i];

	c->misplaced++;
	if (entry & REFTABLE_RESERVED || !qcow2_census_aligned(c, entry))
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
	int err = see_bitmaps(c);

	see(c, 0, c->q->cluster_size);
	see(c, h->luks_offset, h->luks_bytes);
	if (!err)
		err = qcow2_census_l1(c, h->l1_offset, h->l1_entries, true);
	if (!err)
		err = qcow2_census_snapshots(c, see_snapshot);
	if (!err)
		see(c, h->snapshots_offset, c->snapshots.old_bytes);
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
	c->walked = calloc(c->clusters + 1, sizeof(*c->walked));
	c->other = calloc(c->clusters + 1, 1);
	c->table = malloc(c->q->cluster_size);
	if (!c->seen || !c->kept || !c->walked || !c->other || !c->table)
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
			err == -EFBIG ? "there is too much in it to be counted"
				      : strerror(-err));
	if (c.reftable.entry)
		qcow2_table_fini(&c.reftable);
	free(c.snapshots.bytes);
	free(c.seen);
	free(c.kept);
	free(c.walked);
	free(c.other);
	free(c.mends);
	free(c.table);
	block_close(block);
	return err;
}
