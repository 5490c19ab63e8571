/*
 * `kvist img`: disk images without a guest, in the words of qemu-img.
 */
#include "cli/img.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/commands.h"
#include "devices/block/image_info.h"
#include "devices/block/lock.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

static const struct img_command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *synopsis;
} commands[] = {
	{ "amend", img_amend,
	  "[-pq] [-f FMT] [-t CACHE] [--force] [--backing-dir DIR]\n"
	  "           -o OPTIONS FILE" },
	{ "bench", img_bench,
	  "[-c COUNT] [-d DEPTH] [-f FMT] [--flush-interval=N]\n"
	  "           [-i AIO] [-n] [--no-drain] [-o OFFSET] [--pattern=BYTE]\n"
	  "           [-q] [-s BUFFER_SIZE] [-S STEP_SIZE] [-t CACHE] [-w]\n"
	  "           [-U|--force-share] FILE" },
	{ "check", img_check,
	  "[-q] [-f FMT] [--output=human|json] [-r leaks|all] [-T CACHE]\n"
	  "           [-U|--force-share] FILE" },
	{ "commit", img_commit,
	  "[-dpq] [-f FMT] [-t CACHE] [-b BASE] [-r RATE]\n"
	  "           [--backing-dir DIR] FILE" },
	{ "compare", img_compare,
	  "[-pqs] [-f FMT] [-F FMT] [-T CACHE] [--backing-dir DIR]\n"
	  "           [-U|--force-share] FILE1 FILE2" },
	{ "convert", img_convert,
	  "[-cCnpqUW] [-f FMT] [-O OUTPUT_FMT] [-o OPTIONS]\n"
	  "           [--bitmaps [--skip-broken-bitmaps]]\n"
	  "           [-B BACKING_FILE -F BACKING_FMT] [-l SNAPSHOT]\n"
	  "           [-m THREADS] [-r RATE] [-S SPARSE_SIZE] [-t CACHE]\n"
	  "           [-T CACHE] [--salvage] [--target-is-zero]\n"
	  "           [--target-image-opts] [--backing-dir DIR]\n"
	  "           [-U|--force-share] FILE [FILE2...] OUTPUT_FILE" },
	{ "create", img_create,
	  "[-q] [-f FMT] [-b BACKING_FILE [-F BACKING_FMT]] [-u]\n"
	  "           [-o OPTIONS] FILE [SIZE]" },
	{ "info", img_info,
	  "[-f FMT] [--output=human|json] [--backing-chain]\n"
	  "           [-U|--force-share] FILE" },
	{ "map", img_map,
	  "[-f FMT] [--output=human|json] [-s OFFSET] [-l LENGTH]\n"
	  "           [--start-offset=OFFSET] [--max-length=LENGTH]\n"
	  "           [--backing-dir DIR] [-U|--force-share] FILE" },
	{ "measure", img_measure,
	  "[-U|--force-share] [--output=human|json] [-O OUTPUT_FMT]\n"
	  "           [-o OPTIONS] [-l SNAPSHOT] [--backing-dir DIR]\n"
	  "           (--size SIZE | [-f FMT] FILE)" },
	{ "rebase", img_rebase,
	  "[-pqu] [-f FMT] [-t CACHE] [-T CACHE] [-b BACKING_FILE]\n"
	  "           [-F BACKING_FMT] [--backing-dir DIR]\n"
	  "           [-U|--force-share] FILE" },
	{ "resize", img_resize,
	  "[-q] [-f FMT] [--preallocation=MODE] [--shrink]\n"
	  "           [--backing-dir DIR] FILE [+|-]SIZE" },
	{ "snapshot", img_snapshot,
	  "[-l | -c NAME | -a NAME | -d NAME] [-q]\n"
	  "           [-U|--force-share] FILE" },
};

