/*
 * The kernel's io_uring (io_uring(7)), by its three system calls: what is to be
 * done goes into the submission ring, io_ring_enter() hands it over, and what
 * was done is read from the completion ring.
 *
 * Owned by the caller; used by one thread at a time.
 */
#ifndef KVIST_UTIL_IO_RING_H
#define KVIST_UTIL_IO_RING_H

#include <linux/io_uring.h>
#include <stddef.h>

struct io_ring {
	int fd;            /* -1: closed */
	unsigned features; /* IORING_FEAT_* */
	unsigned tail;     /* of the submission ring, ours */
	/* Shared with the kernel. */
	void *rings;
	size_t rings_bytes;
	struct io_uring_sqe *sqes;
	size_t sqes_bytes;
	unsigned *sq_head, *sq_tail, sq_mask, sq_entries;
	unsigned *cq_head, *cq_tail, cq_mask;
	struct io_uring_cqe *cqes;
};

/* A ring of @entries submissions, a power of two, with IORING_SETUP_* @flags. 0
 * or -errno (-EINVAL: flags that this kernel does not know), and it is closed
 * then. */
int io_ring_open(struct io_ring *ring, unsigned entries, unsigned flags);
void io_ring_close(struct io_ring *ring);

/* A cleared entry behind those that the kernel will be shown, or NULL: the ring
 * is full. */
struct io_uring_sqe *io_ring_next(struct io_ring *ring);

/* Shows the kernel all entries; how many of them it has not taken. */
unsigned io_ring_show(struct io_ring *ring);

/* Takes back the last of those that the kernel has not taken, or NULL: there is
 * none. */
const struct io_uring_sqe *io_ring_take_back(struct io_ring *ring);

/* Submits @n of them and waits until @done completions are there. The number
 * taken, or -errno. */
int io_ring_enter(struct io_ring *ring, unsigned n, unsigned done);

/* The oldest completion, or NULL; io_ring_seen() gives its place back. */
const struct io_uring_cqe *io_ring_done(const struct io_ring *ring);
void io_ring_seen(struct io_ring *ring);

#endif
