/*
 * Requests whose I/O is in flight while others are served.
 *
 *   request = op  --- mapped, extent by extent, by the one thread there is --->
 *     piece: data            host_submit(), on the guest's own memory
 *     piece: backing file    block_submit() to the layer below
 *     zeros, compressed, encrypted, odd corners        done at once
 *   the op is done when all of its pieces are
 *
 * A write to new clusters is a piece as well. Its clusters are taken when it
 * starts, and the L2 entries name them when it has landed, not before (Q4);
 * meanwhile a request that would change the same entries waits (Q6):
 *
 *   op A  [ begin ]---- data in flight ----[ end: link ]
 *   op B        [ touches A's clusters: waits ].........[ goes on ]
 *
 * A flush has no part in this: what was completed before it is linked, and a
 * commit counts the clusters of what is in flight as used, which a crash turns
 * into leaks. A request reads, or writes in place, where the entries point when
 * it starts; should they point elsewhere before it ends, the clusters are not
 * used for anything else until then (Q2).
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/layers.h"
#include "devices/block/qcow2.h"
#include "util/checked.h"
#include "util/iov.h"

/* With so many pieces in flight, further ones are done at once: one request may
 * have half a million of them, in an image that was made for it. */
#define PIECES_MAX 2048

/* Requests of more vectors are done at once. */
#define VECTORS_MAX (HOST_IOV_MAX - 2)

/* The host file is made longer by a quarter, within these bounds. */
#define RESERVE_MIN (1u << 20)
#define RESERVE_MAX (64u << 20)

struct qcow2_op {
	struct qcow2 *q;
	struct block_request *request;
	uint64_t mapped; /* bytes of it that are pieces, or done */
	unsigned pending;
	int err;
	struct qcow2_op *next; /* free, or waiting */
};

/* One transfer of an op. */
struct qcow2_piece {
	struct host_io io;
	struct block_request below;
	struct qcow2_op *op;
	bool external; /* io is one of the data file */
	bool fresh;    /* to new clusters, namely run */
	struct qcow2_run run;
	uint8_t *around; /* old contents */
	struct iovec *vec;
	int space; /* of vec; it is kept for the next use */
	struct qcow2_piece *next, **link; /* in flight, or next free */
};

static struct qcow2_op *op_get(struct qcow2 *q)
{
	struct qcow2_op *op = q->free_ops;

	if (op)
		q->free_ops = op->next;
	else
		op = malloc(sizeof(*op));
	return op;
}

static struct qcow2_piece *piece_get(struct qcow2_op *op)
{
	struct qcow2 *q = op->q;
	struct qcow2_piece *piece = q->free_pieces;

	if (piece)
		q->free_pieces = piece->next;
	else
		piece = calloc(1, sizeof(*piece));
	if (!piece)
		return NULL;
	piece->op = op;
	piece->fresh = false;
	piece->around = NULL;
	piece->next = q->flying;
	piece->link = &q->flying;
	if (q->flying)
		q->flying->link = &piece->next;
	q->flying = piece;
	q->pieces++;
	op->pending++;
	return piece;
}

static void piece_put(struct qcow2_piece *piece)
{
	struct qcow2 *q = piece->op->q;

	*piece->link = piece->next;
	if (piece->next)
		piece->next->link = piece->link;
	free(piece->around);
	q->pieces--;
	piece->next = q->free_pieces;
	q->free_pieces = piece;
}

static bool crowded(const struct qcow2 *q)
{
	return q->pieces >= PIECES_MAX;
}

/* One of what the op waits for has come. */
static void op_release(struct qcow2_op *op, int err)
{
	struct block_request *request = op->request;
	struct qcow2 *q = op->q;

	if (err && !op->err)
		op->err = err;
	if (--op->pending)
		return;
	err = op->err;
	op->next = q->free_ops;
	q->free_ops = op;
	q->ops--;
	request->done(request, err);
}

bool qcow2_in_flight(const struct qcow2 *q, uint64_t offset, uint64_t length)
{
	for (struct qcow2_piece *p = q->flying; p; p = p->next) {
		if (p->io.file && !p->external &&
		    ranges_overlap(p->io.offset, p->io.length, offset, length))
			return true;
	}
	return false;
}

