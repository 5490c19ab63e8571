/*
 * Image locks, on the bytes QEMU and its tools use, so that each keeps out
 * the other: open file description locks, all of them shared, on byte
 * 100 + p for a permission p that is used and on byte 200 + p for one that is
 * denied to everybody else. They go when the last descriptor is closed.
 */
#ifndef KVIST_BLOCK_LOCK_H
#define KVIST_BLOCK_LOCK_H

#include <stdbool.h>

/*
 * Locks the image behind @fd as a writer, which shares it with nobody, or as
 * a reader, which shares it with readers. 0, -EBUSY when another holds it, or
 * -errno. On a file system without such locks: -EOPNOTSUPP.
 */
int image_lock(int fd, bool writer);

#endif
