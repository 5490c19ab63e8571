/*
 * What an entry of an L2 table says of its cluster or subclusters; and the
 * refcounts in a block, of any width. Pure functions.
 */
#include <errno.h>

#include "devices/block/qcow2_format.h"
#include "util/bytes.h"

/* Bits of a standard L2 entry that the specification keeps at zero. */
#define RESERVED 0x3f000000000001feull

static void decode_compressed(uint64_t raw, unsigned cluster_bits,
			      struct qcow2_entry *entry)
{
	/* The descriptor: the offset in the low x bits, then the number of
	 * sectors it touches besides the first. */
	unsigned x = 62 - (cluster_bits - 8);
	uint64_t sectors = (raw & ~(QCOW2_COPIED | QCOW2_COMPRESSED)) >> x;

	entry->kind = QCOW2_KIND_COMPRESSED;
	entry->copied = false;
	entry->host = raw & ((1ull << x) - 1);
	entry->bytes = (sectors + 1) * 512 - (entry->host & 511);
	entry->data = 0;
	entry->zeros = 0;
}

int qcow2_entry_decode(uint64_t raw, unsigned cluster_bits, unsigned version,
		       struct qcow2_entry *entry)
{
	uint64_t host = raw & QCOW2_OFFSET_MASK;
	bool zero = raw & QCOW2_ZERO;

	if (raw & QCOW2_COMPRESSED) {
		decode_compressed(raw, cluster_bits, entry);
		return 0;
	}
	if (raw & RESERVED || host & ((1ull << cluster_bits) - 1) ||
	    (zero && version < 3))
		return -EIO;
	entry->host = host;
	entry->copied = host && raw & QCOW2_COPIED;
	entry->bytes = 0;
	entry->data = 0;
	entry->zeros = 0;
	if (host)
		entry->kind = zero ? QCOW2_KIND_ZERO_ALLOCATED
				   : QCOW2_KIND_DATA;
	else
		entry->kind = zero ? QCOW2_KIND_ZERO : QCOW2_KIND_UNALLOCATED;
	return 0;
}

int qcow2_extended_decode(uint64_t raw, uint64_t bitmap, unsigned cluster_bits,
			  struct qcow2_entry *entry)
{
	/* The zero bit is reserved here, as it is in version 2. */
	int err = qcow2_entry_decode(raw, cluster_bits, 2, entry);

	if (err)
		return err;
	entry->data = bitmap;
	entry->zeros = bitmap >> 32;
	if (entry->data & entry->zeros ||
	    (entry->data && entry->kind != QCOW2_KIND_DATA) ||
	    (bitmap && entry->kind == QCOW2_KIND_COMPRESSED))
		return -EIO;
	return 0;
}

enum qcow2_kind qcow2_sub_kind(const struct qcow2_entry *entry, unsigned sub)
{
	if (entry->kind == QCOW2_KIND_COMPRESSED)
		return entry->kind;
	if (entry->data >> sub & 1)
		return QCOW2_KIND_DATA;
	if (entry->zeros >> sub & 1)
		return entry->host ? QCOW2_KIND_ZERO_ALLOCATED
				   : QCOW2_KIND_ZERO;
	return QCOW2_KIND_UNALLOCATED;
}

uint64_t qcow2_refcount_get(const uint8_t *block, unsigned order,
			    uint64_t index)
{
	switch (order) {
	case 0:
		return block[index / 8] >> index % 8 & 1;
	case 1:
		return block[index / 4] >> index % 4 * 2 & 3;
	case 2:
		return block[index / 2] >> index % 2 * 4 & 15;
	case 3:
		return block[index];
	case 4:
		return get_be16(block + index * 2);
	case 5:
		return get_be32(block + index * 4);
	default:
		return get_be64(block + index * 8);
	}
}

static void put_bits(uint8_t *byte, unsigned shift, uint8_t mask, uint8_t value)
{
	*byte = (*byte & ~(mask << shift)) | (value & mask) << shift;
}

void qcow2_refcount_put(uint8_t *block, unsigned order, uint64_t index,
			uint64_t value)
{
	switch (order) {
	case 0:
		put_bits(block + index / 8, index % 8, 1, value);
		break;
	case 1:
		put_bits(block + index / 4, index % 4 * 2, 3, value);
		break;
	case 2:
		put_bits(block + index / 2, index % 2 * 4, 15, value);
		break;
	case 3:
		block[index] = value;
		break;
	case 4:
		put_be16(block + index * 2, value);
		break;
	case 5:
		put_be32(block + index * 4, value);
		break;
	default:
		put_be64(block + index * 8, value);
	}
}

uint64_t qcow2_refcount_max(unsigned order)
{
	return order == 6 ? UINT64_MAX : (1ull << (1u << order)) - 1;
}
