/*
 * `kvist img amend`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/img_create.h"
#include "devices/block/qcow2_amend.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

#define LISTS 16

struct amending {
	struct block_options options;
	const char *format;
	char *lists[LISTS]; /* of -o */
	int count;
	bool progress;
	struct img_creation to; /* as the image is to be */
	struct img_keys keys;
	struct block *disk;
};

static const char *const amendable[] = {
	"backing_file",
	"backing_fmt",
	"compat",
	"data_file",
	"data_file_raw",
	"encrypt.iter-time",
	"encrypt.keyslot",
	"encrypt.new-secret",
	"encrypt.old-secret",
	"encrypt.state",
	"lazy_refcounts",
	"refcount_bits",
	"size",
};

/* Refuses what can only be said of a new image. */
static int check_names(const char *text)
{
	char *copy = strdup(text), *rest = copy, *name, *value;
	int err = copy ? 0 : -ENOMEM;

	while (!err && (name = list_next(&rest, &value))) {
		err = *name ? -EINVAL : 0;
		for (size_t i = 0; i < ARRAY_SIZE(amendable); i++) {
			if (!strcmp(name, amendable[i]))
				err = 0;
		}
		if (err)
			log_err("Invalid parameter '%s'; -o help lists what "
				"amend changes",
				name);
	}
	free(copy);
	return err;
}

/* What the image is, as options would have said it. */
static int start_from(struct amending *a, struct qcow2_amendment *old)
{
	int err = qcow2_amendment_of(a->disk, old);

	if (err) {
		log_err("Format driver 'raw' does not support option "
			"amendment");
		return err;
	}
	a->to.path = a->options.path;
	a->to.format = BLOCK_QCOW2;
	a->to.shape.version = old->version;
	a->to.shape.lazy_refcounts = old->lazy_refcounts;
	a->to.shape.backing = old->backing;
	a->to.shape.backing_fmt = old->backing_fmt;
	a->to.shape.refcount_bits = old->refcount_bits;
	a->to.shape.size = a->disk->size;
	a->to.shape.data_name = old->data_file ? old->data_file : "";
	a->to.shape.data_raw = old->data_raw;
	return 0;
}

static const char *why(const struct amending *a, int err)
{
	if (err == -EFBIG)
		return "it does not fit into the header";
	if (err == -ERANGE)
		return "snapshots share clusters more often than these bits "
		       "can count; delete some";
	if (err == -EINVAL)
		return "so many refcounts would not fit into their table, or "
		       "into memory";
	if (err != -ENOTSUP)
		return strerror(-err);
	return a->to.shape.lazy_refcounts
		       ? "Lazy refcounts need compat=1.1"
		       : "compat=0.10 knows no snapshots beside zeros, "
			 "bitmaps, refcounts of other than 16 bits, "
			 "incompatible features; kvist img convert leaves "
			 "them out";
}

