/*
 * The syncs of one host file: flushes that come while one is in flight share
 * the next, and one that has nothing to make durable does nothing (B2, B3 of
 * block.h). For the layers of devices/block, by the block's thread.
 */
#ifndef KVIST_BLOCK_FLUSHER_H
#define KVIST_BLOCK_FLUSHER_H

#include "devices/block/block.h"
#include "devices/block/host_file.h"

struct flusher {
	struct host_file *file; /* borrowed, as is the name */
	const char *name;
	int error; /* latched: B3 */

	/* Writes are counted when they complete. */
	uint64_t written;
	uint64_t synced;  /* how many of them are durable */
	uint64_t syncing; /* and how many after the sync in flight */
	bool busy;
	struct host_io io;
	struct block_request *joined; /* wait for the sync in flight */
	struct block_request *later;  /* for the one after it */
};

void flusher_init(struct flusher *flusher, struct host_file *file,
		  const char *name);

/* Bytes of the file have changed: to be called when a write has completed, or
 * before one that is waited for. */
static inline void flusher_wrote(struct flusher *flusher)
{
	flusher->written++;
}

static inline bool flusher_clean(const struct flusher *flusher)
{
	return flusher->written == flusher->synced;
}

/* Syncs at once if there is anything to sync. 0 or -errno, logged. */
int flusher_sync(struct flusher *flusher);

/* Completes @request, a flush, when what was written before it is durable. */
void flusher_submit(struct flusher *flusher, struct block_request *request);

#endif
