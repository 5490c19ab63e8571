/*
 * Making encrypted images: -o encrypt.*, as qemu-img takes it, or key-file=.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/img_create.h"
#include "devices/block/secret.h"
#include "util/args.h"
#include "util/log.h"

int img_set_encryption(struct img_creation *c, const char *name,
		       const char *value)
{
	if (!strcmp(name, "key-file")) {
		c->key_file = value;
		return 0;
	}
	if (!strcmp(name, "encrypt.format")) {
		c->encryption = value;
		return 0;
	}
	if (!strcmp(name, "encrypt.key-secret")) {
		c->key_secret = value;
		return 0;
	}
	if (!strcmp(name, "encrypt.iter-time") &&
	    !parse_number(value, 0, 1000000, &c->iter_ms)) {
		c->iter_ms += !c->iter_ms; /* 0 is: as is usual */
		return 0;
	}
	if (!c->luks_kind.key_len)
		c->luks_kind = luks_usual;
	if (!luks_choose(&c->luks_kind, name + strlen("encrypt."), value))
		return 0;
	log_err("%s: Parameter '%s' does not accept value '%s'", c->path, name,
		value);
	return -EINVAL;
}

void img_print_encryption(const struct img_creation *c)
{
	if (c->not_encrypted)
		printf(" encryption=off");
	if (c->encryption)
		printf(" encrypt.format=%s", c->encryption);
	if (c->key_secret)
		printf(" encrypt.key-secret=%s", c->key_secret);
	if (c->iter_ms)
		printf(" encrypt.iter-time=%llu",
		       (unsigned long long)c->iter_ms);
}

/* Where the passphrase is. */
static int find_secret(struct img_creation *c)
{
	if (c->key_file)
		return 0;
	if (!c->key_secret)
		log_err("%s: Parameter 'encrypt.key-secret' is required for "
			"cipher",
			c->path);
	else
		c->key_file = img_secret(c->common, c->path, c->key_secret);
	return c->key_file ? 0 : -EINVAL;
}

static int check_encryption(const struct img_creation *c)
{
	if (c->encryption && strcmp(c->encryption, "luks")) {
		log_err("%s: Parameter 'format' does not accept value '%s'; "
			"only luks can be made",
			c->path, c->encryption);
		return -EINVAL;
	}
	if (!c->encryption && (c->key_secret || c->iter_ms) && !c->key_file) {
		log_err("%s: Parameter 'encrypt.format' is missing", c->path);
		return -EINVAL;
	}
	return 0;
}

static int make_area(struct img_creation *c, const struct luks_secret *secret)
{
	uint8_t *area = malloc(LUKS_AREA);
	const struct luks_kind *kind = c->luks_kind.key_len ? &c->luks_kind
							    : &luks_usual;
	int err = area ? luks_create(area, kind, secret,
				     c->iter_ms ? c->iter_ms : LUKS_TIME_MS)
		       : -ENOMEM;

	if (err) {
		log_err("%s: cannot make its key: %s", c->path, strerror(-err));
		free(area);
		return err;
	}
	c->luks = area;
	c->shape.luks = area;
	return 0;
}

int img_make_key(struct img_creation *c)
{
	uint8_t *passphrase;
	size_t len;
	int err = check_encryption(c);

	if (err || !(c->encryption || c->key_file))
		return err;
	err = find_secret(c);
	if (!err)
		err = secret_load(c->path, c->key_file, &passphrase, &len);
	if (err)
		return err;
	err = make_area(c, &(struct luks_secret){ passphrase, len });
	secret_free(passphrase, SECRET_FILE_MAX);
	return err;
}