static bool same(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

/* What cannot be made of the image that there is: a message and -errno. */
static int check(struct amending *a, const struct qcow2_amendment *old)
{
	const struct qcow2_shape *to = &a->to.shape;
	const char *wrong = NULL;

	if (!is_power_of_two(to->refcount_bits) || to->refcount_bits > 64)
		wrong = "Refcount width must be a power of two and may not "
			"exceed 64 bits";
	else if (!old->data_file && (!to->data_name || *to->data_name))
		wrong = "data-file can only be set for images that use an "
			"external data file";
	else if (to->data_raw && !old->data_raw)
		wrong = "data-file-raw cannot be set on existing images";
	else if (!same(to->backing, old->backing) ||
		 !same(to->backing_fmt, old->backing_fmt))
		wrong = "Cannot amend the backing file; kvist img rebase "
			"changes it";
	if (wrong)
		log_err("%s: %s", a->options.path, wrong);
	return wrong ? -EINVAL : 0;
}

static int amend(struct amending *a)
{
	struct qcow2_amendment old, new;
	const char *data;
	int err = start_from(a, &old);

	for (int i = 0; i < a->count && !err; i++) {
		err = check_names(a->lists[i]);
		if (!err)
			err = img_set_fields(&a->to, a->lists[i]);
	}
	if (!err)
		err = check(a, &old);
	if (err)
		return err;
	data = a->to.shape.data_name;
	new = (struct qcow2_amendment){
		.version = a->to.shape.version,
		.lazy_refcounts = a->to.shape.lazy_refcounts,
		.backing = a->to.shape.backing,
		.backing_fmt = a->to.shape.backing_fmt,
		.refcount_bits = a->to.shape.refcount_bits,
		.data_file = !old.data_file ? NULL
			     : data         ? data
					    : "",
		.data_raw = a->to.shape.data_raw,
	};
	/* Version 2 knows no lazy refcounts: those of the old image go. */
	if (new.version == 2 && old.lazy_refcounts)
		new.lazy_refcounts = false;
	err = img_change_keys(&a->to, a->disk);
	if (err)
		return err;
	if (a->to.shape.size != a->disk->size)
		err = a->disk->ops->resize(
			a->disk, align_up(a->to.shape.size, BLOCK_SECTOR));
	if (!err)
		err = qcow2_amend(a->disk, &new);
	if (err)
		log_err("%s: Error while amending options: %s", a->options.path,
			why(a, err));
	return err;
}

/* -o help, or -o ?, which needs no image. */
static bool wants_help(const struct amending *a)
{
	for (int i = 0; i < a->count; i++) {
		if (!strcmp(a->lists[i], "help") || !strcmp(a->lists[i], "?"))
			return true;
	}
	return false;
}

static int print_help(struct amending *a)
{
	a->to.format = a->options.format;
	if (a->format && img_format("amend", a->format, &a->to.format))
		return IMG_ERROR;
	if (a->to.format == BLOCK_RAW) {
		log_err("Format driver 'raw' does not support option "
			"amendment");
		return IMG_ERROR;
	}
	puts("Amend options for 'qcow2':");
	for (size_t i = 0; i < ARRAY_SIZE(amendable); i++)
		img_print_field(amendable[i]);
	return 0;
}

static int run(struct amending *a)
{
	int err, closed;

	if (img_open(&a->options, a->format, &a->disk))
		return IMG_ERROR;
	if (a->progress)
		img_progress(0);
	err = amend(a);
	if (!err && a->progress)
		img_progress(100);
	if (a->progress)
		putchar('\n');
	closed = block_close(a->disk);
	return err || closed ? IMG_ERROR : 0;
}

int img_amend(int argc, char **argv)
{
	static const struct option names[] = { { "backing-dir", 1, 0, 'D' },
					       { "force", 0, 0, 'Y' },
					       { 0 } };
	struct img_common common = { .writes = true };
	struct amending a = { .to.common = &common, .keys.slot = -1 };
	bool quiet = false;
	int option;

	while ((option = img_option(argc, argv, ":hf:o:t:pq", names,
				    &common)) >= 0) {
		if (option == '?' || option == 'h')
			return option == '?' ? IMG_ERROR : img_help();
		if (option == 'f')
			a.format = optarg;
		else if (option == 'p')
			a.progress = true;
		else if (option == 'q')
			quiet = true;
		else if (option == 'Y')
			a.keys.force = true;
		else if (option == 'D')
			a.options.backing_dir = optarg;
		else if (option == 't' && !img_cache_known(optarg))
			return IMG_ERROR;
		else if (option == 'o' && a.count == LISTS)
			return img_usage("too many options -o");
		else if (option == 'o')
			a.lists[a.count++] = optarg;
	}
	a.to.keys = &a.keys;
	if (!a.count)
		return img_usage("Must specify options (-o)");
	if (a.format && wants_help(&a))
		return print_help(&a);
	if (optind != argc - 1)
		return img_usage("Expecting one image file name");
	a.progress = a.progress && !quiet;
	if (img_source(&common, argv[optind], &a.options, &a.format))
		return IMG_ERROR;
	if (!wants_help(&a))
		return run(&a);
	return img_find_format(&a.options, a.format) ? IMG_ERROR
						     : print_help(&a);
}
