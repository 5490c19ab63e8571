#include "devices/block/image_compare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/layers.h"
#include "util/log.h"

#define CHUNK (1u << 20)

static int read_chunk(struct block *block, uint8_t *bytes, uint64_t length,
		      uint64_t offset)
{
	struct iovec iov = { .iov_base = bytes };
	int err = 0;

	if (offset < block->size)
		iov.iov_len = block->size - offset < length
				      ? block->size - offset
				      : length;
	if (iov.iov_len)
		err = block_transfer(block, BLOCK_READ, &iov, 1, 0, iov.iov_len,
				     offset);
	memset(bytes + iov.iov_len, 0, length - iov.iov_len);
	if (err)
		log_err("%s: error while reading at byte %llu: %s", block->name,
			(unsigned long long)offset, strerror(-err));
	return err;
}

/* The offset of the first sector that differs, or @length. */
static uint64_t first_difference(const uint8_t *a, const uint8_t *b,
				 uint64_t length)
{
	uint64_t at = 0;

	if (!memcmp(a, b, length))
		return length;
	while (!memcmp(a + at, b + at, BLOCK_SECTOR))
		at += BLOCK_SECTOR;
	return at;
}

int image_compare(struct block *a, struct block *b, uint64_t begin,
		  uint64_t end, uint64_t *at)
{
	uint8_t *bytes = malloc(2 * (size_t)CHUNK);
	int err = bytes ? 0 : -ENOMEM;

	if (err)
		log_err("%s: out of memory", a->name);
	for (*at = begin; !err && *at < end;) {
		uint64_t length = end - *at < CHUNK ? end - *at : CHUNK, same;

		err = read_chunk(a, bytes, length, *at);
		if (!err)
			err = read_chunk(b, bytes + CHUNK, length, *at);
		if (err)
			break;
		same = first_difference(bytes, bytes + CHUNK, length);
		*at += same;
		if (same < length)
			break;
	}
	free(bytes);
	return err;
}
