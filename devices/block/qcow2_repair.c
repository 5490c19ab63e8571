/*
 * Repairs what a census found, in the order in which a crash does no harm:
 *
 *   damaged entries that still say all are mended
 *   refcounts that are too low are raised       sync
 *   refcounts that are too high are lowered     sync
 *   COPIED is made what the refcounts say       sync
 *   the marks "dirty" and "corrupt" go          sync
 *   the file ends with its last cluster
 *
 * A table entry that is damaged stays as it is. While there are such entries
 * nothing is lowered: what they meant to refer to is not known.
 *
 * Where refcounts have no block, or blocks and table are damaged or are
 * something else as well, all of them are written anew, and so is a snapshot
 * table that is damaged, behind the last cluster in use:
 *
 *   | snapshot table, if it was | refcount table | blocks |
 *
 * and one write of the header names both. A crash before leaves the image as
 * it was.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2_census.h"
#include "util/bytes.h"
#include "util/checked.h"

/* True when refcount number @n can become @count, in the block it has. */
static bool can_keep(const struct qcow2_census *c, uint64_t n, uint32_t count)
{
	const struct qcow2 *q = c->q;
	uint64_t i = n >> q->refblock_bits;
	uint64_t block = i < c->reftable.entries ? c->reftable.entry[i] : 0;

	return qcow2_census_block(c, block) &&
	       count <= qcow2_refcount_max(q->header.refcount_order);
}

/* Writes the refcount of cluster @n, in place. */
static int put_refcount(struct qcow2_census *c, uint64_t n, uint32_t count)
{
	const struct qcow2 *q = c->q;
	unsigned order = q->header.refcount_order;
	uint64_t index = n & ((1ull << q->refblock_bits) - 1);
	uint64_t block = c->reftable.entry[n >> q->refblock_bits];
	/* The eight bytes that hold it. */
	uint64_t per_word = 64u >> order;
	uint64_t at = block + index / per_word * 8;
	uint8_t word[8];
	int err = host_read(q->file, word, sizeof(word), at);

	qcow2_refcount_put(word, order, index % per_word, count);
	return err ? err : host_write(q->file, word, sizeof(word), at);
}

static int sync_now(struct qcow2_census *c)
{
	return c->q->file->ops->sync(c->q->file);
}

/* Makes the refcounts that are wrong in one direction what they should be. */
static int renew(struct qcow2_census *c, bool raise, uint64_t *left,
		 uint64_t *fixed)
{
	for (uint64_t n = 0; n < c->clusters; n++) {
		int err;

		if (raise ? c->kept[n] >= c->seen[n] : c->kept[n] <= c->seen[n])
			continue;
		if (!can_keep(c, n, c->seen[n]))
			continue;
		err = put_refcount(c, n, c->seen[n]);
		if (err)
			return err;
		c->kept[n] = c->seen[n];
		--*left;
		++*fixed;
	}
	return sync_now(c);
}

/* True when something is wrong that needs new refcounts, not other ones. */
static bool must_rebuild(const struct qcow2_census *c)
{
	const struct qcow2_header *h = &c->q->header;
	uint64_t table = h->reftable_offset >> h->cluster_bits;
	unsigned order = h->refcount_order;

	if (c->misplaced)
		return true;
	/* The table is an L2 table as well, or data. */
	for (uint32_t i = 0; i < h->reftable_clusters; i++) {
		if (table + i < c->clusters && c->seen[table + i] > 1)
			return true;
	}
	for (uint64_t n = 0; n < c->clusters; n++) {
		if (c->kept[n] < c->seen[n] && !can_keep(c, n, c->seen[n]) &&
		    c->seen[n] <= qcow2_refcount_max(order))
			return true;
	}
	return false;
}

static void forget(struct qcow2_census *c, uint64_t offset, uint64_t bytes)
{
	qcow2_census_count(c, offset, bytes, QCOW2_NO_TABLE, -1);
}

