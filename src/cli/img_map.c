/*
 * `kvist img map`.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/img.h"
#include "devices/block/image_map.h"
#include "util/checked.h"
#include "util/log.h"

struct map {
	struct block_options options;
	const char *format;
	bool json;
	uint64_t start, length; /* of what is shown */
	struct block *disk;
};

/* What is told in one line. */
struct piece {
	uint64_t start, length;
	struct image_extent extent;
};

static int find_piece(const struct map *map, uint64_t at, uint64_t end,
		      struct piece *piece)
{
	/* A disk is mapped in sectors, whatever was asked for. */
	uint64_t begin = align_down(at, BLOCK_SECTOR);
	struct block_extent *e = &piece->extent.at;
	int err = image_map(map->disk, begin,
			    align_up(end, BLOCK_SECTOR) - begin,
			    &piece->extent);

	piece->start = at;
	piece->length = begin + e->length - at;
	if (piece->length > end - at)
		piece->length = end - at;
	e->host += at - begin;
	return err;
}

static bool goes_on(const struct piece *a, const struct piece *b)
{
	const struct block_extent *x = &a->extent.at, *y = &b->extent.at;

	return x->allocated == y->allocated && x->data == y->data &&
	       x->zero == y->zero && x->placed == y->placed &&
	       a->extent.depth == b->extent.depth &&
	       (!x->placed || x->host + a->length == y->host);
}

static int tell(const struct map *map, const struct piece *p, bool last)
{
	const struct block_extent *e = &p->extent.at;
	const struct block *layer = p->extent.layer;

	if (map->json) {
		printf("{ \"start\": %" PRIu64 ", \"length\": %" PRIu64
		       ", \"depth\": %d, \"present\": %s, \"zero\": %s, "
		       "\"data\": %s",
		       p->start, p->length, p->extent.depth,
		       e->allocated ? "true" : "false",
		       e->zero ? "true" : "false", e->data ? "true" : "false");
		if (e->placed)
			printf(", \"offset\": %" PRIu64, e->host);
		printf("}%s\n", last ? "]" : ",");
		return 0;
	}
	if (e->data && !e->placed) {
		log_err("File contains external, encrypted or compressed "
			"clusters.");
		return -ENOTSUP;
	}
	if (e->data && !e->zero)
		printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n",
		       p->start, p->length, e->host,
		       layer->data_name ? layer->data_name : layer->name);
	return 0;
}

static int show(const struct map *map, uint64_t end)
{
	struct piece now = { .start = map->start };

	if (map->json)
		putchar('[');
	else
		printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to",
		       "File");
	while (now.start + now.length < end) {
		struct piece next;
		int err = find_piece(map, now.start + now.length, end, &next);

		if (err) {
			log_err("%s: cannot read its tables: %s",
				map->disk->name, strerror(-err));
			return err;
		}
		if (now.length && goes_on(&now, &next)) {
			now.length += next.length;
			continue;
		}
		err = now.length ? tell(map, &now, false) : 0;
		if (err)
			return err;
		now = next;
	}
	return tell(map, &now, true);
}

static int run(struct map *map)
{
	uint64_t end;
	int err = img_open(&map->options, map->format, &map->disk);

	if (err)
		return IMG_ERROR;
	end = map->disk->size;
	if (map->start < end && map->length < end - map->start)
		end = map->start + map->length;
	err = show(map, end);
	block_close(map->disk);
	return err ? IMG_ERROR : 0;
}

int img_map(int argc, char **argv)
{
	static const struct option names[] = {
		{ "format", 1, 0, 'f' },       { "output", 1, 0, 'O' },
		{ "start-offset", 1, 0, 's' }, { "max-length", 1, 0, 'l' },
		{ "backing-dir", 1, 0, 'D' },  { 0 }
	};
	struct map map = { .options.read_only = true, .length = UINT64_MAX };
	struct img_common common = { 0 };
	int option, err = 0;

	while ((option = img_option(argc, argv, ":hf:s:l:U", names, &common)) >=
	       0) {
		if (option == '?' || option == 'h')
			return option == '?' ? IMG_ERROR : img_help();
		if (option == 'f')
			map.format = optarg;
		else if (option == 'U')
			map.options.unlocked = true;
		else if (option == 'D')
			map.options.backing_dir = optarg;
		else if (option == 'O')
			err = img_output(optarg, &map.json);
		else if (option == 's')
			err = img_take_size(optarg, "start offset", INT64_MAX,
					    &map.start);
		else
			err = img_take_size(optarg, "max length", INT64_MAX,
					    &map.length);
		if (err)
			return IMG_ERROR;
	}
	if (optind != argc - 1)
		return img_usage("Expecting one image file name");
	if (img_source(&common, argv[optind], &map.options, &map.format))
		return IMG_ERROR;
	return run(&map);
}
