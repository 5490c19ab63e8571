/*
 * The raw format: the host file's bytes are the disk's. A size that is no
 * multiple of a sector is rounded up; the missing bytes read as zeros, and a
 * write to the last sector completes the file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/layers.h"
#include "util/checked.h"
#include "util/log.h"

/* What file systems of hosts count in. */
#define HOST_BLOCK 4096

struct raw {
	struct block block;
	struct host_file *file;
	bool unsynced;  /* written since the last sync */
	int sync_error; /* latched: B3 */
};

static int raw_flush(struct raw *raw)
{
	if (raw->sync_error)
		return raw->sync_error;
	if (!raw->unsynced)
		return 0;
	raw->sync_error = raw->file->ops->sync(raw->file);
	if (raw->sync_error)
		log_err("disk %s: the host could not make the data durable "
			"(%s); no later flush will succeed",
			raw->block.name, strerror(-raw->sync_error));
	raw->unsynced = false;
	return raw->sync_error;
}

static int raw_zero(struct raw *raw, const struct block_request *request)
{
	int err = raw->file->ops->punch(raw->file, request->offset,
					request->length);

	/* A hole must not change the size, so the bytes past the end of a
	 * file with half a last sector are simply not there. */
	if (err == -EOPNOTSUPP || err == -ENOSYS || err == -ENODEV)
		err = host_write_zeros(raw->file, request->offset,
				       request->length);
	else if (!err && request->op == BLOCK_ZERO)
		/* Where it cannot be kept there are zeros all the same. */
		raw->file->ops->allocate(raw->file, request->offset,
					 request->length);
	return err;
}

static void raw_submit(struct block *block, struct block_request *request)
{
	struct raw *raw = container_of(block, struct raw, block);
	int err = -EIO;

	switch (request->op) {
	case BLOCK_READ:
		err = host_readv(raw->file, request->iov, request->iovcnt, 0,
				 request->length, request->offset);
		break;
	case BLOCK_WRITE:
		raw->unsynced = true;
		err = host_writev(raw->file, request->iov, request->iovcnt, 0,
				  request->length, request->offset);
		break;
	case BLOCK_FLUSH:
		err = raw_flush(raw);
		break;
	case BLOCK_DISCARD:
	case BLOCK_ZERO:
		raw->unsynced = true;
		err = request->length ? raw_zero(raw, request) : 0;
		break;
	}
	request->done(request, err);
}

static int raw_map(struct block *block, uint64_t offset, uint64_t length,
		   struct block_extent *extent)
{
	struct raw *raw = container_of(block, struct raw, block);
	bool hole;
	int err = host_look(raw->file, offset, length, &hole, &extent->length);

	/* A file may end within a sector. */
	extent->length = align_up(extent->length, BLOCK_SECTOR);
	extent->allocated = true;
	extent->data = !hole;
	extent->zero = hole;
	extent->compressed = false;
	extent->placed = true;
	extent->host = offset;
	return err;
}

/* What is cut off does not come back when the file grows again. */
static int raw_resize(struct block *block, uint64_t size)
{
	struct raw *raw = container_of(block, struct raw, block);
	int err = raw->file->ops->truncate(raw->file, size);

	if (err)
		return err;
	block->size = size;
	raw->unsynced = true;
	return raw_flush(raw);
}

static int raw_allocate(struct block *block, uint64_t offset, uint64_t length,
			enum block_space space)
{
	struct raw *raw = container_of(block, struct raw, block);

	raw->unsynced |= space != BLOCK_PLACE;
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
	struct raw *raw = container_of(block, struct raw, block);
	int err = raw_flush(raw);

	raw->file->ops->close(raw->file);
	free(raw->block.name);
	free(raw);
	return err;
}

/* The size of the disk: that of the file, in whole sectors. */
static int raw_size(struct host_file *file, const char *name, uint64_t *size)
{
	int err = file->ops->size(file, size);

	if (!err && *size > INT64_MAX - BLOCK_SECTOR)
		err = -EFBIG;
	if (err)
		log_err("disk %s: cannot tell its size: %s", name,
			strerror(-err));
	*size = align_up(*size, BLOCK_SECTOR);
	return err;
}

static int raw_refresh(struct block *block)
{
	struct raw *raw = container_of(block, struct raw, block);
	uint64_t size;
	int err = raw_size(raw->file, block->name, &size);

	if (!err)
		block->size = size;
	return err;
}

static const struct block_ops raw_ops = {
	.submit = raw_submit,
	.map = raw_map,
	.resize = raw_resize,
	.allocate = raw_allocate,
	.refresh = raw_refresh,
	.close = raw_close,
};

int raw_open(struct host_file *file, const char *name, bool read_only,
	     struct block **block)
{
	struct raw *raw;
	uint64_t size;
	int err = raw_size(file, name, &size);

	if (err)
		return err;
	raw = calloc(1, sizeof(*raw));
	if (!raw || !(raw->block.name = strdup(name))) {
		free(raw);
		log_err("disk %s: out of memory", name);
		return -ENOMEM;
	}
	raw->file = file;
	raw->block.ops = &raw_ops;
	raw->block.size = size;
	raw->block.block_size = HOST_BLOCK;
	raw->block.discard_unit = HOST_BLOCK;
	raw->block.read_only = read_only;
	raw->block.event_fd = -1;
	*block = &raw->block;
	return 0;
}
