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
#include <string.h>

#include "devices/block/qcow2.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/iov.h"

/* Vectors of a request that go out in one call with what surrounds it. */
#define RUN_VECTORS 62

/* True when guest bytes of this kind at @offset read as zeros. */
static bool is_zero(const struct qcow2 *q, enum qcow2_kind kind,
		    uint64_t offset)
{
	return kind == QCOW2_KIND_ZERO || kind == QCOW2_KIND_ZERO_ALLOCATED ||
	       (kind == QCOW2_KIND_UNALLOCATED &&
		qcow2_past_backing(q, offset));
}

/* True when old contents from @from on need not be written to the run. */
static bool there_already(const struct qcow2 *q, const struct qcow2_run *run,
			  enum qcow2_kind kind, uint64_t from)
{
	/* The zeros of a new cluster are no zeros once they are decrypted. */
	return run->fresh && !q->header.crypt_method &&
	       (is_zero(q, kind, from) || from >= q->block.size);
}

int qcow2_old_contents(struct qcow2 *q, uint64_t from, size_t len, uint8_t *buf)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	size_t there = len;

	if (from >= q->block.size)
		there = 0;
	else if (there > q->block.size - from)
		there = q->block.size - from;
	memset(buf + there, 0, len - there);
	return qcow2_read(q, &iov, 1, 0, from, there);
}

/* Fills guest [from, to) of the run with the old contents. */
static int fill(struct qcow2 *q, const struct qcow2_run *run, uint64_t from,
		uint64_t to)
{
	while (from < to) {
		size_t len = to - from < QCOW2_BOUNCE ? to - from
						      : QCOW2_BOUNCE;
		uint8_t *buf = qcow2_bounce(q);
		int err = buf ? qcow2_old_contents(q, from, len, buf) : -ENOMEM;

		if (!err)
			err = qcow2_data_writev(
				q,
				&(struct iovec){ .iov_base = buf,
						 .iov_len = len },
				1, 0, len, run->host + (from - run->start));
		if (err)
			return err;
		from += len;
	}
	return 0;
}

/*
 * Writes guest [start, stop) in one system call: old contents up to @offset
 * and from @end on, and between them @data vectors, in part[1] and after.
 */
static int write_at_once(struct qcow2 *q, const struct qcow2_run *run,
			 struct iovec *part, int data, uint64_t start,
			 uint64_t offset, uint64_t end, uint64_t stop)
{
	uint64_t head = offset - start, tail = stop - end;
	uint8_t *buf = qcow2_bounce(q);
	int err = buf ? qcow2_old_contents(q, start, head, buf) : -ENOMEM;

	if (!err)
		err = qcow2_old_contents(q, end, tail, buf + head);
	if (err)
		return err;
	part[0] = (struct iovec){ .iov_base = buf, .iov_len = head };
	part[data + 1] =
		(struct iovec){ .iov_base = buf + head, .iov_len = tail };
	return qcow2_data_writev(q, part, data + 2, 0, stop - start,
				 run->host + (start - run->start));
}

/* What of the run has to be written around guest [offset, end). */
static void span_run(const struct qcow2 *q, const struct qcow2_run *run,
		     enum qcow2_kind kind, uint64_t offset, uint64_t end,
		     uint64_t *start, uint64_t *stop)
{
	*start = there_already(q, run, kind, run->start) ? offset : run->start;
	*stop = there_already(q, run, kind, end) ? end : run->end;
	/* A data file ends where the disk does. */
	if (qcow2_is_external(q) && *stop > q->block.size)
		*stop = q->block.size;
}

int qcow2_run_write(struct qcow2 *q, const struct qcow2_run *run,
		    enum qcow2_kind kind, const struct iovec *iov, int iovcnt,
		    uint64_t skip, uint64_t offset, uint64_t end)
{
	uint64_t start, stop, taken;
	struct iovec part[RUN_VECTORS + 2];
	int data, err;

	span_run(q, run, kind, offset, end, &start, &stop);
	data = iov_slice(part + 1, RUN_VECTORS, iov, iovcnt, skip, end - offset,
			 &taken);
	if (taken == end - offset &&
	    offset - start + (stop - end) <= QCOW2_BOUNCE)
		return write_at_once(q, run, part, data, start, offset, end,
				     stop);
	err = fill(q, run, start, offset);
	if (!err)
		err = qcow2_data_writev(q, iov, iovcnt, skip, end - offset,
					run->host + (offset - run->start));
	return err ? err : fill(q, run, end, stop);
}

