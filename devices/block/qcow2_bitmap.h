/*
 * Bitmaps of an image, which tell what was written to it since a backup: for
 * tools that carry them over to another image of the disk.
 */
#ifndef KVIST_BLOCK_QCOW2_BITMAP_H
#define KVIST_BLOCK_QCOW2_BITMAP_H

#include "devices/block/block.h"

/* 0 when the image can have bitmaps (qcow2 of version 3), or -ENOTSUP. */
int qcow2_has_bitmaps(struct block *block);

/*
 * Gives @to the bitmaps of @from, an image of a disk of that size, except those
 * in use: names, flags, granularity and bits. Bitmaps that @to had are void
 * from the first write to it on, and are replaced. To be called when nothing
 * will be written to @to any more; nothing is in flight. Durable, and all of
 * them at once, when it returns 0; or -errno, not logged, and nothing has
 * changed: -ENOTSUP, -EINVAL (they are damaged), -EFBIG (a table is too
 * large for the clusters of @to), -EROFS, -EIO, -ENOSPC, -ENOMEM.
 */
int qcow2_copy_bitmaps(struct block *from, struct block *to);

#endif
