/*
 * The host file under an image: all I/O of the block layer goes through this
 * table, so a test can put a recorder, a fault injector or a delayer in its
 * place (devices/block/fault.h) and see, spoil or hold up every byte.
 *
 * A host_file is owned by the layer that was given it and used by one thread
 * at a time. Offsets and lengths are bytes of the host file.
 */
#ifndef KVIST_BLOCK_HOST_FILE_H
#define KVIST_BLOCK_HOST_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct host_file;
struct engine;

enum host_io_op { HOST_READ, HOST_WRITE, HOST_SYNC, HOST_PUNCH };

/* One transfer that somebody does while its owner goes on. It is the owner's,
 * with its vectors and what they point to, and stays until done(). */
struct host_io {
	enum host_io_op op;
	const struct iovec *iov; /* READ, WRITE: exactly length bytes, ... */
	int iovcnt;              /* ... in at most HOST_IOV_MAX vectors */
	uint64_t offset, length;
	/* Through the page cache even where the file goes past it. */
	bool cached;
	/* 0 or -errno, for the whole of it, as of host_readv() and so on. */
	void (*done)(struct host_io *io, int err);

	/* For those who do it. */
	struct host_file *file;
	struct host_io *next;
	int fd;
	bool direct;    /* goes past the page cache */
	ssize_t result; /* of the system call, or -errno */
	void *bounce;   /* stands in for iov */
	struct iovec bounce_iov;
};

#define HOST_IOV_MAX 1024

struct host_file_ops {
	/* As the system calls, but -errno instead of errno. May be short. */
	ssize_t (*preadv)(struct host_file *file, const struct iovec *iov,
			  int iovcnt, uint64_t offset);
	ssize_t (*pwritev)(struct host_file *file, const struct iovec *iov,
			   int iovcnt, uint64_t offset);
	/* Everything written before is durable when it returns 0. */
	int (*sync)(struct host_file *file);
	/* Gives the range's space back; it reads as zeros. -EOPNOTSUPP where
	 * the host cannot. Never changes the size. */
	int (*punch)(struct host_file *file, uint64_t offset, uint64_t length);
	/* Reserves space for the range and extends the file over it. */
	int (*allocate)(struct host_file *file, uint64_t offset,
			uint64_t length);
	int (*truncate)(struct host_file *file, uint64_t size);
	int (*size)(struct host_file *file, uint64_t *size);
	/* Bytes of the host that the file takes. NULL: all of its size. */
	int (*used)(struct host_file *file, uint64_t *bytes);
	/* Whether the byte at @offset, before the end, is in a hole, which
	 * reads as zeros, and how many bytes from it on are alike. NULL: no
	 * holes. */
	int (*look)(struct host_file *file, uint64_t offset, bool *hole,
		    uint64_t *length);
	void (*close)(struct host_file *file);

	/* host_submit() and so on; all NULL in a file where everything is done
	 * at once. */
	void (*submit)(struct host_file *file, struct host_io *io);
	void (*kick)(struct host_file *file);
	void (*reap)(struct host_file *file);
	int (*event_fd)(struct host_file *file);
	/* kick(), a wait and reap() in one; false where there is no such thing,
	 * or NULL. */
	bool (*wait)(struct host_file *file);
};

struct host_file {
	const struct host_file_ops *ops;
};

/* A host_file over @fd, a regular file or block device, which it owns from
 * then on. NULL when memory is out (@fd is then still the caller's). */
struct host_file *host_file_create(int fd);

struct host_file_how {
	struct engine *engine; /* gets one user more; NULL: all at once */
	bool direct;           /* O_DIRECT, where buffers can be aligned */
	bool unsafe;           /* syncs do nothing */
};

/* The same with an engine. *direct tells whether O_DIRECT is possible. */
struct host_file *host_file_create_how(int fd, const struct host_file_how *how,
				       bool *direct);

/*
 * Starts a transfer, a sync (of what was complete before) or a hole, which
 * ends in done(), called once: perhaps before host_submit() returns, or from
 * host_kick() or host_reap(). host_kick() hands all that was submitted to the
 * host; host_reap() completes what has finished. host_event_fd() is readable
 * when something has; -1 where all is done in host_submit(). host_wait() is
 * host_kick(), a wait until something has finished, and host_reap(), if it
 * returns true; else it has done nothing.
 */
void host_submit(struct host_file *file, struct host_io *io);
void host_kick(struct host_file *file);
void host_reap(struct host_file *file);
int host_event_fd(struct host_file *file);
bool host_wait(struct host_file *file);

/* For those who do it: the transfer at once, without done(); and its end, with
 * io->result. What was transferred in part is finished there. */
int host_io_now(struct host_io *io);
void host_io_finish(struct host_io *io);

/*
 * Whole transfers of the piece (skip, length) of an iovec list: they go on
 * after short I/O and EINTR. Bytes past the end of the file read as zeros.
 * 0 or -errno; after an error any part may have been transferred.
 */
int host_readv(struct host_file *file, const struct iovec *iov, int iovcnt,
	       uint64_t skip, uint64_t length, uint64_t offset);
int host_writev(struct host_file *file, const struct iovec *iov, int iovcnt,
		uint64_t skip, uint64_t length, uint64_t offset);

/* The same for one buffer. */
int host_read(struct host_file *file, void *buf, size_t len, uint64_t offset);
int host_write(struct host_file *file, const void *buf, size_t len,
	       uint64_t offset);

/* Writes zeros, by plain writes: their space is then allocated. */
int host_write_zeros(struct host_file *file, uint64_t offset, uint64_t length);

/* As look(), for at most @length bytes, wherever they are; behind the end of
 * the file all is a hole. */
int host_look(struct host_file *file, uint64_t offset, uint64_t length,
	      bool *hole, uint64_t *alike);

/* 4 KiB of zeros, for whoever needs a source of them. */
#define HOST_ZEROS_LEN 4096 /* and aligned to it */
extern const uint8_t host_zeros[HOST_ZEROS_LEN];

/* Fills @iov[0..max) with vectors over host_zeros; returns how many it took
 * for @length bytes, *taken as in iov_slice(). */
int host_zero_iov(struct iovec *iov, int max, uint64_t length, uint64_t *taken);

#endif