/* What will be written anew is not in use any more. */
static void forget_old(struct qcow2_census *c)
{
	const struct qcow2_header *h = &c->q->header;

	forget(c, h->reftable_offset,
	       (uint64_t)h->reftable_clusters << h->cluster_bits);
	for (uint32_t i = 0; i < c->reftable.entries; i++) {
		if (qcow2_census_block(c, c->reftable.entry[i]))
			forget(c, c->reftable.entry[i], c->q->cluster_size);
	}
	if (c->snapshots.bad)
		forget(c, h->snapshots_offset, c->snapshots.old_bytes);
}

/* The new refcounts: of the clusters below @first, and of a snapshot table of
 * @more clusters behind them. */
static uint32_t *new_counts(const struct qcow2_census *c, uint64_t first,
			    uint64_t more)
{
	uint64_t max = qcow2_refcount_max(c->q->header.refcount_order);
	bool unknown = c->structural > c->misplaced;
	uint32_t *count = malloc((first + more + 1) * sizeof(*count));

	for (uint64_t n = 0; count && n < first; n++) {
		count[n] = c->seen[n];
		if (unknown && c->kept[n] > count[n])
			count[n] = c->kept[n];
		if (count[n] > max)
			count[n] = max;
	}
	for (uint64_t n = first; count && n < first + more; n++)
		count[n] = 1;
	return count;
}

/* Names the new tables: they are at clusters @at and @first. */
static int switch_header(struct qcow2_census *c, uint64_t at, uint64_t first,
			 uint32_t table)
{
	struct qcow2_header *h = &c->q->header;
	uint8_t bytes[24];
	int err = qcow2_barrier(c->q);

	h->reftable_offset = first << h->cluster_bits;
	h->reftable_clusters = table;
	if (c->snapshots.bad) {
		h->snapshots = c->snapshots.count;
		h->snapshots_offset = h->snapshots ? at << h->cluster_bits : 0;
	}
	put_be64(bytes, h->reftable_offset);
	put_be32(bytes + 8, h->reftable_clusters);
	put_be32(bytes + 12, h->snapshots);
	put_be64(bytes + 16, h->snapshots_offset);
	if (!err)
		err = qcow2_put(c->q, bytes, sizeof(bytes), QCOW2_AT_REFTABLE);
	return err ? err : qcow2_barrier(c->q);
}

static int rebuild(struct qcow2_census *c)
{
	const struct qcow2_list *list = &c->snapshots;
	unsigned bits = c->q->header.cluster_bits;
	uint64_t first = c->clusters, more = 0, table;
	uint32_t *count;
	int err = 0;

	/* The file may be a block device, which has no end to write at. */
	while (first && !c->seen[first - 1] && !c->kept[first - 1])
		first--;
	if (list->bad)
		more = (list->length + c->q->cluster_size - 1) >> bits;
	if (first + more + qcow2_counts_area(c->q, first + more, &table) >
	    c->beyond >> bits) {
		fprintf(c->to, "ERROR cannot rebuild refcount structure: there "
			       "are references to where it would be\n");
		return -EINVAL;
	}
	fprintf(c->to, "Rebuilding refcount structure\n");
	forget_old(c);
	count = new_counts(c, first, more);
	if (!count)
		return -ENOMEM;
	if (more)
		err = qcow2_put(c->q, list->bytes, list->length, first << bits);
	if (!err)
		err = qcow2_counts_write(c->q, count, first + more, c->table);
	if (!err)
		err = switch_header(c, first, first + more, table);
	if (err) {
		free(count);
		return err;
	}
	free(c->kept);
	c->kept = count;
	c->clusters = first;
	c->rebuilt = true;
	return 0;
}

/* The same with what is found afterwards. */
static int rebuild_and_tell(struct qcow2_census *c)
{
	struct qcow2_findings *f = c->found;
	uint64_t errors = f->corruptions, leaks = f->leaks;
	int err = rebuild(c);

	if (err)
		return err;
	f->corruptions = c->structural - c->misplaced;
	f->leaks = 0;
	for (uint64_t n = 0; n < c->clusters; n++) {
		f->corruptions += c->kept[n] < c->seen[n];
		f->leaks += c->kept[n] > c->seen[n];
	}
	if (f->corruptions < errors)
		f->corruptions_fixed += errors - f->corruptions;
	if (f->leaks < leaks)
		f->leaks_fixed += leaks - f->leaks;
	return 0;
}

