/*
 * `kvist io`: how an image is opened, and opened again.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/io.h"
#include "devices/block/layers.h"
#include "devices/block/qcow2_create.h"
#include "util/args.h"
#include "util/log.h"

/* An image above the one that is named, in a file without a name: what is
 * written to it is gone when it is closed. */
static int open_above(struct io *io, bool read_only)
{
	struct qcow2_shape shape = qcow2_shape_default;
	struct block_options above = { .path = io->options.path,
				       .format = BLOCK_QCOW2,
				       .read_only = read_only };
	struct host_file *file;
	struct block *below;
	int fd, err;

	if (block_open(&io->options, &below))
		return -1;
	shape.size = below->size;
	fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	file = fd < 0 ? NULL : host_file_create(fd);
	err = file ? qcow2_create(file, &shape) : -errno;
	if (err)
		log_err("%s: cannot be opened with -s: /var/tmp: %s",
			io->options.path, strerror(-err));
	else
		err = block_open_file(&above, file, &io->disk);
	if (!err) {
		qcow2_set_backing(io->disk, below);
		return 0;
	}
	io->disk = NULL;
	block_close(below);
	if (file)
		file->ops->close(file);
	else if (fd >= 0)
		close(fd);
	return -1;
}

/* Opens what io->options say. */
static int open_it(struct io *io)
{
	int err = block_open(&io->options, &io->disk);

	if (err)
		io->disk = NULL;
	return err ? -1 : 0;
}

int io_open_image(struct io *io, const struct io_how *how)
{
	const char *format = how->format;
	bool read_only = how->read_only || how->above;
	const char *wrong = NULL;

	if (io->disk) {
		log_err("file open already, try 'help close'");
		return -1;
	}
	if (how->copy && how->read_only)
		wrong = "Can't use copy-on-read on read-only device";
	else if (how->unlocked && !read_only)
		wrong = "force-share=on can only be used with read-only images";
	if (wrong) {
		log_err("can't open device: %s", wrong);
		return -1;
	}
	free(io->path);
	free(io->list);
	io->path = strdup(how->path ? how->path : "");
	io->list = strdup(how->list ? how->list : "");
	if (!io->path || !io->list) {
		log_err("io: out of memory");
		return -1;
	}
	io->options =
		(struct block_options){ .path = how->path ? io->path : NULL,
					.read_only = read_only,
					.unlocked = how->unlocked,
					.if_busy = img_if_busy(read_only),
					.backing_dir = io->backing_dir,
					.key_file = io->key_file };
	io->above = how->above;
	io->copy = how->copy;
	io->common.writes = !read_only;
	io->common.image_opts = how->image_opts;
	if ((how->list ? img_list(&io->common, io->list, &io->options, &format)
		       : img_source(&io->common, io->path, &io->options,
				    &format)) ||
	    img_find_format(&io->options, format))
		return -1;
	return how->above ? open_above(io, how->read_only) : open_it(io);
}

int io_open(struct io *io, int argc, char **argv)
{
	struct io_how how = { 0 };
	int option;

	while ((option = getopt(argc, argv, "Cknrst:i:d:o:U")) >= 0) {
		if (option == '?')
			return io_usage(argv);
		if (!io_take_mode(option, optarg))
			return -1;
		if (option == 'o')
			how.list = optarg;
		how.read_only |= option == 'r';
		how.unlocked |= option == 'U';
		how.above |= option == 's';
		how.copy |= option == 'C';
	}
	how.path = argv[optind];
	if (optind < argc - 1 || (!how.path && !how.list))
		return io_usage(argv);
	return io_open_image(io, &how);
}

int io_close(struct io *io, int argc, char **argv)
{
	int err = block_close(io->disk);

	(void)argc;
	(void)argv;
	io->disk = NULL;
	return err ? -1 : 0;
}

static int check_list(char *list)
{
	char *name, *value;

	while ((name = list_next(&list, &value))) {
		if (!img_may_change(name, value ? value : "on")) {
			log_err("Cannot change the option '%s'", name);
			return -1;
		}
	}
	return 0;
}

int io_reopen(struct io *io, int argc, char **argv)
{
	bool read_only = io->disk->read_only;
	int option, modes = 0;

	while ((option = getopt(argc, argv, "c:o:rw")) >= 0) {
		if (option == '?')
			return io_usage(argv);
		if (option == 'c' && !img_cache_known(optarg))
			return -1;
		if (option == 'o' && check_list(optarg))
			return -1;
		if (option == 'c' || option == 'o')
			continue;
		read_only = option == 'r';
		if (modes++) {
			log_err("Only one -r/-w option may be given");
			return -1;
		}
	}
	if (optind != argc)
		return io_usage(argv);
	/* What was written would be gone. */
	if (io->above)
		return 0;
	if (io_close(io, argc, argv))
		return -1;
	io->options.read_only = read_only;
	return open_it(io);
}
