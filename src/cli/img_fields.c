/*
 * The options of -o: what an image can be.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/img_create.h"
#include "devices/block/qcow2_format.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

const char *const img_compressions[IMG_COMPRESSIONS] = {
	[QCOW2_ZLIB] = "zlib",
	[QCOW2_ZSTD] = "zstd",
};

/* One option of -o. */
struct field {
	const char *name;
	enum {
		OF_QCOW2, /* of a qcow2 image only, */
		OF_BOTH,
		OF_RAW_FILE, /* of one, or of the file that is a raw one */
		OF_FILE,     /* of the file that it is in */
		OF_AMENDED,  /* of an image that is there */
	} of;
	int (*set)(struct img_creation *c, const char *name, const char *value);
	const char *help;
};

static int set_size(struct img_creation *c, const char *name, const char *value)
{
	c->sized = true;
	return img_take_size(value, name, INT64_MAX, &c->shape.size);
}

static int set_cluster(struct img_creation *c, const char *name,
		       const char *value)
{
	return img_take_size(value, name, INT64_MAX, &c->shape.cluster_size);
}

static int set_compat(struct img_creation *c, const char *name,
		      const char *value)
{
	(void)name;
	c->compat = value;
	if (!strcmp(value, "0.10") || !strcmp(value, "v2"))
		c->shape.version = 2;
	else if (!strcmp(value, "1.1") || !strcmp(value, "v3"))
		c->shape.version = 3;
	else {
		log_err("%s: Parameter 'version' does not accept value '%s'",
			c->path, value);
		return -EINVAL;
	}
	return 0;
}

static int set_refcount(struct img_creation *c, const char *name,
			const char *value)
{
	if (!parse_number(value, 0, UINT64_MAX, &c->shape.refcount_bits))
		return 0;
	log_err("%s: Parameter '%s' expects a number", c->path, name);
	return -EINVAL;
}

static int set_bool(const struct img_creation *c, const char *name,
		    const char *value, bool *on)
{
	*on = among("on yes y true", value);
	if (*on || among("off no n false", value))
		return 0;
	log_err("%s: Parameter '%s' expects 'on' or 'off'", c->path, name);
	return -EINVAL;
}

static int set_lazy(struct img_creation *c, const char *name, const char *value)
{
	return set_bool(c, name, value, &c->shape.lazy_refcounts);
}

static int set_data(struct img_creation *c, const char *name, const char *value)
{
	(void)name;
	c->shape.data_name = *value ? value : NULL;
	return 0;
}

static int set_data_raw(struct img_creation *c, const char *name,
			const char *value)
{
	return set_bool(c, name, value, &c->shape.data_raw);
}

static int set_extended(struct img_creation *c, const char *name,
			const char *value)
{
	return set_bool(c, name, value, &c->shape.extended_l2);
}

/* One of @n names, NULL where there is none; its place in *which. */
static int set_named(const struct img_creation *c, const char *name,
		     const char *value, const char *const *names, size_t n,
		     unsigned *which)
{
	for (size_t i = 0; i < n; i++) {
		if (names[i] && !strcmp(value, names[i])) {
			*which = i;
			return 0;
		}
	}
	log_err("%s: Parameter '%s' does not accept value '%s'", c->path, name,
		value);
	return -EINVAL;
}

static int set_compression(struct img_creation *c, const char *name,
			   const char *value)
{
	return set_named(c, name, value, img_compressions,
			 ARRAY_SIZE(img_compressions), &c->shape.compression);
}

static int set_prealloc(struct img_creation *c, const char *name,
			const char *value)
{
	static const char *const modes[] = {
		[QCOW2_PREALLOC_OFF] = "off",
		[QCOW2_PREALLOC_METADATA] = "metadata",
		[QCOW2_PREALLOC_FALLOC] = "falloc",
		[QCOW2_PREALLOC_FULL] = "full",
	};

	unsigned mode = QCOW2_PREALLOC_OFF;
	int err;

	c->preallocation = value;
	err = set_named(c, name, value, modes, ARRAY_SIZE(modes), &mode);
	if (!err && mode == QCOW2_PREALLOC_METADATA && c->format == BLOCK_RAW) {
		log_err("%s: Parameter '%s' does not accept value '%s'",
			c->path, name, value);
		err = -EINVAL;
	}
	c->shape.preallocation = mode;
	return err;
}

static int set_nocow(struct img_creation *c, const char *name,
		     const char *value)
{
	c->nocow_given = true;
	return set_bool(c, name, value, &c->nocow);
}

static int set_extent_hint(struct img_creation *c, const char *name,
			   const char *value)
{
	c->extent_hint_given = true;
	return img_take_size(value, name, UINT32_MAX, &c->extent_hint);
}

static int set_old_encryption(struct img_creation *c, const char *name,
			      const char *value)
{
	bool on;
	int err = set_bool(c, name, value, &on);

	c->not_encrypted = true;
	if (err || !on)
		return err;
	log_err("%s: encryption=on keeps nothing secret: say "
		"encrypt.format=luks",
		c->path);
	return -EINVAL;
}

static int set_backing(struct img_creation *c, const char *name,
		       const char *value)
{
	(void)name;
	c->shape.backing = *value ? value : NULL;
	return 0;
}

static int set_backing_fmt(struct img_creation *c, const char *name,
			   const char *value)
{
	(void)name;
	c->shape.backing_fmt = value;
	return 0;
}

