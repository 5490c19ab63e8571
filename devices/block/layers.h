/*
 * How the layers of an image are put together; between the files of
 * devices/block only. block_open() is for everybody else.
 */
#ifndef KVIST_BLOCK_LAYERS_H
#define KVIST_BLOCK_LAYERS_H

#include <stdbool.h>

#include "devices/block/block.h"
#include "devices/block/host_file.h"

/*
 * Opens an image on a host file that is already open and, where need be,
 * locked: block_open() without its first step, and the way in for a test that
 * wraps the file. Takes @file over on success only.
 */
int block_open_file(const struct block_options *options, struct host_file *file,
		    struct block **block);

/*
 * Opens and closes what a qcow2 image lies on, from its external data file to
 * the last of its backing files: for a tool that needs none of them, but fails
 * if one is gone or in use, as QEMU's tools do. An unknown format is no error.
 * With @unlocked nothing is locked. 0 or -errno, logged.
 */
int block_look_below(struct block *block, bool unlocked);

/*
 * The layers. Each takes @file over on success only; errors are logged with
 * @name. @slice is NULL where all of the file is the disk. A qcow2 image comes
 * without its backing file: its name and format ("raw" or "qcow2") are asked
 * for, and the opened block, owned from then on, is put below.
 */
int raw_open(struct host_file *file, const char *name, bool read_only,
	     const struct block_slice *slice, struct block **block);
int qcow2_open(struct host_file *file, const char *name, bool read_only,
	       struct block **block);
/* Read-only, to be checked: lets pass what a repair can put right (no refcount
 * table, a damaged snapshot table). */
int qcow2_open_damaged(struct host_file *file, const char *name,
		       struct block **block);
/* Right after it was opened: gives the cache of its L2 tables @bytes, 64 KiB or
 * more. 0 or -ENOMEM: then it can only be abandoned. */
int qcow2_set_l2_cache(struct block *block, size_t bytes);
const char *qcow2_backing_name(struct block *block);   /* or NULL */
const char *qcow2_backing_format(struct block *block); /* or "" */
void qcow2_set_backing(struct block *block, struct block *backing);
/* Likewise the external data file of an image that has one, to be opened and
 * locked as the image is. */
const char *qcow2_data_name(struct block *block); /* "" of no name; or NULL */
void qcow2_set_data(struct block *block, struct host_file *data);

/*
 * Opens the key of an encrypted image with the passphrase in @key_file, which
 * is NULL when the user named none. Must succeed before anything is read from
 * one. 0 or -errno, logged.
 */
bool qcow2_is_encrypted(struct block *block);
int qcow2_unlock(struct block *block, const char *key_file);

/*
 * Moves the piece [skip, skip + length) of the list to or from @block at
 * @offset and waits for it. 0 or -errno. For a layer with another below it.
 */
int block_transfer(struct block *block, enum block_op op,
		   const struct iovec *iov, int iovcnt, uint64_t skip,
		   uint64_t length, uint64_t offset);

/*
 * Reads or writes the room behind the disk in which a saved machine is kept: it
 * begins with the first L1 entry that the disk does not need, and is as long as
 * what is written there. What was not written is zeros. 0 or -errno, -ENOTSUP
 * for what is no qcow2 image. For a tool, between requests.
 */
int qcow2_vm_state(struct block *block, enum block_op op, void *bytes,
		   uint64_t length, uint64_t offset);

/* Submits a flush and waits for it. 0 or -errno. */
int block_flush(struct block *block);

/* Frees a block whose chain could not be completed and gives its host file
 * back to the caller. Nothing has been written through it by then. */
void qcow2_abandon(struct block *block);

#endif
