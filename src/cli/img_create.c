/*
 * `kvist img create`.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/img_create.h"
#include "devices/block/allowed.h"
#include "devices/block/qcow2_create.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

/* Opens the backing file, to see that it is one and how large it is. Nothing
 * is read of the disk, which somebody may be writing to. */
static int size_of_backing(struct img_creation *c)
{
	struct block_options options = { .read_only = true,
					 .unlocked = true,
					 .backing_dir = "/" };
	struct block *block;
	char *path = image_beside(c->path, c->shape.backing);
	int err = path ? 0 : -ENOMEM;

	if (!err && img_same_file(path, c->path)) {
		log_err("%s: Error: Trying to create an image with the same "
			"filename as the backing file",
			c->path);
		err = -EINVAL;
	}
	if (!err)
		err = img_format(c->path, c->shape.backing_fmt,
				 &options.format);
	options.path = path;
	if (!err)
		err = block_open(&options, &block);
	if (!err) {
		if (!c->sized)
			c->shape.size = block->size;
		c->sized = true;
		block_close(block);
	}
	free(path);
	return err;
}

static int check_backing(struct img_creation *c)
{
	if (!c->shape.backing)
		return 0;
	if (!c->shape.backing_fmt) {
		log_err("%s: Backing file specified without backing format; "
			"say it with -F",
			c->path);
		return -EINVAL;
	}
	return c->unchecked ? 0 : size_of_backing(c);
}

/* A text as -o would take it: commas are doubled. */
static void print_text(const char *name, const char *text)
{
	printf(" %s=", name);
	for (; *text; text++) {
		if (*text == ',')
			putchar(',');
		putchar(*text);
	}
}

static void print_bool(const char *name, bool on)
{
	printf(" %s=%s", name, on ? "on" : "off");
}

static void print_preallocation(const struct img_creation *c)
{
	if (c->preallocation)
		print_text("preallocation", c->preallocation);
}

static void announce_qcow2(const struct img_creation *c)
{
	const struct qcow2_shape *s = &c->shape;

	img_print_encryption(c);
	printf(" cluster_size=%llu", (unsigned long long)s->cluster_size);
	print_bool("extended_l2", s->extended_l2);
	print_preallocation(c);
	printf(" compression_type=%s size=%llu",
	       img_compressions[s->compression], (unsigned long long)s->size);
	if (c->compat)
		print_text("compat", c->compat);
	if (s->backing)
		print_text("backing_file", s->backing);
	if (s->backing_fmt)
		print_text("backing_fmt", s->backing_fmt);
	if (s->data_name)
		print_text("data_file", s->data_name);
	if (s->data_raw)
		print_bool("data_file_raw", true);
	print_bool("lazy_refcounts", s->lazy_refcounts);
	printf(" refcount_bits=%llu", (unsigned long long)s->refcount_bits);
	if (c->nocow_given)
		print_bool("nocow", c->nocow);
}

static void announce(const struct img_creation *c, const char *name)
{
	bool raw = c->format == BLOCK_RAW;

	if (c->quiet)
		return;
	printf("Formatting '%s', fmt=%s", name, raw ? "raw" : "qcow2");
	if (raw) {
		printf(" size=%llu", (unsigned long long)c->shape.size);
		if (c->nocow_given)
			print_bool("nocow", c->nocow);
		print_preallocation(c);
	} else {
		announce_qcow2(c);
	}
	if (c->extent_hint_given)
		printf(" extent_size_hint=%llu",
		       (unsigned long long)c->extent_hint);
	putchar('\n');
}

static int create_raw(struct host_file *file, const struct qcow2_shape *shape)
{
	uint64_t room = 0;
	int err = file->ops->truncate(file, 0);

	if (!err)
		err = file->ops->truncate(file, shape->size);
	else if (!file->ops->size(file, &room) && room)
		/* A block device: it has the size it has. */
		err = room >= shape->size ? 0 : -ENOSPC;
	if (!err && shape->size &&
	    shape->preallocation == QCOW2_PREALLOC_FALLOC)
		err = file->ops->allocate(file, 0, shape->size);
	if (!err && shape->preallocation == QCOW2_PREALLOC_FULL)
		err = host_write_zeros(file, 0, shape->size);
	return err ? err : file->ops->sync(file);
}

/* A new file, or one that nobody uses. */
static int open_target(const char *path, bool *ours)
{
	int err, fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	*ours = fd >= 0;
	if (fd < 0 && errno == EEXIST)
		fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		log_err("%s: Could not create '%s': %s", path, path,
			strerror(errno));
		return -EINVAL;
	}
	err = img_lock(path, fd, true);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

/* Tells the host's file system of what was wished: of an empty file only. It
 * may know none of it. */
