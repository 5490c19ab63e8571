/*
 * Who does the I/O that is in flight: the kernel (uring.c), or threads
 * (threads.c). One engine serves the host files of one disk, its image and all
 * backing files; its event_fd is the disk's.
 *
 * One thread at a time uses it, the one that uses the block. That may become
 * another thread when nothing is in flight: an image is opened by one thread
 * and used by a worker, and after a reset by a new worker.
 *
 * E1: every host_io that was submitted is finished once, by host_io_finish(),
 *     from kick(), reap() or wait().
 * E2: its buffers, which are guest memory, are touched only between the two.
 */
#ifndef KVIST_BLOCK_ENGINE_H
#define KVIST_BLOCK_ENGINE_H

#include "devices/block/block.h"
#include "devices/block/host_file.h"

struct engine;

struct engine_ops {
	void (*submit)(struct engine *engine, struct host_io *io);
	void (*kick)(struct engine *engine);
	void (*reap)(struct engine *engine);
	/* kick(), a wait until something has finished, and reap(); NULL where
	 * that is no better than waiting for event_fd. */
	void (*wait)(struct engine *engine);
	void (*destroy)(struct engine *engine); /* nothing is in flight */
};

struct engine {
	const struct engine_ops *ops;
	int event_fd;   /* readable when reap() has work */
	unsigned users; /* host files, and whoever created it */
};

/* The engine for @io, or NULL for BLOCK_IO_NOW; -errno, not logged. Where
 * io_uring is not allowed it is threads, which *io then says. */
int engine_create(enum block_io *io, struct engine **engine);
/* Gives it back; the last user destroys it. NULL is allowed. */
void engine_put(struct engine *engine);

/* Each 0 or -errno. */
int uring_create(struct engine **engine);
int threads_create(struct engine **engine);

/* The vectors that the system call gets. */
static inline const struct iovec *host_io_iov(const struct host_io *io,
					      int *cnt)
{
	*cnt = io->bounce ? 1 : io->iovcnt;
	return io->bounce ? &io->bounce_iov : io->iov;
}

/* io in order; the last one's next is NULL. */
struct host_io_list {
	struct host_io *first, **last; /* last: NULL when empty */
};

static inline void host_io_append(struct host_io_list *list, struct host_io *io)
{
	io->next = NULL;
	*(list->first ? list->last : &list->first) = io;
	list->last = &io->next;
}

static inline void host_io_prepend(struct host_io_list *list,
				   struct host_io *io)
{
	io->next = list->first;
	if (!list->first)
		list->last = &io->next;
	list->first = io;
}

static inline struct host_io *host_io_take(struct host_io_list *list)
{
	struct host_io *io = list->first;

	if (io)
		list->first = io->next;
	return io;
}

#endif
