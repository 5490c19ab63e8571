/*
 * `kvist img compare`.
 */
#include <stdio.h>
#include <string.h>

#include "cli/img.h"
#include "devices/block/image_compare.h"
#include "devices/block/image_map.h"
#include "util/log.h"

enum { SAME = 0, DIFFERENT = 1, FAILED = 2 };

#define STEP (64u << 20) /* bytes, between two tellings of how far it is */

struct comparison {
	struct block_options options[2];
	const char *format[2], *backing_dir;
	struct block *disk[2];
	bool quiet, strict, progress, share;
	double shown; /* percent, when last told */
};

static int open_disk(struct comparison *c, int which)
{
	struct block_options *options = &c->options[which];

	options->unlocked |= c->share;
	options->backing_dir = c->backing_dir;
	return img_open(options, c->format[which], &c->disk[which]);
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

/* What there is at @at in one of the disks, for at most @length bytes. */
static int look(const struct comparison *c, int which, uint64_t at,
		uint64_t length, struct block_extent *extent)
{
	struct image_extent found;
	int err = image_map(c->disk[which], at, length, &found);

	if (err)
		log_err("%s: cannot read its tables: %s", c->disk[which]->name,
			strerror(-err));
	*extent = found.at;
	return err;
}

static bool same_state(const struct block_extent *a,
		       const struct block_extent *b)
{
	return a->allocated == b->allocated && a->data == b->data &&
	       a->zero == b->zero && a->placed == b->placed;
}

static void show(struct comparison *c, double percent)
{
	if (!c->progress || (percent <= c->shown + 2 && percent < 100))
		return;
	c->shown = percent;
	img_progress(percent);
}

/* Compares what both disks have. Zeros that the tables tell of are not read. */
static int compare_common(struct comparison *c, uint64_t end, uint64_t longer)
{
	int code = SAME;

	for (uint64_t at = 0, n; at < end && code == SAME; at += n) {
		struct block_extent a, b;

		n = end - at < STEP ? end - at : STEP;
		if (look(c, 0, at, n, &a) || look(c, 1, at, n, &b))
			return FAILED;
		n = a.length < b.length ? a.length : b.length;
		if (c->strict && !same_state(&a, &b)) {
			if (!c->quiet)
				printf("Strict mode: Offset %llu block status "
				       "mismatch!\n",
				       (unsigned long long)at);
			return DIFFERENT;
		}
		if (!a.zero || !b.zero)
			code = compare_part(c, at, at + n);
		if (code == SAME)
			show(c, (double)(at + n) * 100 / (double)longer);
	}
	return code;
}

static int compare(struct comparison *c)
{
	uint64_t a = c->disk[0]->size, b = c->disk[1]->size;
	uint64_t shorter = a < b ? a : b, longer = a < b ? b : a;
	int code;

	if (c->strict && a != b) {
		if (!c->quiet)
			puts("Strict mode: Image size mismatch!");
		return DIFFERENT;
	}
	code = compare_common(c, shorter, longer);
	if (code == SAME && shorter != longer) {
		if (!c->quiet)
			puts("Warning: Image size mismatch!");
		code = compare_part(c, shorter, longer);
		if (code == SAME)
			show(c, 100);
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
			if (c->progress)
				img_progress(0);
			code = compare(c);
			block_close(c->disk[1]);
		}
		block_close(c->disk[0]);
	}
	if (c->progress)
		putchar('\n');
	return code;
}

int img_compare(int argc, char **argv)
{
	static const struct option names[] = { { "backing-dir", 1, 0, 'D' },
					       { 0 } };
	struct comparison c = { 0 };
	struct img_common common = { 0 };
	int option;

	while ((option = img_option(argc, argv, ":hf:F:pqsT:U", names,
				    &common)) >= 0) {
		if (option == '?' || option == 'h')
			return option == '?' ? IMG_ERROR : img_help();
		if (option == 'f')
			c.format[0] = optarg;
		else if (option == 'F')
			c.format[1] = optarg;
		else if (option == 'D')
			c.backing_dir = optarg;
		else if (option == 'T' && !img_cache_known(optarg))
			return FAILED;
		c.progress |= option == 'p';
		c.quiet |= option == 'q';
		c.strict |= option == 's';
		c.share |= option == 'U';
	}
	if (optind != argc - 2)
		return img_usage("Expecting two image file names");
	for (int i = 0; i < 2; i++) {
		c.options[i].read_only = true;
		if (img_source(&common, argv[optind + i], &c.options[i],
			       &c.format[i]))
			return FAILED;
	}
	c.progress = c.progress && !c.quiet;
	return run(&c);
}
