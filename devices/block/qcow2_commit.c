/*
 * The durable order (Q1, Q2, Q4). Metadata are changed in memory only and go
 * out together, on a guest's flush, on close, or when a cache is full of dirty
 * slices:
 *
 *   guest data, copies, refcounts ---- sync
 *   refcount table (new blocks) ------ sync   only if dirty
 *   L2 tables ------------------------ sync   only if dirty
 *   L1 table (new L2 tables) --------- sync   only if dirty
 *   references that are gone are dropped, in memory: the next commit or the
 *   close writes the lower refcounts, and a crash before that leaks them
 *
 * With lazy refcounts the image is marked dirty, durably, before the first
 * change; refcounts and their table are then left out of this until the image
 * is closed (qcow2_settle()), and the mark goes after them.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "devices/block/qcow2.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/log.h"

void qcow2_will_write(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	if (offset >= QCOW2_DATA_BASE) {
		flusher_wrote(&q->data_flusher);
		return;
	}
	flusher_wrote(&q->flusher);
	if (offset + length > q->file_end)
		q->file_end = offset + length;
}

int qcow2_put(struct qcow2 *q, const void *buf, size_t len, uint64_t offset)
{
	qcow2_will_write(q, offset, len);
	return host_write(q->file, buf, len, offset);
}

int qcow2_barrier(struct qcow2 *q)
{
	if (!q->error)
		q->error = flusher_sync(&q->data_flusher);
	if (!q->error)
		q->error = flusher_sync(&q->flusher);
	return q->error;
}

int qcow2_put_refcounts(struct qcow2 *q)
{
	int err = q->error;

	if (!err)
		err = qcow2_cache_write(q, &q->ref_cache);
	if (!err && q->reftable.any_dirty) {
		err = qcow2_barrier(q);
		if (!err)
			err = qcow2_table_write(q, &q->reftable);
	}
	return err;
}

int qcow2_commit(struct qcow2 *q)
{
	int err = q->error;

	/* An image that is marked dirty gets its refcounts when it is closed,
	 * or opened after a crash. */
	if (!err && !(q->header.incompatible & QCOW2_DIRTY))
		err = qcow2_put_refcounts(q);
	if (!err && q->l2_cache.any_dirty) {
		err = qcow2_barrier(q);
		if (!err)
			err = qcow2_cache_write(q, &q->l2_cache);
	}
	if (!err && q->l1.any_dirty) {
		err = qcow2_barrier(q);
		if (!err)
			err = qcow2_table_write(q, &q->l1);
	}
	if (!err)
		err = qcow2_barrier(q);
	if (!err)
		qcow2_apply_freed(q);
	return err;
}

int qcow2_settle(struct qcow2 *q)
{
	int err = qcow2_commit(q);

	/* The references that the commit dropped: without this second round
	 * their clusters would leak. */
	if (!err)
		err = qcow2_put_refcounts(q);
	if (!err)
		err = qcow2_barrier(q);
	if (!err && q->header.incompatible & QCOW2_DIRTY)
		err = qcow2_put_features(q,
					 q->header.incompatible & ~QCOW2_DIRTY,
					 q->header.autoclear);
	return err;
}

int qcow2_put_features(struct qcow2 *q, uint64_t incompatible,
		       uint64_t autoclear)
{
	uint8_t bytes[8];
	int err;

	put_be64(bytes, incompatible);
	err = qcow2_put(q, bytes, 8, QCOW2_AT_INCOMPATIBLE);
	put_be64(bytes, autoclear);
	if (!err)
		err = qcow2_put(q, bytes, 8, QCOW2_AT_AUTOCLEAR);
	if (!err)
		err = qcow2_barrier(q);
	if (!err) {
		q->header.incompatible = incompatible;
		q->header.autoclear = autoclear;
	}
	return err;
}

int qcow2_corrupt(struct qcow2 *q, const char *fmt, ...)
{
	char what[160];
	va_list ap;

	if (q->corrupt)
		return -EIO;
	q->corrupt = true;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	log_err("disk %s: the image is damaged: %s; "
		"%srun kvist img check on it",
		q->block.name, what,
		q->block.read_only ? "" : "no more writes are accepted; ");
	if (q->block.read_only)
		return -EIO;
	/* Best effort: the guest's request fails whatever comes of it. */
	if (!q->error && q->header.version >= 3)
		qcow2_put_features(q, q->header.incompatible | QCOW2_CORRUPT,
				   q->header.autoclear);
	if (!q->error)
		q->error = -EIO;
	return -EIO;
}

bool qcow2_is_fixed(const struct qcow2 *q, uint64_t offset, uint64_t length)
{
	return offset < q->cluster_size ||
	       ranges_overlap(offset, length, q->header.luks_offset,
			      q->header.luks_bytes) ||
	       ranges_overlap(offset, length, q->l1.offset,
			      q->l1.entries * 8ull) ||
	       ranges_overlap(offset, length, q->reftable.offset,
			      q->reftable.entries * 8ull);
}

static bool refers_to(const struct qcow2 *q, const struct qcow2_table *table,
		      uint64_t offset, uint64_t length)
{
	/* A file that grows is written above its tables: no need to look. */
	if (offset >= table->top + q->cluster_size)
		return false;
	for (uint32_t i = 0; i < table->entries; i++) {
		uint64_t at = table->entry[i] & QCOW2_OFFSET_MASK;

		if (at && ranges_overlap(offset, length, at, q->cluster_size))
			return true;
	}
	return false;
}

bool qcow2_is_metadata(const struct qcow2 *q, uint64_t offset, uint64_t length)
{
	return qcow2_is_fixed(q, offset, length) ||
	       refers_to(q, &q->l1, offset, length) ||
	       refers_to(q, &q->reftable, offset, length);
}
