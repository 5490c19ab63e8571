/*
 * What the tests of disk images share: a folder of their own, QEMU's tools as
 * writer and judge, repeatable random numbers, and requests that wait.
 */
#ifndef KVIST_TESTS_DISK_TEST_H
#define KVIST_TESTS_DISK_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/block/block.h"
#include "devices/block/compress.h"
#include "devices/block/layers.h"
#include "util/checked.h"
#include "util/log.h"

/* In memory where there is room for that: the tests sync a lot. */
static inline int disk_folder_make(void **state)
{
	char shm[] = "/dev/shm/kvist-disk-XXXXXX";
	char tmp[] = "/tmp/kvist-disk-XXXXXX";
	struct statvfs room;

	(void)state;
	/* What the images make the code say is expected. */
	if (!getenv("KVIST_TEST_LOG") && !freopen("/dev/null", "w", stderr))
		return -1;
	if (!statvfs("/dev/shm", &room) &&
	    (uint64_t)room.f_bavail * room.f_frsize >= 512 << 20 &&
	    mkdtemp(shm))
		return chdir(shm);
	return mkdtemp(tmp) ? chdir(tmp) : -1;
}

static inline int disk_folder_remove(void **state)
{
	char folder[128], command[160];

	(void)state;
	if (!getcwd(folder, sizeof(folder)) || !strstr(folder, "/kvist-disk-"))
		return -1;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return chdir("/") || system(command);
}

/* Runs a shell command; its exit code. */
__attribute__((format(printf, 1, 2))) static inline int sh(const char *fmt, ...)
{
	char command[4096] = "{ ";
	va_list ap;
	int n, status;

	va_start(ap, fmt);
	n = vsnprintf(command + 2, sizeof(command) - 2, fmt, ap);
	va_end(ap);
	assert_true(n > 0 && n < (int)sizeof(command) - 20);
	strcat(command, "; } >said 2>&1");
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Runs a shell command that has to succeed, and shows what it said if not. */
#define must(...)                                                              \
	do {                                                                   \
		int code_ = sh(__VA_ARGS__);                                   \
                                                                               \
		if (code_) {                                                   \
			print_error("exit code %d of: ", code_);               \
			print_error(__VA_ARGS__);                              \
			print_error("\n");                                     \
			if (system("cat said"))                                \
				print_error("(no output)\n");                  \
			fail();                                                \
		}                                                              \
	} while (0)

/* Makes a file of these bytes. */
static inline void disk_save(const char *path, const void *bytes, uint64_t size)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
}

/* xorshift64*: the same stream for the same seed, everywhere. */
static inline uint64_t rnd(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 2685821657736338717ull >> 16;
}

static inline uint64_t rnd_below(uint64_t *seed, uint64_t limit)
{
	return rnd(seed) % limit;
}

/* How many random streams to run: KVIST_STREAMS, or @few. */
static inline unsigned streams(unsigned few)
{
	const char *text = getenv("KVIST_STREAMS");

	return text ? (unsigned)strtoul(text, NULL, 0) : few;
}

/* Leaves in the folder what runs this stream again, should it be the last. */
static inline void note_seed(unsigned seed)
{
	FILE *file = fopen("seed", "w");

	assert_non_null(file);
	fprintf(file, "KVIST_SEED=%u\n", seed);
	fclose(file);
}

/* KVIST_IO=uring|threads and KVIST_CACHE=none run the tests that way. */
static inline enum block_io disk_io(void)
{
	const char *text = getenv("KVIST_IO");

	if (!text)
		return BLOCK_IO_NOW;
	return strcmp(text, "uring") ? BLOCK_IO_THREADS : BLOCK_IO_URING;
}

static inline enum block_cache disk_cache(void)
{
	return getenv("KVIST_CACHE") ? BLOCK_CACHE_NONE : BLOCK_CACHE_WRITEBACK;
}

/* Where data files may be written, for the next try_open(). */
static const char *disk_data_dir;

