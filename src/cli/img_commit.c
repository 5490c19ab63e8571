/*
 * `kvist img commit`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/img.h"
#include "devices/block/allowed.h"
#include "devices/block/image_map.h"
#include "devices/block/image_rebase.h"
#include "devices/block/qcow2_amend.h"
#include "util/log.h"

struct committing {
	struct block_options options;
	const char *format, *base; /* base NULL: the backing file */
	uint64_t rate;             /* bytes a second, or 0 */
	bool keep;                 /* -d: the disk is not emptied */
	bool progress, quiet;
	struct block *disk;
};

/* How deep below the image the base is. */
static int find_base(struct committing *c)
{
	unsigned depth = 1;
	struct block *layer;
	char *path = NULL;
	int err;

	c->options.read_only = true;
	err = block_open(&c->options, &c->disk);
	if (err)
		return err;
	layer = image_backing(c->disk);
	if (!layer) {
		log_err("%s: Image does not have a backing file",
			c->options.path);
		err = -EINVAL;
	} else if (c->base) {
		path = image_beside(c->options.path, c->base);
		while (path && layer && !img_same_file(path, layer->name) &&
		       !img_same_file(c->base, layer->name)) {
			layer = image_backing(layer);
			depth++;
		}
		if (!layer || !path) {
			log_err("%s: Did not find '%s' in the backing chain",
				c->options.path, c->base);
			err = -ENOENT;
		}
	}
	free(path);
	block_close(c->disk);
	c->options.read_only = false;
	c->options.writable_below = depth;
	return err;
}

static void tell(void *opaque, uint64_t done)
{
	const struct committing *c = opaque;

	img_progress((double)done * 100 / (double)c->disk->size);
}

static int commit(struct committing *c)
{
	struct image_commit job = { .disk = c->disk,
				    .base = c->disk,
				    .rate = c->rate };
	int err;

	for (unsigned i = 0; i < c->options.writable_below && job.base; i++)
		job.base = image_backing(job.base);
	if (!job.base)
		return -ENOENT;
	if (c->progress) {
		job.progress = tell;
		job.opaque = c;
		img_progress(0);
	}
	err = image_commit(&job);
	/* The layers between know nothing of what came below them, so that only
	 * the lowest may be emptied. */
	if (!err && !c->keep && c->options.writable_below == 1) {
		err = qcow2_make_empty(c->disk);
		if (err)
			log_err("%s: cannot be emptied: %s", c->disk->name,
				strerror(-err));
	}
	if (!err && c->progress)
		img_progress(100);
	if (c->progress)
		putchar('\n');
	return err;
}

static int run(struct committing *c)
{
	int err, closed;

	if (img_find_format(&c->options, c->format) || find_base(c) ||
	    block_open(&c->options, &c->disk))
		return IMG_ERROR;
	err = commit(c);
	closed = block_close(c->disk);
	if (err || closed)
		return IMG_ERROR;
	if (!c->quiet)
		puts("Image committed.");
	return 0;
}

int img_commit(int argc, char **argv)
{
	static const struct option names[] = { { "backing-dir", 1, 0, 'D' },
					       { 0 } };
	struct committing c = { 0 };
	struct img_common common = { .writes = true };
	int option;

	while ((option = img_option(argc, argv, ":hf:t:b:r:dpq", names,
				    &common)) >= 0) {
		if (option == '?' || option == 'h')
			return option == '?' ? IMG_ERROR : img_help();
		if (option == 'f')
			c.format = optarg;
		else if (option == 'b')
			c.base = optarg;
		else if (option == 'd')
			c.keep = true;
		else if (option == 'p')
			c.progress = true;
		else if (option == 'q')
			c.quiet = true;
		else if (option == 'D')
			c.options.backing_dir = optarg;
		else if (option == 'r' && img_take_size(optarg, "rate limit",
							INT64_MAX, &c.rate))
			return IMG_ERROR;
		else if (option == 't' && !img_cache_known(optarg))
			return IMG_ERROR;
	}
	if (optind != argc - 1)
		return img_usage("Expecting one image file name");
	c.progress = c.progress && !c.quiet;
	/* As with qemu-img: -b leaves the image as it is. */
	c.keep = c.keep || c.base;
	if (img_source(&common, argv[optind], &c.options, &c.format))
		return IMG_ERROR;
	return run(&c);
}
