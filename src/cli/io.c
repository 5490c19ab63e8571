/*
 * `kvist io`: the command line, and the loop over commands.
 */
#include "cli/io.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/img.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

#define PROMPT    "qemu-io> "
#define WORDS_MAX 64

static int io_help(struct io *io, int argc, char **argv);
static int io_quit(struct io *io, int argc, char **argv);
static int io_sleep(struct io *io, int argc, char **argv);
static int io_abort(struct io *io, int argc, char **argv);
static int io_sigraise(struct io *io, int argc, char **argv);

static const struct io_command commands[] = {
	{ "abort", NULL, io_abort, 0, 0, WITH_NOTHING, "",
	  "simulate a program crash using abort(3)" },
	{ "aio_flush", NULL, io_nothing, 0, 0, WITH_DISK, "",
	  "completes all outstanding aio requests" },
	{ "aio_read", NULL, io_aio_read, 2, -1, WITH_DISK,
	  "[-Ciqv] [-P pattern] off len [len..]",
	  "asynchronously reads a number of bytes" },
	{ "aio_write", NULL, io_aio_write, 2, -1, WITH_WRITABLE,
	  "[-Cfiquz] [-P pattern] off len [len..]",
	  "asynchronously writes a number of bytes" },
	{ "alloc", "a", io_alloc, 1, 2, WITH_DISK, "offset [count]",
	  "checks if offset is allocated in the file" },
	{ "close", "c", io_close, 0, 0, WITH_DISK, "",
	  "close the current open file" },
	{ "discard", "d", io_discard, 2, -1, WITH_WRITABLE, "[-Cq] off len",
	  "discards a number of bytes at a specified offset" },
	{ "flush", "f", io_flush, 0, 0, WITH_DISK, "",
	  "flush all in-core file state to disk" },
	{ "help", "?", io_help, 0, 1, WITH_NOTHING, "[command]",
	  "help for one or all commands" },
	{ "info", "i", io_info, 0, 0, WITH_DISK, "",
	  "prints information about the current file" },
	{ "length", "l", io_length, 0, 0, WITH_DISK, "",
	  "gets the length of the current file" },
	{ "map", NULL, io_map, 0, 0, WITH_DISK, "",
	  "prints the allocated areas of a file" },
	{ "open", "o", io_open, 1, -1, WITH_NOTHING,
	  "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
	  "open the file specified by path" },
	{ "quit", "q", io_quit, 0, 0, WITH_NOTHING, "", "exit the program" },
	{ "read", "r", io_read, 2, -1, WITH_DISK,
	  "[-bCqv] [-P pattern [-s off] [-l len]] off len",
	  "reads a number of bytes at a specified offset" },
	{ "readv", NULL, io_readv, 2, -1, WITH_DISK,
	  "[-Cqv] [-P pattern] off len [len..]",
	  "reads a number of bytes at a specified offset" },
	{ "reopen", NULL, io_reopen, 0, -1, WITH_DISK,
	  "[(-r|-w)] [-c cache] [-o options]",
	  "reopens an image with new options" },
	{ "sigraise", NULL, io_sigraise, 1, 1, WITH_NOTHING, "signal",
	  "raises a signal" },
	{ "sleep", NULL, io_sleep, 1, 1, WITH_NOTHING, "",
	  "waits for the given value in milliseconds" },
	{ "truncate", "t", io_truncate, 1, -1, WITH_WRITABLE,
	  "[-m prealloc_mode] off",
	  "truncates the current file at the given offset" },
	{ "write", "w", io_write, 2, -1, WITH_WRITABLE,
	  "[-bcCfnquz] [-P pattern | -s source_file] off len",
	  "writes a number of bytes at a specified offset" },
	{ "writev", NULL, io_writev, 2, -1, WITH_WRITABLE,
	  "[-Cfq] [-P pattern] off len [len..]",
	  "writes a number of bytes at a specified offset" },
};

