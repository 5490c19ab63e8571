/*
 * Zero and discard in an image with subclusters: each has a bit that says that
 * it is zeros. What is not whole subclusters is written, and so is a part of a
 * compressed cluster, which has none.
 *
 * A cluster of which nothing is left gives its host cluster back when it is
 * discarded, or shared; else it keeps that for later.
 */
#include <errno.h>

#include "devices/block/qcow2.h"
#include "util/bytes.h"
#include "util/checked.h"

/* Zeros by plain writes, where there is something else; a discard lets it be.
 * Within one subcluster, or one compressed cluster. */
static int zero_bytes(struct qcow2 *q, uint64_t offset, uint64_t end,
		      bool discard)
{
	/* The last subcluster may go on behind the end of the disk. */
	if (end > q->block.size)
		end = q->block.size;
	while (offset < end && !discard) {
		struct qcow2_extent e;
		int err = qcow2_map(q, offset, end - offset, &e);

		if (err)
			return err;
		if (e.entry.kind == QCOW2_KIND_DATA ||
		    e.entry.kind == QCOW2_KIND_COMPRESSED ||
		    (e.entry.kind == QCOW2_KIND_UNALLOCATED &&
		     !qcow2_past_backing(q, offset)))
			err = qcow2_write_zeros(q, offset, e.length);
		if (err)
			return err;
		offset += e.length;
	}
	return 0;
}

/* The subclusters of @mask, of the cluster at @offset, which the entry @old
 * tells of. */
static int zero_entry(struct qcow2 *q, uint64_t offset, uint32_t mask,
		      bool discard, const struct qcow2_entry *old)
{
	struct qcow2_slice *slice;
	bool whole = mask == UINT32_MAX;
	unsigned index;
	uint8_t *at;
	int err = qcow2_l2_private(q, offset);

	if (!err)
		err = qcow2_freed_reserve(q, 1);
	if (!err)
		err = qcow2_l2_slice(q, offset, &slice, &index);
	if (err)
		return err;
	at = slice->data + index * q->entry_bytes;
	if (whole && old->host && (discard || !old->copied)) {
		qcow2_free_entry(q, old, discard);
		qcow2_l2_put(q, at, 0, 0, UINT32_MAX);
	} else {
		qcow2_l2_put(q, at, get_be64(at), old->data & ~mask,
			     old->zeros | mask);
	}
	qcow2_cache_dirty(&q->l2_cache, slice);
	return 0;
}

/* Whole subclusters of one cluster. */
static int zero_subs(struct qcow2 *q, uint64_t offset, uint64_t end,
		     bool discard)
{
	uint32_t mask = qcow2_sub_mask(q, offset, end);
	struct qcow2_extent e;
	int err = qcow2_map(q, offset, BLOCK_SECTOR, &e);

	if (err || !mask)
		return err;
	if (e.entry.kind == QCOW2_KIND_COMPRESSED && mask != UINT32_MAX)
		return zero_bytes(q, offset, end, discard);
	if (e.entry.kind != QCOW2_KIND_COMPRESSED)
		e.entry.host = align_down(e.entry.host, q->cluster_size);
	/* Zeros already, by a bit or for want of a backing file. */
	if (!(e.entry.host && discard && mask == UINT32_MAX) &&
	    e.entry.kind != QCOW2_KIND_COMPRESSED && !(e.entry.data & mask) &&
	    (!(mask & ~e.entry.zeros) || qcow2_past_backing(q, offset)))
		return 0;
	return zero_entry(q, offset, mask, discard, &e.entry);
}

int qcow2_zero_sub(struct qcow2 *q, uint64_t offset, uint64_t length,
		   bool discard)
{
	uint64_t end = offset + length;
	int err = q->error;

	while (offset < end && !err) {
		uint64_t stop = align_up(offset + 1, q->cluster_size);
		uint64_t first = align_up(offset, q->sub_size), last;

		/* The last cluster is whole when it goes to the end. */
		if (stop > end && end < q->block.size)
			stop = end;
		last = align_down(stop, q->sub_size);
		if (first >= last) {
			first = last = stop < end ? stop : end;
			stop = first;
		}
		err = zero_bytes(q, offset, first, discard);
		if (!err && first < last)
			err = zero_subs(q, first, last, discard);
		if (!err && last < stop)
			err = zero_bytes(q, last, stop, discard);
		offset = stop;
	}
	return err;
}
