/*
 * Which host clusters are used. A refcount table points to blocks of
 * refcounts, one for each cluster of the host file:
 *
 *   cluster number:  [ index in the table | index in the block ]
 *                            |                    |
 *   refcount table  [ ... block ... ]             v
 *                            `------> [ ... refcount ... ]
 *
 * No block means that all its clusters are free.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/log.h"

/* Bits of a refcount table entry that the specification keeps at zero. */
#define RESERVED 511ull

/* A refcount that is set for a cluster past the end of the file is a leak at
 * best. This many of them make the search for a free cluster too long. */
#define BOGUS_MAX 65536

/* Dropped references wait for a commit; more than these do not wait. */
#define FREED_MAX 4096

static int block_offset(struct qcow2 *q, uint64_t cluster, uint64_t *offset)
{
	uint64_t index = cluster >> q->refblock_bits;

	*offset = index < q->reftable.entries ? q->reftable.entry[index] : 0;
	if (!*offset)
		return 0;
	if (*offset & (q->cluster_size - 1) || *offset >= QCOW2_OFFSET_END ||
	    qcow2_is_fixed(q, *offset, q->cluster_size))
		return qcow2_corrupt(q, "refcount table entry %llu is %#llx",
				     (unsigned long long)index,
				     (unsigned long long)*offset);
	return 0;
}

/* The slice with the cluster's refcount, and its index there; *slice is NULL
 * where there is no block. */
static int refcount_slice(struct qcow2 *q, uint64_t cluster,
			  struct qcow2_slice **slice, uint64_t *index)
{
	unsigned order = q->header.refcount_order;
	unsigned in_slice = q->slice_bits + 3 - order;
	uint64_t in_block, offset;
	int err = block_offset(q, cluster, &offset);

	*slice = NULL;
	if (err || !offset)
		return err;
	in_block = cluster & ((1ull << q->refblock_bits) - 1);
	*index = in_block & ((1ull << in_slice) - 1);
	return qcow2_cache_get(q, &q->ref_cache,
			       offset + (in_block >> in_slice << q->slice_bits),
			       slice);
}

int qcow2_refcount_read(struct qcow2 *q, uint64_t cluster, uint64_t *value)
{
	struct qcow2_slice *slice;
	uint64_t index;
	int err = refcount_slice(q, cluster, &slice, &index);

	if (!err)
		*value = slice ? qcow2_refcount_get(slice->data,
						    q->header.refcount_order,
						    index)
			       : 0;
	return err;
}

/* For clusters that have a block. */
static int refcount_write(struct qcow2 *q, uint64_t cluster, uint64_t value)
{
	struct qcow2_slice *slice;
	uint64_t index;
	int err = refcount_slice(q, cluster, &slice, &index);

	if (!err && !slice)
		err = -EIO;
	if (err)
		return err;
	qcow2_refcount_put(slice->data, q->header.refcount_order, index, value);
	qcow2_cache_dirty(&q->ref_cache, slice);
	return 0;
}

static int refuse_metadata(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	if (!qcow2_is_metadata(q, offset, length))
		return 0;
	return qcow2_corrupt(q, "the refcounts call the metadata at %#llx free",
			     (unsigned long long)offset);
}

/* Once: a table that names one full block again and again, for a file that is
 * one great hole, would make the search for a free cluster an endless one. */
int qcow2_check_blocks(struct qcow2 *q)
{
	int distinct = q->blocks_distinct;

	if (!distinct)
		distinct = qcow2_table_distinct(&q->reftable);
	if (distinct < 0)
		return distinct;
	if (!distinct)
		return qcow2_corrupt(q, "the refcount table names a block "
					"twice");
	q->blocks_distinct = true;
	return 0;
}

static bool unref(struct qcow2 *q, uint64_t cluster);

/* Writes @blocks blocks of refcounts at @offset that say 1 for the first
 * @used clusters they cover. */
static int write_full_blocks(struct qcow2 *q, uint64_t offset, uint64_t blocks,
			     uint64_t used)
{
	uint64_t per_block = 1ull << q->refblock_bits;
	uint8_t *block = malloc(q->cluster_size);
	int err = block ? 0 : -ENOMEM;

	for (uint64_t b = 0; b < blocks && !err; b++) {
		memset(block, 0, q->cluster_size);
		for (uint64_t i = 0; i < per_block && used; i++, used--)
			qcow2_refcount_put(block, q->header.refcount_order, i,
					   1);
		err = qcow2_put(q, block, q->cluster_size,
				offset + b * q->cluster_size);
	}
	free(block);
	return err;
}

/* Writes the present table, followed by entries for @blocks blocks from
 * @first on, at @offset. */
static int write_grown_table(struct qcow2 *q, uint64_t offset, uint32_t entries,
			     uint64_t first, uint64_t blocks)
{
	uint64_t *table = calloc(entries, 8);
	int err;

	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < q->reftable.entries; i++)
		table[i] = htobe64(q->reftable.entry[i]);
	for (uint64_t b = 0; b < blocks; b++)
		table[q->reftable.entries + b] =
			htobe64(first + b * q->cluster_size);
	err = qcow2_put(q, table, entries * 8ul, offset);
	free(table);
	return err;
}

