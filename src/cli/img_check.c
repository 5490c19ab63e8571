/*
 * `kvist img check`.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/img.h"
#include "devices/block/image_info.h"
#include "devices/block/layers.h"
#include "devices/block/qcow2_check.h"
#include "util/json.h"
#include "util/log.h"

enum {
	FOUND_ERRORS = 2,
	FOUND_LEAKS = 3,
	NO_CHECK = 63, /* the format has nothing to check */
};

struct check {
	const char *path;
	const char *format; /* or NULL */
	unsigned fix;
	bool quiet, json, share;
	struct qcow2_findings found;
};

#define LLU(n) ((unsigned long long)(n))

static void print_human(const struct qcow2_findings *f)
{
	if (!f->corruptions && !f->leaks)
		puts("No errors were found on the image.");
	if (f->corruptions)
		printf("\n%llu errors were found on the image.\n"
		       "Data may be corrupted, or further writes to the image "
		       "may corrupt it.\n",
		       LLU(f->corruptions));
	if (f->leaks)
		printf("\n%llu leaked clusters were found on the image.\n"
		       "This means waste of disk space, but no harm to "
		       "data.\n",
		       LLU(f->leaks));
	if (f->total && f->allocated)
		printf("%llu/%llu = %.2f%% allocated, %.2f%% fragmented, "
		       "%.2f%% compressed clusters\n",
		       LLU(f->allocated), LLU(f->total),
		       (double)f->allocated * 100 / (double)f->total,
		       (double)f->fragmented * 100 / (double)f->allocated,
		       (double)f->compressed * 100 / (double)f->allocated);
	if (f->end_offset)
		printf("Image end offset: %llu\n", LLU(f->end_offset));
}

static void json_count(struct json *json, const char *key, uint64_t count)
{
	if (count)
		json_number(json, key, count);
}

static void print_json(const struct check *check)
{
	const struct qcow2_findings *f = &check->found;
	struct json json;

	json_init(&json, stdout);
	json_object(&json, NULL);
	json_string(&json, "filename", check->path);
	json_string(&json, "format", "qcow2");
	json_number(&json, "check-errors", 0);
	json_count(&json, "image-end-offset", f->end_offset);
	json_count(&json, "corruptions", f->corruptions);
	json_count(&json, "leaks", f->leaks);
	json_count(&json, "corruptions-fixed", f->corruptions_fixed);
	json_count(&json, "leaks-fixed", f->leaks_fixed);
	json_count(&json, "total-clusters", f->total);
	json_count(&json, "allocated-clusters", f->allocated);
	json_count(&json, "fragmented-clusters", f->fragmented);
	json_count(&json, "compressed-clusters", f->compressed);
	json_end(&json);
}

/* As qemu-img, which opens all of the chain. */
static int look_below(const struct check *check, struct host_file *file)
{
	struct block *block;
	int err = qcow2_open_damaged(file, check->path, &block);

	if (err)
		return err;
	err = block_look_below(block, check->share);
	qcow2_abandon(block);
	return err;
}

/* Opens the image and checks it, once. 0, or the exit code. */
static int check_once(struct check *check, unsigned fix)
{
	enum block_format format;
	struct host_file *file;
	int err;

	if (check->format && img_format(check->path, check->format, &format))
		return IMG_ERROR;
	if (img_open_file(check->path, fix, check->share, &file))
		return IMG_ERROR;
	err = check->format ? 0 : image_probe(file, &format);
	if (err || format == BLOCK_RAW) {
		if (err)
			log_err("%s: %s", check->path, strerror(-err));
		else
			log_err("This image format does not support checks");
		file->ops->close(file);
		return err ? IMG_ERROR : NO_CHECK;
	}
	if (look_below(check, file)) {
		file->ops->close(file);
		return IMG_ERROR;
	}
	return qcow2_check(file, check->path, fix, stderr, &check->found)
		       ? IMG_ERROR
		       : 0;
}

/* Repairs, and looks again at what came of it. */
static int check_all(struct check *check)
{
	uint64_t errors, leaks;
	int code = check_once(check, check->fix);

	errors = check->found.corruptions_fixed;
	leaks = check->found.leaks_fixed;
	if (code || (!errors && !leaks))
		return code;
	if (!check->json && !check->quiet)
		printf("The following inconsistencies were found and "
		       "repaired:\n\n    %llu leaked clusters\n"
		       "    %llu corruptions\n\n"
		       "Double checking the fixed image now...\n",
		       LLU(leaks), LLU(errors));
	code = check_once(check, 0);
	check->found.corruptions_fixed = errors;
	check->found.leaks_fixed = leaks;
	return code;
}

static int run(struct check *check)
{
	int code = check_all(check);

	if (code)
		return code;
	if (check->json && !check->quiet)
		print_json(check);
	else if (!check->quiet)
		print_human(&check->found);
	return check->found.corruptions ? FOUND_ERRORS
	       : check->found.leaks     ? FOUND_LEAKS
					: 0;
}

static int parse_fix(struct check *check, const char *text)
{
	if (!strcmp(text, "leaks"))
		check->fix = QCOW2_FIX_LEAKS;
	else if (!strcmp(text, "all"))
		check->fix = QCOW2_FIX_LEAKS | QCOW2_FIX_ERRORS;
	else
		return img_usage("Unknown option value for -r (expecting "
				 "'leaks' or 'all'): %s",
				 text);
	return 0;
}

int img_check(int argc, char **argv)
{
	static const struct option names[] = { { "format", 1, 0, 'f' },
					       { "repair", 1, 0, 'r' },
					       { "output", 1, 0, 'O' },
					       { 0 } };
	struct check check = { 0 };
	struct block_options options = { 0 };
	struct img_common common = { 0 };
	int option;

	while ((option = img_option(argc, argv, ":hf:r:qT:U", names,
				    &common)) >= 0) {
		if (option == '?' || option == 'h')
			return option == '?' ? IMG_ERROR : img_help();
		if (option == 'f')
			check.format = optarg;
		else if (option == 'q')
			check.quiet = true;
		else if (option == 'U')
			check.share = true;
		else if (option == 'T' && img_cache_known(optarg))
			continue;
		else if (option == 'T')
			return IMG_ERROR;
		else if (option == 'r' ? parse_fix(&check, optarg)
				       : img_output(optarg, &check.json))
			return IMG_ERROR;
	}
	if (optind != argc - 1)
		return img_usage("Expecting one image file name");
	common.writes = check.fix;
	if (img_source(&common, argv[optind], &options, &check.format))
		return IMG_ERROR;
	check.path = options.path;
	check.share |= options.unlocked;
	if (check.share && check.fix)
		return img_usage("-U cannot be used with -r");
	return run(&check);
}