static void usage(FILE *to)
{
	fputs("usage: kvist img [-T|--trace PATTERN] COMMAND [OPTION]...\n"
	      "       kvist img --help|--version\n\n",
	      to);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(to, "  %-8s %s\n", commands[i].name,
			commands[i].synopsis);
	fputs("\nAll take --object SECRET, and all except create --image-opts.\n"
	      "Long forms are --format and --repair.\n"
	      "Syntax, output and exit codes are those of qemu-img; "
	      "kvist-img(1) says more.\n",
	      to);
}

static int try_help(void)
{
	fputs("Try 'kvist img --help' for more information\n", stderr);
	return IMG_ERROR;
}

int img_usage(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_err("%s", line);
	return try_help();
}

int img_option(int argc, char **argv, const char *letters,
	       const struct option *names, struct img_common *common)
{
	enum { OBJECT = 1000, IMAGE_OPTS };
	struct option all[16] = { { "help", 0, 0, 'h' },
				  { "object", 1, 0, OBJECT },
				  { "image-opts", 0, 0, IMAGE_OPTS },
				  { "force-share", 0, 0, 'U' } };
	int c;

	for (int n = 4; names->name; n++)
		all[n] = *names++;
	for (;;) {
		c = getopt_long(argc, argv, letters, all, NULL);
		if (c == IMAGE_OPTS)
			common->image_opts = true;
		else if (c != OBJECT)
			break;
		else if (img_add_secret(common, optarg))
			return '?';
	}
	if (c == ':') {
		img_usage("missing argument for option '%s'", argv[optind - 1]);
		return '?';
	}
	if (c == 'U' && !strchr(letters, 'U'))
		c = '?';
	if (c == '?')
		img_usage("unrecognized option '%s'", argv[optind - 1]);
	return c;
}

/* The power of two that a suffix stands for, or -1. */
static int suffix_bits(char suffix)
{
	static const char suffixes[] = "BKMGTPE";
	const char *at = strchr(suffixes, toupper((unsigned char)suffix));

	return suffix && at ? 10 * (int)(at - suffixes) : -1;
}

int img_parse_size(const char *text, uint64_t *size)
{
	uint64_t whole, part;
	double fraction = 0;
	char *end;
	int bits = 0;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	whole = strtoull(text, &end,
			 !strncasecmp(text, "0x", 2) && isxdigit(text[2]) ? 16
									  : 10);
	if (errno)
		return -ERANGE;
	if (*end == '.') {
		const char *point = end;

		if (strspn(point + 1, "0123456789") == 0)
			return -EINVAL;
		fraction = strtod(point, NULL);
		end += 1 + strspn(point + 1, "0123456789");
	}
	if (*end) {
		bits = suffix_bits(*end++);
		if (bits < 0 || *end)
			return -EINVAL;
	}
	/* Half a byte is none. */
	if (fraction > 0 && !bits)
		return -EINVAL;
	part = (uint64_t)(fraction * (double)(1ull << bits) + 0.5);
	if (!checked_mul(whole, 1ull << bits, size) ||
	    !checked_add(*size, part, size) || *size > INT64_MAX)
		return -ERANGE;
	return 0;
}

int img_take_size(const char *text, const char *what, uint64_t max,
		  uint64_t *size)
{
	if (!img_parse_size(text, size) && *size <= max)
		return 0;
	log_err("Invalid %s specified: a number up to %llu, or one with a "
		"suffix k, M, G, T, P or E",
		what, (unsigned long long)max);
	return -EINVAL;
}

int img_format(const char *path, const char *name, enum block_format *format)
{
	if (!strcmp(name, "qcow2"))
		*format = BLOCK_QCOW2;
	else if (!strcmp(name, "raw"))
		*format = BLOCK_RAW;
	else {
		log_err("%s: Unknown file format '%s'; kvist knows qcow2 and "
			"raw",
			path, name);
		return -EINVAL;
	}
	return 0;
}