static const struct arg_option options[] = {
	{ "cmd", 'c', "STRING", "run a command; may be given again" },
	{ "format", 'f', "FMT",
	  "qcow2 or raw; as the file looks, if not given" },
	{ "read-only", 'r', NULL, "open FILE to read it only" },
	{ "nocache", 'n', NULL, "short for -t none" },
	{ "cache", 't', "MODE", "accepted" },
	{ "aio", 'i', "MODE", "accepted" },
	{ "native-aio", 'k', NULL, "accepted" },
	{ "discard", 'd', "MODE", "accepted" },
	{ "snapshot", 's', NULL, "keep what is written for this run only" },
	{ "copy-on-read", 'C', NULL, "keep what is read in FILE itself" },
	{ "image-opts", 'I', NULL, "FILE is a list, as for kvist img" },
	{ "object", 'O', "SECRET", "as for kvist img" },
	{ "trace", 'T', "PATTERN", "accepted: nothing is traced" },
	{ "version", 'V', NULL, "print the version" },
	{ "force-share", 'U', NULL,
	  "look at FILE while another writes; with -r or -s" },
	{ "backing-dir", 'B', "DIR", "backing files may lie below DIR, too" },
	{ "key-file", 'K', "FILE", "the passphrase of an encrypted image" },
	{ "help", 'h', NULL, "print this help" },
};

static const struct io_command *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(name, commands[i].name) ||
		    (commands[i].other && !strcmp(name, commands[i].other)))
			return &commands[i];
	}
	return NULL;
}

static void describe(const struct io_command *c)
{
	printf("%s %s -- %s\n", c->name, c->arguments, c->help);
}

int io_usage(char **argv)
{
	describe(find(argv[0]));
	return -1;
}

static int io_help(struct io *io, int argc, char **argv)
{
	const struct io_command *c;

	(void)io;
	if (argc == 1) {
		for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
			describe(&commands[i]);
		puts("\nUse 'help commandname' for extended help.");
		return 0;
	}
	c = find(argv[1]);
	if (!c) {
		printf("command %s not found\n", argv[1]);
		return -1;
	}
	describe(c);
	return 0;
}

static int io_quit(struct io *io, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	io->quit = true;
	return 0;
}

static int io_sleep(struct io *io, int argc, char **argv)
{
	struct timespec time;
	uint64_t ms;

	(void)io;
	(void)argc;
	if (parse_number(argv[1], 0, INT32_MAX, &ms)) {
		printf("%s is not a valid number\n", argv[1]);
		return -1;
	}
	time.tv_sec = ms / 1000;
	time.tv_nsec = ms % 1000 * 1000000;
	nanosleep(&time, NULL);
	return 0;
}

static int io_abort(struct io *io, int argc, char **argv)
{
	(void)io;
	(void)argc;
	(void)argv;
	abort();
}

static int io_sigraise(struct io *io, int argc, char **argv)
{
	uint64_t signal;

	(void)io;
	(void)argc;
	if (io_number(argv[1], &signal))
		return -1;
	fflush(stdout);
	raise((int)signal);
	return 0;
}

static int bad_count(const struct io_command *c, int count)
{
	fprintf(stderr, "bad argument count %d to %s, expected ", count,
		c->name);
	if (c->max < 0)
		fprintf(stderr, "at least %d arguments\n", c->min);
	else if (c->min == c->max)
		fprintf(stderr, "%d arguments\n", c->min);
	else
		fprintf(stderr, "between %d and %d arguments\n", c->min,
			c->max);
	return -1;
}

/* Runs one line, which is cut up. */
static int run_line(struct io *io, char *line)
{
	const struct io_command *c;
	char *argv[WORDS_MAX + 1], *word;
	int argc = 0;

	while ((word = strsep(&line, " ")) && argc < WORDS_MAX) {
		if (*word)
			argv[argc++] = word;
	}
	argv[argc] = NULL;
	if (!argc)
		return 0;
	c = find(argv[0]);
	if (!c) {
		fprintf(stderr, "command \"%s\" not found\n", argv[0]);
		return -1;
	}
	if (!io->disk && c->with != WITH_NOTHING) {
		fputs("no file open, try 'help open'\n", stderr);
		return -1;
	}
	if (argc - 1 < c->min || (c->max >= 0 && argc - 1 > c->max))
		return bad_count(c, argc - 1);
	if (c->with == WITH_WRITABLE && io->disk->read_only) {
		log_err("Block node is read-only");
		return -1;
	}
	optind = 0; /* getopt() starts anew */
	opterr = 1;
	return c->run(io, argc, argv);
}

/* Commands from standard input, one a line. */
static int run_input(struct io *io)
{
	char *line = NULL;
	size_t room = 0;
	int err = 0;

	while (!io->quit) {
		ssize_t n;

		fputs(PROMPT, stdout);
		fflush(stdout);
		n = getline(&line, &room, stdin);
		if (n < 0)
			break;
		if (n && line[n - 1] == '\n')
			line[n - 1] = '\0';
		err |= run_line(io, line);
	}
	free(line);
	return err;
}

