/*
 * `kvist img convert`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/img_create.h"
#include "devices/block/concat.h"
#include "devices/block/image_copy.h"
#include "devices/block/image_map.h"
#include "devices/block/layers.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

#define SPARSE_MAX 16777216
#define PARALLEL   16 /* -m, at most */

struct conversion {
	struct img_common common;
	struct block_options from;   /* without the path */
	struct block_options target; /* its path, and with -n more */
	char **paths;                /* of the sources, */
	int nr_paths;                /* and how many */
	const char *from_format;     /* NULL: as it looks */
	char *snapshot;              /* of the source, as -l says it */
	struct img_creation to;
	struct image_copy copy;
	bool in_place; /* -n: the target is there */
	bool listed;   /* --target-image-opts: the path is a list */
	bool shaped;   /* -o */
	bool offload, sparse_given; /* -C, -S */
	bool bitmaps, skip_broken;
	uint64_t tracked; /* bytes of the disk that those are of */
	bool progress, quiet;
	double shown; /* percent, when last told */
};

static void show(struct conversion *c, double percent)
{
	c->shown = percent;
	img_progress(percent);
}

static void tell(void *opaque, uint64_t done)
{
	struct conversion *c = opaque;
	uint64_t size = c->copy.from->size;
	double percent = (double)done * 100 / (double)size;

	if (percent >= c->shown + 1 || done == size)
		show(c, percent);
}

/* A new qcow2 image is empty, and so is a new file; a device is not. */
static bool is_zeroed(const struct conversion *c)
{
	struct stat st;

	return c->to.format == BLOCK_QCOW2 ||
	       (!stat(c->to.path, &st) && S_ISREG(st.st_mode));
}

/* All sources, as one disk. */
static int open_sources(struct conversion *c)
{
	struct block **parts = calloc(c->nr_paths, sizeof(struct block *));
	int err = parts ? 0 : -ENOMEM, n = 0;

	for (; n < c->nr_paths && !err; n++) {
		const char *format = c->from_format;
		struct block_options from = c->from;

		err = img_source(&c->common, c->paths[n], &from, &format);
		if (!err)
			err = img_open(&from, format, &parts[n]);
		if (err)
			break;
	}
	if (!err && n == 1) {
		c->copy.from = parts[0];
	} else if (!err) {
		err = concat_create(parts, n, &c->copy.from);
		if (err)
			log_err("cannot put the sources together: %s",
				strerror(-err));
	}
	while (err && n > 0)
		block_close(parts[--n]);
	free(parts);
	return err;
}

static int open_source(struct conversion *c)
{
	int err = open_sources(c);

	if (err)
		return err;
	c->tracked = c->copy.from->size;
	if (c->bitmaps)
		err = img_check_bitmaps(c->copy.from, c->skip_broken);
	if (!err && c->snapshot)
		err = img_snapshot_view(c->copy.from, c->copy.from->name,
					c->snapshot);
	if (err)
		block_close(c->copy.from);
	return err;
}

/* -n */
static int open_in_place(struct conversion *c)
{
	int err;

	c->target.format = c->to.format;
	c->target.backing_dir = c->from.backing_dir;
	if (c->to.unsafe)
		c->target.cache = BLOCK_CACHE_UNSAFE;
	err = block_open(&c->target, &c->copy.to);
	if (err || c->copy.to->size >= c->copy.from->size)
		return err;
	log_err("%s: Output file is smaller than input file; resize it",
		c->to.path);
	block_close(c->copy.to);
	return -EINVAL;
}

static int make_target(struct conversion *c)
{
	struct block_options options = { .path = c->to.path,
					 .format = c->to.format,
					 .backing_dir = c->from.backing_dir,
					 .data_is_ours = true };
	struct host_file *file;
	int err;

	c->to.shape.size = c->copy.from->size; /* whatever -o says */
	err = img_make(&c->to, &file);
	if (err)
		return err;
	options.key_file = c->to.key_file; /* found by now */
	c->copy.zeroed = is_zeroed(c);
	err = block_open_file(&options, file, &c->copy.to);
	if (err)
		file->ops->close(file);
	return err;
}

static int convert(struct conversion *c)
{
	int closed, err = c->in_place ? open_in_place(c) : make_target(c);

	if (err)
		return err;
	if (c->copy.backed)
		c->copy.backing_size = image_backing(c->copy.to)->size;
	err = c->bitmaps ? img_take_bitmaps(c->copy.to, c->tracked) : 0;
	if (!err)
		err = image_copy(&c->copy);
	if (!err && c->bitmaps)
		err = img_copy_bitmaps(c->copy.from, c->copy.to);
	closed = block_close(c->copy.to); /* writes it out */
	return err ? err : closed;
}

