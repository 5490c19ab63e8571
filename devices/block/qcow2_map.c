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
 *
 * Extended entries have 16 bytes, the second half a bit or none for each of 32
 * subclusters: it holds data, or it is zeros, or it is unallocated, whether or
 * not the cluster has a host cluster. What is said of a cluster above is then
 * said of a subcluster; COPIED, shared and compressed stay the cluster's.
 *
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

static unsigned entries_of_slice(const struct qcow2 *q)
{
	return (1u << q->slice_bits) / q->entry_bytes;
}

int qcow2_l2_slice(struct qcow2 *q, uint64_t offset, struct qcow2_slice **slice,
		   unsigned *index)
{
	unsigned l2_bits = qcow2_l2_bits(&q->header);
	uint64_t cluster = offset >> q->header.cluster_bits;
	uint64_t in_table = cluster & ((1ull << l2_bits) - 1);
	uint64_t first = align_down(in_table, entries_of_slice(q)), table;
	int err = l2_table(q, cluster >> l2_bits, &table);

	*slice = NULL;
	*index = in_table - first;
	if (err || !table)
		return err;
	return qcow2_cache_get(q, &q->l2_cache, table + first * q->entry_bytes,
			       slice);
}

int qcow2_l2_decode(const struct qcow2 *q, const uint8_t *at,
		    struct qcow2_entry *entry)
{
	unsigned bits = q->header.cluster_bits;
	uint64_t raw = get_be64(at);
	bool external = qcow2_is_external(q);
	int err;

	/* In a data file the first cluster has offset 0, and COPIED says that
	 * it is there: so one cluster is added while the entry is decoded. */
	if (external && raw & (QCOW2_OFFSET_MASK | QCOW2_COPIED))
		raw += q->cluster_size;
	if (external && raw & QCOW2_COMPRESSED)
		return -EIO;
	if (q->extended)
		err = qcow2_extended_decode(raw, get_be64(at + 8), bits, entry);
	else
		err = qcow2_entry_decode(raw, bits, q->header.version, entry);
	if (!err && external && entry->host) {
		entry->host += QCOW2_DATA_BASE - q->cluster_size;
		entry->copied = true;
	}
	return err;
}

/* In a data file each cluster has its own place and no other. */
static bool misplaced(const struct qcow2 *q, const struct qcow2_entry *entry,
		      uint64_t offset)
{
	return qcow2_is_external(q) && entry->host &&
	       entry->host !=
		       QCOW2_DATA_BASE + align_down(offset, q->cluster_size);
}

void qcow2_l2_put(const struct qcow2 *q, uint8_t *at, uint64_t raw,
		  uint32_t data, uint32_t zeros)
{
	/* In other images a compressed entry may use that bit. */
	put_be64(at, qcow2_is_external(q) ? raw & ~QCOW2_DATA_BASE : raw);
	if (q->extended)
		put_be64(at + 8, qcow2_sub_bitmap(data, zeros));
}

uint32_t qcow2_sub_mask(const struct qcow2 *q, uint64_t offset, uint64_t end)
{
	uint64_t in_cluster = offset & (q->cluster_size - 1);
	unsigned first = in_cluster / q->sub_size;
	unsigned last = (in_cluster + (end - offset) - 1) / q->sub_size;

	return offset == end ? 0 : (2ull << last) - (1ull << first);
}

/* True when @next, whose first byte would have to be at @host, goes on with
 * the extent that @first began. */
static bool joins(const struct qcow2_entry *first, uint64_t host,
		  const struct qcow2_entry *next, uint64_t next_host)
{
	if (next->kind != first->kind || next->copied != first->copied)
		return false;
	return first->host ? next->host && next_host == host : !next->host;
}

/* The entry that holds guest @offset, .kind that of the subcluster there. */
static int decode(struct qcow2 *q, const struct qcow2_slice *slice,
		  unsigned index, uint64_t offset, struct qcow2_entry *entry)
{
	static const uint8_t none[16];
	const uint8_t *at = slice ? slice->data + index * q->entry_bytes : none;
	int err = qcow2_l2_decode(q, at, entry);

	if (!err && entry->host && entry->kind != QCOW2_KIND_COMPRESSED &&
	    (qcow2_is_fixed(q, entry->host, q->cluster_size) ||
	     misplaced(q, entry, offset)))
		err = -EIO;
	if (err)
		return qcow2_corrupt(q,
				     "the L2 entry for disk offset %#llx is "
				     "%#llx",
				     (unsigned long long)offset,
				     (unsigned long long)get_be64(at));
	if (q->extended)
		entry->kind = qcow2_sub_kind(
			entry, (offset & (q->cluster_size - 1)) / q->sub_size);
	return 0;
}

int qcow2_map(struct qcow2 *q, uint64_t offset, uint64_t length,
	      struct qcow2_extent *extent)
{
	unsigned bits = q->header.cluster_bits, index;
	uint64_t mask = q->cluster_size - 1, covered;
	struct qcow2_slice *slice;
	struct qcow2_entry first;
	int err;

	err = qcow2_l2_slice(q, offset, &slice, &index);
	if (!err)
		err = decode(q, slice, index, offset, &first);
	if (err)
		return err;
	covered = q->sub_size - (offset & (q->sub_size - 1));
	if (first.kind == QCOW2_KIND_COMPRESSED) {
		covered = q->cluster_size - (offset & mask);
		length = length < covered ? length : covered;
	}
	while (covered < length) {
		uint64_t at = offset + covered;
		unsigned n = index + ((at >> bits) - (offset >> bits));
		struct qcow2_entry next;

		if (n >= entries_of_slice(q))
			break;
		err = decode(q, slice, n, at, &next);
		if (err)
			return err;
		if (!joins(&first, first.host + (offset & mask) + covered,
			   &next, next.host + (at & mask)))
			break;
		covered += q->sub_size;
	}
	extent->entry = first;
	if (first.host && first.kind != QCOW2_KIND_COMPRESSED)
		extent->entry.host += offset & mask;
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

	for (uint64_t at = 0; !err && at < q->cluster_size;
	     at += q->entry_bytes)
		put_be64(table + at, get_be64(table + at) & ~QCOW2_COPIED);
	if (!err)
		err = qcow2_put(q, table, q->cluster_size, to);
	free(table);
	return err;
}

int qcow2_l2_private(struct qcow2 *q, uint64_t offset)
{
	uint64_t index = offset >> q->header.cluster_bits >>
			 qcow2_l2_bits(&q->header);
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
