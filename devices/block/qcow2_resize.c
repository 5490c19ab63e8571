/*
 * A disk of another size. The size in the header is what counts, and it is
 * written alone, in one sector:
 *
 *   smaller  the size, then the entries behind it go
 *   larger   a longer L1 table if need be (qcow2_switch.c); what the tables
 *            have behind the old end goes, what the backing file has there is
 *            hidden by zeros; then the size
 *
 * A crash leaves the old size or the new one, and at worst entries behind the
 * end, which nobody reads: the way to a larger size begins with clearing them.
 * Snapshots have sizes and L1 tables of their own.
 *
 * At the end of this page: the room behind the disk (qcow2_vm_state()).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/layers.h"
#include "devices/block/qcow2.h"
#include "devices/block/qcow2_switch.h"
#include "util/bytes.h"
#include "util/checked.h"

#define AT_SIZE 24

static int put_size(struct qcow2 *q, uint64_t size)
{
	uint8_t bytes[8];
	int err;

	put_be64(bytes, size);
	err = qcow2_put(q, bytes, sizeof(bytes), AT_SIZE);
	if (!err)
		err = qcow2_barrier(q);
	/* Only the next open can tell which of the two it is. */
	if (err && !q->error)
		q->error = err;
	return err;
}

static void set_size(struct qcow2 *q, uint64_t size)
{
	q->header.size = size;
	q->block.size = size;
}

static int says_size(void *opaque, const struct qcow2_snapshot *snapshot)
{
	(void)opaque;
	return snapshot->disk_size == UINT64_MAX ? -ENOTSUP : 0;
}

/* Guest bytes that one L2 table maps. */
static uint64_t table_bytes(const struct qcow2 *q)
{
	return q->cluster_size << qcow2_l2_bits(&q->header);
}

/* Takes the entries of the whole clusters [at, end), within one slice, out of
 * the tables: they become unallocated. */
static int forget_entries(struct qcow2 *q, uint64_t at, uint64_t end)
{
	uint64_t clusters = (end - at) >> q->header.cluster_bits;
	struct qcow2_slice *slice;
	unsigned index;
	int err = qcow2_l2_private(q, at);

	if (!err)
		err = qcow2_freed_reserve(q, clusters);
	if (!err)
		err = qcow2_l2_slice(q, at, &slice, &index);
	for (; !err && clusters; clusters--, index++) {
		uint8_t *entry = slice->data + index * q->entry_bytes;
		struct qcow2_entry old;

		err = qcow2_l2_decode(q, entry, &old);
		if (err)
			return err;
		if (old.kind == QCOW2_KIND_UNALLOCATED && !old.host &&
		    !old.zeros)
			continue;
		qcow2_free_entry(q, &old, true);
		qcow2_l2_put(q, entry, 0, 0, 0);
		qcow2_cache_dirty(&q->l2_cache, slice);
	}
	return err;
}

/* Drops an L2 table and what it refers to; no copy is made of a shared one. The
 * file has all that is in the cache of it. The L1 entry goes first, so that a
 * commit half way can only leak the rest. */
static int forget_table(struct qcow2 *q, uint64_t index)
{
	uint64_t offset = q->l1.entry[index] & QCOW2_OFFSET_MASK;
	uint8_t *table = malloc(q->cluster_size);
	struct qcow2_slice *slice;
	unsigned first;
	int err = table ? 0 : -ENOMEM;

	/* Looks at the L1 entry, too. */
	if (!err)
		err = qcow2_l2_slice(q, index * table_bytes(q), &slice, &first);
	if (!err)
		err = host_read(q->file, table, q->cluster_size, offset);
	if (!err)
		err = qcow2_freed_reserve(q, 1);
	if (!err) {
		qcow2_table_set(&q->l1, index, 0);
		qcow2_cache_drop(q, offset);
		qcow2_free_later(q, offset, 1, true);
	}
	for (uint64_t at = 0; !err && at < q->cluster_size;
	     at += q->entry_bytes) {
		struct qcow2_entry old;

		err = qcow2_freed_reserve(q, 1);
		if (!err)
			err = qcow2_l2_decode(q, table + at, &old);
		if (!err)
			qcow2_free_entry(q, &old, true);
	}
	free(table);
	return err;
}

int qcow2_forget(struct qcow2 *q, uint64_t from)
{
	uint64_t step = (q->cluster_size << q->slice_bits) / q->entry_bytes;
	uint64_t at = align_up(from, q->cluster_size);
	int err = qcow2_commit(q);

	while (!err && at / table_bytes(q) < q->l1.entries) {
		uint64_t index = at / table_bytes(q);
		uint64_t next = align_down(at, table_bytes(q)) + table_bytes(q);

		if (q->l1.entry[index] && !(at % table_bytes(q))) {
			err = forget_table(q, index);
		} else if (q->l1.entry[index]) {
			next = align_down(at, step) + step;
			err = forget_entries(q, at, next);
		}
		at = next;
	}
	return err ? err : qcow2_commit(q);
}

