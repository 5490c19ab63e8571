/*
 * Reads: from the image's clusters, the backing file, or nothing but zeros.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/layers.h"
#include "devices/block/qcow2.h"
#include "util/inflate.h"
#include "util/iov.h"
#include "util/zstd.h"

uint8_t *qcow2_bounce(struct qcow2 *q)
{
	if (!q->bounce)
		q->bounce = malloc(QCOW2_BOUNCE);
	return q->bounce;
}

bool qcow2_past_backing(const struct qcow2 *q, uint64_t offset)
{
	return !q->backing || offset >= q->backing->size;
}

/* The backing file may be shorter than the disk; zeros follow it. */
static int read_backing(struct qcow2 *q, const struct iovec *iov, int iovcnt,
			uint64_t skip, uint64_t offset, uint64_t length)
{
	uint64_t there = 0;

	if (!qcow2_past_backing(q, offset))
		there = q->backing->size - offset;
	if (there > length)
		there = length;
	iov_zero(iov, iovcnt, skip + there, length - there);
	return block_transfer(q->backing, BLOCK_READ, iov, iovcnt, skip, there,
			      offset);
}

/* Makes the cluster of what the image's kind of compression made of it. */
static int decompress(struct qcow2 *q, const uint8_t *packed, size_t len)
{
	if (q->header.compression == QCOW2_ZLIB)
		return inflate_raw(packed, len, q->inflated, q->cluster_size);
	if (!q->zstd)
		q->zstd = malloc(sizeof(*q->zstd));
	if (!q->zstd)
		return -ENOMEM;
	return zstd_decode(q->zstd, packed, len, q->inflated, q->cluster_size);
}

/* Inflates the cluster into q->inflated, unless it is the one there. */
static int inflate_cluster(struct qcow2 *q, const struct qcow2_entry *entry,
			   uint64_t offset)
{
	uint8_t *deflated;
	int err;

	if (q->inflated_at && q->inflated_at == entry->host)
		return 0;
	if (!q->inflated)
		q->inflated = malloc(q->cluster_size);
	deflated = malloc(entry->bytes);
	if (!q->inflated || !deflated) {
		free(deflated);
		return -ENOMEM;
	}
	q->inflated_at = 0;
	err = host_read(q->file, deflated, entry->bytes, entry->host);
	if (!err)
		err = decompress(q, deflated, entry->bytes);
	if (err == -EINVAL) {
		/* Data, not metadata: no reason to give up the image. */
		log_guest(&q->bad_data,
			  "disk %s: the compressed cluster for disk offset "
			  "%#llx is damaged",
			  q->block.name, (unsigned long long)offset);
		err = -EIO;
	}
	if (!err)
		q->inflated_at = entry->host;
	free(deflated);
	return err;
}

int qcow2_read(struct qcow2 *q, const struct iovec *iov, int iovcnt,
	       uint64_t skip, uint64_t offset, uint64_t length)
{
	while (length) {
		struct qcow2_extent e;
		int err = qcow2_map(q, offset, length, &e);

		if (err)
			return err;
		switch (e.entry.kind) {
		case QCOW2_KIND_DATA:
			err = qcow2_data_readv(q, iov, iovcnt, skip, e.length,
					       e.entry.host);
			break;
		case QCOW2_KIND_UNALLOCATED:
			err = read_backing(q, iov, iovcnt, skip, offset,
					   e.length);
			break;
		case QCOW2_KIND_ZERO:
		case QCOW2_KIND_ZERO_ALLOCATED:
			iov_zero(iov, iovcnt, skip, e.length);
			break;
		case QCOW2_KIND_COMPRESSED:
			err = inflate_cluster(q, &e.entry, offset);
			if (!err)
				iov_copy_in(iov, iovcnt, skip,
					    q->inflated +
						    (offset &
						     (q->cluster_size - 1)),
					    e.length);
			break;
		}
		if (err)
			return err;
		skip += e.length;
		offset += e.length;
		length -= e.length;
	}
	return 0;
}