/* The one entry of a run of subclusters: what was copied with them, and what
 * they were, are in @old. */
static void link_subs(struct qcow2 *q, const struct qcow2_run *run, uint8_t *at,
		      const struct qcow2_entry *old)
{
	uint32_t data = old->data | qcow2_sub_mask(q, run->start, run->end);
	uint64_t in_cluster = run->start & (q->cluster_size - 1);

	if (old->kind == QCOW2_KIND_COMPRESSED)
		data = UINT32_MAX;
	qcow2_l2_put(q, at, (run->host - in_cluster) | QCOW2_COPIED, data,
		     old->zeros & ~data);
}

/* Makes the L2 entries of the run name its host clusters; frees what they
 * named before. In memory: qcow2_commit() writes them. */
static int link_run(struct qcow2 *q, const struct qcow2_run *run)
{
	uint64_t raw = run->host | QCOW2_COPIED;
	struct qcow2_slice *slice;
	unsigned index;
	int err = qcow2_freed_reserve(q, (run->end - run->start) / q->sub_size);

	if (!err)
		err = qcow2_l2_slice(q, run->start, &slice, &index);
	if (err)
		return err;
	for (uint64_t done = run->start; done < run->end;
	     done += q->cluster_size, index++, raw += q->cluster_size) {
		uint8_t *at = slice->data + index * q->entry_bytes;
		struct qcow2_entry old;

		err = qcow2_l2_decode(q, at, &old);
		if (err)
			return err;
		if (run->allocated)
			qcow2_free_entry(q, &old, false);
		if (q->extended)
			link_subs(q, run, at, &old);
		else
			qcow2_l2_put(q, at, raw, 0, 0);
	}
	qcow2_cache_dirty(&q->l2_cache, slice);
	return 0;
}

static int place_run(struct qcow2 *q, const struct qcow2_entry *entry,
		     uint64_t offset, struct qcow2_run *run)
{
	uint64_t size = q->cluster_size;
	uint64_t in_cluster = run->start & (size - 1);
	uint64_t got, want = (align_up(run->end, size) - run->start) / size;
	int err;

	/* The cluster has a host cluster of its own already. */
	if (entry->host && entry->copied) {
		run->host = entry->host - (offset - run->start);
		run->fresh = false;
		run->allocated = false;
		return 0;
	}
	if (qcow2_is_external(q)) {
		run->host = QCOW2_DATA_BASE + run->start;
		run->fresh = false; /* who knows what it holds */
		run->allocated = false;
		return 0;
	}
	err = qcow2_alloc(q, q->extended ? 1 : want, &run->host, &got);
	if (err)
		return err;
	if (run->end > run->start - in_cluster + got * size)
		run->end = run->start - in_cluster + got * size;
	run->fresh = run->host >= q->file_end;
	run->allocated = true;
	run->host += in_cluster;
	return 0;
}

/* The data of the run's cluster that lie outside the run go with it. */
static int copy_rest(struct qcow2 *q, const struct qcow2_run *run,
		     const struct qcow2_entry *old)
{
	uint64_t cluster = align_down(run->start, q->cluster_size);
	uint32_t copy = old->kind == QCOW2_KIND_COMPRESSED ? UINT32_MAX
							   : old->data;
	int err = 0;

	copy &= ~qcow2_sub_mask(q, run->start, run->end);
	for (unsigned sub = 0; sub < QCOW2_SUBCLUSTERS && !err; sub++) {
		uint64_t from = cluster + sub * q->sub_size;

		if (copy >> sub & 1)
			err = fill(q, run, from, from + q->sub_size);
	}
	return err;
}

/* Takes back what place_run() did. */
static void unplace_run(struct qcow2 *q, const struct qcow2_run *run)
{
	uint64_t mask = q->cluster_size - 1;

	if (run->allocated)
		qcow2_release(q, run->host & ~mask,
			      (run->end - (run->start & ~mask) + mask) >>
				      q->header.cluster_bits);
}

