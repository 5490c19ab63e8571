/*
 * The files that an image names, which is hostile input: where they are, and
 * whether they may be opened. Any thread.
 */
#ifndef KVIST_BLOCK_ALLOWED_H
#define KVIST_BLOCK_ALLOWED_H

#include <stdbool.h>

#include "devices/block/block.h"

/* The path of a file that @image calls @name: a relative one counts from the
 * image's folder. The caller frees it; NULL when memory is out. */
char *image_beside(const char *image, const char *name);

/*
 * Opens @path, the image's @what, if it may be: a regular file or block device
 * below the folder of options->path, unless that is @on_device, or below
 * options->backing_dir. The check is made on the file that was found (an O_PATH
 * descriptor), not on its name: whoever can move links about cannot get in
 * between, and no FIFO or device is opened by looking. @asked: the user knows
 * that it is opened as @mode says. The descriptor, or -errno, logged.
 */
int image_open_allowed(const struct block_options *options, bool on_device,
		       const char *path, const char *what, int mode,
		       bool asked);

#endif
