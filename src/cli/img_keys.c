/*
 * `kvist img amend -o encrypt.*`: keys of an encrypted image come and go.
 */
#include <errno.h>
#include <string.h>

#include "cli/img_create.h"
#include "devices/block/luks.h"
#include "devices/block/qcow2_amend.h"
#include "devices/block/secret.h"
#include "util/args.h"
#include "util/log.h"

int img_set_key(struct img_creation *c, const char *name, const char *value)
{
	struct img_keys *keys = c->keys;
	const char **text =
		!strcmp(name, "encrypt.state")        ? &keys->state
		: !strcmp(name, "encrypt.new-secret") ? &keys->new_secret
		: !strcmp(name, "encrypt.old-secret") ? &keys->old_secret
						      : NULL;
	uint64_t slot;

	if (text) {
		*text = value;
		return 0;
	}
	if (parse_number(value, 0, LUKS_SLOTS - 1, &slot)) {
		log_err("%s: Invalid keyslot %s specified, must be between 0 "
			"and %d",
			c->path, value, LUKS_SLOTS - 1);
		return -EINVAL;
	}
	keys->slot = (int)slot;
	return 0;
}

/* Whether it is something that can be done. */
static bool check(const struct img_creation *c)
{
	const struct img_keys *keys = c->keys;
	bool adds = keys->state && !strcmp(keys->state, "active");
	const char *extra = adds && keys->old_secret    ? "old-secret"
			    : !adds && keys->new_secret ? "new-secret"
			    : !adds && c->iter_ms       ? "iter-time"
							: NULL;
	const char *lacks = adds && !keys->new_secret ? "new-secret"
			    : !adds && keys->slot < 0 && !keys->old_secret
				    ? "keyslot or old-secret"
				    : NULL;

	if (!adds && (!keys->state || strcmp(keys->state, "inactive"))) {
		log_err("%s: Parameter 'state' must be active or inactive",
			c->path);
		return false;
	}
	if (extra || lacks)
		log_err("%s: '%s' %s when %s keyslots", c->path,
			extra ? extra : lacks,
			extra ? "must not be given" : "is required",
			adds ? "activating" : "erasing");
	return !extra && !lacks;
}

int img_change_keys(struct img_creation *c, struct block *disk)
{
	const struct img_keys *keys = c->keys;
	struct luks_change change = { .erase = !keys->new_secret,
				      .force = keys->force,
				      .slot = keys->slot,
				      .ms = c->iter_ms ? c->iter_ms
						       : LUKS_TIME_MS };
	const char *id = change.erase ? keys->old_secret : keys->new_secret;
	const char *file;
	uint8_t *passphrase = NULL;
	int err;

	if (!keys->state && !id && keys->slot < 0 && !c->iter_ms)
		return 0;
	if (!check(c))
		return -EINVAL;
	if (id) {
		file = img_secret(c->common, c->path, id);
		if (!file)
			return -EINVAL;
		err = secret_load(c->path, file, &passphrase,
				  &change.secret.len);
		if (err)
			return err;
		change.secret.bytes = passphrase;
	}
	err = qcow2_amend_keys(disk, &change);
	secret_free(passphrase, SECRET_FILE_MAX);
	return err;
}
