/*
 * What tools ask for: qcow2_map() in the words of every block, and which
 * clusters of data are holes all the same.
 */
#include "devices/block/qcow2.h"
#include "util/checked.h"

/*
 * Whether many more clusters are in use than the host file has space for: then
 * they were allocated in advance, and it is worth a look which are holes. The
 * threshold is QEMU's.
 */
static int find_preallocated(struct qcow2 *q)
{
	unsigned bits = q->header.cluster_bits;
	uint64_t size, bytes = 0, real, threshold, used = 0;
	int err = q->file->ops->size(q->file, &size);

	q->looked = true;
	if (err || !q->file->ops->used)
		return err;
	err = q->file->ops->used(q->file, &bytes);
	/* A reader has had no need of it so far. */
	if (!err && !q->reftable.entry)
		err = qcow2_table_load(
			q, &q->reftable, q->header.reftable_offset,
			q->header.reftable_clusters << (bits - 3));
	if (err)
		return err;
	real = bytes >> bits;
	threshold = real * 10 / 9 > real + 2 ? real * 10 / 9 : real + 2;
	for (uint64_t c = 0; c << bits < size && !err; c++) {
		uint64_t count;

		err = qcow2_refcount_read(q, c, &count);
		used += !err && count;
		if (used >= threshold)
			break;
	}
	q->preallocated = used >= threshold;
	return err;
}

/* A hole in a cluster that was allocated in advance is zeros. */
static int look_below(struct qcow2 *q, struct block_extent *extent)
{
	struct host_file *file = qcow2_is_external(q) ? q->data : q->file;
	bool hole = false;
	int err = q->looked ? 0 : find_preallocated(q);

	if (!err && file && q->preallocated)
		err = host_look(file, extent->host, extent->length, &hole,
				&extent->length);
	/* The file may have a size that is no multiple of a sector. */
	extent->length = align_up(extent->length, BLOCK_SECTOR);
	extent->zero |= hole;
	return err;
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
	extent->data = e.entry.kind == QCOW2_KIND_DATA ||
		       e.entry.kind == QCOW2_KIND_COMPRESSED;
	extent->allocated = e.entry.kind != QCOW2_KIND_UNALLOCATED;
	extent->zero = e.entry.kind == QCOW2_KIND_ZERO ||
		       e.entry.kind == QCOW2_KIND_ZERO_ALLOCATED;
	extent->compressed = e.entry.kind == QCOW2_KIND_COMPRESSED;
	/* So may a subcluster be that is not allocated, beside one that is. */
	extent->placed = e.entry.host && !extent->compressed &&
			 !q->header.crypt_method;
	extent->host = extent->placed ? e.entry.host & ~QCOW2_DATA_BASE : 0;
	return extent->placed && extent->data ? look_below(q, extent) : 0;
}
