/*
 * Zero and discard. Version 3 has a flag for whole clusters of zeros; what it
 * cannot say, and what version 2 cannot say at all, is written.
 *
 *   an entry that is     ZERO makes it             DISCARD makes it
 *   unallocated          ZERO if backed            ZERO if backed
 *   data, ours           ZERO, its cluster kept    ZERO, its space given back
 *   data, shared         ZERO                      ZERO
 *   compressed           ZERO                      ZERO
 *
 * In version 2 without a backing file, unallocated takes the place of ZERO;
 * with one, ZERO writes zeros and DISCARD leaves the data alone: what the
 * backing file holds must not come up again.
 */
#include <errno.h>

#include "devices/block/qcow2.h"
#include "util/bytes.h"
#include "util/checked.h"

#define ZERO_BATCH 64

int qcow2_write_zeros(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	while (length) {
		struct iovec iov[ZERO_BATCH];
		uint64_t taken;
		int cnt = host_zero_iov(iov, ZERO_BATCH, length, &taken);
		int err = qcow2_write(q, iov, cnt, offset, taken);

		if (err)
			return err;
		offset += taken;
		length -= taken;
	}
	return 0;
}

/* What the entry becomes; false where it has to stay. */
static bool zeroed(const struct qcow2 *q, const struct qcow2_entry *old,
		   uint64_t offset, bool discard, uint64_t *raw)
{
	bool backed = !qcow2_past_backing(q, offset);

	if (old->kind == QCOW2_KIND_UNALLOCATED && !backed)
		return false;
	if (old->kind == QCOW2_KIND_ZERO ||
	    (old->kind == QCOW2_KIND_ZERO_ALLOCATED && !discard))
		return false;
	if (q->header.version < 3)
		*raw = 0;
	else if (old->kind == QCOW2_KIND_DATA && old->copied && !discard)
		*raw = (old->host & ~QCOW2_DATA_BASE) | QCOW2_COPIED |
		       QCOW2_ZERO;
	else
		*raw = QCOW2_ZERO;
	return true;
}

/* Whole clusters, all within one slice. */
static int zero_entries(struct qcow2 *q, uint64_t offset, uint64_t clusters,
			bool discard)
{
	struct qcow2_slice *slice;
	unsigned index;
	int err = qcow2_l2_private(q, offset);

	if (!err)
		err = qcow2_freed_reserve(q, clusters);
	if (!err)
		err = qcow2_l2_slice(q, offset, &slice, &index);
	if (err)
		return err;
	for (; clusters; clusters--, index++, offset += q->cluster_size) {
		uint8_t *at = slice->data + index * q->entry_bytes;
		struct qcow2_entry old;
		uint64_t raw;

		err = qcow2_l2_decode(q, at, &old);
		if (err || !zeroed(q, &old, offset, discard, &raw))
			continue;
		if (!(raw & (QCOW2_OFFSET_MASK | QCOW2_COPIED)))
			qcow2_free_entry(q, &old, discard);
		put_be64(at, raw);
		qcow2_cache_dirty(&q->l2_cache, slice);
	}
	return 0;
}

/* The part of a range that is not whole clusters, and the answer of version 2
 * to a backing file. */
static int zero_bytes(struct qcow2 *q, const struct qcow2_extent *e,
		      uint64_t offset, bool discard)
{
	switch (e->entry.kind) {
	case QCOW2_KIND_ZERO:
	case QCOW2_KIND_ZERO_ALLOCATED:
		return 0;
	case QCOW2_KIND_UNALLOCATED:
		if (qcow2_past_backing(q, offset))
			return 0;
		break;
	default:
		break;
	}
	return discard ? 0 : qcow2_write_zeros(q, offset, e->length);
}

static int zero_range(struct qcow2 *q, uint64_t offset, uint64_t length,
		      bool discard)
{
	uint64_t size = q->cluster_size;

	while (length) {
		uint64_t end = offset + length, whole;
		struct qcow2_extent e;
		int err = q->error;

		/* The last cluster counts as whole when it goes to the end. */
		if (end == q->block.size)
			end = align_up(end, size);
		whole = offset % size ? 0 : align_down(end - offset, size);
		if (!err)
			err = qcow2_map(
				q, offset,
				whole && whole < length ? whole : length, &e);
		if (err)
			return err;
		if (offset % size && e.length > size - offset % size)
			e.length = size - offset % size;
		if (!whole ||
		    (q->header.version < 3 && !qcow2_past_backing(q, offset)))
			err = zero_bytes(q, &e, offset, discard);
		else if (e.entry.kind != QCOW2_KIND_ZERO &&
			 (e.entry.kind != QCOW2_KIND_UNALLOCATED ||
			  !qcow2_past_backing(q, offset)))
			err = zero_entries(q, offset,
					   align_up(e.length, size) / size,
					   discard);
		if (err)
			return err;
		offset += e.length;
		length -= e.length;
	}
	return 0;
}

static int zero(struct qcow2 *q, uint64_t offset, uint64_t length, bool discard)
{
	int err = q->error;

	if (!err && qcow2_is_raw(q))
		err = qcow2_data_zero(q, offset, length);
	if (err)
		return err;
	return q->extended ? qcow2_zero_sub(q, offset, length, discard)
			   : zero_range(q, offset, length, discard);
}

int qcow2_zero(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	return zero(q, offset, length, false);
}

int qcow2_discard(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	return zero(q, offset, length, true);
}
