/*
 * A new LUKS header, as qemu-img makes it: one key slot of eight in use.
 *
 *   | header | pad | slot 0 | slot 1 | ... | slot 7 |
 *   0        592   4096     + 258048 each           LUKS_AREA
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "devices/block/luks.h"
#include "devices/block/secret.h"
#include "util/bytes.h"
#include "util/clock.h"

#define FIRST_SLOT 4096
#define SLOT_SPACE 258048

#define ITERATIONS_MIN 1000

int luks_random(uint8_t *to, size_t len)
{
	while (len) {
		ssize_t n = getrandom(to, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		to += n;
		len -= n;
	}
	return 0;
}

uint32_t luks_rounds(struct luks_making *m, uint64_t ms)
{
	static const uint8_t salt[LUKS_SALT_LEN];
	uint64_t rounds = ITERATIONS_MIN, ns = 0, wanted;

	while (ms) {
		ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		pbkdf2(&m->passphrase, salt, sizeof(salt), rounds, m->derived,
		       m->kind.key_len);
		ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - ns;
		/* Long enough to be measured. */
		if (ns >= 5000000 || rounds >= LUKS_ITERATIONS_MAX)
			break;
		rounds *= 4;
	}
	wanted = ns ? rounds * ms * 1000000 / ns : rounds;
	if (wanted < ITERATIONS_MIN)
		return ITERATIONS_MIN;
	return wanted < LUKS_ITERATIONS_MAX ? wanted : LUKS_ITERATIONS_MAX;
}

static int put_fields(const struct luks_kind *kind, uint8_t *area)
{
	uint8_t id[16];
	int err = luks_random(id, sizeof(id));

	memcpy(area, "LUKS\xba\xbe", 6);
	put_be16(area + 6, 1);
	strcpy((char *)area + 8, "aes");
	sprintf((char *)area + 40, "xts-%s", luks_chosen(kind, "ivgen-alg"));
	strcpy((char *)area + 72, luks_chosen(kind, "hash-alg"));
	put_be32(area + 104, LUKS_AREA / XTS_SECTOR);
	put_be32(area + 108, kind->key_len);
	/* A random UUID (RFC 4122, 4.4). */
	id[6] = (id[6] & 0x0f) | 0x40;
	id[8] = (id[8] & 0x3f) | 0x80;
	for (unsigned i = 0, at = 168; i < sizeof(id); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			area[at++] = '-';
		at += sprintf((char *)area + at, "%02x", id[i]);
	}
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		uint8_t *slot = area + LUKS_AT_SLOTS + i * LUKS_SLOT_LEN;

		put_be32(slot, LUKS_SLOT_FREE);
		put_be32(slot + 40, (FIRST_SLOT + i * SLOT_SPACE) / XTS_SECTOR);
		put_be32(slot + 44, LUKS_STRIPES);
	}
	return err;
}

/* What tells a right key from a wrong one. */
static int put_digest(struct luks_making *m, uint8_t *area, uint32_t rounds)
{
	uint8_t *salt = area + 132;
	int err = luks_random(salt, LUKS_SALT_LEN);

	hmac_init(&m->master, m->kind.hash, m->key, m->kind.key_len);
	put_be32(area + 164, rounds);
	pbkdf2(&m->master, salt, LUKS_SALT_LEN, rounds, area + 112,
	       LUKS_DIGEST_LEN);
	return err;
}

int luks_seal(struct luks_making *m, uint8_t slot[LUKS_SLOT_LEN],
	      uint8_t *material, uint32_t rounds)
{
	size_t len = luks_material(&m->kind);
	int err = luks_random(slot + 8, LUKS_SALT_LEN);

	if (!err)
		err = luks_random(material, len - m->kind.key_len);
	if (err)
		return err;
	put_be32(slot + 4, rounds);
	luks_split(&m->kind, m->key, material);
	pbkdf2(&m->passphrase, slot + 8, LUKS_SALT_LEN, rounds, m->derived,
	       m->kind.key_len);
	luks_cipher(&m->kind, m->derived, &m->slot);
	xts_encrypt(&m->slot, 0, material, len);
	return 0;
}

int luks_create(uint8_t *area, const struct luks_kind *kind,
		const struct luks_secret *secret, uint64_t ms)
{
	uint8_t *slot = area + LUKS_AT_SLOTS;
	struct luks_making *m = secret_alloc(sizeof(*m));
	uint32_t rounds;
	int err = m ? luks_random(m->key, sizeof(m->key)) : -ENOMEM;

	memset(area, 0, LUKS_AREA);
	if (!err)
		err = put_fields(kind, area);
	if (!err) {
		m->kind = *kind;
		hmac_init(&m->passphrase, kind->hash, secret->bytes,
			  secret->len);
		rounds = luks_rounds(m, ms);
		/* Guessing at the key itself is hopeless as it is. */
		err = put_digest(m, area,
				 rounds / 8 < ITERATIONS_MIN ? ITERATIONS_MIN
							     : rounds / 8);
	}
	if (!err)
		err = luks_seal(m, slot, area + FIRST_SLOT, rounds);
	put_be32(slot, LUKS_SLOT_ACTIVE);
	secret_free(m, sizeof(*m));
	if (err)
		explicit_bzero(area, LUKS_AREA);
	return err;
}
