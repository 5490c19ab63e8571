#include "devices/net/pcapng.h"

#include "util/iov.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTION   0x0a0d0d0a
#define INTERFACE 1
#define PACKET    6
#define ETHERNET  1 /* LINKTYPE_ETHERNET */
#define MAGIC     0x1a2b3c4d

/* Options: their codes and lengths, then themselves, padded to 4 bytes. */
enum { OPT_END = 0, OPT_COMMENT = 1, IF_NAME = 2, IF_TSRESOL = 9, FLAGS = 2 };

#define PIECES 1024 /* the most that writev(2) takes */

/* What is around the bytes of a frame, in the machine's own order. */
struct block {
	uint8_t bytes[256];
	size_t len;
};

static void put(struct block *block, const void *bytes, size_t len)
{
	if (len)
		memcpy(block->bytes + block->len, bytes, len);
	memset(block->bytes + block->len + len, 0, -len & 3);
	block->len += len + (-len & 3);
}

static void put32(struct block *block, uint32_t value)
{
	put(block, &value, sizeof(value));
}

static void put_option(struct block *block, uint16_t code, const void *bytes,
		       uint16_t len)
{
	uint16_t head[2] = { code, len };

	put(block, head, sizeof(head));
	put(block, bytes, len);
}

/* Its length stands at both ends of a block, so that one reads it backwards,
 * too. */
static void finish(struct block *block, size_t start)
{
	uint32_t len = (uint32_t)(block->len - start + 4);

	put32(block, len);
	memcpy(block->bytes + start + 4, &len, sizeof(len));
}

static int write_all(int fd, const void *bytes, size_t len)
{
	ssize_t n = write(fd, bytes, len);

	return n < 0 ? -errno : (size_t)n == len ? 0 : -ENOSPC;
}

int pcapng_begin(struct pcapng *out, const char *name)
{
	static const uint8_t nanoseconds = 9; /* 10^-9 */
	struct block block = { .len = 0 };
	size_t start, len = strlen(name);

	put32(&block, SECTION);
	put32(&block, 0);
	put32(&block, MAGIC);
	put32(&block, 1); /* version 1.0 */
	put32(&block, 0xffffffff);
	put32(&block, 0xffffffff); /* of a length that is not known */
	finish(&block, 0);
	start = block.len;
	put32(&block, INTERFACE);
	put32(&block, 0);
	put32(&block, ETHERNET);
	put32(&block, 0); /* frames are not cut */
	put_option(&block, IF_NAME, name, len < 64 ? len : 64);
	put_option(&block, IF_TSRESOL, &nanoseconds, 1);
	put_option(&block, OPT_END, NULL, 0);
	finish(&block, start);
	return write_all(out->fd, block.bytes, block.len);
}

/* 0 when nothing is left; -EAGAIN while something is, or another -errno. */
static int write_rest(struct pcapng *out)
{
	ssize_t n;

	if (!out->len)
		return 0;
	n = write(out->fd, out->rest, out->len);
	if (n < 0)
		return -errno;
	out->len -= n;
	if (out->len) {
		memmove(out->rest, out->rest + n, out->len);
		return -EAGAIN;
	}
	free(out->rest);
	out->rest = NULL;
	return 0;
}

int pcapng_frame(struct pcapng *out, uint64_t ns,
		 enum pcapng_direction direction, const struct iovec *iov,
		 int iovcnt, uint64_t offset, uint32_t len, const char *comment)
{
	static const uint8_t zeros[3];
	struct block head = { .len = 0 }, tail = { .len = 0 };
	struct iovec pieces[PIECES];
	uint64_t taken;
	uint32_t flags = direction, whole, padding = -len & 3;
	ssize_t n;
	int count, err = write_rest(out);

	if (err)
		return err;
	put_option(&tail, FLAGS, &flags, sizeof(flags));
	if (comment)
		put_option(&tail, OPT_COMMENT, comment, strnlen(comment, 127));
	put_option(&tail, OPT_END, NULL, 0);
	whole = 28 + len + padding + (uint32_t)tail.len + 4;
	put32(&tail, whole);
	put32(&head, PACKET);
	put32(&head, whole);
	put32(&head, 0); /* the interface */
	put32(&head, ns >> 32);
	put32(&head, (uint32_t)ns);
	put32(&head, len);
	put32(&head, len);
	pieces[0] = (struct iovec){ head.bytes, head.len };
	count = 1 + iov_slice(pieces + 1, PIECES - 3, iov, iovcnt, offset, len,
			      &taken);
	if (taken < len)
		return -EMSGSIZE;
	pieces[count++] = (struct iovec){ (void *)(uintptr_t)zeros, padding };
	pieces[count++] = (struct iovec){ tail.bytes, tail.len };
	n = writev(out->fd, pieces, count);
	if (n < 0)
		return -errno;
	if ((uint32_t)n == whole)
		return 0;
	out->rest = malloc(whole - n);
	if (!out->rest)
		return -ENOMEM;
	out->len = whole - n;
	iov_copy_out(pieces, count, n, out->rest, out->len);
	/* A full disk says so now; a pipe gets it with the next frame. */
	err = write_rest(out);
	return err == -EAGAIN ? 0 : err;
}

void pcapng_end(struct pcapng *out)
{
	/* Its reader may have been faster meanwhile. */
	write_rest(out);
	free(out->rest);
	close(out->fd);
}
