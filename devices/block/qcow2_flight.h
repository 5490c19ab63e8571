/*
 * What the files of requests in flight share: qcow2_flight.c and, for writes to
 * new clusters, qcow2_fresh.c. By the block's thread, as all of the image.
 */
#ifndef KVIST_BLOCK_QCOW2_FLIGHT_H
#define KVIST_BLOCK_QCOW2_FLIGHT_H

#include "devices/block/qcow2.h"

/* With this many pieces in flight, further ones are done at once: in a hostile
 * image one request may have half a million pieces. */
#define PIECES_MAX 2048

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
	uint8_t *around; /* old contents, around_bytes of them */
	uint32_t around_bytes;
	struct iovec *vec;
	int space; /* of vec; it is kept for the next use */
	struct qcow2_piece *next, **link; /* in flight, or next free */
};

static inline bool qcow2_crowded(const struct qcow2 *q)
{
	return q->pieces >= PIECES_MAX;
}

/* Makes a piece of the op, which waits for it from now on; NULL when memory is
 * out. And ends one; the op is not told. */
struct qcow2_piece *qcow2_piece_get(struct qcow2_op *op);
void qcow2_piece_put(struct qcow2_piece *piece);

/* The vectors of the request's bytes [skip, skip + length), with room for one
 * more before and behind them; NULL when memory is out. Owned by the piece. */
struct iovec *qcow2_piece_vectors(struct qcow2_piece *piece, uint64_t skip,
				  uint64_t length, int *cnt);

/* Starts the piece's transfer of @length bytes at host @offset; with it the
 * piece ends. */
void qcow2_lift_off(struct qcow2_piece *piece, const struct iovec *iov,
		    int iovcnt, uint64_t length, uint64_t offset);

/* qcow2_fresh.c */

/* True when a write to new clusters in flight changes the entry of a cluster
 * that guest [offset, offset + length) touches. */
bool qcow2_fresh_meets(const struct qcow2 *q, uint64_t offset, uint64_t length);

/* Writes the op's next bytes, which @e holds now, to new clusters: as many as
 * it sets e->length to. 0 or -errno. */
int qcow2_fly_fresh(struct qcow2_op *op, struct qcow2_extent *e);

#endif
