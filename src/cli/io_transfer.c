/*
 * `kvist io`: commands that move data.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/io.h"
#include "devices/block/layers.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

#define LENGTH_MAX 2147483136u /* that of QEMU's block layer */
#define FILL_WRITE 0xcd        /* what is written without -P */

/* One command, taken apart. */
struct transfer {
	struct io *io;
	struct io_report report;
	uint64_t offset, length;
	bool show;              /* -v */
	bool zero, unmap;       /* -z -u */
	bool no_fallback, fua;  /* -n -f */
	bool compress, invalid; /* -c -i */
	bool vm_state;          /* -b */
	bool has_pattern, aio, writes;
	int pattern;
	const char *source;           /* -s, of a write */
	const char *check_at, *check; /* -s and -l, of a read */
	uint8_t *bytes;
};

static int write_it(struct transfer *t)
{
	int err;

	if (t->zero) {
		/* In this order: to write zeros takes space, and what is then
		 * discarded still reads as zeros. */
		err = io_clear(t->io, BLOCK_ZERO, t->length, t->offset);
		if (!err && t->unmap)
			err = io_clear(t->io, BLOCK_DISCARD, t->length,
				       t->offset);
	} else if (t->vm_state)
		err = qcow2_vm_state(t->io->disk, BLOCK_WRITE, t->bytes,
				     t->length, t->offset);
	else if (t->compress)
		err = io_access_compressed(t->io, t->bytes, t->length,
					   t->offset);
	else
		err = io_access(t->io, BLOCK_WRITE, t->bytes, t->length,
				t->offset);
	if (!err && t->fua)
		err = io_sync(t->io);
	return err;
}

/* The buffer of a write: a pattern, or a file over and over. */
static int fill(struct transfer *t)
{
	FILE *from;
	size_t n = 0;

	t->bytes = malloc(t->length ? t->length : 1);
	if (!t->bytes) {
		printf("%s: out of memory\n", t->report.kind);
		return -1;
	}
	memset(t->bytes, t->has_pattern ? t->pattern : FILL_WRITE, t->length);
	if (!t->source)
		return 0;
	from = fopen(t->source, "re");
	if (from) {
		n = fread(t->bytes, 1, t->length, from);
		if (!n && !ferror(from))
			errno = ENODATA;
	}
	if (!n && t->length)
		log_err("%s: %s", t->source, strerror(errno));
	if (from)
		fclose(from);
	for (size_t at = n; n && at < t->length; at++)
		t->bytes[at] = t->bytes[at - n];
	return n || !t->length ? 0 : -1;
}

/* What -P says of the bytes read: 0 or -1, with a message. */
static int verify(const struct transfer *t)
{
	uint64_t at = 0, length = t->length;

	if (!t->has_pattern)
		return 0;
	if (t->check_at && io_number(t->check_at, &at))
		return -1;
	length -= at < length ? at : length;
	if (t->check && io_number(t->check, &length))
		return -1;
	for (uint64_t i = at; i < at + length; i++) {
		if (t->bytes[i] == t->pattern)
			continue;
		printf("Pattern verification failed at offset %" PRIu64
		       ", %" PRIu64 " bytes\n",
		       t->offset + at, length);
		return -1;
	}
	return 0;
}

static int parse_pattern(struct transfer *t, const char *text)
{
	char *end;
	long value = strtol(text, &end, 0);

	if (!*text || *end || value < 0 || value > 255) {
		printf("%s is not a valid pattern byte\n", text);
		return -1;
	}
	t->pattern = (int)value;
	t->has_pattern = true;
	return 0;
}