/* Makes the L1 table long enough. */
static int extend_l1(struct qcow2 *q, uint64_t size)
{
	uint64_t entries = (size + table_bytes(q) - 1) / table_bytes(q);
	struct qcow2_switch s;
	int err;

	if (entries <= q->l1.entries)
		return 0;
	if (entries * 8 > QCOW2_L1_BYTES_MAX)
		return -EFBIG;
	err = qcow2_switch_begin(&s, q);
	if (!err)
		err = qcow2_switch_take_l1(&s, &q->l1, entries);
	if (!err)
		err = qcow2_switch_keep_snapshots(&s);
	if (!err)
		err = qcow2_switch_count_tree(&s, s.l1, s.l1_entries, 0);
	if (!err)
		err = qcow2_switch_count(&s, q->l1.offset, q->l1.entries * 8ull,
					 -1);
	if (!err)
		err = qcow2_switch_run(&s);
	qcow2_switch_end(&s);
	return err;
}

/* What is new from @old on reads as zeros, whatever the last cluster or the
 * backing file holds there. */
static int clear(struct qcow2 *q, uint64_t old)
{
	uint64_t end = align_up(old, q->cluster_size);

	if (q->backing && end < q->backing->size)
		end = q->backing->size;
	if (end > q->block.size)
		end = q->block.size;
	return qcow2_zero(q, old, end - old);
}

static int grow(struct qcow2 *q, uint64_t size)
{
	uint64_t old = q->block.size;
	int err = qcow2_forget(q, old);

	if (!err)
		err = extend_l1(q, size);
	if (err)
		return err;
	err = qcow2_data_resize(q, old, size);
	if (err)
		return err;
	set_size(q, size);
	err = clear(q, old);
	if (!err)
		err = qcow2_commit(q);
	if (!err)
		err = put_size(q, size);
	if (err)
		set_size(q, old);
	return err;
}

static int shrink(struct qcow2 *q, uint64_t size)
{
	int err = qcow2_commit(q);

	if (!err)
		err = put_size(q, size);
	if (err)
		return err;
	set_size(q, size);
	err = qcow2_forget(q, size);
	return err ? err : qcow2_data_resize(q, size, size);
}

int qcow2_resize(struct block *block, uint64_t size)
{
	struct qcow2 *q = qcow2_of(block);
	uint64_t bytes;
	int err;

	if (size % BLOCK_SECTOR || size > INT64_MAX)
		return -EINVAL;
	if (block->read_only)
		return -EROFS;
	/* A snapshot that does not say its size has that of the disk. */
	if (q->header.snapshots && q->header.version < 3)
		return -ENOTSUP;
	err = qcow2_each_snapshot(q, says_size, NULL, &bytes);
	if (err || size == block->size)
		return err;
	err = qcow2_begin_writing(q);
	if (err)
		return err;
	return size < block->size ? shrink(q, size) : grow(q, size);
}

/* For as long as this takes, the disk is as long as its L1 table, and nothing
 * shows through from below. */
static int vm_access(struct qcow2 *q, enum block_op op, const struct iovec *iov,
		     uint64_t at)
{
	uint64_t size = q->block.size, end = q->l1.entries * table_bytes(q);
	uint64_t length = iov->iov_len;
	struct block *backing = q->backing;
	int err;

	if (op == BLOCK_READ && !range_within(at, length, end)) {
		memset(iov->iov_base, 0, length);
		length = at < end ? end - at : 0;
	}
	q->block.size = end;
	q->backing = NULL;
	err = op == BLOCK_READ ? qcow2_read(q, iov, 1, 0, at, length)
			       : qcow2_write(q, iov, 1, at, length);
	q->block.size = size;
	q->backing = backing;
	return err;
}

int qcow2_vm_state(struct block *block, enum block_op op, void *bytes,
		   uint64_t length, uint64_t offset)
{
	struct iovec iov = { .iov_base = bytes, .iov_len = length };
	struct qcow2 *q = qcow2_of(block);
	uint64_t start;
	int err = 0;

	if (!q || qcow2_is_external(q))
		return -ENOTSUP;
	start = align_up(q->header.size, table_bytes(q));
	if (!range_within(offset, length, INT64_MAX - start))
		return -EFBIG;
	if (op == BLOCK_WRITE)
		err = block->read_only ? -EROFS : qcow2_begin_writing(q);
	if (!err && op == BLOCK_WRITE)
		err = extend_l1(q, start + offset + length);
	if (!err)
		err = vm_access(q, op, &iov, start + offset);
	return err || op == BLOCK_READ ? err : qcow2_commit(q);
}
