#include "devices/block/qcow2_switch.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "util/checked.h"
#include "util/log.h"

/* Refcounts that are set past the end of the file, until it is no accident. */
#define BOGUS_MAX 65536

static int is_free(struct qcow2_switch *s, uint64_t cluster, bool *free)
{
	struct qcow2 *q = s->q;
	int32_t *delta = qcow2_switch_delta(s, cluster);
	uint64_t value;
	int err;

	*free = false;
	if (delta && *delta)
		return 0;
	err = qcow2_refcount_read(q, cluster, &value);
	if (err)
		return err;
	*free = !value;
	if (value && cluster << q->header.cluster_bits >= q->file_end &&
	    ++q->bogus > BOGUS_MAX)
		return qcow2_corrupt(q, "more clusters are in use than the "
					"file has");
	return 0;
}

/* Takes @n clusters that follow each other, free in the old image and so far
 * in the new one. */
static int take(struct qcow2_switch *s, uint64_t n, uint64_t *offset)
{
	struct qcow2 *q = s->q;
	unsigned bits = q->header.cluster_bits;
	uint64_t limit = (uint64_t)QCOW2_SWITCH_BLOCKS << q->refblock_bits;
	uint64_t cluster = s->hint, run = 0;
	int err = 0;

	if (limit > QCOW2_OFFSET_END >> bits)
		limit = QCOW2_OFFSET_END >> bits;
	for (; run < n; cluster++) {
		bool free;

		if (cluster >= limit)
			return -ENOSPC;
		err = is_free(s, cluster, &free);
		if (err)
			return err;
		run = free ? run + 1 : 0;
	}
	if (n == 1)
		s->hint = cluster;
	*offset = (cluster - n) << bits;
	if (qcow2_is_fixed(q, *offset, n << bits))
		return qcow2_corrupt(q,
				     "the refcounts call the metadata at %#llx "
				     "free",
				     (unsigned long long)*offset);
	for (uint64_t i = 1; i <= n && !err; i++)
		err = qcow2_switch_add(s, cluster - i, 1);
	return err;
}

/* Takes room for a table; none when it is empty. */
static int take_bytes(struct qcow2_switch *s, uint64_t bytes, uint64_t *offset)
{
	unsigned bits = s->q->header.cluster_bits;

	return bytes ? take(s, (bytes + s->q->cluster_size - 1) >> bits, offset)
		     : 0;
}

/* Q3 for an entry of the new active tables. */
static int with_copied(struct qcow2_switch *s, uint64_t raw, uint64_t *out)
{
	uint64_t host = raw & QCOW2_OFFSET_MASK, count;
	int err;

	*out = raw;
	if (raw & QCOW2_COMPRESSED || !host)
		return 0;
	err = qcow2_switch_new_count(s, host >> s->q->header.cluster_bits,
				     &count);
	*out = count == 1 ? raw | QCOW2_COPIED : raw & ~QCOW2_COPIED;
	return err;
}

/* Sets COPIED in the L2 table that was read; *changed if that was news. */
static int renew_l2(struct qcow2_switch *s, bool *changed)
{
	*changed = false;
	if (qcow2_is_external(s->q))
		return 0;
	for (uint64_t at = 0; at < s->q->cluster_size;
	     at += s->q->entry_bytes) {
		uint64_t old = get_be64(s->table + at), new;
		int err = with_copied(s, old, &new);

		if (err)
			return err;
		*changed |= old != new;
		put_be64(s->table + at, new);
	}
	return 0;
}

/*
 * Sets COPIED in the new active tree. An L2 table that this changes is written
 * anew; the old one stays with the snapshots that have it, if any.
 */
static int renew_copied(struct qcow2_switch *s)
{
	struct qcow2 *q = s->q;
	int err = 0;

	for (uint32_t i = 0; i < s->l1_entries && !err; i++) {
		uint64_t offset, fresh = 0;
		bool changed;

		if (!s->l1[i])
			continue;
		err = qcow2_switch_read_l2(s, s->l1[i], &offset);
		if (!err)
			err = renew_l2(s, &changed);
		if (!err && changed) {
			err = take(s, 1, &fresh);
			if (!err)
				err = qcow2_switch_add(
					s, offset >> q->header.cluster_bits,
					-1);
			if (!err)
				err = qcow2_put(q, s->table, q->cluster_size,
						fresh);
			s->l1[i] = fresh;
		}
		if (!err)
			err = with_copied(s, s->l1[i], &s->l1[i]);
	}
	return err;
}

