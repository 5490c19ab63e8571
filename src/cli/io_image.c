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
	struct img_growth growth = { 0 };
	uint64_t size;
	int option;

	while ((option = getopt(argc, argv, "m:")) >= 0) {
		if (option == '?')
			return io_usage(argv);
		if (img_parse_growth(optarg, &growth))
			return -1;
	}
	if (optind == argc)
		return io_usage(argv);
	if (io_number(argv[optind], &size))
		return -1;
	if (size % BLOCK_SECTOR) {
		log_err("The new size must be a multiple of 512");
		return -1;
	}
	return img_set_size(io->disk, size, &growth) ? -1 : 0;
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
