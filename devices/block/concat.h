/*
 * Several disks read as one, one behind the other: for tools that copy. Its
 * user's thread.
 */
#ifndef KVIST_BLOCK_CONCAT_H
#define KVIST_BLOCK_CONCAT_H

#include "devices/block/block.h"

/*
 * A disk that is all of @parts, @count of them, in their order; it is
 * read-only and takes them over, on success only. -ENOMEM, or -EFBIG where they
 * are too large together; not logged.
 */
int concat_create(struct block *const *parts, int count, struct block **block);

#endif
