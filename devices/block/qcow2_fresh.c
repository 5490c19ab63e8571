/*
 * Writes to new clusters, in flight (the drawing is in qcow2_flight.c): they
 * are taken here, and linked when the data have landed.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2_flight.h"
#include "util/checked.h"

/* The host file is made longer by a quarter, within these bounds. */
#define RESERVE_MIN (1u << 20)
#define RESERVE_MAX (64u << 20)

bool qcow2_fresh_meets(const struct qcow2 *q, uint64_t offset, uint64_t length)
{
	uint64_t start = align_down(offset, q->cluster_size);
	uint64_t end = align_up(offset + length, q->cluster_size);

	for (struct qcow2_piece *p = q->flying; p; p = p->next) {
		if (p->fresh && start < align_up(p->run.end, q->cluster_size) &&
		    align_down(p->run.start, q->cluster_size) < end)
			return true;
	}
	return false;
}

/* Old contents go out with the data, in one transfer. */
static int surround(struct qcow2_piece *piece, uint64_t start, uint64_t offset,
		    uint64_t end, uint64_t stop, struct iovec **vec, int *cnt)
{
	uint64_t head = offset - start, tail = stop - end;
	struct qcow2 *q = piece->op->q;
	int err;

	if (!head && !tail)
		return 0;
	if (posix_memalign((void **)&piece->around, QCOW2_PAGE, head + tail)) {
		piece->around = NULL;
		return -ENOMEM;
	}
	piece->around_bytes = head + tail;
	q->around_bytes += piece->around_bytes;
	err = qcow2_old_contents(q, start, head, piece->around);
	if (!err)
		err = qcow2_old_contents(q, end, tail, piece->around + head);
	if (err)
		return err;
	if (head) {
		*--*vec = (struct iovec){ .iov_base = piece->around,
					  .iov_len = head };
		++*cnt;
	}
	if (tail)
		(*vec)[(*cnt)++] =
			(struct iovec){ .iov_base = piece->around + head,
					.iov_len = tail };
	return 0;
}

/*
 * Has the host make the file longer before the run needs it, a good deal at a
 * time: file systems do writes that make a file longer one after the other.
 * What is left of it goes when the image is closed. A host that cannot, or has
 * no space for it, is no worse off than before.
 */
static void reserve(struct qcow2 *q, const struct qcow2_run *run)
{
	uint64_t end = run->host + (run->end - run->start);
	uint64_t more = q->file_end / 4;

	if (end <= q->reserved || run->host >= QCOW2_DATA_BASE)
		return;
	if (more < RESERVE_MIN)
		more = RESERVE_MIN;
	if (more > RESERVE_MAX)
		more = RESERVE_MAX;
	q->reserved = align_up(end + more, RESERVE_MIN);
	q->file->ops->allocate(q->file, end, q->reserved - end);
}

void qcow2_unreserve(struct qcow2 *q)
{
	/* Subclusters copied beside a run may lie behind file_end. */
	uint64_t size, end = align_up(q->file_end, q->cluster_size);

	if (!q->reserved || q->error || q->file->ops->size(q->file, &size))
		return;
	if (size > end && size <= q->reserved)
		q->file->ops->truncate(q->file, end);
}

/* Whether a write that leaves over @bytes of its clusters may fly. */
static bool may_surround(const struct qcow2 *q, uint64_t bytes)
{
	return !qcow2_crowded(q) && bytes <= QCOW2_SURROUND &&
	       q->around_bytes + bytes <= QCOW2_AROUND_MAX;
}

int qcow2_fly_fresh(struct qcow2_op *op, struct qcow2_extent *e)
{
	uint64_t offset = op->request->offset + op->mapped;
	uint64_t end = offset + e->length, start, stop;
	struct qcow2_piece *piece = qcow2_piece_get(op);
	struct qcow2 *q = op->q;
	struct iovec *vec = NULL;
	int cnt = 0, err;

	if (!piece)
		return -ENOMEM;
	piece->io.file = NULL;
	err = qcow2_run_begin(q, e, offset, &piece->run);
	if (err)
		goto drop;
	piece->fresh = true;
	if (piece->run.fresh && q->block.event_fd >= 0)
		reserve(q, &piece->run);
	if (end > piece->run.end)
		end = piece->run.end;
	e->length = end - offset;
	err = qcow2_run_around(q, &piece->run, &e->entry, offset, end, &start,
			       &stop);
	if (!err && !may_surround(q, offset - start + stop - end)) {
		err = qcow2_run_write(q, &piece->run, e->entry.kind,
				      op->request->iov, op->request->iovcnt,
				      op->mapped, offset, end);
		err = qcow2_run_end(q, &piece->run, err);
		goto drop;
	}
	if (!err) {
		vec = qcow2_piece_vectors(piece, op->mapped, e->length, &cnt);
		err = vec ? surround(piece, start, offset, end, stop, &vec,
				     &cnt)
			  : -ENOMEM;
	}
	if (err) {
		qcow2_run_end(q, &piece->run, err);
		goto drop;
	}
	qcow2_lift_off(piece, vec, cnt, stop - start,
		       piece->run.host + (start - piece->run.start));
	return 0;
drop:
	qcow2_piece_put(piece);
	op->pending--;
	return err;
}
