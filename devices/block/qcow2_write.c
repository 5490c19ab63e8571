/*
 * Writes. To a cluster that is this image's alone: in place, no metadata
 * change. To any other: allocate, fill what the request leaves over from the
 * old contents, write the data, and only then link the new clusters into the
 * L2 table (in memory; qcow2_commit() decides when that reaches the disk).
 *
 *          first cluster                            last cluster
 *   | copied head |<------------ request ------------>| copied tail |
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2.h"
#include "util/bytes.h"
#include "util/checked.h"

/* One run of new clusters: guest [start, end), aligned, at host offset. */
struct run {
	uint64_t start, end;
	uint64_t host;
	bool fresh;     /* the host clusters were never written: zeros */
	bool allocated; /* by us, to be released on an error */
};

/* True when guest bytes of this kind at @offset read as zeros. */
static bool is_zero(const struct qcow2 *q, enum qcow2_kind kind,
		    uint64_t offset)
{
	return kind == QCOW2_KIND_ZERO || kind == QCOW2_KIND_ZERO_ALLOCATED ||
	       (kind == QCOW2_KIND_UNALLOCATED &&
		qcow2_past_backing(q, offset));
}

/*
 * Fills [from, to) of the run with what the guest's disk holds there now; past
 * the disk's end, in the last cluster, zeros.
 */
static int fill(struct qcow2 *q, const struct run *run, enum qcow2_kind kind,
		uint64_t from, uint64_t to)
{
	while (from < to) {
		uint64_t host = run->host + (from - run->start);
		uint64_t len = to - from;
		struct iovec iov;
		int err;

		if (is_zero(q, kind, from) || from >= q->block.size)
			return run->fresh
				       ? 0
				       : host_write_zeros(q->file, host, len);
		if (len > q->block.size - from)
			len = q->block.size - from;
		if (len > QCOW2_BOUNCE)
			len = QCOW2_BOUNCE;
		iov.iov_base = qcow2_bounce(q);
		iov.iov_len = len;
		if (!iov.iov_base)
			return -ENOMEM;
		err = qcow2_read(q, &iov, 1, 0, from, len);
		if (!err)
			err = host_write(q->file, iov.iov_base, len, host);
		if (err)
			return err;
		from += len;
	}
	return 0;
}

static int link_run(struct qcow2 *q, const struct run *run)
{
	uint64_t clusters = (run->end - run->start) >> q->header.cluster_bits;
	uint64_t raw = run->host | QCOW2_COPIED;
	struct qcow2_slice *slice;
	unsigned index;
	int err = qcow2_freed_reserve(q, clusters);

	if (!err)
		err = qcow2_l2_slice(q, run->start, &slice, &index);
	if (err)
		return err;
	for (; clusters; clusters--, index++, raw += q->cluster_size) {
		uint8_t *at = slice->data + index * 8ul;
		struct qcow2_entry old;

		if (run->allocated &&
		    !qcow2_entry_decode(get_be64(at), q->header.cluster_bits,
					q->header.version, &old))
			qcow2_free_entry(q, &old, false);
		put_be64(at, raw);
	}
	qcow2_cache_dirty(&q->l2_cache, slice);
	return 0;
}

static int place_run(struct qcow2 *q, const struct qcow2_entry *entry,
		     uint64_t offset, struct run *run)
{
	uint64_t in_cluster = offset & (q->cluster_size - 1);
	uint64_t got;
	int err;

	if (entry->kind == QCOW2_KIND_ZERO_ALLOCATED && entry->copied) {
		run->host = entry->host - in_cluster;
		run->fresh = false;
		run->allocated = false;
		return 0;
	}
	err = qcow2_alloc(q, (run->end - run->start) >> q->header.cluster_bits,
			  &run->host, &got);
	if (err)
		return err;
	run->end = run->start + (got << q->header.cluster_bits);
	run->fresh = run->host >= q->file_end;
	run->allocated = true;
	return 0;
}

/* Writes the first bytes of the piece to clusters that must be new; *length is
 * what it was able to. */
static int write_new(struct qcow2 *q, const struct qcow2_extent *e,
		     const struct iovec *iov, int iovcnt, uint64_t skip,
		     uint64_t offset, uint64_t *length)
{
	enum qcow2_kind kind = e->entry.kind;
	struct run run = {
		.start = align_down(offset, q->cluster_size),
		.end = align_up(offset + e->length, q->cluster_size),
	};
	uint64_t end = offset + e->length;
	int err = qcow2_l2_private(q, offset);

	if (!err)
		err = place_run(q, &e->entry, offset, &run);
	if (err)
		return err;
	if (end > run.end)
		end = run.end;
	qcow2_will_write(q, run.host, run.end - run.start);
	err = fill(q, &run, kind, run.start, offset);
	if (!err)
		err = host_writev(q->file, iov, iovcnt, skip, end - offset,
				  run.host + (offset - run.start));
	if (!err)
		err = fill(q, &run, kind, end, run.end);
	if (!err)
		err = link_run(q, &run);
	if (err && run.allocated)
		qcow2_release(q, run.host,
			      (run.end - run.start) >> q->header.cluster_bits);
	*length = end - offset;
	return err;
}

int qcow2_write(struct qcow2 *q, const struct iovec *iov, int iovcnt,
		uint64_t offset, uint64_t length)
{
	uint64_t skip = 0;

	while (length) {
		struct qcow2_extent e;
		int err = q->error ? q->error
				   : qcow2_map(q, offset, length, &e);

		if (!err && e.entry.kind == QCOW2_KIND_DATA && e.entry.copied) {
			qcow2_will_write(q, e.entry.host, e.length);
			err = host_writev(q->file, iov, iovcnt, skip, e.length,
					  e.entry.host);
		} else if (!err) {
			err = write_new(q, &e, iov, iovcnt, skip, offset,
					&e.length);
		}
		if (err)
			return err;
		skip += e.length;
		offset += e.length;
		length -= e.length;
	}
	return 0;
}
