/*
 * `kvist img resize`.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/img.h"
#include "util/checked.h"
#include "util/log.h"

struct resizing {
	struct block_options options;
	const char *format;
	const char *size; /* with its sign */
	bool quiet, shrink;
	struct img_growth growth;
};

int img_parse_growth(const char *text, struct img_growth *growth)
{
	static const char *const modes[] = {
		[BLOCK_PLACE] = "metadata",
		[BLOCK_RESERVE] = "falloc",
		[BLOCK_FILL] = "full",
	};

	growth->placed = strcmp(text, "off");
	if (!growth->placed)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		growth->space = i;
		if (!strcmp(text, modes[i]))
			return 0;
	}
	log_err("Invalid preallocation mode '%s'", text);
	return -EINVAL;
}

/* The new size, from what is given and the old. */
static int new_size(const struct resizing *r, uint64_t old, uint64_t *size)
{
	bool more = *r->size == '+', less = *r->size == '-';
	int err = img_take_size(r->size + (more || less), "image size",
				INT64_MAX, size);

	if (err)
		return err;
	if (more)
		*size += old;
	else if (less)
		*size = *size < old ? old - *size : 0;
	if (!*size || *size > INT64_MAX) {
		log_err("New image size must be positive");
		return -EINVAL;
	}
	if (*size % BLOCK_SECTOR) {
		log_err("The new size must be a multiple of 512");
		return -EINVAL;
	}
	return 0;
}

int img_set_size(struct block *disk, uint64_t size,
		 const struct img_growth *growth)
{
	/* Only a raw disk has refresh(), and it has no tables to fill. */
	bool raw = disk->ops->refresh;
	uint64_t old = disk->size;
	int err = -EINVAL;

	if (size <= old && growth->placed)
		log_err("Preallocation can only be used for growing images");
	else if (raw && growth->placed && growth->space == BLOCK_PLACE)
		log_err("Unsupported preallocation mode: metadata");
	else if (!disk->ops->resize)
		log_err("%s: this kind of disk has the size it has",
			disk->name);
	else
		err = 0;
	if (err)
		return err;
	err = disk->ops->resize(disk, size);
	if (!err && growth->placed && disk->ops->allocate) {
		err = disk->ops->allocate(disk, old, size - old, growth->space);
		/* Without the space it is not what was asked for. */
		if (err)
			disk->ops->resize(disk, old);
	}
	if (err)
		log_err("%s: cannot be resized: %s", disk->name,
			block_resize_error(err));
	return err;
}

static int resize(const struct resizing *r, struct block *disk)
{
	uint64_t size;
	int err = new_size(r, disk->size, &size);

	if (!err && size < disk->size && !r->shrink && !r->growth.placed) {
		log_err("Use the --shrink option: all data beyond the new end "
			"are lost.");
		err = -EINVAL;
	}
	return err ? err : img_set_size(disk, size, &r->growth);
}

static int run(struct resizing *r)
{
	struct block *disk;
	int err, closed;

	if (img_open(&r->options, r->format, &disk))
		return IMG_ERROR;
	err = resize(r, disk);
	closed = block_close(disk);
	if (err || closed)
		return IMG_ERROR;
	if (!r->quiet)
		puts("Image resized.");
	return 0;
}

int img_resize(int argc, char **argv)
{
	static const struct option names[] = { { "preallocation", 1, 0, 'P' },
					       { "shrink", 0, 0, 'S' },
					       { "backing-dir", 1, 0, 'D' },
					       { 0 } };
	struct resizing r = { .options.if_busy =
				      "have the guest's kvist do it: "
				      "block_resize on its --control socket" };
	struct img_common common = { .writes = true };
	int option;

	if (argc == 2 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help")))
		return img_help();
	if (argc < 3)
		return img_usage("Not enough arguments");
	/* The size comes last: one below zero is no option. */
	r.size = argv[--argc];
	argv[argc] = NULL;
	while ((option = img_option(argc, argv, ":hf:q", names, &common)) >=
	       0) {
		if (option == '?' || option == 'h')
			return option == '?' ? IMG_ERROR : img_help();
		if (option == 'f')
			r.format = optarg;
		else if (option == 'q')
			r.quiet = true;
		else if (option == 'S')
			r.shrink = true;
		else if (option == 'D')
			r.options.backing_dir = optarg;
		else if (img_parse_growth(optarg, &r.growth))
			return IMG_ERROR;
	}
	if (optind != argc - 1)
		return img_usage("Expecting image file name and size");
	if (img_source(&common, argv[optind], &r.options, &r.format))
		return IMG_ERROR;
	return run(&r);
}
