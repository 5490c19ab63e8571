/*
 * The header, written anew:
 *
 *   | fields | backing format | other extensions | end |  ...  | name |
 *   '-------------- the first sector ------------------'
 *
 * The name goes where the old one is not, and is durable before the first
 * sector names it. The table of feature names, which is a courtesy to other
 * programs, is left out where it would neither stay in its place nor be in
 * there.
 */
#include "devices/block/qcow2_amend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/layers.h"
#include "devices/block/qcow2.h"
#include "util/bytes.h"
#include "util/checked.h"

#define HEADER_NEW 112 /* bytes of a header of version 3 that was version 2 */
#define LAZY       1   /* of the compatible features */

#define EXT_BACKING_FORMAT 0xe2792acau
#define EXT_FEATURE_NAMES  0x6803f857u
#define EXT_BITMAPS        0x23852875u
#define EXT_DATA_FILE      0x44415441u

struct header {
	struct qcow2 *q;
	const struct qcow2_amendment *a;
	uint8_t *old, *new; /* a cluster each */
	size_t old_list;    /* the old extensions' end */
	size_t list;        /* the new ones' */
	size_t names;       /* where the old feature names are; 0: nowhere */
};

int qcow2_amendment_of(struct block *block, struct qcow2_amendment *a)
{
	const struct qcow2 *q = qcow2_of(block);

	if (!q)
		return -ENOTSUP;
	*a = (struct qcow2_amendment){
		.version = q->header.version,
		.lazy_refcounts = q->header.compatible & LAZY,
		.refcount_bits = 1u << q->header.refcount_order,
		.data_file = qcow2_data_name(block),
		.data_raw = q->header.autoclear & QCOW2_AUTO_RAW,
		.backing = *q->header.backing ? q->header.backing : NULL,
		.backing_fmt = *q->header.backing_format
				       ? q->header.backing_format
				       : NULL,
	};
	return 0;
}

static void put_fields(struct header *h)
{
	bool grows = h->a->version == 3 && h->q->header.version == 2;
	uint64_t autoclear;

	memcpy(h->new, h->old, h->q->cluster_size);
	put_be32(h->new + 4, h->a->version);
	h->list = h->a->version == 2 ? QCOW2_HEADER_V2
		  : grows            ? HEADER_NEW
				     : h->q->header.length;
	if (h->a->version == 2)
		return;
	if (grows) {
		memset(h->new + QCOW2_HEADER_V2, 0,
		       HEADER_NEW - QCOW2_HEADER_V2);
		put_be32(h->new + 96, h->q->header.refcount_order);
		put_be32(h->new + 100, HEADER_NEW);
	}
	put_be64(h->new + 80, (get_be64(h->new + 80) & ~(uint64_t)LAZY) |
				      (h->a->lazy_refcounts ? LAZY : 0));
	autoclear = get_be64(h->new + QCOW2_AT_AUTOCLEAR);
	if (h->a->bitmaps)
		autoclear = h->q->header.autoclear | QCOW2_AUTO_BITMAPS;
	if (!h->a->data_raw)
		autoclear &= ~(uint64_t)QCOW2_AUTO_RAW;
	put_be64(h->new + QCOW2_AT_AUTOCLEAR, autoclear);
}

static int put_extension(struct header *h, uint32_t type, const void *data,
			 size_t len)
{
	uint8_t *to = h->new + h->list;

	/* Room for the end, as well. */
	if (h->list + 16 + align_up(len, 8) > h->q->cluster_size)
		return -EFBIG;
	put_be32(to, type);
	put_be32(to + 4, len);
	memset(to + 8, 0, align_up(len, 8));
	memcpy(to + 8, data, len);
	h->list += 8 + align_up(len, 8);
	return 0;
}

/* All except those that are made anew; notes where the feature names are. */
static int put_others(struct header *h)
{
	size_t at = h->q->header.length, end = h->q->cluster_size;
	int err = 0;

	while (!err && at + 8 <= end) {
		uint32_t type = get_be32(h->old + at);
		uint32_t len = get_be32(h->old + at + 4);

		if (!type || len > end - at - 8)
			break;
		if (type == EXT_FEATURE_NAMES)
			h->names = at;
		else if (type != EXT_BACKING_FORMAT &&
			 !(type == EXT_BITMAPS && h->a->bitmaps) &&
			 !(type == EXT_DATA_FILE && h->a->data_file))
			err = put_extension(h, type, h->old + at + 8, len);
		at += 8 + align_up(len, 8);
	}
	h->old_list = at + 8;
	return err;
}

static int put_list(struct header *h)
{
	const char *format = h->a->backing ? h->a->backing_fmt : NULL;
	const char *data = h->a->data_file;
	uint32_t names;
	int err = 0;

	if (format)
		err = put_extension(h, EXT_BACKING_FORMAT, format,
				    strlen(format));
	if (!err && data && *data)
		err = put_extension(h, EXT_DATA_FILE, data, strlen(data));
	if (!err)
		err = put_others(h);
	if (!err && h->a->bitmaps)
		err = put_extension(h, EXT_BITMAPS, h->a->bitmaps,
				    QCOW2_BITMAPS_EXTENSION);
	/* Where they are already, behind all others, or within the sector. */
	names = h->names ? get_be32(h->old + h->names + 4) : 0;
	if (!err && names && h->a->version == 3 &&
	    (h->names == h->list || h->list + 16 + names <= BLOCK_SECTOR))
		err = put_extension(h, EXT_FEATURE_NAMES, h->old + h->names + 8,
				    names);
	if (err)
		return err;
	memset(h->new + h->list, 0, 8);
	h->list += 8;
	return 0;
}

