/*
 * Makes an empty QCOW2 image: version 3, clusters of 64 KiB, refcounts of 16
 * bits, nothing allocated but its own tables.
 */
#ifndef KVIST_BLOCK_QCOW2_CREATE_H
#define KVIST_BLOCK_QCOW2_CREATE_H

#include <stdint.h>

#define QCOW2_CREATE_MAX (4ull << 40) /* bytes: what one cluster of L1 maps */

/*
 * Makes the regular file @path, which exists, into an image of a disk of @size
 * bytes, a multiple of 512 of at most QCOW2_CREATE_MAX; its old contents are
 * lost. 0 or -errno, logged. Any thread.
 */
int qcow2_create(const char *path, uint64_t size);

#endif
