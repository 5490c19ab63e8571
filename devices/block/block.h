/*
 * A block device as its user sees it: an array of 512-byte sectors.
 *
 * A struct block is owned by the layer above it (a virtio-blk, or an image
 * that has it as its backing file) and used by one thread at a time: the
 * device's worker. Layers embed struct block as their first member and are
 * reached through its operations.
 *
 * B1: every submitted request is completed exactly once, by its done().
 * B2: a write that was completed before a flush was submitted is durable when
 *     that flush completes with 0.
 * B3: once the host failed to make bytes durable (a failed fsync), every later
 *     flush fails as well: the host may have dropped the bytes, and trying
 *     again would call them safe. A flush that failed before, as on a full
 *     disk, may be tried again: nothing is lost from memory.
 */
#ifndef KVIST_BLOCK_BLOCK_H
#define KVIST_BLOCK_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define BLOCK_SECTOR 512

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,
	BLOCK_DISCARD, /* contents undefined, then zero where the layer can */
	BLOCK_ZERO,    /* reads as zeros from now on; its space is kept */
};

struct block_request {
	enum block_op op;
	uint64_t offset, length; /* bytes, multiples of BLOCK_SECTOR */
	const struct iovec *iov; /* READ, WRITE: exactly length bytes */
	int iovcnt;
	/* Called once on the worker, perhaps before block_submit() returns:
	 * @err is 0 or -errno: the host's, as -EIO, -ENOSPC, -EDQUOT, or a
	 * layer's, -EROFS, -EINVAL; -ENOTSUP if the host cannot do @op. */
	void (*done)(struct block_request *request, int err);
	struct block_request *next; /* for the layer that holds it */
};

struct block;

/* What a place in the host file is worth. */
enum block_space {
	BLOCK_PLACE,   /* an offset */
	BLOCK_RESERVE, /* and the host's promise of space for it */
	BLOCK_FILL,    /* zeros have been written to it */
};

/* A piece of a disk that is all alike, as one layer holds it. */
struct block_extent {
	uint64_t length;
	bool allocated;  /* a read takes it from this layer */
	bool data;       /* the layer stores bytes for it */
	bool zero;       /* it is known to be zeros */
	bool compressed; /* the bytes are packed */
	bool placed;     /* the bytes are in the host file as they are read */
	uint64_t host;   /* where, if placed */
};

struct block_ops {
	void (*submit)(struct block *block, struct block_request *request);
	/* Hands all that was submitted to the host at once, and may complete
	 * some of it. NULL when there is nothing to hand over. */
	void (*kick)(struct block *block);
	/* Completes what has finished; what the requests that follow from it
	 * need is kicked by the caller. NULL when all complete in submit(). */
	void (*reap)(struct block *block);
	/* kick(), a wait until something has finished, and reap(), in one.
	 * False, and nothing is done, if there is no such thing; or NULL. */
	bool (*wait)(struct block *block);
	/*
	 * For tools, between requests. What this layer holds of [offset,
	 * offset + length), within its size: at least one sector of it. 0 or
	 * -errno. NULL: all of it, as data.
	 */
	int (*map)(struct block *block, uint64_t offset, uint64_t length,
		   struct block_extent *extent);
	/*
	 * Likewise. Changes the disk's size, a multiple of BLOCK_SECTOR; what
	 * is new reads as zeros. Durable when it returns 0; or -errno, and the
	 * disk has its old size. NULL: the size cannot change.
	 */
	int (*resize)(struct block *block, uint64_t size);
	/*
	 * Likewise. Gives a range that reads as zeros a place in the host file;
	 * it still reads as zeros. Durable after a flush. 0; or -errno, and
	 * part of it may have its place. NULL: every range has one.
	 */
	int (*allocate)(struct block *block, uint64_t offset, uint64_t length,
			enum block_space space);
	/* Asks the host how large the file is now, and sets size. Nothing is in
	 * flight. 0 or -errno, logged. NULL where the format says the size. */
	int (*refresh)(struct block *block);
	/* Reads at once, past everything in flight and completing none of it:
	 * for the layer above. NULL where submit() does so. */
	int (*read)(struct block *block, const struct iovec *iov, int iovcnt,
		    uint64_t skip, uint64_t length, uint64_t offset);
	/* Everything in flight completed, everything volatile written out and
	 * durable, locks released, memory freed. 0 or -errno, logged. */
	int (*close)(struct block *block);
};