static void set_hints(const struct img_creation *c, int fd)
{
	struct fsxattr attr;
	int flags;

	if ((!c->nocow && !c->extent_hint) || ftruncate(fd, 0))
		return;
	if (c->nocow && !ioctl(fd, FS_IOC_GETFLAGS, &flags)) {
		flags |= FS_NOCOW_FL;
		ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
	if (!c->extent_hint)
		return;
	if (!ioctl(fd, FS_IOC_FSGETXATTR, &attr)) {
		attr.fsx_xflags |= FS_XFLAG_EXTSIZE;
		attr.fsx_extsize = c->extent_hint;
		if (!ioctl(fd, FS_IOC_FSSETXATTR, &attr))
			return;
	}
	log_warn("%s: Failed to set extent size hint: %s", c->path,
		 strerror(errno));
}

/* Opens the file of the name, to be written anew. */
static int make_file(const struct img_creation *c, const char *path,
		     struct host_file **file, bool *ours)
{
	struct host_file_how how = { .unsafe = c->unsafe };
	int fd = open_target(path, ours);
	bool direct;

	if (fd < 0)
		return fd;
	set_hints(c, fd);
	*file = host_file_create_how(fd, &how, &direct);
	if (*file)
		return 0;
	close(fd);
	log_err("%s: out of memory", path);
	return -ENOMEM;
}

static int make_image(struct img_creation *c, struct host_file *file)
{
	char *path = NULL;
	bool ours = false;
	int err;

	if (c->format == BLOCK_RAW)
		return create_raw(file, &c->shape);
	if (c->shape.data_name) {
		path = image_beside(c->path, c->shape.data_name);
		err = path ? make_file(c, path, &c->shape.data, &ours)
			   : -ENOMEM;
		if (err) {
			free(path);
			return err;
		}
	}
	err = qcow2_create(file, &c->shape);
	if (c->shape.data)
		c->shape.data->ops->close(c->shape.data);
	c->shape.data = NULL;
	if (err && ours)
		unlink(path);
	free(path);
	return err;
}

static int check_shape(const struct img_creation *c)
{
	const char *wrong = NULL;

	if (c->format == BLOCK_QCOW2)
		wrong = qcow2_shape_wrong(&c->shape);
	if (wrong)
		log_err("%s: %s", c->path, wrong);
	return wrong ? -EINVAL : 0;
}

/* The key takes a while: what is wrong without one is said before. */
static int make_key(struct img_creation *c)
{
	int err = check_shape(c);

	if (!err && c->format == BLOCK_QCOW2)
		err = img_make_key(c);
	return err ? err : check_shape(c);
}

int img_make(struct img_creation *c, struct host_file **result)
{
	struct host_file *file = NULL;
	bool ours = false;
	int err;

	c->shape.size = align_up(c->shape.size, BLOCK_SECTOR);
	err = make_key(c);
	if (!err)
		err = make_file(c, c->path, &file, &ours);
	if (!err) {
		err = make_image(c, file);
		if (err)
			log_err("%s: %s", c->path, strerror(-err));
	}
	if (err && ours)
		unlink(c->path);
	if (!err && result)
		*result = file;
	else if (file)
		file->ops->close(file);
	free(c->luks);
	c->luks = NULL;
	c->shape.luks = NULL;
	return err;
}

static int parse_size_argument(struct img_creation *c, const char *text)
{
	if (c->sized) {
		log_err("%s: The image size must be specified only once",
			c->path);
		return -EINVAL;
	}
	c->sized = true;
	return img_take_size(text, "image size", INT64_MAX, &c->shape.size);
}

static int run(struct img_creation *c, const char *name)
{
	if (check_backing(c))
		return IMG_ERROR;
	if (!c->sized) {
		log_err("%s: Image creation needs a size parameter", c->path);
		return IMG_ERROR;
	}
	announce(c, name);
	fflush(stdout);
	return img_make(c, NULL) ? IMG_ERROR : 0;
}

/* What -b and -F say, or NULL. 0 or -EINVAL, logged. */
static int set_backing(struct img_creation *c, const char *backing,
		       const char *backing_fmt)
{
	int err = 0;

	if (backing && !*backing) {
		log_err("%s: Expected backing file name, got empty string",
			c->path);
		return -EINVAL;
	}
	if (backing)
		err = img_set_field(c, "backing_file", backing);
	if (!err && backing_fmt)
		err = img_set_field(c, "backing_fmt", backing_fmt);
	return err;
}

int img_create(int argc, char **argv)
{
	static const struct option names[] = { { 0 } };
	struct img_common common = { 0 };
	struct img_creation c = { .shape = qcow2_shape_default,
				  .common = &common };
	const char *format = "raw", *backing = NULL, *backing_fmt = NULL;
	const char *name;
	char *lists[16];
	int option, nr_lists = 0, err = 0;

	while ((option = img_option(argc, argv, ":F:b:f:ho:qu", names,
				    &common)) >= 0) {
		if (option == '?')
			return IMG_ERROR;
		else if (option == 'h')
			c.help = true;
		else if (option == 'F')
			backing_fmt = optarg;
		else if (option == 'b')
			backing = optarg;
		else if (option == 'f')
			format = optarg;
		else if (option == 'q')
			c.quiet = true;
		else if (option == 'u')
			c.unchecked = true;
		else if (nr_lists == (int)ARRAY_SIZE(lists))
			return img_usage("too many options -o");
		else
			lists[nr_lists++] = optarg;
	}
	if (common.image_opts)
		return img_usage("unrecognized option '--image-opts'");
	name = optind < argc ? argv[optind++] : NULL;
	c.path = name ? img_path(name) : NULL;
	if (img_format(c.path ? c.path : "create", format, &c.format))
		return IMG_ERROR;
	for (int i = 0; i < nr_lists && !err; i++)
		err = img_set_fields(&c, lists[i]);
	if (c.help) {
		img_print_fields(&c);
		return 0;
	}
	if (!name)
		return img_usage("Expecting image file name");
	if (!c.path)
		return IMG_ERROR;
	if (!err)
		err = set_backing(&c, backing, backing_fmt);
	if (!err && optind < argc)
		err = parse_size_argument(&c, argv[optind++]);
	if (!err && optind < argc)
		return img_usage("Unexpected argument: %s", argv[optind]);
	return err ? IMG_ERROR : run(&c, name);
}
