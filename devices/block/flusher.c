#include "devices/block/flusher.h"

#include <string.h>

#include "util/checked.h"
#include "util/log.h"

void flusher_init(struct flusher *flusher, struct host_file *file,
		  const char *name)
{
	flusher->file = file;
	flusher->name = name;
}

static void failed(struct flusher *flusher, int err)
{
	if (flusher->error)
		return;
	/* The host may have dropped the pages and call the next sync a
	 * success: what is on disk is not known any more. */
	flusher->error = err;
	log_err("disk %s: the host could not make the data durable (%s); no "
		"later write or flush will succeed",
		flusher->name, strerror(-err));
}

int flusher_sync(struct flusher *flusher)
{
	uint64_t written = flusher->written;
	int err;

	if (flusher->error || flusher_clean(flusher))
		return flusher->error;
	err = flusher->file->ops->sync(flusher->file);
	if (err) {
		failed(flusher, err);
		return err;
	}
	flusher->synced = written;
	return 0;
}

static void start(struct flusher *flusher);

static void sync_done(struct host_io *io, int err)
{
	struct flusher *flusher = container_of(io, struct flusher, io);
	struct block_request *request = flusher->joined;

	if (err)
		failed(flusher, err);
	else if (flusher->syncing > flusher->synced)
		flusher->synced = flusher->syncing;
	flusher->joined = flusher->later;
	flusher->later = NULL;
	flusher->busy = false;
	if (flusher->joined)
		start(flusher);
	while (request) {
		struct block_request *next = request->next;

		request->done(request, flusher->error);
		request = next;
	}
}

static void start(struct flusher *flusher)
{
	flusher->busy = true;
	flusher->syncing = flusher->written;
	flusher->io = (struct host_io){ .op = HOST_SYNC, .done = sync_done };
	host_submit(flusher->file, &flusher->io);
}

void flusher_submit(struct flusher *flusher, struct block_request *request)
{
	struct block_request **list = &flusher->joined;

	if (flusher->error || flusher_clean(flusher)) {
		request->done(request, flusher->error);
		return;
	}
	if (flusher->busy && flusher->syncing != flusher->written)
		list = &flusher->later;
	request->next = *list;
	*list = request;
	if (!flusher->busy)
		start(flusher);
}