static int put_name(struct header *h)
{
	size_t len = h->a->backing ? strlen(h->a->backing) : 0, at = h->list;
	size_t taken = get_be64(h->old + 8);
	size_t taken_end = taken + get_be32(h->old + 16);

	put_be64(h->new + 8, 0);
	put_be32(h->new + 16, 0);
	if (!len)
		return 0;
	if (len > QCOW2_BACKING_NAME_MAX)
		return -EFBIG;
	/* Not over the old header, where there is room beside it. */
	if (at < h->old_list && h->old_list + len <= h->q->cluster_size)
		at = h->old_list;
	if (taken && ranges_overlap(at, len, taken, taken_end - taken) &&
	    taken_end + len <= h->q->cluster_size)
		at = align_up(taken_end, 8);
	if (at + len > h->q->cluster_size)
		at = h->list;
	if (at + len > h->q->cluster_size)
		return -EFBIG;
	memcpy(h->new + at, h->a->backing, len);
	put_be64(h->new + 8, at);
	put_be32(h->new + 16, len);
	return 0;
}

static int write_header(struct header *h)
{
	struct qcow2 *q = h->q;
	int err = 0;

	if (memcmp(h->old + BLOCK_SECTOR, h->new + BLOCK_SECTOR,
		   q->cluster_size - BLOCK_SECTOR))
		err = qcow2_put(q, h->new + BLOCK_SECTOR,
				q->cluster_size - BLOCK_SECTOR, BLOCK_SECTOR);
	if (!err)
		err = qcow2_barrier(q);
	if (!err)
		err = qcow2_put(q, h->new, BLOCK_SECTOR, 0);
	if (!err)
		err = qcow2_barrier(q);
	/* Only the next open can tell which of the two it is. */
	if (err && !q->error)
		q->error = err;
	return err;
}

static int change_header(struct qcow2 *q, const struct qcow2_amendment *a)
{
	struct header h = { .q = q, .a = a };
	struct qcow2_header parsed;
	struct qcow2_why why;
	int err;

	h.old = malloc(2 * q->cluster_size);
	if (!h.old)
		return -ENOMEM;
	h.new = h.old + q->cluster_size;
	err = host_read(q->file, h.old, q->cluster_size, 0);
	if (!err) {
		put_fields(&h);
		err = put_list(&h);
	}
	if (!err)
		err = put_name(&h);
	/* What this program would not open it does not write. */
	if (!err)
		err = qcow2_header_parse(h.new, q->cluster_size, &parsed, &why)
			      ? -EFBIG
			      : 0;
	if (!err)
		err = write_header(&h);
	if (!err)
		q->header = parsed;
	free(h.old);
	return err;
}

/* What version 2 cannot say must be gone before the version is. */
static int expand_zeros(struct qcow2 *q)
{
	uint64_t at = 0;
	int err = 0;

	while (!err && at < q->block.size) {
		struct qcow2_extent e;

		err = qcow2_map(q, at, q->block.size - at, &e);
		if (!err && (e.entry.kind == QCOW2_KIND_ZERO ||
			     e.entry.kind == QCOW2_KIND_ZERO_ALLOCATED))
			err = qcow2_write_zeros(q, at, e.length);
		at += e.length;
	}
	return err;
}

/* Whether the image can be one of version 2. */
static bool fits_version_2(const struct qcow2 *q)
{
	const struct qcow2_header *h = &q->header;

	return !h->incompatible && !h->has_bitmaps && !h->snapshots;
}

int qcow2_amend(struct block *block, const struct qcow2_amendment *a)
{
	struct qcow2 *q = qcow2_of(block);
	bool lower = q && a->version < q->header.version;
	unsigned order;
	int err;

	if (!q || (lower && !fits_version_2(q)))
		return -ENOTSUP;
	order = a->refcount_bits ? (unsigned)__builtin_ctz(a->refcount_bits)
				 : q->header.refcount_order;
	if (a->version == 2 && (a->lazy_refcounts || order != 4))
		return -ENOTSUP;
	/* A reader of the raw data file sees no backing file. */
	if (a->backing && a->data_raw)
		return -EINVAL;
	if (block->read_only)
		return -EROFS;
	err = qcow2_begin_writing(q);
	if (!err && lower)
		err = expand_zeros(q);
	if (!err)
		err = qcow2_commit(q);
	/* Version 2 has one width only. */
	if (!err && lower)
		err = qcow2_set_width(q, order);
	if (!err)
		err = change_header(q, a);
	return err || lower ? err : qcow2_set_width(q, order);
}

int qcow2_make_empty(struct block *block)
{
	struct qcow2 *q = qcow2_of(block);
	int err;

	if (!q)
		return -ENOTSUP;
	if (block->read_only)
		return -EROFS;
	err = qcow2_begin_writing(q);
	return err ? err : qcow2_forget(q, 0);
}
