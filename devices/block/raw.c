/*
 * The raw format: the host file's bytes are the disk's. A size that is no
 * multiple of a sector is rounded up; the missing bytes read as zeros, and a
 * write to the last sector completes the file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/flusher.h"
#include "devices/block/layers.h"
#include "util/checked.h"
#include "util/log.h"

/* What file systems of hosts count in. */
#define HOST_BLOCK 4096

/* What is in flight for a request. */
struct raw_io {
	struct host_io io;
	struct raw *raw;
	struct block_request *request;
	struct raw_io *next; /* free ones */
};

struct raw {
	struct block block;
	struct host_file *file;
	struct block_slice slice;
	struct flusher flusher;
	struct raw_io *free;
	unsigned in_flight;
};

static struct raw *to_raw(struct block *block)
{
	return container_of(block, struct raw, block);
}

/* A hole must not change the size, so the bytes past the end of a file with
 * half a last sector are simply not there. */
static int write_zeros_instead(const struct raw_io *rio)
{
	return host_write_zeros(rio->raw->file, rio->io.offset, rio->io.length);
}

static void raw_io_done(struct host_io *io, int err)
{
	struct raw_io *rio = container_of(io, struct raw_io, io);
	struct block_request *request = rio->request;
	struct raw *raw = rio->raw;

	if (io->op == HOST_PUNCH &&
	    (err == -EOPNOTSUPP || err == -ENOSYS || err == -ENODEV))
		err = write_zeros_instead(rio);
	else if (io->op == HOST_PUNCH && !err && request->op == BLOCK_ZERO)
		/* If its space cannot be kept, it still reads as zeros. */
		raw->file->ops->allocate(raw->file, io->offset, io->length);
	if (io->op != HOST_READ)
		flusher_wrote(&raw->flusher);
	raw->in_flight--;
	rio->next = raw->free;
	raw->free = rio;
	request->done(request, err);
}

static void raw_start(struct raw *raw, enum host_io_op op,
		      struct block_request *request)
{
	struct raw_io *rio = raw->free;

	if (rio)
		raw->free = rio->next;
	else
		rio = malloc(sizeof(*rio));
	if (!rio) {
		request->done(request, -ENOMEM);
		return;
	}
	rio->raw = raw;
	rio->request = request;
	rio->io =
		(struct host_io){ .op = op,
				  .iov = request->iov,
				  .iovcnt = request->iovcnt,
				  .offset = raw->slice.offset + request->offset,
				  .length = request->length,
				  .done = raw_io_done };
	raw->in_flight++;
	if (op != HOST_PUNCH && request->iovcnt > HOST_IOV_MAX) {
		rio->io.file = raw->file;
		raw_io_done(&rio->io, host_io_now(&rio->io));
	} else {
		host_submit(raw->file, &rio->io);
	}
}

static void raw_submit(struct block *block, struct block_request *request)
{
	struct raw *raw = to_raw(block);

	if (request->op == BLOCK_FLUSH)
		flusher_submit(&raw->flusher, request);
	else if (!request->length)
		request->done(request, 0);
	else if (request->op == BLOCK_READ)
		raw_start(raw, HOST_READ, request);
	else if (request->op == BLOCK_WRITE)
		raw_start(raw, HOST_WRITE, request);
	else
		raw_start(raw, HOST_PUNCH, request);
}

static void raw_kick(struct block *block)
{
	host_kick(to_raw(block)->file);
}

static void raw_reap(struct block *block)
{
	host_reap(to_raw(block)->file);
}

static bool raw_wait(struct block *block)
{
	return host_wait(to_raw(block)->file);
}

static int raw_read(struct block *block, const struct iovec *iov, int iovcnt,
		    uint64_t skip, uint64_t length, uint64_t offset)
{
	const struct raw *raw = to_raw(block);

	return host_readv(raw->file, iov, iovcnt, skip, length,
			  raw->slice.offset + offset);
}

static int raw_map(struct block *block, uint64_t offset, uint64_t length,
		   struct block_extent *extent)
{
	struct raw *raw = container_of(block, struct raw, block);
	bool hole;
	int err = host_look(raw->file, raw->slice.offset + offset, length,
			    &hole, &extent->length);

