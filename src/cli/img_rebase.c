/*
 * `kvist img rebase`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/img.h"
#include "devices/block/allowed.h"
#include "devices/block/image_rebase.h"
#include "devices/block/qcow2_amend.h"
#include "util/log.h"

struct rebase {
	struct block_options options;
	const char *format;
	const char *backing, *backing_fmt; /* empty and NULL: none */
	bool unsafe, progress;
	bool share;                        /* no lock on the new backing file */
	struct block *disk, *backing_disk; /* the latter NULL: none */
};

/* Opens the new backing file, to compare the old one with it. */
static int open_new(struct rebase *r)
{
	struct block_options options = { .read_only = true,
					 .unlocked = r->share,
					 .if_busy = img_if_busy(true),
					 .backing_dir =
						 r->options.backing_dir };
	char *path;
	int err = 0;

	if (!*r->backing)
		return 0;
	path = image_beside(r->options.path, r->backing);
	if (!path)
		return -ENOMEM;
	options.path = path;
	err = img_open(&options, r->backing_fmt, &r->backing_disk);
	free(path);
	return err;
}

static void tell(void *opaque, uint64_t done)
{
	const struct rebase *r = opaque;

	img_progress((double)done * 100 / (double)r->disk->size);
}

static int rename_backing(struct rebase *r)
{
	struct qcow2_amendment a;
	int err = qcow2_amendment_of(r->disk, &a);

	a.backing = *r->backing ? r->backing : NULL;
	a.backing_fmt = r->backing_fmt;
	if (!err)
		err = qcow2_amend(r->disk, &a);
	if (err == -EFBIG)
		log_err("%s: Could not change the backing file to '%s': the "
			"name does not fit into the header",
			r->options.path, r->backing);
	else if (err)
		log_err("%s: Could not change the backing file to '%s': %s",
			r->options.path, r->backing,
			err == -ENOTSUP ? "a raw image has none"
					: strerror(-err));
	return err;
}

static int rebase(struct rebase *r)
{
	struct image_rebase job = { .disk = r->disk, .opaque = r };
	struct qcow2_amendment old;
	int err = 0;

	if (!r->unsafe && !qcow2_amendment_of(r->disk, &old)) {
		err = open_new(r);
		if (!err) {
			job.backing = r->backing_disk;
			job.progress = r->progress ? tell : NULL;
			err = image_rebase(&job);
		}
	}
	if (!err)
		err = rename_backing(r);
	if (!err && r->progress)
		img_progress(100);
	if (r->backing_disk)
		block_close(r->backing_disk);
	return err;
}

static int run(struct rebase *r)
{
	enum block_format backing_format;
	int err, closed;

	if (*r->backing && !r->backing_fmt) {
		log_err("Could not change the backing file to '%s': backing "
			"format must be specified: -F FMT",
			r->backing);
		return IMG_ERROR;
	}
	if (r->backing_fmt &&
	    img_format(r->options.path, r->backing_fmt, &backing_format))
		return IMG_ERROR;
	r->options.no_backing = r->unsafe;
	if (img_open(&r->options, r->format, &r->disk))
		return IMG_ERROR;
	if (r->progress)
		img_progress(0);
	err = rebase(r);
	if (r->progress)
		putchar('\n');
	closed = block_close(r->disk);
	return err || closed ? IMG_ERROR : 0;
}

int img_rebase(int argc, char **argv)
{
	static const struct option names[] = { { "backing-dir", 1, 0, 'D' },
					       { 0 } };
	struct rebase r = { 0 };
	struct img_common common = { .writes = true };
	bool quiet = false;
	int option;

	while ((option = img_option(argc, argv, ":hf:F:b:upt:T:qU", names,
				    &common)) >= 0) {
		if (option == '?' || option == 'h')
			return option == '?' ? IMG_ERROR : img_help();
		if (option == 'f')
			r.format = optarg;
		else if (option == 'F')
			r.backing_fmt = optarg;
		else if (option == 'b')
			r.backing = optarg;
		else if (option == 'u')
			r.unsafe = true;
		else if (option == 'p')
			r.progress = true;
		else if (option == 'q')
			quiet = true;
		else if (option == 'U')
			r.share = true;
		else if (option == 'D')
			r.options.backing_dir = optarg;
		else if (!img_cache_known(optarg))
			return IMG_ERROR;
	}
	if (optind != argc - 1)
		return img_usage("Expecting one image file name");
	if (!r.backing && !r.unsafe)
		return img_usage("Must specify backing file (-b) or use unsafe "
				 "mode (-u)");
	if (!r.backing)
		r.backing = "";
	r.progress = r.progress && !quiet;
	if (img_source(&common, argv[optind], &r.options, &r.format))
		return IMG_ERROR;
	return run(&r);
}
