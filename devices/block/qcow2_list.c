/*
 * The two lists of an image: its snapshot table and its bitmap directory. Both
 * are entries of varying length, a fixed part each, then extra data, then
 * names; padded to 8 bytes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2.h"
#include "util/bytes.h"
#include "util/checked.h"

#define SNAPSHOT_FIXED 40

/* Bits of a bitmap table's entry that the specification keeps at zero. */
#define BITMAP_RESERVED 0xff000000000001feull

/* Extra data of a snapshot: a field is there if they have at least this many
 * bytes. */
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

	if (len < QCOW2_BITMAP_FIXED)
		return 0;
	bitmap->table_offset = get_be64(bytes);
	bitmap->table_entries = get_be32(bytes + 8);
	bitmap->flags = get_be32(bytes + 12);
	bitmap->granularity_bits = bytes[17];
	bitmap->name_len = get_be16(bytes + 18);
	extra = get_be32(bytes + 20);
	bitmap->again = false;
	if (bitmap->flags & ~QCOW2_BITMAP_FLAGS ||
	    bytes[16] != QCOW2_BITMAP_TRACKS || bitmap->granularity_bits > 63 ||
	    !bitmap->name_len || bitmap->name_len > QCOW2_BITMAP_NAME_MAX ||
	    !table_ok(bitmap->table_offset, bitmap->table_entries,
		      cluster_bits))
		return 0;
	total = align_up(
		(uint64_t)QCOW2_BITMAP_FIXED + extra + bitmap->name_len, 8);
	if (total > len)
		return 0;
	bitmap->name = (const char *)bytes + QCOW2_BITMAP_FIXED + extra;
	if (extra && !(bitmap->flags & QCOW2_BITMAP_EXTRA))
		bitmap->flags |= QCOW2_BITMAP_IN_USE;
	return total;
}

bool qcow2_bitmap_entry_ok(uint64_t entry, unsigned cluster_bits)
{
	uint64_t host = entry & QCOW2_OFFSET_MASK;

	return !(entry & BITMAP_RESERVED) &&
	       !(host & ((1ull << cluster_bits) - 1)) &&
	       !(host && entry & QCOW2_BITMAP_ONES);
}

static int by_name(const void *a, const void *b)
{
	const struct qcow2_bitmap *const *x = a, *const *y = b;
	int order = (*x)->name_len - (*y)->name_len;

	return order ? order : memcmp((*x)->name, (*y)->name, (*x)->name_len);
}

/* Marks those whose name another has; @sorted is room for as many. */
static void compare_names(struct qcow2_bitmap *all,
			  struct qcow2_bitmap **sorted, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		sorted[i] = &all[i];
	qsort(sorted, n, sizeof(*sorted), by_name);
	for (uint32_t i = 1; i < n; i++)
		sorted[i]->again = !by_name(&sorted[i - 1], &sorted[i]);
}

/* Takes the directory apart, which must be as long as what is in it. No two
 * tables share a cluster: so there is room for all of them in @room bytes, and
 * reading them all reads no more. */
static int parse_bitmaps(const struct qcow2_header *h, const uint8_t *bytes,
			 uint64_t room, struct qcow2_bitmap *all)
{
	uint64_t at = 0;

	for (uint32_t i = 0; i < h->bitmaps; i++) {
		size_t n = qcow2_bitmap_parse(bytes + at,
					      h->bitmap_directory_bytes - at,
					      h->cluster_bits, &all[i]);

		if (!n || all[i].table_entries * 8ull > room)
			return -EINVAL;
		at += n;
		room -= all[i].table_entries * 8ull;
	}
	return at == h->bitmap_directory_bytes ? 0 : -EINVAL;
}

int qcow2_each_bitmap(struct qcow2 *q,
		      int (*each)(void *opaque,
				  const struct qcow2_bitmap *bitmap),
		      void *opaque)
{
	const struct qcow2_header *h = &q->header;
	uint64_t len = h->bitmap_directory_bytes, room;
	struct qcow2_bitmap *all, **sorted;
	uint8_t *bytes;
	int err = -ENOMEM;

	if (!h->has_bitmaps)
		return 0;
	if (len > QCOW2_BITMAP_DIRECTORY_MAX ||
	    h->bitmap_directory % q->cluster_size ||
	    !range_within(h->bitmap_directory, len, QCOW2_OFFSET_END))
		return -EINVAL;
	bytes = malloc(len + 1);
	all = malloc(h->bitmaps * sizeof(*all));
	sorted = malloc(h->bitmaps * sizeof(*sorted));
	if (bytes && all && sorted)
		err = host_read(q->file, bytes, len, h->bitmap_directory);
	if (!err)
		err = q->file->ops->size(q->file, &room);
	if (!err)
		err = parse_bitmaps(h, bytes, room, all);
	if (!err)
		compare_names(all, sorted, h->bitmaps);
	for (uint32_t i = 0; i < h->bitmaps && !err; i++)
		err = each(opaque, &all[i]);
	free(sorted);
	free(all);
	free(bytes);
	return err;
}