	/* A file may end within a sector. */
	extent->length = align_up(extent->length, BLOCK_SECTOR);
	extent->allocated = true;
	extent->data = !hole;
	extent->zero = hole;
	extent->compressed = false;
	extent->placed = true;
	extent->host = raw->slice.offset + offset;
	return err;
}

/* What is cut off does not come back when the file grows again. */
static int raw_resize(struct block *block, uint64_t size)
{
	struct raw *raw = container_of(block, struct raw, block);
	uint64_t base = raw->slice.offset;
	int err = raw->slice.sized
			  ? -EPERM
			  : raw->file->ops->truncate(raw->file, base + size);

	if (err)
		return err;
	flusher_wrote(&raw->flusher);
	err = flusher_sync(&raw->flusher);
	if (err)
		raw->file->ops->truncate(raw->file, base + block->size);
	else
		block->size = size;
	return err;
}

static int raw_allocate(struct block *block, uint64_t offset, uint64_t length,
			enum block_space space)
{
	struct raw *raw = container_of(block, struct raw, block);

	offset += raw->slice.offset;
	flusher_wrote(&raw->flusher);
	switch (space) {
	case BLOCK_RESERVE:
		return raw->file->ops->allocate(raw->file, offset, length);
	case BLOCK_FILL:
		return host_write_zeros(raw->file, offset, length);
	default:
		return 0;
	}
}

static int raw_close(struct block *block)
{
	struct raw *raw = to_raw(block);
	int err;

	while (raw->in_flight || raw->flusher.busy)
		block_wait(block);
	err = flusher_sync(&raw->flusher);
	raw->file->ops->close(raw->file);
	while (raw->free) {
		struct raw_io *rio = raw->free;

		raw->free = rio->next;
		free(rio);
	}
	free(raw->block.name);
	free(raw);
	return err;
}

/* The size of the disk: that of the file, in whole sectors, or of a piece of
 * it. */
static int raw_refresh(struct block *block)
{
	struct raw *raw = container_of(block, struct raw, block);
	const struct block_slice *slice = &raw->slice;
	uint64_t size;
	int err = raw->file->ops->size(raw->file, &size);

	size = align_up(size, BLOCK_SECTOR);
	if (!err && size > INT64_MAX)
		err = -EFBIG;
	if (err) {
		log_err("disk %s: cannot tell its size: %s", block->name,
			strerror(-err));
	} else if (!range_within(slice->offset, slice->size, size)) {
		log_err("disk %s: offset %llu and size %llu reach beyond its "
			"%llu bytes",
			block->name, (unsigned long long)slice->offset,
			(unsigned long long)slice->size,
			(unsigned long long)size);
		err = -EINVAL;
	} else {
		block->size = slice->sized ? slice->size : size - slice->offset;
	}
	return err;
}

static const struct block_ops raw_ops = {
	.submit = raw_submit,
	.map = raw_map,
	.resize = raw_resize,
	.allocate = raw_allocate,
	.refresh = raw_refresh,
	.kick = raw_kick,
	.reap = raw_reap,
	.wait = raw_wait,
	.read = raw_read,
	.close = raw_close,
};

int raw_open(struct host_file *file, const char *name, bool read_only,
	     const struct block_slice *slice, struct block **block)
{
	struct raw *raw = calloc(1, sizeof(*raw));
	int err = -ENOMEM;

	if (raw)
		raw->block.name = strdup(name);
	if (!raw || !raw->block.name) {
		log_err("disk %s: out of memory", name);
		goto fail;
	}
	raw->file = file;
	if (slice)
		raw->slice = *slice;
	err = raw_refresh(&raw->block);
	if (err)
		goto fail;
	raw->block.ops = &raw_ops;
	raw->block.block_size = HOST_BLOCK;
	raw->block.discard_unit = HOST_BLOCK;
	raw->block.read_only = read_only;
	raw->block.event_fd = host_event_fd(file);
	flusher_init(&raw->flusher, file, raw->block.name);
	*block = &raw->block;
	return 0;
fail:
	if (raw)
		free(raw->block.name);
	free(raw);
	return err;
}
