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

const char *img_path(const char *name)
{
	size_t plain = strcspn(name, ":/");

	if (name[plain] != ':')
		return name;
	if (!strncmp(name, "file:", 5))
		return name + 5;
	log_err("%s: Unknown protocol '%.*s'; put ./ before a name with a "
		"colon",
		name, (int)plain, name);
	return NULL;
}

int img_source(const struct img_common *common, char *text,
	       struct block_options *options, const char **format)
{
	if (!options->if_busy)
		options->if_busy = img_if_busy(options->read_only);
	if (common->image_opts && *format) {
		log_err("--image-opts and --format are mutually exclusive");
		return -EINVAL;
	}
	if (common->image_opts)
		return img_list(common, text, options, format);
	if (!strncmp(text, "json:", 5))
		return img_json(common, text + 5, options, format);
	options->path = img_path(text);
	return options->path ? 0 : -EINVAL;
}