/*
 * True when the word at host offset @at is part of a table and of nothing else:
 * a damaged entry of L1 may call anything a table. Whose it is, is not known,
 * so that guest data and what else it may be stay as they are.
 */
static bool is_ours(const struct qcow2_census *c, uint64_t at)
{
	if (!c->other[at >> c->q->header.cluster_bits])
		return true;
	fprintf(c->to,
		"The entry at offset 0x%llx cannot be repaired: what is there "
		"is a table, and something else as well\n",
		(unsigned long long)at);
	return false;
}

static int put_copied(struct qcow2_census *c, uint64_t raw, uint64_t at)
{
	uint8_t entry[8];

	if (!is_ours(c, at))
		return qcow2_census_tell(c, raw, at);
	put_be64(entry, raw ^ QCOW2_COPIED);
	c->found->corruptions_fixed++;
	return host_write(c->q->file, entry, sizeof(entry), at);
}

/* Puts right the words that are damaged but tell no less for it. Tables may
 * overlap, so that one may be met again. */
static int put_mends(struct qcow2_census *c)
{
	for (size_t i = 0; i < c->nr_mends; i++) {
		const struct qcow2_mend *m = &c->mends[i];
		uint8_t word[8];
		int err = host_read(c->q->file, word, sizeof(word), m->at);

		if (!err && get_be64(word) != m->word) {
			if (!is_ours(c, m->at)) {
				c->found->corruptions++;
				c->structural++;
				continue;
			}
			fprintf(c->to, "Repairing L2 entry %llx\n",
				(unsigned long long)get_be64(word));
			put_be64(word, m->word);
			c->found->corruptions_fixed++;
			err = host_write(c->q->file, word, sizeof(word), m->at);
		}
		if (err)
			return err;
	}
	return 0;
}

static int clear_marks(struct qcow2_census *c)
{
	uint64_t marks = c->q->header.incompatible &
			 (QCOW2_DIRTY | QCOW2_CORRUPT);
	uint8_t field[8];
	int err;

	if (!marks)
		return 0;
	put_be64(field, c->q->header.incompatible ^ marks);
	err = host_write(c->q->file, field, sizeof(field),
			 QCOW2_AT_INCOMPATIBLE);
	return err ? err : sync_now(c);
}

/* What lies behind the last cluster is space that a writer had reserved before
 * it was killed. Only when each reference is known and counted. A block device
 * is as long as it is. */
static void cut_off(struct qcow2_census *c)
{
	uint64_t n = c->clusters, end;

	if (c->rebuilt)
		return; /* what was counted ends where the new ones begin */
	while (n && !c->seen[n - 1])
		n--;
	end = n << c->q->header.cluster_bits;
	if (end < c->file_size)
		c->q->file->ops->truncate(c->q->file, end);
}

int qcow2_repair(struct qcow2_census *c)
{
	struct qcow2_findings *f = c->found;
	unsigned fix = c->fix;
	bool errors = fix & QCOW2_FIX_ERRORS;
	int err = put_mends(c);

	if (err)
		return err;
	if (f->corruptions && errors && must_rebuild(c))
		err = rebuild_and_tell(c);
	else if (f->corruptions && errors)
		err = renew(c, true, &f->corruptions, &f->corruptions_fixed);
	if (!err && f->leaks && fix & QCOW2_FIX_LEAKS && !c->structural)
		err = renew(c, false, &f->leaks, &f->leaks_fixed);
	/* A cluster that lost a leaked reference may be alone now: its entry
	 * has to say so, which is part of repairing leaks. */
	if (!err && (errors || (!f->corruptions && !f->leaks))) {
		err = qcow2_census_copied(c, put_copied);
		if (!err)
			err = sync_now(c);
	} else if (!err) {
		err = qcow2_census_copied(c, qcow2_census_tell);
	}
	if (!err && !f->corruptions)
		err = clear_marks(c);
	if (!err && fix & QCOW2_FIX_LEAKS && !f->corruptions && !f->leaks &&
	    !c->structural)
		cut_off(c);
	return err;
}
