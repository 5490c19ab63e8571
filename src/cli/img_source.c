/*
 * How a command line names an image other than by its path: --image-opts, and
 * the passphrases that --object secret,... tells of.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/img.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

/* A passphrase of the command line becomes a file in memory, like any other. */
static int keep(struct img_secret *secret, const char *data)
{
	int fd = memfd_create("secret", MFD_CLOEXEC);
	ssize_t len = strlen(data);

	if (fd < 0 || write(fd, data, len) != len) {
		log_err("--object: cannot keep the secret: %s",
			strerror(errno));
		return -EINVAL;
	}
	snprintf(secret->path, sizeof(secret->path), "/proc/self/fd/%d", fd);
	secret->file = secret->path;
	return 0;
}

/* Takes one field of --object secret,id=ID,file=FILE or data=TEXT. */
static bool take(struct img_secret *secret, const char *name, const char *value,
		 const char **data)
{
	if (!value)
		return !strcmp(name, "secret");
	if (!strcmp(name, "id"))
		secret->id = value;
	else if (!strcmp(name, "file"))
		secret->file = value;
	else if (!strcmp(name, "data"))
		*data = value;
	else
		return (!strcmp(name, "qom-type") &&
			!strcmp(value, "secret")) ||
		       (!strcmp(name, "format") && !strcmp(value, "raw"));
	return true;
}

int img_add_secret(struct img_common *common, char *list)
{
	struct img_secret *secret = &common->secrets[common->nr_secrets];
	const char *data = NULL;
	char *name, *value;

	if (common->nr_secrets == IMG_SECRETS) {
		log_err("too many options --object");
		return -EINVAL;
	}
	secret->id = "";
	while ((name = list_next(&list, &value))) {
		if (take(secret, name, value, &data))
			continue;
		log_err("--object: %s%s%s is not known; say "
			"secret,id=ID,file=FILE",
			name, value ? "=" : "", value ? value : "");
		return -EINVAL;
	}
	if (!secret->file == !data) {
		log_err("--object: a secret has one of file= and data=");
		return -EINVAL;
	}
	common->nr_secrets++;
	return data ? keep(secret, data) : 0;
}

const char *img_secret(const struct img_common *common, const char *image,
		       const char *id)
{
	for (int i = 0; i < common->nr_secrets; i++) {
		if (!strcmp(common->secrets[i].id, id))
			return common->secrets[i].file;
	}
	log_err("%s: No secret with id '%s'; say --object "
		"secret,id=%s,file=FILE",
		image, id, id);
	return NULL;
}

/* What may be said, and changes no result: of any value where that is NULL. */
static const struct {
	const char *name, *value;
} idle[] = {
	{ "cache.direct", NULL },       { "cache.no-flush", NULL },
	{ "data-file.driver", "file" }, { "discard", NULL },
	{ "encrypt.format", "luks" },   { "file.aio", NULL },
	{ "file.driver", "file" },      { "file.driver", "host_device" },
	{ "file.node-name", NULL },     { "l2-cache-size", NULL },
	{ "node-name", NULL },
};

static bool is_idle(const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(idle); i++) {
		if (!strcmp(name, idle[i].name) &&
		    (!idle[i].value || !strcmp(value, idle[i].value)))
			return true;
	}
	return false;
}

/* Takes one field of the list: of the image, or of a layer below it. */
static bool take_field(struct block_options *options, const char **format,
		       const char *name, const char *value)
{
	const char **path = &options->path;
	unsigned n = 0;

	for (; n < BLOCK_BELOW && !strncmp(name, "backing.", 8); n++) {
		path = &options->below[n].path;
		format = &options->below[n].format;
		name += 8;
	}
	if (!strcmp(name, "driver"))
		*format = value;
	else if (!strcmp(name, "file.filename"))
		*path = value;
	else if (!n && !strcmp(name, "data-file.filename"))
		options->data_path = value;
	else if (n < BLOCK_BELOW && !strcmp(name, "backing") && !*value)
		options->below[n].path = value;
	else
		return is_idle(name, value);
	return true;
}

int img_list(const struct img_common *common, char *list,
	     struct block_options *options, const char **format)
{
	const char *wrong = NULL;
	char *name, *after;

	options->path = NULL;
	options->data_path = NULL;
	memset(options->below, 0, sizeof(options->below));
	while ((name = list_next(&list, &after))) {
		const char *value = after ? after : "";

		if (!strcmp(name, "encrypt.key-secret")) {
			options->key_file =
				img_secret(common, "--image-opts", value);
			if (!options->key_file)
				return -EINVAL;
		} else if (!take_field(options, format, name, value)) {
			log_err("'%s=%s' is not known; an image is "
				"driver=FMT,file.driver=file,"
				"file.filename=FILE,encrypt.format=luks,"
				"encrypt.key-secret=ID, and the one below it "
				"backing.driver=FMT,backing.file.filename=FILE",
				name, value);
			return -EINVAL;
		}
	}
	for (int i = 0; i < BLOCK_BELOW; i++) {
		const struct block_below *below = &options->below[i];

		if (below->path && *below->path && !below->format)
			wrong = "a backing file needs its format: "
				"backing.driver=FMT";
	}
	if (!options->path)
		wrong = "no image is named: file.filename=FILE";
	if (wrong)
		log_err("%s", wrong);
	return wrong ? -EINVAL : 0;
}

int img_source(const struct img_common *common, char *text,
	       struct block_options *options, const char **format)
{
	options->path = text;
	if (!options->if_busy)
		options->if_busy = img_if_busy(options->read_only);
	if (!common->image_opts)
		return 0;
	if (!*format)
		return img_list(common, text, options, format);
	log_err("--image-opts and --format are mutually exclusive");
	return -EINVAL;
}
