/*
 * The cluster walk: from a guest offset to the bytes of the host file.
 *
 *   guest offset, for clusters of 64 KiB (cluster_bits 16):
 *
 *    63            29 28          16 15             0
 *   [   L1 index     |   L2 index   | in the cluster ]
 *          |               |               |
 *          |               |               `------------------------.
 *          v               |                                        |
 *   L1 table (in memory)   |                                        |
 *   [ ... entry ... ]      v                                        v
 *          `-------> L2 table, in slices [ ... entry ... ] -> host cluster
 *          0: none, all unallocated              |
 *                                                |  what the entry says:
 *     0                        unallocated: ask the backing file, or zeros
 *     offset                   data, shared with a snapshot: copy to write
 *     offset | COPIED          data, ours alone: write in place
 *     ZERO                     zeros
 *     offset | ZERO [| COPIED] zeros, and a host cluster kept for later
 *     COMPRESSED | descriptor  deflated bytes, anywhere in the file
 *
 * An L2 table fills one cluster, so an L2 index has cluster_bits - 3 bits.
 * Read the walk as qcow2_map() does it: qcow2_l2_slice() follows the L1 entry,
 * qcow2_entry_decode() reads one L2 entry, and the loop joins neighbours that
 * can be read or written in one piece.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2.h"
#include "util/bytes.h"
#include "util/checked.h"

static int l2_table(struct qcow2 *q, uint64_t index, uint64_t *table)
{
	*table = q->l1.entry[index] & ~QCOW2_COPIED;
	if (!*table)
		return 0;
	if (*table & ~QCOW2_OFFSET_MASK || *table & (q->cluster_size - 1) ||
	    qcow2_is_fixed(q, *table, q->cluster_size))
		return qcow2_corrupt(q, "L1 entry %llu is %#llx",
				     (unsigned long long)index,
				     (unsigned long long)*table);
	return 0;
}

int qcow2_l2_slice(struct qcow2 *q, uint64_t offset, struct qcow2_slice **slice,
		   unsigned *index)
{
	unsigned bits = q->header.cluster_bits;
	unsigned slice_entries = 1u << (q->slice_bits - 3);
	uint64_t cluster = offset >> bits;
	uint64_t in_table = cluster & ((1ull << (bits - 3)) - 1);
	uint64_t table;
	int err = l2_table(q, cluster >> (bits - 3), &table);

	*slice = NULL;
	*index = in_table & (slice_entries - 1);
	if (err || !table)
		return err;
	return qcow2_cache_get(q, &q->l2_cache,
			       table + align_down(in_table, slice_entries) * 8,
			       slice);
}

/* True when @next, whose host cluster would have to be at @host, goes on with
 * the extent that @first began. */
static bool joins(const struct qcow2_entry *first, uint64_t host,
		  const struct qcow2_entry *next)
{
	if (next->kind != first->kind || next->copied != first->copied)
		return false;
	switch (first->kind) {
	case QCOW2_KIND_DATA:
	case QCOW2_KIND_ZERO_ALLOCATED:
		return next->host == host;
	case QCOW2_KIND_COMPRESSED:
		return false;
	default:
		return true;
	}
}

static int decode(struct qcow2 *q, const struct qcow2_slice *slice,
		  unsigned index, uint64_t offset, struct qcow2_entry *entry)
{
	uint64_t raw = slice ? get_be64(slice->data + index * 8ul) : 0;
	int err = qcow2_entry_decode(raw, q->header.cluster_bits,
				     q->header.version, entry);

	if (!err && entry->host && entry->kind != QCOW2_KIND_COMPRESSED &&
	    qcow2_is_fixed(q, entry->host, q->cluster_size))
		err = -EIO;
	if (err)
		return qcow2_corrupt(q,
				     "the L2 entry for disk offset %#llx is "
				     "%#llx",
				     (unsigned long long)offset,
				     (unsigned long long)raw);
	return 0;
}

int qcow2_map(struct qcow2 *q, uint64_t offset, uint64_t length,
	      struct qcow2_extent *extent)
{
	uint64_t in_cluster = offset & (q->cluster_size - 1);
	unsigned slice_entries = 1u << (q->slice_bits - 3);
	struct qcow2_slice *slice;
	struct qcow2_entry first;
	uint64_t covered = q->cluster_size - in_cluster;
	unsigned index;
	int err;

	err = qcow2_l2_slice(q, offset, &slice, &index);
	if (!err)
		err = decode(q, slice, index, offset, &first);
	if (err)
		return err;
	while (covered < length && ++index < slice_entries) {
		struct qcow2_entry next;

		err = decode(q, slice, index, offset + covered, &next);
		if (err)
			return err;
		if (!joins(&first, first.host + in_cluster + covered, &next))
			break;
		covered += q->cluster_size;
	}
	extent->entry = first;
	if (first.host && first.kind != QCOW2_KIND_COMPRESSED)
		extent->entry.host += in_cluster;
	extent->length = covered < length ? covered : length;
	return 0;
}

/*
 * Copies a table that a snapshot shares. The copy's clusters stay shared, so
 * no entry of it may say COPIED, whatever the old table says (Q3).
 */
static int copy_table(struct qcow2 *q, uint64_t from, uint64_t to)
{
	uint8_t *table = malloc(q->cluster_size);
	int err = table ? host_read(q->file, table, q->cluster_size, from)
			: -ENOMEM;

	for (uint64_t at = 0; !err && at < q->cluster_size; at += 8)
		put_be64(table + at, get_be64(table + at) & ~QCOW2_COPIED);
	if (!err)
		err = qcow2_put(q, table, q->cluster_size, to);
	free(table);
	return err;
}

int qcow2_l2_private(struct qcow2 *q, uint64_t offset)
{
	uint64_t index = offset >> (2 * q->header.cluster_bits - 3);
	uint64_t old, table, got;
	int err = l2_table(q, index, &old);

	if (err || (old && q->l1.entry[index] & QCOW2_COPIED))
		return err;
	err = qcow2_freed_reserve(q, 1);
	if (!err)
		err = qcow2_alloc(q, 1, &table, &got);
	if (err)
		return err;
	qcow2_cache_drop(q, table);
	if (old) {
		err = copy_table(q, old, table);
	} else {
		qcow2_will_write(q, table, q->cluster_size);
		err = host_write_zeros(q->file, table, q->cluster_size);
	}
	if (err) {
		qcow2_release(q, table, 1);
		return err;
	}
	qcow2_table_set(&q->l1, index, table | QCOW2_COPIED);
	if (old)
		qcow2_free_later(q, old, 1, false);
	return 0;
}

int qcow2_map_extent(struct block *block, uint64_t offset, uint64_t length,
		     struct block_extent *extent)
{
	struct qcow2 *q = qcow2_of(block);
	struct qcow2_extent e;
	int err = qcow2_map(q, offset, length, &e);

	if (err)
		return err;
	extent->length = e.length;
	extent->allocated = e.entry.kind != QCOW2_KIND_UNALLOCATED;
	extent->zero = e.entry.kind == QCOW2_KIND_ZERO ||
		       e.entry.kind == QCOW2_KIND_ZERO_ALLOCATED;
	extent->compressed = e.entry.kind == QCOW2_KIND_COMPRESSED;
	extent->placed = e.entry.host && !extent->compressed &&
			 !q->header.crypt_method;
	extent->host = extent->placed ? e.entry.host : 0;
	return 0;
}