/* True when a write to new clusters in flight changes the entry of a cluster
 * that guest [offset, offset + length) touches. */
static bool conflicts(const struct qcow2 *q, uint64_t offset, uint64_t length)
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

static void op_run(struct qcow2_op *op);

static void op_wait(struct qcow2_op *op)
{
	struct qcow2 *q = op->q;

	op->next = NULL;
	op->pending++;
	*(q->waiting ? q->waiting_end : &q->waiting) = op;
	q->waiting_end = &op->next;
}

/* Entries have changed: who waited for that tries again, in order. */
static void wake_waiting(struct qcow2 *q)
{
	struct qcow2_op *op = q->waiting;

	q->waiting = NULL;
	while (op) {
		struct qcow2_op *next = op->next;

		op_run(op);
		op_release(op, 0);
		op = next;
	}
}

static void data_done(struct host_io *io, int err)
{
	struct qcow2_piece *piece = container_of(io, struct qcow2_piece, io);
	struct qcow2_op *op = piece->op;
	struct qcow2 *q = op->q;
	bool fresh = piece->fresh;

	if (io->op == HOST_WRITE)
		flusher_wrote(piece->external ? &q->data_flusher : &q->flusher);
	piece_put(piece);
	if (fresh)
		err = qcow2_run_end(q, &piece->run, err);
	op_release(op, err);
	if (fresh && q->waiting)
		wake_waiting(q);
}

static void below_done(struct block_request *request, int err)
{
	struct qcow2_piece *piece =
		container_of(request, struct qcow2_piece, below);
	struct qcow2_op *op = piece->op;

	piece_put(piece);
	op_release(op, err);
}

/* The vectors of the request's bytes [skip, skip + length), with room for one
 * more before and behind them; NULL when memory is out. */
static struct iovec *piece_vectors(struct qcow2_piece *piece, uint64_t skip,
				   uint64_t length, int *cnt)
{
	const struct block_request *request = piece->op->request;
	uint64_t taken;

	if (piece->space < request->iovcnt + 2) {
		int space = request->iovcnt + 2;
		struct iovec *vec = realloc(piece->vec, space * sizeof(*vec));

		if (!vec)
			return NULL;
		piece->vec = vec;
		piece->space = space;
	}
	*cnt = iov_slice(piece->vec + 1, request->iovcnt, request->iov,
			 request->iovcnt, skip, length, &taken);
	return piece->vec + 1;
}

/* Starts the piece's transfer of @length bytes at host @offset. */
static void lift_off(struct qcow2_piece *piece, const struct iovec *iov,
		     int iovcnt, uint64_t length, uint64_t offset)
{
	const struct qcow2_op *op = piece->op;
	struct host_file *file = qcow2_file_at(op->q, &offset);

	piece->io = (struct host_io){
		.op = op->request->op == BLOCK_READ ? HOST_READ : HOST_WRITE,
		.iov = iov,
		.iovcnt = iovcnt,
		.offset = offset,
		.length = length,
		.cached = op->q->cluster_size < QCOW2_PAGE,
		.done = data_done,
	};
	piece->external = file != op->q->file;
	if (file)
		host_submit(file, &piece->io);
	else
		data_done(&piece->io, -EIO);
}

/* Moves the op's next @length bytes, from or to host @offset. */
static int fly(struct qcow2_op *op, uint64_t length, uint64_t offset)
{
	const struct block_request *request = op->request;
	struct qcow2_piece *piece = piece_get(op);
	const struct iovec *iov = request->iov;
	int cnt = request->iovcnt;

	if (piece && length < request->length)
		iov = piece_vectors(piece, op->mapped, length, &cnt);
	if (!piece || !iov) {
		if (piece) {
			piece_put(piece);
			op->pending--;
		}
		return -ENOMEM;
	}
	lift_off(piece, iov, cnt, length, offset);
	return 0;
}

