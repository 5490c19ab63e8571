/*
 * Making images: what `kvist img create` and `kvist img convert` share. Main
 * thread.
 */
#ifndef KVIST_CLI_IMG_CREATE_H
#define KVIST_CLI_IMG_CREATE_H

#include "cli/img.h"
#include "devices/block/qcow2_create.h"

struct img_creation {
	const char *path;
	enum block_format format;
	bool quiet, help;
	bool unchecked;     /* -u: the backing file need not be there */
	bool sized;         /* a size was given */
	const char *compat; /* as given, or NULL */
	const char *preallocation;
	struct qcow2_shape shape;
};

/* img_fields.c: names of qcow2's types of compression. */
#define IMG_COMPRESSIONS 2
extern const char *const img_compressions[IMG_COMPRESSIONS];

/* Takes one option of -o, or all of a list of -o, which is cut up in place.
 * 0, or -EINVAL, logged. */
int img_set_field(struct img_creation *c, const char *name, const char *value);
int img_set_fields(struct img_creation *c, char *list);

/* Prints the options that the format knows. */
void img_print_fields(const struct img_creation *c);

/*
 * Checks the shape and makes the image, in a new file or in place of one that nobody uses. With
 * @result the file is handed on, open and locked. 0 or -errno, logged; a file
 * that was new is then removed.
 */
int img_make(struct img_creation *c, struct host_file **result);

#endif