struct block {
	const struct block_ops *ops;
	char *name;            /* for messages; owned */
	char *data_name;       /* of its external data file, likewise; or
				* NULL */
	uint64_t size;         /* bytes, a multiple of BLOCK_SECTOR */
	uint32_t block_size;   /* best unit of I/O, in bytes: virtio's physical
			      * block */
	uint32_t discard_unit; /* space is given back in these, bytes */
	bool read_only;
	int event_fd; /* readable when reap() has work; -1 without reap() */
};

/*
 * Checks the request against the device (range, alignment, read-only) and
 * hands it to the layer; a request that fails the checks is completed with
 * -EINVAL or -EROFS. The layer below may rely on the checks.
 *
 * What was submitted need not start before block_kick(): whoever has many
 * requests submits them all, then kicks once.
 */
void block_submit(struct block *block, struct block_request *request);

static inline void block_kick(struct block *block)
{
	if (block->ops->kick)
		block->ops->kick(block);
}

/* For when event_fd is readable: completes what has finished, and starts what
 * was submitted on the way. */
static inline void block_reap(struct block *block)
{
	if (block->ops->reap)
		block->ops->reap(block);
	block_kick(block);
}

/* Starts what was submitted, waits until some of it has finished, and goes on
 * as block_reap(): for whoever has nothing else to do. Something must be
 * submitted or in flight. May come back early. */
void block_wait(struct block *block);

static inline int block_close(struct block *block)
{
	return block->ops->close(block);
}

/* What resize() means by an error, in words that say what to do. */
const char *block_resize_error(int err);

/* How the user named a disk: --disk FILE[,format=...][,readonly]. */
enum block_format { BLOCK_QCOW2, BLOCK_RAW };

/* Who does the I/O that requests wait for. */
enum block_io {
	BLOCK_IO_NOW,     /* the thread that submits it, at once */
	BLOCK_IO_AUTO,    /* one of the two below, as the host allows */
	BLOCK_IO_URING,   /* the kernel; threads where it is not allowed */
	BLOCK_IO_THREADS, /* threads of the disk's own */
};

/* What the host's page cache is to the disk, in QEMU's words. */
enum block_cache {
	BLOCK_CACHE_WRITEBACK, /* data go through it; a flush writes it out */
	BLOCK_CACHE_NONE,      /* data go past it (O_DIRECT) */
	BLOCK_CACHE_UNSAFE,    /* as writeback, and flushes do nothing */
};

/* The piece of its file that is a raw disk: @size bytes, or all that follows;
 * offset and size are multiples of BLOCK_SECTOR. */
struct block_slice {
	uint64_t offset, size;
	bool sized;
};

/* The layers below the image whose files the user may name. */
#define BLOCK_BELOW 4

struct block_options {
	const char *path;
	enum block_format format;
	bool read_only;
	bool no_backing; /* a disk without what lies below it: for tools */
	/* From the first layer below the image on: the backing file and its
	 * format, instead of those that the image above it names. NULL: those
	 * it names. An empty path (""): there is no backing file. */
	struct block_below {
		const char *path, *format;
	} below[BLOCK_BELOW];
	const char *data_path;    /* likewise the external data file; or NULL */
	struct block_slice slice; /* of the image, a raw one */
	/* The layer below, counted from 1, that is opened for writing as well;
	 * 0: none. */
	unsigned writable_below;
	bool unlocked; /* read-only, even while somebody writes to it */
	enum block_io io;
	enum block_cache cache;
	size_t l2_cache; /* qcow2: bytes, 64 KiB or more; 0: the default */
	/* A further folder in which backing and data files are allowed, besides
	 * the image's own folder tree; or NULL. A data file is written to only
	 * if it lies in this one, ... */
	const char *backing_dir;
	/* ... or the image was made just now, as the user said. */
	bool data_is_ours;
	/* Advice for the message when a guest holds the lock; NULL: the
	 * default. */
	const char *if_busy;
	/* The file whose bytes are the passphrase of the image and of what lies
	 * below it, where they are encrypted; or NULL. */
	const char *key_file;
};

/*
 * Opens the image under the locks QEMU uses. On success *block is the
 * caller's, to be given back by block_close(). -errno, logged in one line that
 * says what to do.
 */
int block_open(const struct block_options *options, struct block **block);

#endif
