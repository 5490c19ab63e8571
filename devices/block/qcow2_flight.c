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
#include "devices/block/qcow2_flight.h"
#include "util/checked.h"
#include "util/iov.h"

/* Requests of more vectors are done at once. */
#define VECTORS_MAX (HOST_IOV_MAX - 2)

static struct qcow2_op *op_get(struct qcow2 *q)
{
	struct qcow2_op *op = q->free_ops;

	if (op)
		q->free_ops = op->next;
	else
		op = malloc(sizeof(*op));
	return op;
}

struct qcow2_piece *qcow2_piece_get(struct qcow2_op *op)
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
	piece->around_bytes = 0;
	piece->next = q->flying;
	piece->link = &q->flying;
	if (q->flying)
		q->flying->link = &piece->next;
	q->flying = piece;
	q->pieces++;
	op->pending++;
	return piece;
}

void qcow2_piece_put(struct qcow2_piece *piece)
{
	struct qcow2 *q = piece->op->q;

	*piece->link = piece->next;
	if (piece->next)
		piece->next->link = piece->link;
	free(piece->around);
	q->around_bytes -= piece->around_bytes;
	q->pieces--;
	piece->next = q->free_pieces;
	q->free_pieces = piece;
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

static void op_run(struct qcow2_op *op);

static void op_wait(struct qcow2_op *op)
{
	struct qcow2 *q = op->q;

	op->next = NULL;
	op->pending++;
	*(q->waiting ? q->waiting_end : &q->waiting) = op;
	q->waiting_end = &op->next;
}

/* Entries have changed: requests that waited for that try again, in order. */
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
	qcow2_piece_put(piece);
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

	qcow2_piece_put(piece);
	op_release(op, err);
}

struct iovec *qcow2_piece_vectors(struct qcow2_piece *piece, uint64_t skip,
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

void qcow2_lift_off(struct qcow2_piece *piece, const struct iovec *iov,
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
	struct qcow2_piece *piece = qcow2_piece_get(op);
	const struct iovec *iov = request->iov;
	int cnt = request->iovcnt;

	if (piece && length < request->length)
		iov = qcow2_piece_vectors(piece, op->mapped, length, &cnt);
	if (!piece || !iov) {
		if (piece) {
			qcow2_piece_put(piece);
			op->pending--;
		}
		return -ENOMEM;
	}
	qcow2_lift_off(piece, iov, cnt, length, offset);
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
	piece = qcow2_piece_get(op);
	iov = piece ? qcow2_piece_vectors(piece, op->mapped, there, &cnt)
		    : NULL;
	if (!iov) {
		if (piece) {
			qcow2_piece_put(piece);
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
		if (q->header.crypt_method || qcow2_crowded(q))
			err = qcow2_read(q, request->iov, request->iovcnt,
					 op->mapped, offset, e.length);
		else
			err = fly(op, e.length, e.entry.host);
		break;
	case QCOW2_KIND_UNALLOCATED:
		if (qcow2_crowded(q))
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
		*err = qcow2_crowded(q)
			       ? qcow2_data_writev(q, request->iov,
						   request->iovcnt, op->mapped,
						   e.length, e.entry.host)
			       : fly(op, e.length, e.entry.host);
	} else if (qcow2_fresh_meets(q, request->offset + op->mapped,
				     e.length)) {
		op_wait(op);
		return true;
	} else {
		*err = qcow2_fly_fresh(op, &e);
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

	if (!fly_it &&
	    qcow2_fresh_meets(op->q, request->offset, request->length)) {
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