static int run(struct conversion *c)
{
	int err = open_source(c);

	if (err)
		return IMG_ERROR;
	if (c->progress) {
		c->copy.progress = tell;
		c->copy.opaque = c;
		show(c, 0);
	}
	err = convert(c);
	if (!err && c->progress)
		show(c, 100);
	if (c->progress)
		putchar('\n');
	block_close(c->copy.from);
	return err ? IMG_ERROR : 0;
}

/* What does not go together: a message and -EINVAL. */
static int check(struct conversion *c)
{
	const struct qcow2_shape *shape = &c->to.shape;
	const char *wrong = NULL;
	enum block_format below;

	c->copy.backed = shape->backing;
	if (c->shaped && c->in_place)
		wrong = "-o has no effect when skipping image creation";
	else if (c->offload && c->copy.salvage)
		wrong = "Cannot use copy offloading in salvaging mode";
	else if (c->offload && c->sparse_given)
		wrong = "Cannot enable copy offloading when -S is used";
	else if (c->copy.compress && c->to.format == BLOCK_RAW)
		wrong = "Compression not supported for this file format";
	else if (c->copy.compress && shape->preallocation != QCOW2_PREALLOC_OFF)
		wrong = "Compression and preallocation not supported at the "
			"same time";
	else if (shape->backing_fmt && !shape->backing)
		wrong = "a backing format without a backing file: -B FILE";
	else if (shape->backing && !shape->backing_fmt)
		wrong = "backing format must be specified: -F FMT";
	else if (shape->backing && c->in_place)
		wrong = "-n takes the target as it is, without -B";
	else if (c->copy.zeroed && !c->in_place)
		wrong = "--target-is-zero requires use of -n flag";
	else if (shape->backing && !c->copy.sparse)
		wrong = "-S 0 and -B: all would be copied; leave out one";
	else if (c->nr_paths > 1 && shape->backing)
		wrong = "-B makes no sense with several sources";
	else if (c->skip_broken && !c->bitmaps)
		wrong = "Use of --skip-broken-bitmaps requires --bitmaps";
	else if (c->nr_paths > 1 && c->bitmaps)
		wrong = "Copying bitmaps only possible with single source";
	else if (c->bitmaps && c->to.format == BLOCK_RAW)
		wrong = "Format driver 'raw' does not support bitmaps";
	else if (c->bitmaps && !c->in_place && shape->version == 2)
		wrong = "Format driver 'qcow2' does not support bitmaps in "
			"version 2: -o compat=1.1";
	else if (c->nr_paths > 1 && c->snapshot)
		wrong = "No support for concatenating multiple snapshot";
	if (wrong)
		log_err("%s: %s", c->to.path, wrong);
	if (wrong || !shape->backing)
		return wrong ? -EINVAL : 0;
	return img_format(shape->backing, shape->backing_fmt, &below);
}

static int parse_sparse(struct conversion *c, const char *text)
{
	if (!img_parse_size(text, &c->copy.sparse) &&
	    c->copy.sparse % BLOCK_SECTOR == 0 && c->copy.sparse <= SPARSE_MAX)
		return 0;
	log_err("Invalid buffer size for sparse output specified: 0, or a "
		"multiple of 512 up to %u",
		SPARSE_MAX);
	return -EINVAL;
}

static int parse_parallel(struct conversion *c, const char *text)
{
	uint64_t n;

	if (parse_number(text, 1, PARALLEL, &n)) {
		log_err("Invalid number of coroutines. Allowed number of "
			"coroutines is between 1 and %d",
			PARALLEL);
		return -EINVAL;
	}
	c->copy.workers = n;
	return 0;
}

/* What an option without a value says; NULL for one that says nothing: -W,
 * pieces are compressed in any order anyway. */
static bool *flag_of(struct conversion *c, int option)
{
	switch (option) {
	case 'C': /* the host may do as it likes */
		return &c->offload;
	case 'c':
		return &c->copy.compress;
	case 'n':
		return &c->in_place;
	case 's':
		return &c->copy.salvage;
	case 'b':
		return &c->bitmaps;
	case 'k':
		return &c->skip_broken;
	case 'L':
		return &c->listed;
	case 'Z':
		return &c->copy.zeroed;
	case 'p':
		return &c->progress;
	case 'q':
		return &c->quiet;
	case 'U':
		return &c->from.unlocked;
	default:
		return NULL;
	}
}

