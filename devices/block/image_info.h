/*
 * What an image says of itself: for tools; a guest needs none of it.
 */
#ifndef KVIST_BLOCK_IMAGE_INFO_H
#define KVIST_BLOCK_IMAGE_INFO_H

#include "devices/block/block.h"
#include "devices/block/host_file.h"
#include "devices/block/luks.h"
#include "devices/block/qcow2_format.h"

struct image_snapshot {
	char *id, *name;
	uint64_t vm_state_size; /* bytes */
	uint64_t vm_clock_nsec;
	uint64_t icount; /* UINT64_MAX: not known */
	uint32_t date_sec, date_nsec;
};

struct image_bitmap {
	char *name;
	uint64_t granularity; /* bytes */
	uint32_t flags;       /* QCOW2_BITMAP_* */
};

struct image_info {
	enum block_format format;
	uint64_t size; /* of the disk, bytes */

	/* The rest is of a qcow2 image only. */
	struct qcow2_header header;
	struct image_snapshot *snapshots; /* header.snapshots of them */
	uint32_t nr_snapshots;
	struct image_bitmap *bitmaps;
	uint32_t nr_bitmaps;
	bool has_luks; /* it is encrypted, with a header that is understood */
	struct luks_header luks;
};

/* The format of what begins like @file: qcow2 if it says so, else raw. 0 or
 * -errno, not logged. */
int image_probe(struct host_file *file, enum block_format *format);

/*
 * Reads what the image in @file, which is called @name, says of itself; it is
 * not changed, and backing files are not opened; @slice is as of raw_open().
 * Takes @file over and closes it in every case. 0 or -errno, logged; on success
 * *info is to be given to image_info_fini().
 */
int image_info_read(struct host_file *file, const char *name,
		    enum block_format format, const struct block_slice *slice,
		    struct image_info *info);
/* The same of an image that is open; it stays so. */
int image_info_of(struct block *block, struct image_info *info);
void image_info_fini(struct image_info *info);

#endif
