#include "devices/block/image_info.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/layers.h"
#include "devices/block/qcow2.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/log.h"

int image_probe(struct host_file *file, enum block_format *format)
{
	uint8_t magic[4];
	int err = host_read(file, magic, sizeof(magic), 0);

	if (!err)
		*format = get_be32(magic) == QCOW2_MAGIC ? BLOCK_QCOW2
							 : BLOCK_RAW;
	return err;
}

static int add_snapshot(void *opaque, const struct qcow2_snapshot *s)
{
	struct image_info *info = opaque;
	struct image_snapshot *to = &info->snapshots[info->nr_snapshots++];

	to->id = strndup(s->id, s->id_len);
	to->name = strndup(s->name, s->name_len);
	to->vm_state_size = s->vm_state_size;
	to->vm_clock_nsec = s->vm_clock_nsec;
	to->icount = s->icount;
	to->date_sec = s->date_sec;
	to->date_nsec = s->date_nsec;
	return to->id && to->name ? 0 : -ENOMEM;
}

static int add_bitmap(void *opaque, const struct qcow2_bitmap *b)
{
	struct image_info *info = opaque;
	struct image_bitmap *to = &info->bitmaps[info->nr_bitmaps++];

	if (b->again)
		return -EINVAL;
	to->name = strndup(b->name, b->name_len);
	to->granularity = 1ull << b->granularity_bits;
	to->flags = b->flags;
	return to->name ? 0 : -ENOMEM;
}

static int read_luks(struct qcow2 *q, struct image_info *info)
{
	const struct qcow2_header *h = &info->header;
	uint8_t bytes[LUKS_HEADER_LEN];
	char why[96];
	int err = host_read(q->file, bytes, sizeof(bytes), h->luks_offset);

	info->has_luks = !err &&
			 !luks_header_parse(bytes, h->luks_bytes, &info->luks,
					    why, sizeof(why));
	return err;
}

static int read_lists(struct qcow2 *q, struct image_info *info)
{
	const struct qcow2_header *h = &info->header;
	uint64_t bytes;
	int err;

	info->snapshots = calloc(h->snapshots + 1, sizeof(*info->snapshots));
	info->bitmaps = calloc(h->bitmaps + 1, sizeof(*info->bitmaps));
	if (!info->snapshots || !info->bitmaps)
		return -ENOMEM;
	err = qcow2_each_snapshot(q, add_snapshot, info, &bytes);
	/* Bitmaps of an image that was written to without them are void. */
	if (!err && h->autoclear & QCOW2_AUTO_BITMAPS)
		err = qcow2_each_bitmap(q, add_bitmap, info);
	if (!err && h->luks_bytes)
		err = read_luks(q, info);
	return err;
}

int image_info_of(struct block *block, struct image_info *info)
{
	struct qcow2 *q = qcow2_of(block);
	int err;

	memset(info, 0, sizeof(*info));
	info->format = q ? BLOCK_QCOW2 : BLOCK_RAW;
	info->size = block->size;
	if (!q)
		return 0;
	info->header = q->header;
	err = read_lists(q, info);
	if (err) {
		log_err("disk %s: cannot read its snapshots and bitmaps: %s",
			block->name,
			err == -EINVAL ? "their lists are damaged; repair it "
					 "with check -r all"
				       : strerror(-err));
		image_info_fini(info);
	}
	return err;
}

int image_info_read(struct host_file *file, const char *name,
		    enum block_format format, const struct block_slice *slice,
		    struct image_info *info)
{
	struct block *block;
	int err = format == BLOCK_QCOW2
			  ? qcow2_open(file, name, true, &block)
			  : raw_open(file, name, true, slice, &block);

	if (err) {
		memset(info, 0, sizeof(*info));
		file->ops->close(file);
		return err;
	}
	err = image_info_of(block, info);
	block_close(block);
	return err;
}

void image_info_fini(struct image_info *info)
{
	for (uint32_t i = 0; i < info->nr_snapshots; i++) {
		free(info->snapshots[i].id);
		free(info->snapshots[i].name);
	}
	for (uint32_t i = 0; i < info->nr_bitmaps; i++)
		free(info->bitmaps[i].name);
	free(info->snapshots);
	free(info->bitmaps);
	memset(info, 0, sizeof(*info));
}
