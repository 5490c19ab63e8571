/*
 * `kvist io`: commands about the image as a whole.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/img.h"
#include "cli/io.h"
#include "devices/block/image_info.h"
#include "devices/block/image_map.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

/* Opens what io->options say. */
static int open_again(struct io *io)
{
	int err = block_open(&io->options, &io->disk);

	if (err)
		io->disk = NULL;
	return err ? -1 : 0;
}

int io_open_image(struct io *io, const char *path, const char *format,
		  bool read_only, bool unlocked)
{
	if (io->disk) {
		log_err("file open already, try 'help close'");
		return -1;
	}
	if (unlocked && !read_only) {
		log_err("can't open device %s: force-share=on can only be used "
			"with read-only images",
			path);
		return -1;
	}
	free(io->path);
	io->path = strdup(path);
	io->options = (struct block_options){ .path = io->path,
					      .read_only = read_only,
					      .unlocked = unlocked,
					      .if_busy = img_if_busy(read_only),
					      .backing_dir = io->backing_dir,
					      .key_file = io->key_file };
	if (!io->path) {
		log_err("%s: out of memory", path);
		return -1;
	}
	if (img_find_format(&io->options, format))
		return -1;
	return open_again(io);
}

/* -o: the format is all there is to say here. */
static int open_options(char *list, const char **format)
{
	char *name, *value;

	while ((name = list_next(&list, &value))) {
		if (strcmp(name, "driver") || !value) {
			log_err("open -o: '%s' is not an option that kvist io "
				"knows; it knows driver=",
				name);
			return -1;
		}
		*format = value;
	}
	return 0;
}

int io_open(struct io *io, int argc, char **argv)
{
	bool read_only = false, unlocked = false;
	const char *format = NULL;
	int option;

	while ((option = getopt(argc, argv, "rnUt:i:d:o:")) >= 0) {
		if (option == '?')
			return io_usage(argv);
		if (option == 't' && !img_cache_known(optarg))
			return -1;
		if (option == 'o' && open_options(optarg, &format))
			return -1;
		read_only |= option == 'r';
		unlocked |= option == 'U';
	}
	if (optind != argc - 1)
		return io_usage(argv);
	return io_open_image(io, argv[optind], format, read_only, unlocked);
}

int io_close(struct io *io, int argc, char **argv)
{
	int err = block_close(io->disk);

	(void)argc;
	(void)argv;
	io->disk = NULL;
	return err ? -1 : 0;
}

int io_reopen(struct io *io, int argc, char **argv)
{
	bool read_only = io->disk->read_only;
	int option, modes = 0;

	while ((option = getopt(argc, argv, "c:rw")) >= 0) {
		if (option == '?')
			return io_usage(argv);
		if (option == 'c' && !img_cache_known(optarg))
			return -1;
		if (option == 'c')
			continue;
		read_only = option == 'r';
		if (modes++) {
			log_err("Only one -r/-w option may be given");
			return -1;
		}
	}
	if (optind != argc)
		return io_usage(argv);
	if (io_close(io, argc, argv))
		return -1;
	io->options.read_only = read_only;
	return open_again(io);
}

int io_length(struct io *io, int argc, char **argv)
{
	char text[IO_SIZE_TEXT];

	(void)argc;
	(void)argv;
	puts(io_size((double)io->disk->size, text));
	return 0;
}

int io_truncate(struct io *io, int argc, char **argv)
{
	uint64_t size;
	int err;

	(void)argc;
	if (io_number(argv[1], &size))
		return -1;
	err = io->disk->ops->resize ? 0 : -ENOTSUP;
	if (!err && size % BLOCK_SECTOR) {
		log_err("The new size must be a multiple of 512");
		return -1;
	}
	if (!err)
		err = io->disk->ops->resize(io->disk, size);
	if (err)
		log_err("%s: cannot change the size to %" PRIu64 ": %s",
			io->disk->name, size, strerror(-err));
	return err ? -1 : 0;
}

int io_info(struct io *io, int argc, char **argv)
{
	char text[IO_SIZE_TEXT];
	struct image_info info;
	uint64_t cluster = 0, state = 0;

	(void)argc;
	(void)argv;
	if (image_info_of(io->disk, &info))
		return -1;
	if (info.format == BLOCK_QCOW2) {
		unsigned bits =
			info.header.cluster_bits + qcow2_l2_bits(&info.header);

		cluster = 1ull << info.header.cluster_bits;
		/* Behind all that the L1 entries of the disk can map. */
		state = align_up(info.size, 1ull << bits);
	}
	printf("format name: %s\n", cluster ? "qcow2" : "raw");
	printf("cluster size: %s\n", io_size((double)cluster, text));
	printf("vm state offset: %s\n", io_size((double)state, text));
	img_print_specific(&info);
	image_info_fini(&info);
	return 0;
}

/* How much from @offset on is alike, allocated in the image itself or not. */
static int find_alike(struct io *io, uint64_t offset, uint64_t end,
		      bool *allocated, uint64_t *length)
{
	struct block_extent extent;
	int err = image_map_layer(io->disk, offset, end - offset, &extent);

	*allocated = extent.allocated;
	for (*length = 0; !err && extent.allocated == *allocated;) {
		*length += extent.length;
		if (offset + *length >= end)
			break;
		err = image_map_layer(io->disk, offset + *length,
				      end - offset - *length, &extent);
	}
	return err;
}

static int cannot_tell(struct io *io, int err)
{
	log_err("%s: cannot tell what is allocated: %s", io->disk->name,
		strerror(-err));
	return -1;
}

int io_map(struct io *io, int argc, char **argv)
{
	uint64_t at = 0, length;

	(void)argc;
	(void)argv;
	while (at < io->disk->size) {
		char size[IO_SIZE_TEXT], place[IO_SIZE_TEXT];
		bool allocated;
		int err =
			find_alike(io, at, io->disk->size, &allocated, &length);

		if (err)
			return cannot_tell(io, err);
		printf("%s (0x%" PRIx64 ") bytes %s at offset %s (0x%" PRIx64
		       ")\n",
		       io_size((double)length, size), length,
		       allocated ? "    allocated" : "not allocated",
		       io_size((double)at, place), at);
		at += length;
	}
	return 0;
}

int io_alloc(struct io *io, int argc, char **argv)
{
	uint64_t offset, count = BLOCK_SECTOR, end, sum = 0;
	char place[IO_SIZE_TEXT];

	if (io_number(argv[1], &offset) ||
	    (argc > 2 && io_number(argv[2], &count)))
		return -1;
	if (offset > io->disk->size)
		count = 0;
	else if (count > io->disk->size - offset)
		count = io->disk->size - offset;
	end = offset + count;
	for (uint64_t at = offset; at < end;) {
		/* Maps are of whole sectors. */
		uint64_t begin = align_down(at, BLOCK_SECTOR), length;
		bool allocated;
		int err = find_alike(io, begin, align_up(end, BLOCK_SECTOR),
				     &allocated, &length);

		if (err)
			return cannot_tell(io, err);
		length = begin + length < end ? begin + length - at : end - at;
		if (allocated)
			sum += length;
		at += length;
	}
	printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", sum,
	       count, io_size((double)offset, place));
	return 0;
}
