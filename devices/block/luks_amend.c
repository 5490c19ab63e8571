/*
 * Key slots of an image that is there, changed in place:
 *
 *   to add:    salt, rounds, key material | "active"
 *   to erase:  "free" | salt, rounds, key material, all overwritten
 *
 * Each | is a sync, and the word behind or before it lies in one sector: a slot
 * is active with all that belongs to it, or free. One that is free and whose
 * salt is gone opens no more, though a crash may leave its material.
 */
#include <errno.h>
#include <string.h>

#include "devices/block/luks.h"
#include "devices/block/secret.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/log.h"

struct amending {
	const struct luks_change *change;
	struct luks_header header;
	uint32_t rounds;
	struct luks_making making;
	uint8_t slot[LUKS_SLOT_LEN], material[LUKS_MATERIAL_MAX];
};

static uint64_t slot_at(const struct amending *a, unsigned n)
{
	return a->change->area.offset + LUKS_AT_SLOTS + n * LUKS_SLOT_LEN;
}

static int sync_after(const struct amending *a, int err)
{
	struct host_file *file = a->change->area.file;

	return err ? err : file->ops->sync(file);
}

static int put_state(const struct amending *a, unsigned n, uint32_t state)
{
	uint8_t word[4];

	put_be32(word, state);
	return sync_after(a, host_write(a->change->area.file, word,
					sizeof(word), slot_at(a, n)));
}

/* All but the state. */
static int put_rest(struct amending *a, unsigned n)
{
	const struct luks_area *area = &a->change->area;
	uint64_t material = a->header.slot[n].material;
	int err;

	put_be32(a->slot + 40, material / XTS_SECTOR);
	put_be32(a->slot + 44, LUKS_STRIPES);
	err = host_write(area->file, a->slot + 4, LUKS_SLOT_LEN - 4,
			 slot_at(a, n) + 4);
	if (!err)
		err = host_write(area->file, a->material,
				 luks_material(&a->header.kind),
				 area->offset + material);
	return sync_after(a, err);
}

static int put_key(struct amending *a, unsigned n)
{
	int err = luks_seal(&a->making, a->slot, a->material, a->rounds);

	if (!err)
		err = put_rest(a, n);
	return err ? err : put_state(a, n, LUKS_SLOT_ACTIVE);
}

static int wipe(struct amending *a, unsigned n)
{
	int err = luks_random(a->material, luks_material(&a->header.kind));

	memset(a->slot, 0, LUKS_SLOT_LEN);
	if (!err)
		err = put_state(a, n, LUKS_SLOT_FREE);
	return err ? err : put_rest(a, n);
}

/* Bits of the slots that are active. */
static unsigned active_slots(const struct amending *a)
{
	unsigned slots = 0;

	for (unsigned i = 0; i < LUKS_SLOTS; i++)
		slots |= (unsigned)a->header.slot[i].active << i;
	return slots;
}

/* What is written to the slot must be nobody else's. */
static bool is_apart(const struct amending *a, unsigned n)
{
	const struct luks_slot *slot = a->header.slot;
	uint64_t at = slot[n].material, len = luks_material(&a->header.kind);

	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		if (i != n && slot[i].active &&
		    ranges_overlap(at, len, slot[i].material, len))
			return false;
	}
	return at >= LUKS_HEADER_LEN &&
	       range_within(at, len, a->change->area.length);
}

/* Half a sentence, or NULL where the slots can be written. */
static const char *check_apart(const struct amending *a, unsigned slots)
{
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		if (slots & 1u << i && !is_apart(a, i))
			return "Keyslots overlap: the LUKS header is damaged";
	}
	return NULL;
}

static int add(struct amending *a, const char **why)
{
	unsigned active = active_slots(a), spare = ~active & (active + 1);
	const struct luks_change *c = a->change;
	unsigned wanted = c->slot < 0 ? spare : 1u << c->slot;
	int slot, other;
	int err = 0;

	spare &= (1u << LUKS_SLOTS) - 1;
	if (wanted >> LUKS_SLOTS)
		*why = "Can't add a keyslot - all keyslots are in use";
	else if (wanted & active && !c->force)
		*why = "Refusing to overwrite an active keyslot - please erase "
		       "it first";
	else
		*why = check_apart(a, wanted | (wanted & active ? spare : 0));
	if (*why)
		return -EINVAL;
	slot = __builtin_ctz(wanted);
	other = spare && wanted & active ? __builtin_ctz(spare) : slot;
	xts_key(c->key, a->making.key);
	a->making.kind = a->header.kind;
	hmac_init(&a->making.passphrase, a->header.kind.hash, c->secret.bytes,
		  c->secret.len);
	a->rounds = luks_rounds(&a->making, c->ms);
	/* The old key may be the only one: until the new one has its place,
	 * it is in another, too. */
	if (other != slot)
		err = put_key(a, other);
	if (!err && wanted & active)
		err = wipe(a, slot);
	if (!err)
		err = put_key(a, slot);
	return err || other == slot ? err : wipe(a, other);
}

/* The active slots that the old passphrase opens, as bits, or -errno. */
static int matching(const struct amending *a, unsigned slots)
{
	const struct luks_change *c = a->change;
	int found = 0;

	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		int err = luks_find_slot(&c->area, &a->header, slots & 1u << i,
					 &c->secret, NULL);

		if (err >= 0)
			found |= 1 << err;
		else if (err != -EACCES)
			return err;
	}
	return found;
}

static int erase(struct amending *a, const char **why)
{
	const struct luks_change *c = a->change;
	unsigned active = active_slots(a);
	int slots = c->slot < 0 ? 0xff : 1 << c->slot, err = 0;

	if (c->secret.len)
		slots = matching(a, slots);
	if (slots < 0)
		return slots;
	if (!slots)
		*why = "No keyslots match given (old) password";
	else if (!c->force && !(active & slots))
		*why = "Given keyslot is already erased (inactive)";
	else if (!c->force && !(active & ~slots))
		*why = "This would erase all keys, and all the data "
		       "irreversibly - refusing operation";
	else
		*why = check_apart(a, slots);
	if (*why)
		return -EINVAL;
	for (unsigned i = 0; i < LUKS_SLOTS && !err; i++) {
		if (slots & 1 << i)
			err = wipe(a, i);
	}
	return err;
}

int luks_amend(const struct luks_change *change)
{
	struct amending *a = secret_alloc(sizeof(*a));
	const char *why = NULL;
	int err;

	if (!a) {
		log_err("%s: out of memory", change->area.name);
		return -ENOMEM;
	}
	a->change = change;
	err = luks_read_header(&change->area, &a->header);
	if (!err) {
		err = (change->erase ? erase : add)(a, &why);
		if (err)
			log_err("%s: %s%s", change->area.name,
				why ? "" : "cannot change its keys: ",
				why ? why : strerror(-err));
	}
	secret_free(a, sizeof(*a));
	return err;
}