/* Takes the options of @letters; 0 or -1. */
static int parse_options(struct transfer *t, int argc, char **argv,
			 const char *letters, bool reads)
{
	int option;

	while ((option = getopt(argc, argv, letters)) >= 0) {
		switch (option) {
		case 'C':
			t->report.terse = true;
			break;
		case 'q':
			t->report.quiet = true;
			break;
		case 'v':
			t->show = true;
			break;
		case 'p':
			break; /* of old, and without meaning */
		case 'z':
			t->zero = true;
			break;
		case 'u':
			t->unmap = true;
			break;
		case 'n':
			t->no_fallback = true;
			break;
		case 'f':
			t->fua = true;
			break;
		case 'c':
			t->compress = true;
			break;
		case 'b':
			t->vm_state = true;
			break;
		case 'i': /* and nothing is */
			printf("injecting invalid %s request\n",
			       reads ? "read" : "write");
			t->invalid = true;
			return 0;
		case 's':
			*(reads ? &t->check_at : &t->source) = optarg;
			break;
		case 'l':
			t->check = optarg;
			break;
		case 'P':
			if (parse_pattern(t, optarg))
				return -1;
			break;
		default:
			return io_usage(argv);
		}
	}
	return 0;
}

/* What goes wrong first, as qemu-io sees it. */
static const char *wrong_together(const struct transfer *t, int lengths)
{
	if (t->zero && lengths > 1)
		return "-z supports only a single length parameter";
	if (t->vm_state && t->zero)
		return "-b and -z cannot be specified at the same time";
	if (t->fua && (t->vm_state || t->compress))
		return "-f and -b or -c cannot be specified at the same time";
	if (t->no_fallback && !t->zero)
		return "-n requires -z to be specified";
	if (t->unmap && !t->zero)
		return "-u requires -z to be specified";
	if (!t->aio && t->zero + t->has_pattern + !!t->source > 1)
		return "Only one of -z, -P, and -s can be specified at the "
		       "same time";
	return NULL;
}

static int too_long(const struct transfer *t, bool vector, const char *text,
		    uint64_t length)
{
	if (vector && length <= LENGTH_MAX)
		printf("The total number of bytes exceed the maximum size %u\n",
		       LENGTH_MAX);
	else if (vector)
		printf("Argument '%s' exceeds maximum size %u\n", text,
		       LENGTH_MAX);
	else
		printf("length cannot exceed %u%s, given %s\n", LENGTH_MAX,
		       t->writes ? " without -n" : "", text);
	return -1;
}

/* An offset and one length or, for a vector, several. 0 or -1. */
static int check_count(int argc, char **argv, bool vector)
{
	if (argc - optind == 2 || (vector && argc - optind > 2))
		return 0;
	return io_usage(argv);
}

/* The sum of the lengths. 0 or -1. */
static int parse_range(struct transfer *t, int argc, char **argv, bool vector)
{
	if (check_count(argc, argv, vector))
		return -1;
	if (io_number(argv[optind++], &t->offset))
		return -1;
	for (; optind < argc; optind++) {
		uint64_t length;

		if (io_number(argv[optind], &length))
			return -1;
		if (!t->no_fallback &&
		    (length > LENGTH_MAX || t->length + length > LENGTH_MAX))
			return too_long(t, vector, argv[optind], length);
		t->length += length;
	}
	return 0;
}

static int failed(const char *what, int err)
{
	printf("%s failed: %s\n", what, strerror(-err));
	return -1;
}

/* What -s and -l of a read may say. */
static int check_options(const struct transfer *t, char **argv)
{
	uint64_t at = 0, length = 0;

	if (!t->has_pattern && (t->check_at || t->check))
		return io_usage(argv);
	if (t->check_at && io_number(t->check_at, &at))
		return -1;
	if (t->check && io_number(t->check, &length))
		return -1;
	if (at > t->length || length > t->length - at) {
		puts("pattern verification range exceeds end of read data");
		return -1;
	}
	return 0;
}

static int read_it(struct transfer *t)
{
	int err;

	if (t->vm_state)
		return qcow2_vm_state(t->io->disk, BLOCK_READ, t->bytes,
				      t->length, t->offset);
	err = io_access(t->io, BLOCK_READ, t->bytes, t->length, t->offset);
	if (!err && t->io->copy)
		err = io_copy_up(t->io, t->offset, t->length);
	return err;
}

