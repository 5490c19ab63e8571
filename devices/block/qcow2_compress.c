/*
 * Compressed clusters are packed at any byte, one right after the other, and
 * hold a reference to each host cluster they touch:
 *
 *   host cluster        host cluster         host cluster
 *   |  A  |  B   |  C : C   |   D   |   E  : E |  ...
 *     refcount 3            refcount 3         ^ q->pack_at
 *
 * A piece goes on into the next host cluster only where that follows the
 * present one; else the rest of the present one is left empty.
 */
#include "devices/block/compress.h"

#include <errno.h>
#include <string.h>

#include "devices/block/qcow2.h"
#include "util/bytes.h"
#include "util/checked.h"

int qcow2_compression(struct block *block, unsigned *type, uint64_t *cluster)
{
	const struct qcow2 *q = qcow2_of(block);

	if (!q || q->header.crypt_method || qcow2_is_external(q))
		return -ENOTSUP;
	*type = q->header.compression;
	*cluster = q->cluster_size;
	return 0;
}

/* Free bytes from q->pack_at to the end of its host cluster. */
static uint64_t room(const struct qcow2 *q)
{
	return q->pack_at ? -q->pack_at & (q->cluster_size - 1) : 0;
}

/* A place for @len bytes, with a reference to each cluster they touch. */
static int place(struct qcow2 *q, size_t len, uint64_t *at)
{
	uint64_t got;
	int err;

	if (len <= room(q)) {
		*at = q->pack_at;
		err = qcow2_ref(q, *at);
		/* A refcount as high as it can be: on to another cluster. */
		if (err != -EOVERFLOW)
			return err;
	}
	err = qcow2_alloc(q, 1, at, &got);
	/* Asked again: to allocate may have ended what q->pack_at is in. */
	if (!err && room(q) && len > room(q) && *at == q->pack_at + room(q) &&
	    !qcow2_ref(q, q->pack_at))
		*at = q->pack_at;
	return err;
}

static void unplace(struct qcow2 *q, uint64_t at, size_t len)
{
	uint64_t first = align_down(at, q->cluster_size);
	uint64_t end = align_up(at + len, q->cluster_size);

	qcow2_release(q, first, (end - first) >> q->header.cluster_bits);
}

/* Up to the end of the sector, so that the file ends with a whole one. */
static int put_packed(struct qcow2 *q, const uint8_t *packed, size_t len,
		      uint64_t at)
{
	uint64_t padding = -(at + len) & (BLOCK_SECTOR - 1);
	int err = qcow2_put(q, packed, len, at);

	return err || !padding ? err
			       : qcow2_put(q, host_zeros, padding, at + len);
}

static int link_packed(struct qcow2 *q, uint64_t offset, uint64_t at,
		       size_t len)
{
	unsigned bits = q->header.cluster_bits, x = 62 - (bits - 8), index;
	uint64_t sectors = (at + len - 1) / BLOCK_SECTOR - at / BLOCK_SECTOR;
	struct qcow2_slice *slice;
	struct qcow2_entry old;
	uint8_t *entry;
	int err = at >> x ? -EFBIG : qcow2_freed_reserve(q, 1);

	if (!err)
		err = qcow2_l2_slice(q, offset, &slice, &index);
	if (err)
		return err;
	entry = slice->data + index * q->entry_bytes;
	if (!qcow2_l2_decode(q, entry, &old))
		qcow2_free_entry(q, &old, false);
	qcow2_l2_put(q, entry, QCOW2_COMPRESSED | sectors << x | at, 0, 0);
	qcow2_cache_dirty(&q->l2_cache, slice);
	return 0;
}

static int write_packed(struct qcow2 *q, uint64_t offset, const uint8_t *packed,
			size_t len)
{
	struct qcow2_extent old;
	uint64_t at;
	/* Mapped first: an entry that is damaged is not written over. */
	int err = qcow2_map(q, offset, BLOCK_SECTOR, &old);

	if (!err)
		err = qcow2_l2_private(q, offset);
	if (!err)
		err = place(q, len, &at);
	if (err)
		return err;
	err = put_packed(q, packed, len, at);
	if (!err)
		err = link_packed(q, offset, at, len);
	if (err) {
		unplace(q, at, len);
		return err;
	}
	q->pack_at = at + len;
	q->inflated_at = 0; /* another cluster may have been there */
	return 0;
}

int qcow2_write_compressed(struct block *block, uint64_t offset,
			   const uint8_t *packed, size_t len)
{
	struct qcow2 *q = qcow2_of(block);
	uint64_t cluster;
	unsigned type;
	int err = qcow2_compression(block, &type, &cluster);

	if (err)
		return err;
	if (block->read_only)
		return -EROFS;
	if (offset % cluster || offset >= block->size || !len || len >= cluster)
		return -EINVAL;
	err = qcow2_begin_writing(q);
	return err ? err : write_packed(q, offset, packed, len);
}