/* Options that say how it is done. 0 or -EINVAL, logged. */
static int take(struct conversion *c, int option, char *value)
{
	bool *flag = flag_of(c, option);

	if (flag)
		*flag = true;
	switch (option) {
	case 'f':
		c->from_format = value;
		return 0;
	case 'D':
		c->from.backing_dir = value;
		return 0;
	case 'l':
		c->snapshot = value;
		return 0;
	case 'B':
		c->to.shape.backing = value;
		return 0;
	case 'F':
		c->to.shape.backing_fmt = value;
		return 0;
	case 'S':
		c->sparse_given = true;
		return parse_sparse(c, value);
	case 'r':
		return img_take_size(value, "rate limit", INT64_MAX,
				     &c->copy.rate);
	case 'm':
		return parse_parallel(c, value);
	case 't':
		c->to.unsafe = !strcmp(value, "unsafe");
		return img_cache_known(value) ? 0 : -EINVAL;
	case 'T':
		return img_cache_known(value) ? 0 : -EINVAL;
	default:
		return 0;
	}
}

/* What the last argument is, and of which format. */
static int name_target(struct conversion *c, char *text, const char *format)
{
	struct img_common common = c->common;
	const char *wrong = NULL;
	int err = 0;

	if (c->listed && !c->in_place)
		wrong = "--target-image-opts requires use of -n flag";
	else if (c->listed && format)
		wrong = "Cannot use -O with --target-image-opts";
	if (wrong) {
		log_err("%s", wrong);
		return -EINVAL;
	}
	common.image_opts = c->listed;
	common.writes = true;
	if (!format && !c->listed)
		format = "raw";
	if (c->in_place)
		err = img_source(&common, text, &c->target, &format);
	else
		c->target.path = img_path(text);
	if (err || !c->target.path)
		return -EINVAL;
	c->to.path = c->target.path;
	c->to.key_file = c->target.key_file;
	return img_format(c->to.path, format ? format : "raw", &c->to.format);
}

static void prepare(struct conversion *c)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	*c = (struct conversion){ .from.read_only = true,
				  .to.shape = qcow2_shape_default,
				  .to.unsafe = true,
				  .copy.sparse = IMAGE_COPY_SPARSE };
	c->to.common = &c->common;
	c->copy.workers = cores < 1 ? 1 : cores > PARALLEL ? PARALLEL : cores;
}

int img_convert(int argc, char **argv)
{
	static const struct option names[] = {
		{ "backing-dir", 1, 0, 'D' },
		{ "bitmaps", 0, 0, 'b' },
		{ "skip-broken-bitmaps", 0, 0, 'k' },
		{ "salvage", 0, 0, 's' },
		{ "target-is-zero", 0, 0, 'Z' },
		{ "target-image-opts", 0, 0, 'L' },
		{ 0 }
	};
	struct conversion c;
	const char *format = NULL;
	char *lists[16];
	int option, nr_lists = 0, err = 0;

	prepare(&c);
	while ((option = img_option(argc, argv,
				    ":hf:O:B:F:cCo:l:S:pr:t:T:qnm:WU", names,
				    &c.common)) >= 0) {
		if (option == '?' || option == 'h')
			return option == '?' ? IMG_ERROR : img_help();
		if (option == 'O')
			format = optarg;
		else if (option == 'o' && nr_lists == (int)ARRAY_SIZE(lists))
			return img_usage("too many options -o");
		else if (option == 'o')
			lists[nr_lists++] = optarg;
		else if (take(&c, option, optarg))
			return IMG_ERROR;
	}
	c.paths = argv + optind;
	c.nr_paths = argc - optind - 1;
	c.progress = c.progress && !c.quiet;
	if (name_target(&c, argv[argc - 1], format))
		return IMG_ERROR;
	for (int i = 0; i < nr_lists && !err; i++)
		err = img_set_fields(&c.to, lists[i]);
	c.shaped = nr_lists;
	if (c.to.help) {
		img_print_fields(&c.to);
		return 0;
	}
	if (!err && c.nr_paths < 1)
		return img_usage("Must specify image file name");
	if (!err)
		err = check(&c);
	return err ? IMG_ERROR : run(&c);
}