int img_output(const char *text, bool *json)
{
	*json = !strcmp(text, "json");
	if (*json || !strcmp(text, "human"))
		return 0;
	log_err("--output must be used with human or json as argument.");
	return -EINVAL;
}

bool img_cache_known(const char *mode)
{
	if (among("none off writeback writethrough directsync unsafe", mode))
		return true;
	log_err("Invalid cache option: %s", mode);
	return false;
}

void img_progress(double percent)
{
	printf("    (%3.2f/100%%)\r", percent);
	fflush(stdout);
}

int img_help(void)
{
	usage(stdout);
	return 0;
}

bool img_same_file(const char *a, const char *b)
{
	struct stat sa, sb;

	return !strcmp(a, b) ||
	       (!stat(a, &sa) && !stat(b, &sb) && sa.st_dev == sb.st_dev &&
		sa.st_ino == sb.st_ino);
}

/* 0; or -EINVAL, logged, of what has no bytes to be found by their offset. */
static int check_kind(const char *path, int fd)
{
	struct stat st;

	if (!fstat(fd, &st) && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
		return 0;
	log_err("%s: is neither a regular file nor a block device", path);
	return -EINVAL;
}

int img_lock(const char *path, int fd, bool writer)
{
	int err = check_kind(path, fd);

	if (err)
		return err;
	err = image_lock(fd, writer);
	if (err == -EOPNOTSUPP) /* a file system without locks */
		err = 0;
	if (err == -EBUSY)
		log_err("%s: the image is in use%s; end the guest or the tool "
			"that has it open%s",
			path, writer ? "" : " for writing",
			writer ? "" : ", or look at it as it is with -U");
	else if (err)
		log_err("%s: %s", path, strerror(-err));
	return err;
}

int img_open_file(const char *path, bool writer, bool share,
		  struct host_file **file)
{
	/* O_NONBLOCK: a FIFO is refused, not waited for. */
	int mode = (writer ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK;
	int err, fd = open(path, mode);

	if (fd < 0) {
		err = -errno;
		log_err("Could not open '%s': %s", path, strerror(-err));
		return err;
	}
	err = share ? check_kind(path, fd) : img_lock(path, fd, writer);
	*file = err ? NULL : host_file_create(fd);
	if (!err && !*file) {
		log_err("%s: out of memory", path);
		err = -ENOMEM;
	}
	if (err)
		close(fd);
	return err;
}

int img_find_format(struct block_options *options, const char *name)
{
	struct host_file *file;
	int err;

	if (name)
		return img_format(options->path, name, &options->format);
	err = img_open_file(options->path, false, true, &file);
	if (err)
		return err;
	err = image_probe(file, &options->format);
	if (err)
		log_err("%s: %s", options->path, strerror(-err));
	file->ops->close(file);
	return err;
}

int img_open(struct block_options *options, const char *format,
	     struct block **disk)
{
	int err = img_find_format(options, format);

	return err ? err : block_open(options, disk);
}

int img_trace(char *list)
{
	char *name, *value;

	while ((name = list_next(&list, &value))) {
		if (value && !among("enable events file", name)) {
			log_err("Invalid parameter '%s' of --trace", name);
			return -EINVAL;
		}
	}
	return 0;
}

int cmd_img(int argc, char **argv)
{
	for (; argc > 1 && among("-T --trace", argv[0]); argc -= 2, argv += 2) {
		if (img_trace(argv[1]))
			return IMG_ERROR;
	}
	if (argc < 1)
		return img_usage("Not enough arguments");
	if (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"))
		return img_help();
	if (!strcmp(argv[0], "--version") || !strcmp(argv[0], "-V"))
		return cmd_version(argc - 1, argv + 1);
	opterr = 0; /* img_option() speaks for getopt */
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(argv[0], commands[i].name)) {
			int code = commands[i].run(argc, argv);

			/* A full disk below standard output is an error. */
			return fflush(stdout) ? IMG_ERROR : code;
		}
	}
	return img_usage("Command not found: %s", argv[0]);
}
