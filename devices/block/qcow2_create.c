#include "devices/block/qcow2_create.h"

#include "util/bytes.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* The image's first clusters, in this order; all have refcount 1. */
enum { HEADER, REFCOUNT_TABLE, REFCOUNT_BLOCK, L1_TABLE, CLUSTERS };

#define CLUSTER_BITS 16
#define CLUSTER      (1u << CLUSTER_BITS)
#define HEADER_BYTES 104
#define L1_ENTRY_MAP (CLUSTER / 8ull * CLUSTER) /* disk bytes of one entry */

static void fill_header(uint8_t header[HEADER_BYTES + 8], uint64_t size)
{
	memset(header, 0, HEADER_BYTES + 8); /* ends with the end extension */
	put_be32(header, 0x514649fb);        /* "QFI\xfb" */
	put_be32(header + 4, 3);
	put_be32(header + 20, CLUSTER_BITS);
	put_be64(header + 24, size);
	put_be32(header + 36, (size + L1_ENTRY_MAP - 1) / L1_ENTRY_MAP);
	put_be64(header + 40, L1_TABLE * CLUSTER);
	put_be64(header + 48, REFCOUNT_TABLE * CLUSTER);
	put_be32(header + 56, 1); /* cluster of refcount table */
	put_be32(header + 96, 4); /* refcounts of 1 << 4 bits */
	put_be32(header + 100, HEADER_BYTES);
}

static int create(int fd, uint64_t size)
{
	uint8_t header[HEADER_BYTES + 8], table[8], block[CLUSTERS * 2];
	const struct {
		const uint8_t *bytes;
		size_t len;
		off_t at;
	} parts[] = {
		{ table, sizeof(table), REFCOUNT_TABLE * CLUSTER },
		{ block, sizeof(block), REFCOUNT_BLOCK * CLUSTER },
		{ header, sizeof(header), HEADER }, /* last: it is valid now */
	};

	fill_header(header, size);
	put_be64(table, REFCOUNT_BLOCK * CLUSTER);
	for (int i = 0; i < CLUSTERS; i++)
		put_be16(block + 2 * i, 1);
	/* What is not written reads as zeros: so nothing is mapped. */
	if (ftruncate(fd, 0) || ftruncate(fd, CLUSTERS * CLUSTER))
		return -errno;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		ssize_t n =
			pwrite(fd, parts[i].bytes, parts[i].len, parts[i].at);

		if (n != (ssize_t)parts[i].len)
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

int qcow2_create(const char *path, uint64_t size)
{
	int fd, err;

	if (size % 512 || size > QCOW2_CREATE_MAX) {
		log_err("disk %s: a new image is at most 4T, in steps of 512",
			path);
		return -EINVAL;
	}
	fd = open(path, O_RDWR | O_CLOEXEC);
	err = fd < 0 ? -errno : create(fd, size);
	if (err)
		log_err("disk %s: making the image: %s", path, strerror(-err));
	if (fd >= 0)
		close(fd);
	return err;
}