/*
 * The table is full: builds a larger one right after the last cluster it
 * covers, together with the blocks that cover the area itself,
 *
 *   | table, 1.5 times as large | blocks for this area |
 *
 * and switches to it. Nothing refers to the area before, so a crash or a full
 * disk leaves the old table as it is.
 */
static int grow_reftable(struct qcow2 *q)
{
	unsigned bits = q->header.cluster_bits;
	uint32_t old_clusters = q->header.reftable_clusters;
	uint64_t old_offset = q->reftable.offset;
	uint64_t first = (uint64_t)q->reftable.entries << q->refblock_bits;
	uint64_t clusters = old_clusters + old_clusters / 2 + 1ull;
	uint64_t entries = clusters << (bits - 3);
	uint64_t blocks = 1, offset = first << bits;
	int err;

	while (blocks << q->refblock_bits < clusters + blocks)
		blocks++;
	if (clusters << bits > QCOW2_REFTABLE_MAX ||
	    first + clusters + blocks > QCOW2_OFFSET_END >> bits ||
	    q->reftable.entries + blocks > entries)
		return -ENOSPC;
	err = refuse_metadata(q, offset, (clusters + blocks) << bits);
	/* The new table must only name blocks that are durable. */
	if (!err)
		err = qcow2_commit(q);
	if (!err)
		err = qcow2_put_refcounts(q);
	if (!err)
		err = write_full_blocks(q, offset + (clusters << bits), blocks,
					clusters + blocks);
	if (!err)
		err = write_grown_table(q, offset, entries,
					offset + (clusters << bits), blocks);
	if (!err)
		err = qcow2_reftable_switch(q, offset, clusters,
					    q->header.refcount_order);
	if (err)
		return err;
	/* The switch is durable: the old table's clusters are free. */
	for (uint32_t i = 0; i < old_clusters; i++)
		unref(q, (old_offset >> bits) + i);
	return 0;
}

/*
 * Makes @cluster, for which there is no block yet, the block: it counts itself
 * first. The entry of the table is written after the block is durable.
 */
static int add_block(struct qcow2 *q, uint64_t cluster)
{
	uint64_t index = cluster >> q->refblock_bits;
	uint64_t offset = cluster << q->header.cluster_bits;
	int err = refuse_metadata(q, offset, q->cluster_size);

	if (err)
		return err;
	qcow2_will_write(q, offset, q->cluster_size);
	err = host_write_zeros(q->file, offset, q->cluster_size);
	if (err)
		return err;
	qcow2_cache_drop(q, offset);
	qcow2_table_set(&q->reftable, index, offset);
	err = refcount_write(q, cluster, 1);
	if (err)
		qcow2_table_set(&q->reftable, index, 0);
	return err;
}

/* Moves *cluster on, within its slice, to a free one: *found. */
static int skip_used(struct qcow2 *q, uint64_t *cluster, bool *found)
{
	unsigned order = q->header.refcount_order;
	uint64_t end = align_up(q->file_end, q->cluster_size) >>
		       q->header.cluster_bits;
	uint64_t index;
	struct qcow2_slice *slice;
	int err = refcount_slice(q, *cluster, &slice, &index);

	if (err)
		return err;
	for (; index >> (q->slice_bits + 3 - order) == 0; index++, ++*cluster) {
		*found = !qcow2_refcount_get(slice->data, order, index);
		if (*found)
			return 0;
		if (*cluster >= end && ++q->bogus > BOGUS_MAX)
			return qcow2_corrupt(q, "more clusters are in use than "
						"the file has");
	}
	return 0;
}

/* Moves *cluster on to a free one whose refcount block exists. */
static int find_free(struct qcow2 *q, uint64_t *cluster)
{
	bool found = false;
	int err = 0;

	while (!err && !found) {
		uint64_t block;

		if (*cluster >= QCOW2_OFFSET_END >> q->header.cluster_bits)
			return -ENOSPC;
		err = block_offset(q, *cluster, &block);
		if (!err && block)
			err = skip_used(q, cluster, &found);
		else if (!err)
			err = *cluster >> q->refblock_bits < q->reftable.entries
				      ? add_block(q, *cluster)
				      : grow_reftable(q);
	}
	return err;
}

/* True when the cluster is free and has a block that says so. */
static bool known_free(struct qcow2 *q, uint64_t cluster)
{
	uint64_t block, value;

	return cluster < QCOW2_OFFSET_END >> q->header.cluster_bits &&
	       !block_offset(q, cluster, &block) && block &&
	       !qcow2_refcount_read(q, cluster, &value) && !value;
}

int qcow2_alloc(struct qcow2 *q, uint64_t want, uint64_t *offset, uint64_t *got)
{
	unsigned bits = q->header.cluster_bits;
	uint64_t first = q->free_hint, n = 0;
	int err = q->error ? q->error : qcow2_check_blocks(q);

	if (!err)
		err = find_free(q, &first);
	if (err)
		return err;
	q->free_hint = first;
	do {
		err = refcount_write(q, first + n, 1);
		if (err)
			break;
		n++;
	} while (n < want && known_free(q, first + n));
	if (!n)
		return err;
	q->free_hint = first + n;
	*offset = first << bits;
	*got = n;
	err = refuse_metadata(q, *offset, n << bits);
	if (err)
		qcow2_release(q, *offset, n);
	return err;
}