static void print_help(void)
{
	fputs("usage: kvist io [OPTION]... [-c COMMAND]... [FILE]\n\n"
	      "Reads and writes an image by the commands of qemu-io, from "
	      "standard input\nwhere no -c is given. -c help lists them.\n\n",
	      stdout);
	args_print_help(options, ARRAY_SIZE(options), stdout);
}

bool io_take_mode(int letter, const char *value)
{
	if (letter == 't')
		return img_cache_known(value);
	if (letter != 'i' && letter != 'd')
		return true;
	if (among(letter == 'i' ? "threads native io_uring"
				: "ignore off unmap on",
		  value))
		return true;
	log_err("Invalid %s option: %s", letter == 'i' ? "aio" : "discard",
		value);
	return false;
}

struct invocation {
	char **lines; /* of -c */
	int count;
	struct io_how how;
	bool help, version;
};

/* Takes one option; false after a message. */
static bool take(struct io *io, struct invocation *in, int letter, char *value)
{
	switch (letter) {
	case 'c':
		in->lines[in->count++] = value;
		return true;
	case 'f':
		in->how.format = value;
		return true;
	case 'r':
		return in->how.read_only = true;
	case 'U':
		return in->how.unlocked = true;
	case 's':
		return in->how.above = true;
	case 'C':
		return in->how.copy = true;
	case 'I':
		return in->how.image_opts = true;
	case 'O':
		return !img_add_secret(&io->common, value);
	case 'T':
		return !img_trace(value);
	case 'V':
		return in->version = true;
	case 'B':
		io->backing_dir = value;
		return true;
	case 'K':
		io->key_file = value;
		return true;
	case 'h':
		return in->help = true;
	case '?':
	case ':':
		return false;
	default:
		return io_take_mode(letter, value);
	}
}

/* Takes the command line; false after a message. */
static bool parse(struct io *io, struct invocation *in, int argc, char **argv)
{
	struct option names[ARRAY_SIZE(options) + 1] = { 0 };
	int letter;

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		names[i].name = options[i].name;
		names[i].has_arg = options[i].value ? required_argument
						    : no_argument;
		names[i].val = options[i].letter;
	}
	opterr = 0;
	while ((letter = getopt_long(argc, argv, ":c:f:rnt:i:d:UB:K:hsCkIO:T:V",
				     names, NULL)) >= 0) {
		if (letter == '?' || letter == ':')
			log_err("io: %s '%s'; kvist io --help lists them",
				letter == ':' ? "missing argument for option"
					      : "unrecognized option",
				argv[optind - 1]);
		if (!take(io, in, letter, optarg))
			return false;
	}
	in->how.path = argv[optind];
	if (in->how.path && argv[optind + 1])
		log_err("io: more than one file: %s", argv[optind + 1]);
	return !in->how.path || !argv[optind + 1];
}

static int run(struct io *io, const struct invocation *in)
{
	int err = 0;

	if (in->how.path && io_open_image(io, &in->how))
		return -1;
	for (int i = 0; i < in->count && !io->quit; i++)
		err |= run_line(io, in->lines[i]);
	if (!in->count)
		err = run_input(io);
	if (io->disk)
		err |= block_close(io->disk);
	free(io->path);
	free(io->list);
	return err;
}

/* getopt() leaves out argv[0], which cmd_io() has no longer. */
static char **with_name(int argc, char **argv)
{
	static char name[] = "io";
	char **all = calloc(argc + 2, sizeof(*all));

	if (all) {
		all[0] = name;
		memcpy(all + 1, argv, argc * sizeof(*argv));
	}
	return all;
}

int cmd_io(int argc, char **argv)
{
	char **all = with_name(argc, argv);
	struct invocation in = { .lines = calloc(argc + 1, sizeof(char *)) };
	struct io io = { 0 };
	int err = -1;

	if (!all || !in.lines)
		log_err("io: out of memory");
	else if (parse(&io, &in, argc + 1, all) && !in.help && !in.version)
		err = run(&io, &in);
	if (in.help) {
		print_help();
		err = 0;
	} else if (in.version) {
		err = cmd_version(0, NULL);
	}
	free(in.lines);
	free(all);
	return err || fflush(stdout) ? 1 : 0;
}
