#include "devices/block/image_measure.h"

#include "devices/block/image_map.h"
#include "devices/block/luks.h"
#include "util/checked.h"

static uint64_t div_up(uint64_t n, uint64_t by)
{
	return n / by + !!(n % by);
}

/* Bytes of a refcount table and its blocks, which count themselves. */
static uint64_t refcount_bytes(const struct qcow2_shape *shape,
			       uint64_t clusters)
{
	uint64_t size = shape->cluster_size;
	uint64_t per_block = size * 8 / shape->refcount_bits;
	uint64_t blocks = 0, table = 0, before, now = 0;

	do {
		before = now;
		blocks = div_up(clusters + table + blocks, per_block);
		table = div_up(blocks, size / 8);
		now = clusters + blocks + table;
	} while (now != before);
	return (blocks + table) * size;
}

/* Headers, L1 and L2 tables and refcounts of a disk of @bytes, all of it
 * allocated, and the disk. */
static uint64_t full_bytes(const struct qcow2_shape *shape, bool encrypted,
			   uint64_t bytes)
{
	uint64_t size = shape->cluster_size,
		 entry = shape->extended_l2 ? 16 : 8;
	uint64_t l2 = align_up(bytes / size, size / entry) * entry;
	uint64_t l1 = align_up(l2 / size, size / 8) * 8;
	uint64_t luks = encrypted ? align_up(LUKS_AREA, size) : 0;
	uint64_t tables = size + luks + l2 + l1;

	return tables + bytes + refcount_bytes(shape, (tables + bytes) / size);
}

/* Bytes of the clusters that hold data. */
static int data_bytes(const struct qcow2_shape *shape, struct block *from,
		      uint64_t *bytes)
{
	uint64_t size = shape->cluster_size, length;
	int err = 0;

	*bytes = 0;
	for (uint64_t at = 0; at < from->size && !err; at += length) {
		struct image_extent e;

		err = image_map(from, at, from->size - at, &e);
		length = e.at.length;
		if (err || e.at.zero)
			continue;
		length = align_up(at + length, size) - at;
		*bytes += at % size + length;
	}
	return err;
}

int image_measure(const struct qcow2_shape *shape, bool encrypted,
		  struct block *from, struct image_measure *m)
{
	uint64_t disk =
		align_up(from ? from->size : shape->size, shape->cluster_size);
	uint64_t data = 0;
	int err = 0;

	if (shape->preallocation == QCOW2_PREALLOC_FALLOC ||
	    shape->preallocation == QCOW2_PREALLOC_FULL ||
	    (from && shape->backing))
		data = disk;
	else if (from)
		err = data_bytes(shape, from, &data);
	m->full = full_bytes(shape, encrypted, disk);
	m->required = m->full - disk + data;
	return err;
}
