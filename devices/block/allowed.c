#include "devices/block/allowed.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/log.h"

/* The folder of the file @path, with all links resolved; NULL and errno. */
static char *folder_of(const char *path)
{
	char *real = realpath(path, NULL);

	if (real)
		*strrchr(real, '/') = '\0';
	return real;
}

static bool lies_below(const char *file, const char *folder)
{
	size_t len = strlen(folder);

	return !strncmp(file, folder, len) && file[len] == '/';
}

/*
 * An image on a block device has no folder of its own: that of the device holds
 * every disk of the host. And what is to be written to needs the user's own
 * word: other images may lie beside this one, and whoever made it chose a name.
 */
static bool allowed(const struct block_options *options, bool on_device,
		    const char *real, bool asked)
{
	char *own = on_device || !asked ? NULL : folder_of(options->path);
	char *extra = options->backing_dir
			      ? realpath(options->backing_dir, NULL)
			      : NULL;
	bool ok = (own && lies_below(real, own)) ||
		  (extra && (lies_below(real, extra) || !strcmp(extra, "/")));

	free(own);
	free(extra);
	return ok;
}

int image_open_allowed(const struct block_options *options, bool on_device,
		       const char *path, const char *what, int mode, bool asked)
{
	char self[64], real[PATH_MAX];
	struct stat st;
	ssize_t len;
	int fd, found = open(path, O_PATH | O_CLOEXEC);

	if (found < 0 || fstat(found, &st)) {
		int err = -errno;

		log_err("disk %s: its %s %s: %s", options->path, what, path,
			strerror(-err));
		if (found >= 0)
			close(found);
		return err;
	}
	snprintf(self, sizeof(self), "/proc/self/fd/%d", found);
	len = readlink(self, real, sizeof(real) - 1);
	real[len < 0 ? 0 : len] = '\0';
	if (len < 0 || !allowed(options, on_device, real, asked)) {
		log_err("disk %s: its %s %s %s; if you trust the image, allow "
			"that file's folder by backing-dir=DIR",
			options->path, what, path,
			len < 0 || !allowed(options, on_device, real, true)
				? "lies outside the image's own folder"
				: "would be written to, and the image names "
				  "it, not you");
		fd = -EACCES;
	} else if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		log_err("disk %s: its %s %s is neither a regular file nor a "
			"block device",
			options->path, what, path);
		fd = -EINVAL;
	} else {
		fd = open(self, mode | O_CLOEXEC);
		if (fd < 0) {
			fd = -errno;
			log_err("disk %s: its %s %s: %s", options->path, what,
				path, strerror(-fd));
		}
	}
	close(found);
	return fd;
}

char *image_beside(const char *image, const char *name)
{
	const char *slash = strrchr(image, '/');
	char *path;

	if (*name == '/' || !slash)
		return strdup(name);
	return asprintf(&path, "%.*s/%s", (int)(slash - image), image, name) < 0
		       ? NULL
		       : path;
}
