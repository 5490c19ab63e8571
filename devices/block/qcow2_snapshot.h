/*
 * Internal snapshots of a qcow2 image, to be changed: the disk as it was at a
 * moment, kept in the same file. Snapshots and the disk share what they have in
 * common, to any depth and in any order of creation. image_info_read() lists
 * them.
 *
 * To be called between requests, by the thread that uses the block. Each change
 * is durable when it returns 0, and happens wholly or not at all, crashes
 * included (devices/block/qcow2_switch.h).
 *
 * Errors, not logged, as the caller knows what the user asked for: -ENOTSUP
 * (not a qcow2 image), -EXDEV (its data are in an external data file), -EROFS,
 * -ENOENT (no such snapshot), -EINVAL (refcounts are too narrow for one more
 * snapshot, or the table is damaged), -ENOSPC, -EIO, -ENOMEM, -EFBIG (a limit
 * of the format). The image is as before.
 */
#ifndef KVIST_BLOCK_QCOW2_SNAPSHOT_H
#define KVIST_BLOCK_QCOW2_SNAPSHOT_H

#include <time.h>

#include "devices/block/block.h"
#include "devices/block/host_file.h"

/*
 * Opens an image that is locked for writing for these changes alone, without
 * its backing file, which they do not need. Takes @file over on success only.
 * 0 or -errno, logged.
 */
int qcow2_snapshot_open(struct host_file *file, const char *name,
			struct block **block);

/* Makes a block that is only read show the disk as it was in the oldest
 * snapshot that has this id and this name; NULL: any. */
int qcow2_snapshot_view(struct block *block, const char *id, const char *name);

/* Makes a snapshot of the disk as it is. Names need not be unique: the id,
 * which is chosen, is. -EFBIG for a name above 65535 bytes. */
int qcow2_snapshot_create(struct block *block, const char *name,
			  const struct timespec *now);

/* Makes the disk what it was, its size included. @which is an id, or else the
 * oldest snapshot's of that name. What the disk holds now is lost. */
int qcow2_snapshot_goto(struct block *block, const char *which);

/* Deletes the oldest snapshot of that name. It takes no id, as QEMU does not:
 * so only what is meant is deleted. */
int qcow2_snapshot_delete(struct block *block, const char *name);

#endif