static inline int try_open(const char *path, enum block_format format,
			   bool read_only, struct block **block)
{
	struct block_options options = { .path = path,
					 .format = format,
					 .io = disk_io(),
					 .cache = disk_cache(),
					 .read_only = read_only,
					 .backing_dir = disk_data_dir };

	return block_open(&options, block);
}

static inline struct block *open_disk(const char *path)
{
	struct block *block = NULL;

	assert_int_equal(try_open(path, BLOCK_QCOW2, false, &block), 0);
	return block;
}

struct answer {
	struct block_request request;
	int err;
	int times;
};

static inline void answer_done(struct block_request *request, int err)
{
	struct answer *answer = container_of(request, struct answer, request);

	answer->err = err;
	answer->times++;
}

/* Submits a request in one piece or, with @split, in uneven vectors, and
 * returns its error; B1 is checked on the way. */
static inline int request(struct block *block, enum block_op op, void *buf,
			  uint64_t offset, uint64_t length, bool split)
{
	struct iovec iov[3] = { { .iov_base = buf, .iov_len = length } };
	struct answer answer = { .request = { .op = op,
					      .offset = offset,
					      .length = length,
					      .iov = iov,
					      .iovcnt = 1,
					      .done = answer_done } };

	if (split && length > 100) {
		iov[0].iov_len = 17;
		iov[1].iov_base = (char *)buf + 17;
		iov[1].iov_len = length / 2;
		iov[2].iov_base = (char *)buf + 17 + length / 2;
		iov[2].iov_len = length - 17 - length / 2;
		answer.request.iovcnt = 3;
	}
	block_submit(block, &answer.request);
	block_kick(block);
	while (!answer.times)
		block_wait(block);
	assert_int_equal(answer.times, 1);
	return answer.err;
}

static inline int disk_read(struct block *block, void *buf, uint64_t offset,
			    uint64_t length)
{
	return request(block, BLOCK_READ, buf, offset, length, false);
}

static inline int disk_write(struct block *block, void *buf, uint64_t offset,
			     uint64_t length)
{
	return request(block, BLOCK_WRITE, buf, offset, length, false);
}

/* Writes a whole cluster, of which @length bytes are the disk's: compressed, or
 * plainly if that does not make it smaller. */
static inline int disk_compress(struct block *block, const void *bytes,
				uint64_t offset, uint64_t length)
{
	struct compressor *c;
	uint8_t *in, *out;
	uint64_t size;
	unsigned type;
	size_t n;
	int err = qcow2_compression(block, &type, &size);

	if (err)
		return err;
	c = compressor_create(type);
	in = calloc(1, size);
	out = malloc(size);
	assert_true(c && in && out);
	memcpy(in, bytes, length);
	n = compressor_run(c, in, size, out);
	err = n ? qcow2_write_compressed(block, offset, out, n)
		: disk_write(block, in, offset, length);
	compressor_destroy(c);
	free(in);
	free(out);
	return err;
}

static inline int disk_flush(struct block *block)
{
	return request(block, BLOCK_FLUSH, NULL, 0, 0, false);
}

/* A new raw disk of @size bytes, disk.raw, and how it does its I/O. */
static inline struct block *new_raw(const char *name, enum block_io io,
				    enum block_cache cache, uint64_t size)
{
	struct block_options options = { .path = "disk.raw",
					 .format = BLOCK_RAW,
					 .io = io,
					 .cache = cache };
	struct block *block;

	print_message("%s\n", name);
	must("rm -f disk.raw && truncate -s %llu disk.raw",
	     (unsigned long long)size);
	assert_int_equal(block_open(&options, &block), 0);
	return block;
}

/* The whole disk is what the model says. */
static inline void assert_disk(struct block *block, const uint8_t *model)
{
	uint8_t *buf = malloc(block->size + 1);

	assert_non_null(buf);
	assert_int_equal(disk_read(block, buf, 0, block->size), 0);
	for (uint64_t i = 0; i < block->size; i++) {
		if (buf[i] != model[i]) {
			print_error("disk offset %#llx: %#x, not %#x\n",
				    (unsigned long long)i, buf[i], model[i]);
			fail();
		}
	}
	free(buf);
}

#endif
