/*
 * An image file's own bytes, and a disk's bytes by the run, for tests.
 */
#ifndef KVIST_TESTS_IMAGE_FILE_H
#define KVIST_TESTS_IMAGE_FILE_H

#include "disk_test.h"
#include "util/bytes.h"

#include <fcntl.h>

static inline void peek(const char *path, void *buf, size_t len, uint64_t at)
{
	int fd = open(path, O_RDONLY);

	assert_int_equal(pread(fd, buf, len, at), len);
	close(fd);
}

static inline void poke(const char *path, const void *buf, size_t len,
			uint64_t at)
{
	int fd = open(path, O_WRONLY);

	assert_int_equal(pwrite(fd, buf, len, at), len);
	close(fd);
}

static inline uint64_t peek64(const char *path, uint64_t at)
{
	uint8_t b[8];

	peek(path, b, 8, at);
	return get_be64(b);
}

static inline void poke64(const char *path, uint64_t value, uint64_t at)
{
	uint8_t b[8];

	put_be64(b, value);
	poke(path, b, 8, at);
}

/* Writes @length bytes of @fill. */
static inline int fill(struct block *block, uint8_t byte, uint64_t offset,
		       uint64_t length)
{
	uint8_t *buf = malloc(length);
	int err;

	assert_non_null(buf);
	memset(buf, byte, length);
	err = disk_write(block, buf, offset, length);
	free(buf);
	return err;
}

static inline void assert_filled(struct block *block, uint8_t byte,
				 uint64_t offset, uint64_t length)
{
	uint8_t *buf = malloc(length);

	assert_non_null(buf);
	assert_int_equal(disk_read(block, buf, offset, length), 0);
	for (uint64_t i = 0; i < length; i++)
		assert_int_equal(buf[i], byte);
	free(buf);
}

#endif
