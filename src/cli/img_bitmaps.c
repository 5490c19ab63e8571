/*
 * Bitmaps, for `kvist img convert --bitmaps` and for measure.
 */
#include <errno.h>
#include <string.h>

#include "cli/img.h"
#include "devices/block/image_info.h"
#include "devices/block/qcow2_bitmap.h"
#include "util/checked.h"
#include "util/log.h"

int img_check_bitmaps(struct block *from, bool skip_broken)
{
	struct image_info info;
	int err = qcow2_has_bitmaps(from);

	if (err)
		log_err("%s: Source lacks bitmap support", from->name);
	else
		err = image_info_of(from, &info);
	if (err)
		return err;
	for (uint32_t i = 0; i < info.nr_bitmaps && !err; i++) {
		const char *name = info.bitmaps[i].name;

		if (!(info.bitmaps[i].flags & QCOW2_BITMAP_IN_USE))
			continue;
		if (skip_broken) {
			log_warn("Skipping inconsistent bitmap '%s'", name);
			continue;
		}
		log_err("Cannot copy inconsistent bitmap '%s'; "
			"--skip-broken-bitmaps leaves it out",
			name);
		err = -EINVAL;
	}
	image_info_fini(&info);
	return err;
}

int img_take_bitmaps(struct block *to, uint64_t size)
{
	if (qcow2_has_bitmaps(to)) {
		log_err("%s: an image of version 2 has no bitmaps; make one "
			"with -o compat=1.1",
			to->name);
		return -ENOTSUP;
	}
	if (to->size == size)
		return 0;
	log_err("%s: Bitmaps are of different sizes (destination size is %llu, "
		"source size is %llu) and can't be merged",
		to->name, (unsigned long long)to->size,
		(unsigned long long)size);
	return -EINVAL;
}

int img_copy_bitmaps(struct block *from, struct block *to)
{
	int err = qcow2_copy_bitmaps(from, to);

	if (err)
		log_err("%s: Failed to populate bitmaps: %s", to->name,
			err == -EINVAL ? "those of the source are damaged; "
					 "kvist img check tells how"
			: err == -EFBIG
				? "a table of theirs is too large for clusters "
				  "of that size; make them larger"
				: strerror(-err));
	return err;
}

int img_measure_bitmaps(struct block *from, uint64_t cluster_size,
			uint64_t *bytes)
{
	struct image_info info;
	uint64_t directory = 0;
	int err = image_info_of(from, &info);

	*bytes = 0;
	if (err)
		return err;
	for (uint32_t i = 0; i < info.nr_bitmaps; i++) {
		const struct image_bitmap *b = &info.bitmaps[i];
		uint64_t data = align_up(
			qcow2_bitmap_bytes(from->size,
					   __builtin_ctzll(b->granularity)),
			cluster_size);

		*bytes +=
			data + align_up(data / cluster_size * 8, cluster_size);
		directory += align_up(QCOW2_BITMAP_FIXED + strlen(b->name), 8);
	}
	*bytes += align_up(directory, cluster_size);
	image_info_fini(&info);
	return 0;
}
