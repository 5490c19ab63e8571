/*
 * Makes an empty QCOW2 image of any shape: version 2 or 3, all cluster sizes
 * and widths of refcounts, on a backing file or not, with its data clusters
 * in place or not.
 */
#ifndef KVIST_BLOCK_QCOW2_CREATE_H
#define KVIST_BLOCK_QCOW2_CREATE_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/block/host_file.h"

enum qcow2_preallocation {
	QCOW2_PREALLOC_OFF,
	QCOW2_PREALLOC_METADATA, /* every cluster has its place in the file */
	QCOW2_PREALLOC_FALLOC,   /* and its space on the host */
	QCOW2_PREALLOC_FULL,     /* and was written */
};

struct qcow2_shape {
	uint64_t size;          /* of the disk; bytes, multiple of 512 */
	unsigned version;       /* 2 or 3 */
	uint64_t cluster_size;  /* bytes, a power of two, 512 to 2M */
	uint64_t refcount_bits; /* a power of two, 1 to 64; 16 in version 2 */
	bool extended_l2;       /* version 3 only, clusters of 16k and more */
	bool lazy_refcounts;    /* version 3 only */
	unsigned compression;   /* QCOW2_ZLIB, or in version 3 QCOW2_ZSTD */
	/* In version 3: the name of an external data file as the image keeps
	 * it, or NULL; whether that stays a raw disk; and the file, which is
	 * made as long as the disk. */
	const char *data_name;
	bool data_raw;
	struct host_file *data;
	/* What luks_create() made, of an encrypted image, or NULL. */
	const uint8_t *luks;
	const char *backing;     /* its name as the image keeps it, or NULL */
	const char *backing_fmt; /* "qcow2", "raw"; NULL: not stated */
	enum qcow2_preallocation preallocation;
};

/* The default: version 3, clusters of 64 KiB, refcounts of 16 bits, nothing
 * allocated. */
extern const struct qcow2_shape qcow2_shape_default;

/* NULL when such an image can be made; else why not, a whole sentence without
 * its stop, as qemu-img words it. Pure. */
const char *qcow2_shape_wrong(const struct qcow2_shape *shape);

/*
 * Makes @file, whose old contents are lost, into such an image; the shape has
 * passed qcow2_shape_wrong(). The header comes last: what was cut short is no
 * image. Durable when it returns 0; or -errno, not logged. Any thread.
 */
int qcow2_create(struct host_file *file, const struct qcow2_shape *shape);

#endif