/* Takes a place for each block of refcounts that changes. Taking one changes
 * refcounts again, perhaps of further blocks. */
static int place_blocks(struct qcow2_switch *s, bool *any)
{
	struct qcow2 *q = s->q;
	int err = 0;

	for (uint64_t b = 0; b < s->top && !err; b++) {
		struct qcow2_change *block = &s->blocks[b];
		uint64_t old = 0;

		if (!block->delta || block->place)
			continue;
		*any = true;
		if (b < q->reftable.entries)
			old = q->reftable.entry[b];
		if (old)
			err = qcow2_switch_count(s, old, q->cluster_size, -1);
		if (!err)
			err = take(s, 1, &block->place);
	}
	return err;
}

/* The same for the table that names them, which may have to grow. */
static int place_reftable(struct qcow2_switch *s, bool *any)
{
	struct qcow2 *q = s->q;
	unsigned bits = q->header.cluster_bits;
	uint64_t entries = q->reftable.entries;
	uint64_t clusters;

	if (entries < s->top)
		entries = s->top;
	clusters = (entries * 8 + q->cluster_size - 1) >> bits;
	if (clusters <= s->reftable_clusters)
		return 0;
	*any = true;
	for (uint32_t i = 0; i < s->reftable_clusters; i++)
		*qcow2_switch_delta(s, (s->reftable_at >> bits) + i) -= 1;
	s->reftable_clusters = clusters;
	return take(s, clusters, &s->reftable_at);
}

static int place(struct qcow2_switch *s)
{
	struct qcow2 *q = s->q;
	bool any = true;
	int err = take_bytes(s, s->l1_entries * 8ull, &s->l1_at);

	if (!err)
		err = take_bytes(s, s->snapshot_bytes, &s->snapshot_at);
	if (!err)
		err = qcow2_switch_count(s, q->reftable.offset,
					 q->reftable.entries * 8ull, -1);
	while (!err && any) {
		any = false;
		err = place_blocks(s, &any);
		if (!err)
			err = place_reftable(s, &any);
	}
	return err;
}

static int write_block(struct qcow2_switch *s, uint64_t index)
{
	struct qcow2 *q = s->q;
	unsigned order = q->header.refcount_order;
	const struct qcow2_change *block = &s->blocks[index];
	uint64_t old = 0;
	int err = 0;

	if (index < q->reftable.entries)
		old = q->reftable.entry[index];
	if (old)
		err = host_read(q->file, s->table, q->cluster_size, old);
	else
		memset(s->table, 0, q->cluster_size);
	for (uint64_t i = 0; i < qcow2_switch_per_block(s) && !err; i++) {
		if (!block->delta[i])
			continue;
		qcow2_refcount_put(s->table, order, i,
				   qcow2_refcount_get(s->table, order, i) +
					   (uint64_t)(int64_t)block->delta[i]);
	}
	return err ? err
		   : qcow2_put(q, s->table, q->cluster_size, block->place);
}

/* Writes a table of 8-byte numbers, @n of @from and zeros up to @entries. */
static int write_table(struct qcow2_switch *s, const uint64_t *from, uint32_t n,
		       uint64_t entries, uint64_t offset)
{
	uint64_t *table = calloc(entries ? entries : 1, 8);
	int err;

	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		table[i] = htobe64(from[i]);
	err = entries ? qcow2_put(s->q, table, entries * 8, offset) : 0;
	free(table);
	return err;
}

static int write_reftable(struct qcow2_switch *s)
{
	const struct qcow2_table *old = &s->q->reftable;
	uint32_t entries = s->reftable_clusters
			   << (s->q->header.cluster_bits - 3);
	uint64_t *table = calloc(entries, 8);
	int err;

	if (!table)
		return -ENOMEM;
	memcpy(table, old->entry, old->entries * 8ul);
	for (uint64_t b = 0; b < s->top; b++) {
		if (s->blocks[b].place)
			table[b] = s->blocks[b].place;
	}
	err = write_table(s, table, entries, entries, s->reftable_at);
	free(table);
	return err;
}

static int write_tables(struct qcow2_switch *s)
{
	int err = 0;

	for (uint64_t b = 0; b < s->top && !err; b++) {
		if (s->blocks[b].place)
			err = write_block(s, b);
	}
	if (!err)
		err = write_reftable(s);
	if (!err)
		err = write_table(s, s->l1, s->l1_entries, s->l1_entries,
				  s->l1_at);
	if (!err && s->snapshot_bytes)
		err = qcow2_put(s->q, s->snapshot_table, s->snapshot_bytes,
				s->snapshot_at);
	return err ? err : qcow2_barrier(s->q);
}

