/*
 * A pipeline for copying a disk: one thread reads pieces, in order, some work
 * on them, in any order, and the caller takes them in order and writes. So
 * reading, working and writing go on at the same time.
 *
 *   reader --> | piece | piece | piece | ... |  --> the caller
 *                  \ workers /
 *
 * The caller owns the pipe, and calls get, put and stop from one thread.
 */
#ifndef KVIST_BLOCK_COPY_PIPE_H
#define KVIST_BLOCK_COPY_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct copy_piece {
	uint64_t offset, length; /* of the disk, in bytes */
	bool empty;              /* there are no bytes of it */
	bool clear;              /* the reader's, for the caller */
	uint8_t *bytes;          /* plan.room of them */
	uint8_t *packed;         /* the same, for the workers */
	size_t *packed_len;      /* plan.parts of them, likewise */
};

struct copy_plan {
	void *opaque;
	size_t room;  /* bytes of a piece that is not empty, at most */
	size_t parts; /* 0: there is no work; the last two are then NULL */
	unsigned workers;
	/* The reader. 1 with the next piece, 0 at the end, or -errno. */
	int (*read)(void *opaque, struct copy_piece *piece);
	/* A worker, with scratch memory of its own. */
	void (*work)(void *opaque, void *scratch, struct copy_piece *piece);
	void *(*scratch_create)(void *opaque); /* NULL when memory is out */
	void (*scratch_destroy)(void *scratch);
};

struct copy_pipe;

/* Starts the threads. 0 or -errno, not logged. The plan is copied. */
int copy_pipe_start(const struct copy_plan *plan, struct copy_pipe **pipe);

/* Waits for the next piece, the caller's until it is put back: 1, or 0 at the
 * end, or the reader's -errno. */
int copy_pipe_get(struct copy_pipe *pipe, struct copy_piece **piece);
void copy_pipe_put(struct copy_pipe *pipe);

/* Ends the threads, whatever they are at, and frees the pipe. */
void copy_pipe_stop(struct copy_pipe *pipe);

#endif
