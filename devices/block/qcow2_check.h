/*
 * Checks an image: are the refcounts what the references say, and are the
 * tables sound? What is counted as an error is what `qemu-img check` counts.
 */
#ifndef KVIST_BLOCK_QCOW2_CHECK_H
#define KVIST_BLOCK_QCOW2_CHECK_H

#include <stdint.h>
#include <stdio.h>

#include "devices/block/host_file.h"

/* What may be repaired. */
#define QCOW2_FIX_LEAKS  (1u << 0)
#define QCOW2_FIX_ERRORS (1u << 1)

struct qcow2_findings {
	uint64_t corruptions, leaks; /* that are still there */
	uint64_t corruptions_fixed, leaks_fixed;
	/* Of the disk: clusters of guest data, in the active tables. */
	uint64_t total, allocated, fragmented, compressed;
	uint64_t end_offset; /* behind the last cluster of the file in use */
};

/*
 * Checks the image in @file, called @name, and repairs what @fix allows; then
 * the file must be open for writing. Each finding is a line on @to. Takes @file
 * over and closes it in every case. 0 when the image could be checked, whatever
 * was found; or -errno, logged. Any thread; takes as long as reading all the
 * image's tables.
 *
 * An interrupted repair leaves nothing worse than it found: refcounts are
 * raised first, lowered last.
 */
int qcow2_check(struct host_file *file, const char *name, unsigned fix,
		FILE *to, struct qcow2_findings *findings);

#endif
