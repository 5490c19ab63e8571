/*
 * Changes to what a qcow2 image says of itself, for tools. To be called between
 * requests, by the thread that uses the block. Durable when they return 0.
 *
 * Errors, not logged: -ENOTSUP (not a qcow2 image, or one that uses what the
 * other version lacks), -EROFS, -EFBIG (no room in the header), -ERANGE (a
 * refcount is too large for the width), -EINVAL (too many refcounts for their
 * table, or for memory; a backing file above a raw data file), -EIO, -ENOSPC,
 * -ENOMEM.
 */
#ifndef KVIST_BLOCK_QCOW2_AMEND_H
#define KVIST_BLOCK_QCOW2_AMEND_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/block/block.h"

struct qcow2_amendment {
	unsigned version;    /* 2 or 3 */
	bool lazy_refcounts; /* version 3 only */
	/* Its name as the image keeps it, and its format; NULL: none. They may
	 * be the block's own. */
	const char *backing, *backing_fmt;
	unsigned refcount_bits; /* 1 to 64, a power of two; 0: as they are */
	/* The name of the external data file, of an image that has one; empty:
	 * the user has to say it; NULL: as it is. */
	const char *data_file;
	bool data_raw; /* that file stays valid as a raw disk */
	/* The bitmaps extension, which is then valid; NULL: as it is. */
	const uint8_t *bitmaps;
};

#define QCOW2_BITMAPS_EXTENSION 24 /* bytes */

/* What the image says now; the names are the block's. -ENOTSUP. */
int qcow2_amendment_of(struct block *block, struct qcow2_amendment *a);

/*
 * Makes it say so. The header's first sector changes last and alone, so that a
 * crash leaves the old or the new; only in one that is crammed with extensions
 * do others change, too. What lies below the block is not opened anew. For
 * version 2 zeros that have no cluster get one. Another width of refcounts is a
 * step of its own, while the image is one of version 3.
 */
int qcow2_amend(struct block *block, const struct qcow2_amendment *a);

struct luks_change;
/* Changes the keys of an encrypted image; sets the area and the key of
 * @change. As luks_amend(): logged. */
int qcow2_amend_keys(struct block *block, struct luks_change *change);

/* Forgets all that the disk itself holds: its backing file shows. */
int qcow2_make_empty(struct block *block);

#endif