int qcow2_run_begin(struct qcow2 *q, const struct qcow2_extent *e,
		    uint64_t offset, struct qcow2_run *run)
{
	int err = qcow2_l2_private(q, offset);

	run->start = align_down(offset, q->sub_size);
	run->end = align_up(offset + e->length, q->sub_size);
	/* Extended entries are changed one by one. */
	if (q->extended && run->end > align_up(offset + 1, q->cluster_size))
		run->end = align_up(offset + 1, q->cluster_size);
	if (!err)
		err = place_run(q, &e->entry, offset, run);
	if (!err)
		qcow2_will_write(q, run->host, run->end - run->start);
	return err;
}

int qcow2_run_around(struct qcow2 *q, const struct qcow2_run *run,
		     const struct qcow2_entry *old, uint64_t offset,
		     uint64_t end, uint64_t *start, uint64_t *stop)
{
	span_run(q, run, old->kind, offset, end, start, stop);
	return q->extended && run->allocated ? copy_rest(q, run, old) : 0;
}

int qcow2_run_end(struct qcow2 *q, const struct qcow2_run *run, int err)
{
	if (!err)
		err = link_run(q, run);
	if (err)
		unplace_run(q, run);
	return err;
}

/* Writes the first bytes of the piece to (sub)clusters that must be new;
 * *length is what it was able to. */
static int write_new(struct qcow2 *q, const struct qcow2_extent *e,
		     const struct iovec *iov, int iovcnt, uint64_t skip,
		     uint64_t offset, uint64_t *length)
{
	uint64_t end = offset + e->length;
	struct qcow2_run run;
	int err = qcow2_run_begin(q, e, offset, &run);

	if (err)
		return err;
	if (end > run.end)
		end = run.end;
	err = qcow2_run_write(q, &run, e->entry.kind, iov, iovcnt, skip, offset,
			      end);
	if (!err && q->extended && run.allocated)
		err = copy_rest(q, &run, &e->entry);
	*length = end - offset;
	return qcow2_run_end(q, &run, err);
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
			err = qcow2_data_writev(q, iov, iovcnt, skip, e.length,
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

/* Makes the bytes of new clusters zeros, with the space that was asked for. */
static int prepare_run(struct qcow2 *q, const struct qcow2_run *run,
		       enum block_space space)
{
	uint64_t end = run->end, offset = run->host;
	struct host_file *file = qcow2_file_at(q, &offset);
	bool external = file != q->file;
	int err = 0;

	/* A data file ends where the disk does, and may hold anything. */
	if (external && end > q->block.size)
		end = q->block.size;
	if (file && (space == BLOCK_FILL || (!run->fresh && !external)))
		return host_write_zeros(file, offset, end - run->start);
	if (external)
		err = qcow2_data_zero(q, offset, end - run->start);
	return !err && space == BLOCK_RESERVE
		       ? file->ops->allocate(file, offset, end - run->start)
		       : err;
}

/* As write_new(), of zeros that need not be written. */
static int allocate_new(struct qcow2 *q, const struct qcow2_extent *e,
			uint64_t offset, enum block_space space,
			uint64_t *length)
{
	struct qcow2_run run;
	int err = qcow2_run_begin(q, e, offset, &run);

	if (err)
		return err;
	err = prepare_run(q, &run, space);
	/* What the backing file holds of the first cluster is not hidden. */
	if (!err && q->backing)
		err = fill(q, &run, run.start, offset);
	if (!err && q->extended && run.allocated)
		err = copy_rest(q, &run, &e->entry);
	if (run.end - offset < *length)
		*length = run.end - offset;
	return qcow2_run_end(q, &run, err);
}

/* The file covers all clusters that entries name. */
static int cover(struct qcow2 *q)
{
	uint64_t size;
	int err = q->file->ops->size(q->file, &size);

	return err || size >= q->file_end
		       ? err
		       : q->file->ops->truncate(q->file, q->file_end);
}

int qcow2_allocate(struct block *block, uint64_t offset, uint64_t length,
		   enum block_space space)
{
	struct qcow2 *q = qcow2_of(block);
	int err = qcow2_begin_writing(q);

	while (!err && length) {
		struct qcow2_extent e;

		err = q->error ? q->error : qcow2_map(q, offset, length, &e);
		/* Zeros of an encrypted disk have to be written. */
		if (!err && q->header.crypt_method)
			err = qcow2_write_zeros(q, offset, e.length);
		else if (!err && e.entry.kind != QCOW2_KIND_DATA)
			err = allocate_new(q, &e, offset, space, &e.length);
		offset += e.length;
		length -= e.length;
	}
	return err ? err : cover(q);
}