static int run_read(struct transfer *t, const char *what)
{
	int err, wrong;

	t->bytes = malloc(t->length ? t->length : 1);
	io_report_start(&t->report, "read");
	err = t->bytes ? read_it(t) : -ENOMEM;
	if (err) {
		free(t->bytes);
		return failed(what, err);
	}
	wrong = verify(t);
	if (!t->report.quiet && t->show)
		io_dump(t->bytes, t->length, t->offset);
	io_report(&t->report, t->offset, t->length);
	free(t->bytes);
	/* Of what is read in the background nobody learns the end. */
	return t->aio ? 0 : wrong;
}

/* Compressed data and VM state are asked for in sectors. */
static int check_sectors(const struct transfer *t)
{
	bool offset = t->offset % BLOCK_SECTOR;

	if (!(t->compress || t->vm_state) ||
	    !(offset || t->length % BLOCK_SECTOR))
		return 0;
	printf("%" PRIu64 " is not a sector-aligned value for '%s'\n",
	       offset ? t->offset : t->length, offset ? "offset" : "count");
	return -1;
}

static int reader(struct io *io, int argc, char **argv, const char *letters,
		  bool vector, bool aio)
{
	struct transfer t = { .io = io, .aio = aio };

	if (parse_options(&t, argc, argv, letters, true))
		return -1;
	if (t.invalid)
		return 0;
	if (parse_range(&t, argc, argv, vector) || check_options(&t, argv) ||
	    check_sectors(&t))
		return -1;
	return run_read(&t, vector ? "readv" : "read") && !aio ? -1 : 0;
}

int io_read(struct io *io, int argc, char **argv)
{
	return reader(io, argc, argv, "bCl:pP:qs:v", false, false);
}

int io_readv(struct io *io, int argc, char **argv)
{
	return reader(io, argc, argv, "CP:qv", true, false);
}

int io_aio_read(struct io *io, int argc, char **argv)
{
	return reader(io, argc, argv, "CP:iqv", true, true);
}

static int run_write(struct transfer *t, const char *what)
{
	int err = t->zero ? 0 : fill(t);

	if (err)
		return err;
	io_report_start(&t->report, "wrote");
	err = write_it(t);
	free(t->bytes);
	if (err)
		return failed(what, err);
	io_report(&t->report, t->offset, t->length);
	return 0;
}

static int writer(struct io *io, int argc, char **argv, const char *letters,
		  bool vector, bool aio)
{
	struct transfer t = { .io = io, .aio = aio, .writes = true };
	const char *wrong;

	if (parse_options(&t, argc, argv, letters, false))
		return -1;
	if (t.invalid)
		return 0;
	if (check_count(argc, argv, vector))
		return -1;
	wrong = wrong_together(&t, argc - optind - 1);
	if (wrong) {
		puts(wrong);
		return -1;
	}
	if (parse_range(&t, argc, argv, vector) || check_sectors(&t))
		return -1;
	return run_write(&t, aio      ? "aio_write"
			     : vector ? "writev"
				      : "write") &&
			       !aio
		       ? -1
		       : 0;
}

int io_write(struct io *io, int argc, char **argv)
{
	return writer(io, argc, argv, "bcCfnpP:qs:uz", false, false);
}

int io_writev(struct io *io, int argc, char **argv)
{
	return writer(io, argc, argv, "CfP:q", true, false);
}

int io_aio_write(struct io *io, int argc, char **argv)
{
	return writer(io, argc, argv, "CfiP:quz", true, true);
}

int io_discard(struct io *io, int argc, char **argv)
{
	struct transfer t = { .io = io };
	int err;

	if (parse_options(&t, argc, argv, "Cq", false) ||
	    parse_range(&t, argc, argv, false))
		return -1;
	io_report_start(&t.report, "discard");
	err = io_clear(io, BLOCK_DISCARD, t.length, t.offset);
	if (err)
		return failed("discard", err);
	io_report(&t.report, t.offset, t.length);
	return 0;
}

int io_flush(struct io *io, int argc, char **argv)
{
	int err = io_sync(io);

	(void)argc;
	(void)argv;
	return err ? failed("flush", err) : 0;
}

/* Every request is complete when its command ends. */
int io_nothing(struct io *io, int argc, char **argv)
{
	(void)io;
	(void)argc;
	(void)argv;
	return 0;
}