/* The switch itself. It is in one sector, so it happens or does not. */
static int write_header(struct qcow2_switch *s)
{
	const struct qcow2_header *h = &s->q->header;
	/* The size is left alone unless it changes: it may be one that is no
	 * multiple of a sector. */
	unsigned from = s->size == h->size ? 36 : 24;
	uint8_t bytes[72];
	int err;

	put_be64(bytes + 24, s->size);
	put_be32(bytes + 32, h->crypt_method);
	put_be32(bytes + 36, s->l1_entries);
	put_be64(bytes + 40, s->l1_at);
	put_be64(bytes + QCOW2_AT_REFTABLE, s->reftable_at);
	put_be32(bytes + QCOW2_AT_REFTABLE + 8, s->reftable_clusters);
	put_be32(bytes + 60, s->snapshots);
	put_be64(bytes + 64, s->snapshot_at);
	err = qcow2_put(s->q, bytes + from, sizeof(bytes) - from, from);
	if (!err)
		err = qcow2_barrier(s->q);
	if (err && !s->q->error)
		s->q->error = err;
	return err;
}

/* From here on the new image is the image. */
static void adopt(struct qcow2_switch *s, const struct qcow2_table *l1,
		  const struct qcow2_table *reftable)
{
	struct qcow2 *q = s->q;
	struct qcow2_header *h = &q->header;

	qcow2_table_fini(&q->l1);
	qcow2_table_fini(&q->reftable);
	q->l1 = *l1;
	q->reftable = *reftable;
	h->l1_offset = s->l1_at;
	h->l1_entries = s->l1_entries;
	h->reftable_offset = s->reftable_at;
	h->reftable_clusters = s->reftable_clusters;
	h->snapshots = s->snapshots;
	h->snapshots_offset = s->snapshot_at;
	h->size = align_down(s->size, BLOCK_SECTOR);
	q->block.size = h->size;
	q->free_hint = 1;
	q->inflated_at = 0;
	q->pack_at = 0;
	qcow2_cache_forget(&q->l2_cache);
	qcow2_cache_forget(&q->ref_cache);
}

/* Gives the space of what is free now back to the host, which may not be able
 * to: no harm. */
static void punch_freed(struct qcow2_switch *s)
{
	struct qcow2 *q = s->q;
	unsigned bits = q->header.cluster_bits;

	for (uint64_t b = 0; b < s->top; b++) {
		const int32_t *delta = s->blocks[b].delta;
		uint64_t first = b << q->refblock_bits, run = 0;

		for (uint64_t i = 0; delta && i <= qcow2_switch_per_block(s);
		     i++) {
			uint64_t value = 1;

			if (i < qcow2_switch_per_block(s) && delta[i] < 0 &&
			    qcow2_refcount_read(q, first + i, &value))
				return;
			if (!value) {
				run++;
				continue;
			}
			if (run)
				q->file->ops->punch(q->file,
						    (first + i - run) << bits,
						    run << bits);
			if (run)
				flusher_wrote(&q->flusher);
			run = 0;
		}
	}
}

int qcow2_switch_run(struct qcow2_switch *s)
{
	struct qcow2 *q = s->q;
	struct qcow2_table l1, reftable;
	int err = qcow2_switch_check(s);

	s->l1_at = q->l1.offset; /* stays, should the table be empty */
	if (!err)
		err = renew_copied(s);
	if (!err)
		err = place(s);
	/* Of a damaged image: tables that are there twice, but counted once. */
	if (!err)
		err = qcow2_switch_check(s);
	if (!err)
		err = write_tables(s);
	if (!err)
		err = qcow2_table_load(q, &l1, s->l1_at, s->l1_entries);
	if (err)
		return err;
	err = qcow2_table_load(q, &reftable, s->reftable_at,
			       s->reftable_clusters
				       << (q->header.cluster_bits - 3));
	if (err) {
		qcow2_table_fini(&l1);
		return err;
	}
	err = write_header(s);
	if (err) {
		qcow2_table_fini(&l1);
		qcow2_table_fini(&reftable);
		return err;
	}
	adopt(s, &l1, &reftable);
	punch_freed(s);
	return 0;
}
