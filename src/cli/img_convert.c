/*
 * `kvist img convert`.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/img_create.h"
#include "devices/block/image_copy.h"
#include "util/checked.h"
#include "util/log.h"

struct conversion {
	struct block_options from;
	const char *from_format; /* NULL: as it looks */
	struct img_creation to;
	uint64_t size; /* of the disk */
	bool progress;
	double shown; /* percent, when last told */
};

static void show(struct conversion *c, double percent)
{
	c->shown = percent;
	printf("    (%3.2f/100%%)\r", percent);
	fflush(stdout);
}

static void tell(void *opaque, uint64_t done)
{
	struct conversion *c = opaque;
	double percent = (double)done * 100 / (double)c->size;

	if (percent >= c->shown + 1 || done == c->size)
		show(c, percent);
}

/* A new qcow2 image is empty, and so is a new file; a device is not. */
static bool is_zeroed(const struct conversion *c)
{
	struct stat st;

	return c->to.format == BLOCK_QCOW2 ||
	       (!stat(c->to.path, &st) && S_ISREG(st.st_mode));
}

static int convert(struct conversion *c)
{
	struct image_copy copy = { .name = c->to.path,
				   .from_format = c->from.format,
				   .format = c->to.format,
				   .opaque = c };
	int err = block_open(&c->from, &copy.from);

	if (err)
		return err;
	c->size = copy.from->size;
	if (!c->to.sized)
		c->to.shape.size = c->size;
	if (c->progress) {
		copy.progress = tell;
		show(c, 0);
	}
	err = img_make(&c->to, &copy.to);
	if (!err) {
		copy.zeroed = is_zeroed(c);
		err = image_copy(&copy);
	}
	if (!err && c->progress)
		show(c, 100);
	if (c->progress)
		putchar('\n');
	block_close(copy.from);
	return err;
}

static int run(struct conversion *c)
{
	if (c->to.shape.backing || c->to.shape.backing_fmt) {
		log_err("%s: convert makes images without a backing file; "
			"leave out backing_file and backing_fmt",
			c->to.path);
		return IMG_ERROR;
	}
	if (c->to.sized) {
		log_err("%s: the size is that of the source; leave out size=",
			c->to.path);
		return IMG_ERROR;
	}
	if (img_find_format(c->from.path, c->from_format, false,
			    &c->from.format))
		return IMG_ERROR;
	return convert(c) ? IMG_ERROR : 0;
}

int img_convert(int argc, char **argv)
{
	static const struct option names[] = { { "help", 0, 0, 'h' },
					       { "backing-dir", 1, 0, 'D' },
					       { 0 } };
	struct conversion c = { .from.read_only = true,
				.to.shape = qcow2_shape_default };
	const char *format = "raw";
	char *lists[16];
	int option, nr_lists = 0, err = 0;
	bool quiet = false;

	while ((option = img_option(argc, argv, ":hf:O:o:pq", names)) >= 0) {
		if (option == '?' || option == 'h')
			return option == '?' ? IMG_ERROR : img_help();
		if (option == 'f')
			c.from_format = optarg;
		else if (option == 'O')
			format = optarg;
		else if (option == 'D')
			c.from.backing_dir = optarg;
		else if (option == 'p')
			c.progress = true;
		else if (option == 'q')
			quiet = true;
		else if (nr_lists == (int)ARRAY_SIZE(lists))
			return img_usage("too many options -o");
		else
			lists[nr_lists++] = optarg;
	}
	if (optind != argc - 2)
		return img_usage("Must specify one image file name and the "
				 "name of the new image");
	c.from.path = argv[optind];
	c.to.path = argv[optind + 1];
	c.progress = c.progress && !quiet;
	if (img_format(c.to.path, format, &c.to.format))
		return IMG_ERROR;
	for (int i = 0; i < nr_lists && !err; i++)
		err = img_set_fields(&c.to, lists[i]);
	if (c.to.help) {
		img_print_fields(&c.to);
		return 0;
	}
	return err ? IMG_ERROR : run(&c);
}
