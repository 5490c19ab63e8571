/*
 * Compressed clusters, for tools that write whole clusters: first each is
 * compressed, by several threads, one a processor; then one thread writes
 * what they made.
 *
 *   compressor_run()          pure: any thread, each with its own compressor
 *   qcow2_write_compressed()  the thread that uses the block, between requests
 *
 * What does not get smaller is written as any other data, by block_submit().
 */
#ifndef KVIST_BLOCK_COMPRESS_H
#define KVIST_BLOCK_COMPRESS_H

#include <stddef.h>
#include <stdint.h>

#include "devices/block/block.h"

/* The scratch memory of one thread. */
struct compressor;

/* For a type of qcow2_format.h: QCOW2_ZLIB or QCOW2_ZSTD. NULL when memory is
 * out, or for another type. */
struct compressor *compressor_create(unsigned type);
void compressor_destroy(struct compressor *c); /* NULL is fine */

/*
 * Compresses @len bytes, one cluster, into @out, which has room for @len: the
 * bytes it took, fewer than @len, or 0 when they would not be fewer.
 */
size_t compressor_run(struct compressor *c, const uint8_t *in, size_t len,
		      uint8_t *out);

/*
 * What the image's clusters are compressed with (*type) and how large they are
 * (*cluster, in bytes). 0; -ENOTSUP for an image that cannot hold compressed
 * clusters (not qcow2, or encrypted, or with an external data file).
 */
int qcow2_compression(struct block *block, unsigned *type, uint64_t *cluster);

/*
 * Makes the guest's cluster at @offset, a multiple of the cluster size, the
 * compressed one in @packed, of 1 to cluster size - 1 bytes. In the last
 * cluster what lies past the end of the disk is zeros. Durable after a flush.
 * The clusters are packed without gaps. 0; -EINVAL (the range), -ENOTSUP (as
 * above), -EROFS, -ENOSPC, -EIO, -ENOMEM: the old contents then stand.
 */
int qcow2_write_compressed(struct block *block, uint64_t offset,
			   const uint8_t *packed, size_t len);

#endif