static const struct field fields[] = {
	{ "backing_file", OF_QCOW2, set_backing,
	  "<str>     - File name of a base image" },
	{ "backing_fmt", OF_QCOW2, set_backing_fmt,
	  "<str>      - Image format of the base image" },
	{ "cluster_size", OF_QCOW2, set_cluster,
	  "<size>    - qcow2 cluster size" },
	{ "compat", OF_QCOW2, set_compat,
	  "<str>           - Compatibility level (v2 [0.10] or v3 [1.1])" },
	{ "compression_type", OF_QCOW2, set_compression,
	  "<str> - How clusters are compressed: zlib or zstd" },
	{ "data_file", OF_QCOW2, set_data,
	  "<str>        - File name of an external data file" },
	{ "data_file_raw", OF_QCOW2, set_data_raw,
	  "<bool (on/off)> - The data file stays valid as a raw disk" },
	{ "encrypt.cipher-alg", OF_QCOW2, img_set_encryption,
	  "<str> - aes-128 or aes-256" },
	{ "encrypt.cipher-mode", OF_QCOW2, img_set_encryption, "<str> - xts" },
	{ "encrypt.format", OF_QCOW2, img_set_encryption,
	  "<str>   - Encrypt the image: luks" },
	{ "encrypt.hash-alg", OF_QCOW2, img_set_encryption,
	  "<str> - sha1, sha256 or sha512" },
	{ "encrypt.iter-time", OF_QCOW2, img_set_encryption,
	  "<num> - Time to spend in PBKDF in milliseconds" },
	{ "encrypt.ivgen-alg", OF_QCOW2, img_set_encryption,
	  "<str> - plain or plain64" },
	{ "encrypt.ivgen-hash-alg", OF_QCOW2, img_set_encryption,
	  "<str> - sha256" },
	{ "encrypt.key-secret", OF_QCOW2, img_set_encryption,
	  "<str> - ID of the secret that is the passphrase" },
	{ "encrypt.keyslot", OF_AMENDED, img_set_key,
	  "<num> - The keyslot to change" },
	{ "encrypt.new-secret", OF_AMENDED, img_set_key,
	  "<str> - ID of the secret to add" },
	{ "encrypt.old-secret", OF_AMENDED, img_set_key,
	  "<str> - ID of the secret to erase" },
	{ "encrypt.state", OF_AMENDED, img_set_key,
	  "<str> - active (to add) or inactive (to erase)" },
	{ "encryption", OF_QCOW2, set_old_encryption,
	  "<bool (on/off)> - off: the old AES, of the format's beginnings, is "
	  "not made" },
	{ "extended_l2", OF_QCOW2, set_extended,
	  "<bool (on/off)> - Extended L2 tables: 32 subclusters a cluster" },
	{ "extent_size_hint", OF_FILE, set_extent_hint,
	  "<size> - Extent size hint for the image file, 0 to disable" },
	{ "key-file", OF_QCOW2, img_set_encryption,
	  "<str>         - Encrypt with LUKS; the file is the passphrase" },
	{ "lazy_refcounts", OF_QCOW2, set_lazy,
	  "<bool (on/off)> - Postpone refcount updates" },
	{ "nocow", OF_FILE, set_nocow,
	  "<bool (on/off)>  - Turn off copy-on-write (valid only on btrfs)" },
	{ "preallocation", OF_RAW_FILE, set_prealloc,
	  "<str>    - Preallocation mode (allowed values: off, metadata, "
	  "falloc, full)" },
	{ "refcount_bits", OF_QCOW2, set_refcount,
	  "<num>    - Width of a reference count entry in bits" },
	{ "size", OF_BOTH, set_size, "<size>            - Virtual disk size" },
};

static bool knows(const struct img_creation *c, const struct field *f)
{
	if (f->of == OF_AMENDED)
		return c->keys;
	return c->format == BLOCK_QCOW2 || f->of != OF_QCOW2;
}

void img_print_field(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!strcmp(fields[i].name, name))
			printf("  %s=%s\n", name, fields[i].help);
	}
}

void img_print_fields(const struct img_creation *c)
{
	bool raw = c->format == BLOCK_RAW;
	unsigned not_named = raw ? OF_RAW_FILE : OF_FILE;

	printf("Supported %soptions:\n", c->path ? ""
					 : raw   ? "raw "
						 : "qcow2 ");
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (knows(c, &fields[i]) &&
		    (c->path || fields[i].of < not_named))
			img_print_field(fields[i].name);
	}
	if (!c->path)
		puts("\nThe protocol level may support further options.\n"
		     "Specify the target filename to include those options.");
}

int img_set_field(struct img_creation *c, const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		const struct field *f = &fields[i];

		if (strcmp(f->name, name))
			continue;
		if (!knows(c, f))
			break;
		return f->set(c, name, value ? value : "on");
	}
	if (!strncmp(name, "backing_f", 9))
		log_err("%s: Backing file not supported for file format 'raw'",
			c->path);
	else
		log_err("%s: Invalid parameter '%s'; -o help lists them",
			c->path, name);
	return -EINVAL;
}

int img_set_fields(struct img_creation *c, char *list)
{
	char *name, *value;

	size_t end = strlen(list);

	/* Two commas at the end are one, of a name. */
	while (end && list[end - 1] == ',')
		end--;
	if (!end || *list == ',' || strlen(list + end) % 2) {
		log_err("Invalid option list: %s", list);
		return -EINVAL;
	}
	while ((name = list_next(&list, &value))) {
		int err = 0;

		if (!value && (!strcmp(name, "help") || !strcmp(name, "?")))
			c->help = true;
		else if (!value && !strncmp(name, "no", 2))
			err = img_set_field(c, name + 2, "off");
		else if (*name)
			err = img_set_field(c, name, value);
		if (err)
			return err;
	}
	return 0;
}
