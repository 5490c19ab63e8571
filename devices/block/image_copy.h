/*
 * Copies a disk to a new image.
 */
#ifndef KVIST_BLOCK_IMAGE_COPY_H
#define KVIST_BLOCK_IMAGE_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/block/block.h"
#include "devices/block/host_file.h"

struct image_copy {
	struct block *from;
	enum block_format from_format;
	/* The new image's file, opened for writing and locked. */
	struct host_file *to;
	const char *name;
	enum block_format format;
	bool zeroed; /* the new image reads as zeros: write none */
	/* Told how far it is, in bytes of the disk; or NULL. */
	void (*progress)(void *opaque, uint64_t done);
	void *opaque;
};

/*
 * Copies all of @from; the new image is at least as large. Takes @to over and
 * closes it in every case. Durable when it returns 0; or -errno, logged.
 */
int image_copy(const struct image_copy *copy);

#endif