/* The op's next bytes come from the backing file, as far as it goes. */
static int fly_below(struct qcow2_op *op, uint64_t length)
{
	const struct block_request *request = op->request;
	uint64_t offset = request->offset + op->mapped, there = 0;
	struct qcow2_piece *piece;
	struct iovec *iov;
	int cnt;

	if (!qcow2_past_backing(op->q, offset))
		there = op->q->backing->size - offset;
	if (there > length)
		there = length;
	iov_zero(request->iov, request->iovcnt, op->mapped + there,
		 length - there);
	if (!there)
		return 0;
	piece = piece_get(op);
	iov = piece ? piece_vectors(piece, op->mapped, there, &cnt) : NULL;
	if (!iov) {
		if (piece) {
			piece_put(piece);
			op->pending--;
		}
		return -ENOMEM;
	}
	piece->io.file = NULL; /* it is not in this layer's file */
	piece->below = (struct block_request){ .op = BLOCK_READ,
					       .offset = offset,
					       .length = there,
					       .iov = iov,
					       .iovcnt = cnt,
					       .done = below_done };
	block_submit(op->q->backing, &piece->below);
	return 0;
}

/* Whether the next extent goes on where the first @length bytes of @e end. */
static bool goes_on(const struct qcow2_extent *e, const struct qcow2_extent *n)
{
	return n->entry.kind == QCOW2_KIND_DATA &&
	       n->entry.copied == e->entry.copied &&
	       n->entry.host == e->entry.host + e->length;
}

/* What holds the op's next bytes; data across the borders of slices. */
static int map_op(struct qcow2_op *op, struct qcow2_extent *e)
{
	uint64_t left = op->request->length - op->mapped;
	uint64_t offset = op->request->offset + op->mapped;
	int err = qcow2_map(op->q, offset, left, e);

	/* New clusters are linked into one slice at a time. */
	if (err || (op->request->op == BLOCK_WRITE && !e->entry.copied))
		return err;
	while (e->entry.kind == QCOW2_KIND_DATA && e->length < left) {
		struct qcow2_extent next;

		err = qcow2_map(op->q, offset + e->length, left - e->length,
				&next);
		if (err || !goes_on(e, &next))
			break;
		e->length += next.length;
	}
	return err;
}

