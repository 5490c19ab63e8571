/*
 * The two lists of an image: its snapshot table and its bitmap directory. Both
 * are entries of varying length, a fixed part each, then extra data, then
 * names; padded to 8 bytes.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2.h"
#include "util/bytes.h"
#include "util/checked.h"

#define SNAPSHOT_FIXED 40
#define BITMAP_FIXED   24

/* Extra data of a snapshot, each there if there are so many bytes of it. */
#define EXTRA_VM_STATE  8 /* the VM state's size in 64 bits */
#define EXTRA_DISK_SIZE 16
#define EXTRA_ICOUNT    24

static bool table_ok(uint64_t offset, uint32_t entries, unsigned cluster_bits)
{
	uint64_t cluster = 1ull << cluster_bits;

	return entries <= QCOW2_L1_BYTES_MAX / 8 &&
	       (!entries ||
		(offset % cluster == 0 && offset >= cluster &&
		 range_within(offset, entries * 8ull, QCOW2_OFFSET_END)));
}

static void parse_extra(const uint8_t *extra, uint32_t len,
			struct qcow2_snapshot *snapshot)
{
	if (len >= EXTRA_VM_STATE)
		snapshot->vm_state_size = get_be64(extra);
	snapshot->disk_size = len >= EXTRA_DISK_SIZE ? get_be64(extra + 8)
						     : UINT64_MAX;
	snapshot->icount = len >= EXTRA_ICOUNT ? get_be64(extra + 16)
					       : UINT64_MAX;
}

size_t qcow2_snapshot_parse(const uint8_t *bytes, size_t len,
			    unsigned cluster_bits,
			    struct qcow2_snapshot *snapshot)
{
	uint64_t total;
	uint32_t extra;

	if (len < SNAPSHOT_FIXED)
		return 0;
	snapshot->l1_offset = get_be64(bytes);
	snapshot->l1_entries = get_be32(bytes + 8);
	snapshot->id_len = get_be16(bytes + 12);
	snapshot->name_len = get_be16(bytes + 14);
	snapshot->date_sec = get_be32(bytes + 16);
	snapshot->date_nsec = get_be32(bytes + 20);
	snapshot->vm_clock_nsec = get_be64(bytes + 24);
	snapshot->vm_state_size = get_be32(bytes + 32);
	extra = get_be32(bytes + 36);
	if (extra > QCOW2_SNAPSHOT_EXTRA_MAX ||
	    !table_ok(snapshot->l1_offset, snapshot->l1_entries, cluster_bits))
		return 0;
	total = (uint64_t)SNAPSHOT_FIXED + extra + snapshot->id_len +
		snapshot->name_len;
	total = align_up(total, 8);
	if (total > len)
		return 0;
	parse_extra(bytes + SNAPSHOT_FIXED, extra, snapshot);
	snapshot->id = (const char *)bytes + SNAPSHOT_FIXED + extra;
	snapshot->name = snapshot->id + snapshot->id_len;
	snapshot->bytes = bytes;
	snapshot->length = total;
	return total;
}

size_t qcow2_bitmap_parse(const uint8_t *bytes, size_t len,
			  unsigned cluster_bits, struct qcow2_bitmap *bitmap)
{
	uint64_t total;
	uint32_t extra;

	if (len < BITMAP_FIXED)
		return 0;
	bitmap->table_offset = get_be64(bytes);
	bitmap->table_entries = get_be32(bytes + 8);
	bitmap->flags = get_be32(bytes + 12);
	bitmap->granularity_bits = bytes[17];
	bitmap->name_len = get_be16(bytes + 18);
	extra = get_be32(bytes + 20);
	if (bitmap->flags & ~QCOW2_BITMAP_FLAGS ||
	    bytes[16] != QCOW2_BITMAP_TRACKS || bitmap->granularity_bits > 63 ||
	    !table_ok(bitmap->table_offset, bitmap->table_entries,
		      cluster_bits))
		return 0;
	total = align_up((uint64_t)BITMAP_FIXED + extra + bitmap->name_len, 8);
	if (total > len)
		return 0;
	bitmap->name = (const char *)bytes + BITMAP_FIXED + extra;
	return total;
}

int qcow2_each_bitmap(struct qcow2 *q,
		      int (*each)(void *opaque,
				  const struct qcow2_bitmap *bitmap),
		      void *opaque)
{
	const struct qcow2_header *h = &q->header;
	uint64_t len = h->bitmap_directory_bytes, at = 0;
	uint8_t *bytes;
	int err;

	if (!h->has_bitmaps)
		return 0;
	if (len > QCOW2_BITMAP_DIRECTORY_MAX ||
	    h->bitmap_directory % q->cluster_size ||
	    !range_within(h->bitmap_directory, len, QCOW2_OFFSET_END))
		return -EINVAL;
	bytes = malloc(len ? len : 1);
	if (!bytes)
		return -ENOMEM;
	err = host_read(q->file, bytes, len, h->bitmap_directory);
	for (uint32_t i = 0; i < h->bitmaps && !err; i++) {
		struct qcow2_bitmap bitmap;
		size_t n = qcow2_bitmap_parse(bytes + at, len - at,
					      h->cluster_bits, &bitmap);

		at += n;
		err = n ? each(opaque, &bitmap) : -EINVAL;
	}
	if (!err && at != len)
		err = -EINVAL;
	free(bytes);
	return err;
}
