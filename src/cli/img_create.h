/*
 * Making images: what `kvist img create` and `kvist img convert` share. Main
 * thread.
 */
#ifndef KVIST_CLI_IMG_CREATE_H
#define KVIST_CLI_IMG_CREATE_H

#include "cli/img.h"
#include "devices/block/luks.h"
#include "devices/block/qcow2_create.h"

/* What amend is told to do to the keys of an encrypted image. */
struct img_keys {
	const char *state, *new_secret, *old_secret; /* as given, or NULL */
	int slot;                                    /* -1: not given */
	bool force;
};

struct img_creation {
	const char *path;
	enum block_format format;
	bool quiet, help;
	bool unchecked;     /* -u: the backing file need not be there */
	bool sized;         /* a size was given */
	bool unsafe;        /* nothing is made durable */
	const char *compat; /* as given, or NULL */
	const char *preallocation;
	struct qcow2_shape shape;

	/* Wishes to the file system of the host; extents in bytes, 0: none. */
	bool nocow, nocow_given, extent_hint_given;
	uint64_t extent_hint;

	const struct img_common *common; /* for its secrets */
	const char *encryption;          /* encrypt.format=, or NULL */
	bool not_encrypted;              /* encryption=off, an old spelling */
	const char *key_secret;          /* the id of one of them */
	const char *key_file;            /* or the file itself */
	uint64_t iter_ms;                /* 0: the default */
	struct luks_kind luks_kind;      /* no key_len: the default */
	uint8_t *luks;                   /* shape.luks, while img_make() runs */
	struct img_keys *keys;           /* of an image to be amended */
};

/* img_encrypt.c: takes encrypt.* or key-file. 0 or -EINVAL, logged. */
int img_set_encryption(struct img_creation *c, const char *name,
		       const char *value);
/* Finds the passphrase and makes the key of an image that is to be encrypted:
 * c->luks, owned by the caller, and shape.luks; and c->key_file, if in one. */
int img_make_key(struct img_creation *c);
/* Prints what was asked of it. */
void img_print_encryption(const struct img_creation *c);

/* img_keys.c: takes encrypt.* of an image that is amended; and changes its keys
 * if any was given. 0 or -errno, logged. */
int img_set_key(struct img_creation *c, const char *name, const char *value);
int img_change_keys(struct img_creation *c, struct block *disk);

/* img_fields.c: names of qcow2's types of compression. */
#define IMG_COMPRESSIONS 2
extern const char *const img_compressions[IMG_COMPRESSIONS];

/* Takes one option of -o, or all of a list of -o, which is cut up in place.
 * 0, or -EINVAL, logged. */
int img_set_field(struct img_creation *c, const char *name, const char *value);
int img_set_fields(struct img_creation *c, char *list);

/* Prints what one option of a qcow2 image takes. */
void img_print_field(const char *name);

/* Prints the options that the format knows. */
void img_print_fields(const struct img_creation *c);

/*
 * Checks the shape and makes the image, in a new file or in place of one that
 * nobody uses. With @result the file is handed on, open and locked. 0 or
 * -errno, logged; a file that was new is then removed.
 */
int img_make(struct img_creation *c, struct host_file **result);

#endif