int qcow2_ref(struct qcow2 *q, uint64_t offset)
{
	uint64_t cluster = offset >> q->header.cluster_bits, value;
	int err = qcow2_refcount_read(q, cluster, &value);

	if (!err && value == qcow2_refcount_max(q->header.refcount_order))
		err = -EOVERFLOW;
	return err ? err : refcount_write(q, cluster, value + 1);
}

/* Drops one reference; true if it was the last one. What cannot be dropped is
 * leaked, and said. */
static bool unref(struct qcow2 *q, uint64_t cluster)
{
	uint64_t value;
	int err = qcow2_refcount_read(q, cluster, &value);

	if (!err && !value) {
		qcow2_corrupt(q,
			      "the cluster at %#llx was in use with "
			      "refcount 0",
			      (unsigned long long)cluster
				      << q->header.cluster_bits);
		return false;
	}
	if (!err)
		err = refcount_write(q, cluster, value - 1);
	if (err) {
		log_warn("disk %s: cannot read a refcount (%s): a cluster "
			 "leaks; kvist img check -r leaks gets it back",
			 q->block.name, strerror(-err));
		return false;
	}
	if (value > 1)
		return false;
	qcow2_cache_drop(q, cluster << q->header.cluster_bits);
	if (cluster < q->free_hint)
		q->free_hint = cluster;
	if (cluster == q->pack_at >> q->header.cluster_bits)
		q->pack_at = 0;
	return true;
}

void qcow2_release(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
	for (uint64_t i = 0; i < clusters; i++)
		unref(q, (offset >> q->header.cluster_bits) + i);
}

int qcow2_freed_reserve(struct qcow2 *q, size_t more)
{
	struct qcow2_freed *freed;
	size_t space;
	int err;

	if (q->freed_count > FREED_MAX) {
		err = qcow2_commit(q);
		if (err)
			return err;
	}
	if (q->freed_count + more <= q->freed_space)
		return 0;
	space = (q->freed_count + more) * 2;
	freed = realloc(q->freed, space * sizeof(*freed));
	if (!freed)
		return -ENOMEM;
	q->freed = freed;
	q->freed_space = space;
	return 0;
}

void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t clusters,
		      bool punch)
{
	struct qcow2_freed *last;

	last = q->freed_count ? &q->freed[q->freed_count - 1] : NULL;
	if (last && last->punch == punch &&
	    last->offset + last->clusters * q->cluster_size == offset) {
		last->clusters += clusters;
		return;
	}
	q->freed[q->freed_count++] = (struct qcow2_freed){
		.offset = offset,
		.clusters = clusters,
		.punch = punch,
	};
}

void qcow2_free_entry(struct qcow2 *q, const struct qcow2_entry *entry,
		      bool punch)
{
	uint64_t first = align_down(entry->host, q->cluster_size);
	uint64_t end;

	if (entry->host >= QCOW2_DATA_BASE &&
	    entry->kind != QCOW2_KIND_COMPRESSED) {
		/* At once: a crash shows the old bytes or zeros, and the guest
		 * gave them up. A later write needs no care then. */
		if (punch)
			qcow2_data_punch(q, first - QCOW2_DATA_BASE,
					 q->cluster_size);
	} else if (entry->kind == QCOW2_KIND_COMPRESSED) {
		/* It holds a reference to every cluster it touches. */
		end = align_up(entry->host + entry->bytes, q->cluster_size);
		qcow2_free_later(q, first,
				 (end - first) >> q->header.cluster_bits,
				 false);
	} else if (entry->host) {
		qcow2_free_later(q, first, 1, punch);
	}
}

/* Gives space back. A host that cannot do it keeps the space: no harm. */
static void punch(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	if (!length)
		return;
	flusher_wrote(&q->flusher);
	q->file->ops->punch(q->file, offset, length);
}

static void apply_freed(struct qcow2 *q, const struct qcow2_freed *freed)
{
	uint64_t at = freed->offset, hole = 0;

	for (uint64_t n = 0; n < freed->clusters; n++) {
		bool last = unref(q, at >> q->header.cluster_bits);

		if (last && freed->punch) {
			hole += q->cluster_size;
		} else {
			punch(q, at - hole, hole);
			hole = 0;
		}
		at += q->cluster_size;
	}
	punch(q, at - hole, hole);
}

void qcow2_apply_freed(struct qcow2 *q)
{
	size_t kept = 0;

	for (size_t i = 0; i < q->freed_count; i++) {
		struct qcow2_freed freed = q->freed[i];

		/* The next commit will find it free of that (Q2). */
		if (qcow2_in_flight(q, freed.offset,
				    freed.clusters * q->cluster_size))
			q->freed[kept++] = freed;
		else
			apply_freed(q, &freed);
	}
	q->freed_count = kept;
}