static int read_next(struct qcow2_op *op)
{
	const struct block_request *request = op->request;
	uint64_t offset = request->offset + op->mapped;
	struct qcow2 *q = op->q;
	struct qcow2_extent e;
	int err = map_op(op, &e);

	if (err)
		return err;
	switch (e.entry.kind) {
	case QCOW2_KIND_DATA:
		if (q->header.crypt_method || crowded(q))
			err = qcow2_read(q, request->iov, request->iovcnt,
					 op->mapped, offset, e.length);
		else
			err = fly(op, e.length, e.entry.host);
		break;
	case QCOW2_KIND_UNALLOCATED:
		if (crowded(q))
			err = qcow2_read(q, request->iov, request->iovcnt,
					 op->mapped, offset, e.length);
		else
			err = fly_below(op, e.length);
		break;
	case QCOW2_KIND_ZERO:
	case QCOW2_KIND_ZERO_ALLOCATED:
		iov_zero(request->iov, request->iovcnt, op->mapped, e.length);
		break;
	case QCOW2_KIND_COMPRESSED:
		err = qcow2_read(q, request->iov, request->iovcnt, op->mapped,
				 offset, e.length);
		break;
	}
	op->mapped += e.length;
	return err;
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

/* Writes the op's next bytes to new clusters: as many as it sets e->length to. */
static int fly_new(struct qcow2_op *op, struct qcow2_extent *e)
{
	uint64_t offset = op->request->offset + op->mapped;
	uint64_t end = offset + e->length, start, stop;
	struct qcow2_piece *piece = piece_get(op);
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
	if (!err &&
	    (crowded(q) || offset - start + stop - end > QCOW2_SURROUND)) {
		err = qcow2_run_write(q, &piece->run, e->entry.kind,
				      op->request->iov, op->request->iovcnt,
				      op->mapped, offset, end);
		err = qcow2_run_end(q, &piece->run, err);
		goto drop;
	}
	if (!err) {
		vec = piece_vectors(piece, op->mapped, e->length, &cnt);
		err = vec ? surround(piece, start, offset, end, stop, &vec,
				     &cnt)
			  : -ENOMEM;
	}
	if (err) {
		qcow2_run_end(q, &piece->run, err);
		goto drop;
	}
	lift_off(piece, vec, cnt, stop - start,
		 piece->run.host + (start - piece->run.start));
	return 0;
drop:
	piece_put(piece);
	op->pending--;
	return err;
}

/* True when the op waits now. */
static bool write_next(struct qcow2_op *op, int *err)
{
	const struct block_request *request = op->request;
	struct qcow2 *q = op->q;
	struct qcow2_extent e;

	*err = q->error ? q->error : map_op(op, &e);
	if (*err)
		return false;
	if (e.entry.kind == QCOW2_KIND_DATA && e.entry.copied) {
		qcow2_will_write(q, e.entry.host, e.length);
		*err = crowded(q)
			       ? qcow2_data_writev(q, request->iov,
						   request->iovcnt, op->mapped,
						   e.length, e.entry.host)
			       : fly(op, e.length, e.entry.host);
	} else if (conflicts(q, request->offset + op->mapped, e.length)) {
		op_wait(op);
		return true;
	} else {
		*err = fly_new(op, &e);
	}
	op->mapped += e.length;
	return false;
}

/* What is done all at once: in the order of requests on the same entries. */
static int do_now(struct qcow2_op *op)
{
	struct block_request *request = op->request;
	struct qcow2 *q = op->q;

	op->mapped = request->length;
	switch (request->op) {
	case BLOCK_READ:
		return qcow2_read(q, request->iov, request->iovcnt, 0,
				  request->offset, request->length);
	case BLOCK_WRITE:
		return qcow2_write(q, request->iov, request->iovcnt,
				   request->offset, request->length);
	case BLOCK_ZERO:
		return qcow2_zero(q, request->offset, request->length);
	default:
		return qcow2_discard(q, request->offset, request->length);
	}
}

static bool flies(const struct qcow2_op *op)
{
	const struct block_request *request = op->request;

	if (request->iovcnt > VECTORS_MAX)
		return false;
	return request->op == BLOCK_READ ||
	       (request->op == BLOCK_WRITE && !op->q->header.crypt_method);
}

/* Goes on with the op until it waits, or all of it is in flight or done. */
static void op_run(struct qcow2_op *op)
{
	const struct block_request *request = op->request;
	bool fly_it = flies(op);
	int err = op->err;

	if (!fly_it && conflicts(op->q, request->offset, request->length)) {
		op_wait(op);
		return;
	}
	while (!err && op->mapped < request->length) {
		if (!fly_it)
			err = do_now(op);
		else if (request->op == BLOCK_READ)
			err = read_next(op);
		else if (write_next(op, &err))
			return;
	}
	if (err && !op->err)
		op->err = err;
}

/* A flush needs no op: a commit, or where that has nothing to do, a sync. */
static void flush(struct qcow2 *q, struct block_request *request)
{
	/* A dirty image's refcounts wait for its close. */
	bool dirty = q->header.incompatible & QCOW2_DIRTY;
	bool refs = q->ref_cache.any_dirty || q->reftable.any_dirty;

	if (q->data || (refs && !dirty) || q->l2_cache.any_dirty ||
	    q->l1.any_dirty || q->freed_count || q->error)
		request->done(request, qcow2_commit(q));
	else
		flusher_submit(&q->flusher, request);
}

void qcow2_start(struct qcow2 *q, struct block_request *request)
{
	struct qcow2_op *op;
	int err = 0;

	if (!q->error)
		q->error = q->flusher.error;
	if (request->op == BLOCK_FLUSH) {
		flush(q, request);
		return;
	}
	if (request->op != BLOCK_READ)
		err = qcow2_begin_writing(q);
	op = err ? NULL : op_get(q);
	if (!op) {
		request->done(request, err ? err : -ENOMEM);
		return;
	}
	*op = (struct qcow2_op){ .q = q, .request = request, .pending = 1 };
	q->ops++;
	op_run(op);
	op_release(op, 0);
}

void qcow2_land(struct qcow2 *q)
{
	while (q->ops || q->flusher.busy)
		block_wait(&q->block);
	while (q->free_pieces) {
		struct qcow2_piece *piece = q->free_pieces;

		q->free_pieces = piece->next;
		free(piece->vec);
		free(piece);
	}
	while (q->free_ops) {
		struct qcow2_op *op = q->free_ops;

		q->free_ops = op->next;
		free(op);
	}
}
