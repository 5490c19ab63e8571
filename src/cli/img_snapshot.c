/*
 * `kvist img snapshot`.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/img.h"
#include "devices/block/image_info.h"
#include "devices/block/layers.h"
#include "devices/block/qcow2_snapshot.h"
#include "util/args.h"
#include "util/log.h"

struct action {
	char letter;      /* 'l', 'c', 'a', 'd', or 0 */
	const char *name; /* of the snapshot; NULL: 'l' and 0 */
	const char *path;
	bool share;
};

static int list(const struct action *action, struct block *block)
{
	struct image_info info;
	int err = image_info_of(block, &info);

	if (err)
		return err;
	/* Without an option qemu-img opens the image, and that is all. */
	if (action->letter == 'l')
		img_print_snapshots(&info);
	image_info_fini(&info);
	return 0;
}

static int change(const struct action *action, struct block *block)
{
	struct timespec now;

	switch (action->letter) {
	case 'c':
		clock_gettime(CLOCK_REALTIME, &now);
		return qcow2_snapshot_create(block, action->name, &now);
	case 'a':
		return qcow2_snapshot_goto(block, action->name);
	default:
		return qcow2_snapshot_delete(block, action->name);
	}
}

static const char *verb(char letter)
{
	switch (letter) {
	case 'c':
		return "create";
	case 'a':
		return "apply";
	default:
		return "delete";
	}
}

/* What it was, and what to do about it. */
static const char *reason(char letter, int err)
{
	switch (err) {
	case -ENOENT:
		return "snapshot not found; snapshot -l lists them";
	case -ENOTSUP:
		return "a raw image has no snapshots; convert it with "
		       "kvist img convert -O qcow2";
	case -EXDEV:
		return "with an external data file there are none; convert it "
		       "with kvist img convert -O qcow2";
	case -EINVAL:
		return letter == 'c' || letter == 'a'
			       ? "refcounts are too narrow for one more; kvist "
				 "img amend -o refcount_bits=16 widens them"
			       : "its snapshot table is damaged; repair it "
				 "with kvist img check -r all";
	default:
		return strerror(-err);
	}
}

static void say_why(const struct action *action, int err)
{
	log_err("%s: Could not %s snapshot '%s': %s", action->path,
		verb(action->letter), action->name,
		reason(action->letter, err));
}

int img_snapshot_view(struct block *block, const char *path, char *text)
{
	const char *id = NULL, *name = NULL;
	bool list = !strncmp(text, "snapshot.", 9);
	char *field, *value;
	int err;

	while (list && (field = list_next(&text, &value))) {
		if (!strcmp(field, "snapshot.id"))
			id = value;
		else if (!strcmp(field, "snapshot.name"))
			name = value;
		else
			value = NULL;
		if (!value) {
			log_err("Invalid parameter '%s' of -l", field);
			return -EINVAL;
		}
	}
	err = qcow2_snapshot_view(block, list ? id : text, name);
	if (!list && err == -ENOENT)
		err = qcow2_snapshot_view(block, NULL, text);
	if (err)
		log_err("%s: Failed to load snapshot '%s': %s", path,
			id     ? id
			: name ? name
			       : text,
			reason('l', err));
	return err;
}

static int act(const struct action *action)
{
	bool writer = action->name;
	enum block_format format;
	struct host_file *file;
	struct block *block;
	int err, closed;

	err = img_open_file(action->path, writer, action->share, &file);
	if (err)
		return err;
	err = image_probe(file, &format);
	if (err)
		log_err("%s: %s", action->path, strerror(-err));
	else if (writer && format == BLOCK_RAW)
		say_why(action, err = -ENOTSUP);
	else if (writer)
		err = qcow2_snapshot_open(file, action->path, &block);
	else if (format == BLOCK_RAW)
		err = raw_open(file, action->path, true, NULL, &block);
	else
		err = qcow2_open(file, action->path, true, &block);
	if (err) {
		file->ops->close(file);
		return err;
	}
	/* As qemu-img, which opens all of the chain. */
	if (format == BLOCK_QCOW2)
		err = block_look_below(block, action->share);
	if (!err && !writer) {
		err = list(action, block);
	} else if (!err) {
		err = change(action, block);
		if (err)
			say_why(action, err);
	}
	closed = block_close(block);
	return err ? err : closed;
}

int img_snapshot(int argc, char **argv)
{
	static const struct option names[] = { { 0 } };
	struct action action = { 0 };
	struct block_options options = { 0 };
	const char *format = NULL;
	struct img_common common = { 0 };
	int option;

	while ((option = img_option(argc, argv, ":la:c:d:hqU", names,
				    &common)) >= 0) {
		if (option == '?' || option == 'h')
			return option == '?' ? IMG_ERROR : img_help();
		if (option == 'U') {
			action.share = true;
		} else if (option != 'q') {
			if (action.letter)
				return img_usage("Cannot mix '-l', '-a', '-c', "
						 "'-d'");
			action.letter = (char)option;
			action.name = optarg;
		}
	}
	if (optind != argc - 1)
		return img_usage("Expecting one image file name");
	common.writes = action.name;
	if (img_source(&common, argv[optind], &options, &format))
		return IMG_ERROR;
	action.path = options.path;
	action.share |= options.unlocked;
	if (action.share && action.name) {
		log_err("%s: -U is for reading, and so for -l only",
			action.path);
		return IMG_ERROR;
	}
	return act(&action) ? IMG_ERROR : 0;
}
