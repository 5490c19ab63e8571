/*
 * `kvist img compare`.
 */
#include <stdio.h>

#include "cli/img.h"
#include "devices/block/image_compare.h"

enum { SAME = 0, DIFFERENT = 1, FAILED = 2 };

struct comparison {
	const char *path[2], *format[2], *backing_dir;
	struct block *disk[2];
	bool quiet;
};

static int open_disk(struct comparison *c, int which)
{
	struct block_options options = { .path = c->path[which],
					 .read_only = true,
					 .backing_dir = c->backing_dir };
	int err = img_find_format(options.path, c->format[which], false,
				  &options.format);

	return err ? err : block_open(&options, &c->disk[which]);
}

/* Compares a part of the disks: SAME, DIFFERENT and told, or FAILED. */
static int compare_part(const struct comparison *c, uint64_t begin,
			uint64_t end)
{
	uint64_t at;

	if (image_compare(c->disk[0], c->disk[1], begin, end, &at))
		return FAILED;
	if (at >= end)
		return SAME;
	if (!c->quiet)
		printf("Content mismatch at offset %llu!\n",
		       (unsigned long long)at);
	return DIFFERENT;
}

static int compare(const struct comparison *c)
{
	uint64_t a = c->disk[0]->size, b = c->disk[1]->size;
	uint64_t shorter = a < b ? a : b, longer = a < b ? b : a;
	int code = compare_part(c, 0, shorter);

	if (code == SAME && shorter != longer) {
		if (!c->quiet)
			puts("Warning: Image size mismatch!");
		code = compare_part(c, shorter, longer);
	}
	if (code == SAME && !c->quiet)
		puts("Images are identical.");
	return code;
}

static int run(struct comparison *c)
{
	int code = FAILED;

	if (!open_disk(c, 0)) {
		if (!open_disk(c, 1)) {
			code = compare(c);
			block_close(c->disk[1]);
		}
		block_close(c->disk[0]);
	}
	return code;
}

int img_compare(int argc, char **argv)
{
	static const struct option names[] = { { "help", 0, 0, 'h' },
					       { "backing-dir", 1, 0, 'D' },
					       { 0 } };
	struct comparison c = { 0 };
	int option;

	while ((option = img_option(argc, argv, ":hf:F:q", names)) >= 0) {
		if (option == '?' || option == 'h')
			return option == '?' ? IMG_ERROR : img_help();
		if (option == 'f')
			c.format[0] = optarg;
		else if (option == 'F')
			c.format[1] = optarg;
		else if (option == 'D')
			c.backing_dir = optarg;
		else
			c.quiet = true;
	}
	if (optind != argc - 2)
		return img_usage("Expecting two image file names");
	c.path[0] = argv[optind];
	c.path[1] = argv[optind + 1];
	return run(&c);
}
