/*
 * `kvist io`: reads and writes of an image, by hand or from a script. It takes
 * the commands of qemu-io 7.2 and prints what it prints. Main thread.
 *
 *   io.c           the command line, and the loop over commands
 *   io_open.c      how an image is opened
 *   io_image.c     commands about the image as a whole
 *   io_transfer.c  commands that move data
 *   io_access.c    bytes of a disk, read and written
 *   io_report.c    numbers, and the lines that tell of a transfer
 */
#ifndef KVIST_CLI_IO_H
#define KVIST_CLI_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "cli/img.h"

struct io {
	struct block *disk; /* NULL: none is open */
	struct block_options options;
	char *path, *list; /* of the disk; owned, options borrow from them */
	struct img_common common;
	bool above; /* -s: what is written is not kept */
	bool copy;  /* -C: what is read is copied into the image */
	const char *backing_dir, *key_file;
	bool quit;
};

/* 0, or -1 after a message: what was asked for was not done. argv[0] is the
 * command's own name. */
typedef int io_run(struct io *io, int argc, char **argv);

struct io_command {
	const char *name, *other; /* other: short for it, or NULL */
	io_run *run;
	int min, max; /* arguments; max -1: any number */
	enum {
		WITH_DISK,     /* an image is open, */
		WITH_WRITABLE, /* and can be written to */
		WITH_NOTHING,  /* or none need be */
	} with;
	const char *arguments, *help;
};

/* Prints how the command named argv[0] is used; always -1. */
int io_usage(char **argv);

io_run io_open, io_close, io_reopen, io_length, io_info, io_map, io_alloc,
	io_truncate, io_flush;
io_run io_read, io_readv, io_write, io_writev, io_aio_read, io_aio_write,
	io_discard, io_nothing;

struct io_how {
	const char *path, *format; /* or NULL */
	const char *list;          /* of -o, or NULL */
	bool read_only, unlocked, above, copy;
	bool image_opts; /* the path is a list */
};

/* Opens an image; texts are copied. 0 or -1, with a message. */
int io_open_image(struct io *io, const struct io_how *how);

/* Whether an option -t, -i or -d has a value that QEMU knows; true for others.
 * False after a message. */
bool io_take_mode(int letter, const char *value);

/* Copies into the image what it lacks itself of that range, by whole clusters.
 * 0 or -errno. */
int io_copy_up(struct io *io, uint64_t offset, uint64_t length);

/*
 * Bytes of the disk: 0 or -errno, -EIO behind its end. Sectors that are not
 * written whole are read before; by BLOCK_DISCARD they are left alone.
 */
int io_access(struct io *io, enum block_op op, uint8_t *bytes, uint64_t length,
	      uint64_t offset);
int io_clear(struct io *io, enum block_op op, uint64_t length, uint64_t offset);
/* Whole clusters, compressed as far as they get smaller; -EINVAL for others. */
int io_access_compressed(struct io *io, const uint8_t *bytes, uint64_t length,
			 uint64_t offset);
int io_sync(struct io *io);

/* A size or an offset from the command line: 0 or -1, with a message. */
int io_number(const char *text, uint64_t *number);

/* "64 KiB", "1.5 MiB", "3 bytes": into @text, which is returned. */
#define IO_SIZE_TEXT 64
char *io_size(double bytes, char text[IO_SIZE_TEXT]);

/* "KIND done/count bytes at offset N", and how fast it was. */
struct io_report {
	const char *kind; /* "read", "wrote", "discard" */
	bool quiet, terse;
	struct timespec start;
};

void io_report_start(struct io_report *report, const char *kind);
void io_report(const struct io_report *report, uint64_t offset, uint64_t bytes);

/* Prints bytes as read -v does. */
void io_dump(const uint8_t *bytes, uint64_t length, uint64_t offset);

#endif
