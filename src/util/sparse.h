/*
 * Memory that is large, and mostly unused.
 */
#ifndef KVIST_SPARSE_H
#define KVIST_SPARSE_H

#include <stddef.h>

/* @count objects of @size bytes, zeros, for free(); or NULL. The kernel backs
 * the pages that are used, and not 2 MiB at the first touch, as it does on
 * hosts that give huge pages unasked. For a MiB and more. */
void *sparse_calloc(size_t count, size_t size);

#endif
