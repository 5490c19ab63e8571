#include "devices/block/luks.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "devices/block/secret.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/log.h"

/* Offsets in the header; all integers are big endian. */
#define AT_VERSION    6
#define AT_CIPHER     8
#define AT_MODE       40
#define AT_HASH       72
#define AT_PAYLOAD    104
#define AT_KEY_LEN    108
#define AT_DIGEST     112
#define AT_SALT       132
#define AT_ITERATIONS 164
#define AT_UUID       168

static int fail(char *why, size_t len, int err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int fail(char *why, size_t len, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, len, fmt, ap);
	va_end(ap);
	return err;
}

/* The text of a field of @len bytes, in a form that may be shown. */
static void copy_text(char *to, const uint8_t *field, size_t len)
{
	memcpy(to, field, len);
	to[len] = '\0';
	for (char *c = to; *c; c++) {
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
}

/* True when the name in a field of 32 bytes is @wanted; @name gets it. */
static bool is_named(const uint8_t *field, const char *wanted, char name[33])
{
	copy_text(name, field, 32);
	return !strcmp(name, wanted);
}

static int parse_slot(const uint8_t *b, uint64_t area, struct luks_slot *slot)
{
	slot->active = get_be32(b) == LUKS_SLOT_ACTIVE;
	slot->iterations = get_be32(b + 4);
	memcpy(slot->salt, b + 8, LUKS_SALT_LEN);
	slot->material = get_be32(b + 40) * (uint64_t)XTS_SECTOR;
	if (!slot->active)
		return 0;
	if (!slot->iterations || slot->iterations > LUKS_ITERATIONS_MAX ||
	    get_be32(b + 44) != LUKS_STRIPES ||
	    slot->material < LUKS_HEADER_LEN ||
	    !range_within(slot->material, LUKS_MATERIAL, area))
		return -EINVAL;
	return 0;
}

int luks_header_parse(const uint8_t bytes[LUKS_HEADER_LEN], uint64_t area,
		      struct luks_header *header, char *why, size_t why_len)
{
	char name[33];

	if (memcmp(bytes, "LUKS\xba\xbe", 6))
		return fail(why, why_len, -EINVAL,
			    "its LUKS header is damaged: it has no signature");
	if (get_be16(bytes + AT_VERSION) != 1)
		return fail(why, why_len, -ENOTSUP,
			    "it is encrypted with LUKS version %u; only 1 is "
			    "supported",
			    get_be16(bytes + AT_VERSION));
	if (!is_named(bytes + AT_CIPHER, "aes", name))
		return fail(why, why_len, -ENOTSUP,
			    "it is encrypted with %s; only aes is supported",
			    name);
	if (!is_named(bytes + AT_MODE, "xts-plain64", name))
		return fail(why, why_len, -ENOTSUP,
			    "it is encrypted in mode %s; only xts-plain64 is "
			    "supported",
			    name);
	if (!is_named(bytes + AT_HASH, "sha256", name))
		return fail(why, why_len, -ENOTSUP,
			    "its keys are hashed with %s; only sha256 is "
			    "supported",
			    name);
	if (get_be32(bytes + AT_KEY_LEN) != XTS_KEY_LEN)
		return fail(why, why_len, -ENOTSUP,
			    "its key has %u bytes; only aes-256, with 64, is "
			    "supported",
			    get_be32(bytes + AT_KEY_LEN));
	memcpy(header->digest, bytes + AT_DIGEST, LUKS_DIGEST_LEN);
	memcpy(header->digest_salt, bytes + AT_SALT, LUKS_SALT_LEN);
	header->payload = get_be32(bytes + AT_PAYLOAD) * (uint64_t)XTS_SECTOR;
	copy_text(header->uuid, bytes + AT_UUID, LUKS_UUID_LEN);
	header->digest_iterations = get_be32(bytes + AT_ITERATIONS);
	if (!header->digest_iterations ||
	    header->digest_iterations > LUKS_ITERATIONS_MAX)
		return fail(why, why_len, -EINVAL,
			    "its LUKS header is damaged: %u iterations",
			    header->digest_iterations);
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		if (parse_slot(bytes + LUKS_AT_SLOTS + i * LUKS_SLOT_LEN, area,
			       &header->slot[i]))
			return fail(why, why_len, -EINVAL,
				    "its LUKS header is damaged: key slot %u",
				    i);
	}
	return 0;
}

/* Hashes each piece of the stripe with its number, so that one lost bit
 * spreads over all of it. */
static void diffuse(const struct sha256 *fresh, uint8_t stripe[XTS_KEY_LEN])
{
	for (uint32_t i = 0; i < XTS_KEY_LEN / SHA256_LEN; i++) {
		struct sha256 s = *fresh;
		uint8_t number[4];

		put_be32(number, i);
		sha256_add(&s, number, sizeof(number));
		sha256_add(&s, stripe + i * SHA256_LEN, SHA256_LEN);
		sha256_end(&s, stripe + i * SHA256_LEN);
		explicit_bzero(&s, sizeof(s));
	}
}

void luks_merge(const uint8_t material[LUKS_MATERIAL], uint8_t key[XTS_KEY_LEN])
{
	struct sha256 fresh;

	/* Once: asking the processor what it can do traps in a machine. */
	sha256_init(&fresh);
	memset(key, 0, XTS_KEY_LEN);
	for (unsigned i = 0; i < LUKS_STRIPES; i++) {
		if (i)
			diffuse(&fresh, key);
		for (unsigned j = 0; j < XTS_KEY_LEN; j++)
			key[j] ^= material[i * XTS_KEY_LEN + j];
	}
}

void luks_split(const uint8_t key[XTS_KEY_LEN], uint8_t material[LUKS_MATERIAL])
{
	uint8_t *last = material + LUKS_MATERIAL - XTS_KEY_LEN;
	uint8_t before[XTS_KEY_LEN];

	/* What the merge has by then, so that it ends with the key. */
	memset(last, 0, XTS_KEY_LEN);
	luks_merge(material, before);
	for (unsigned j = 0; j < XTS_KEY_LEN; j++)
		last[j] = before[j] ^ key[j];
	explicit_bzero(before, sizeof(before));
}

/* All that is secret while a passphrase is tried. */
struct attempt {
	struct hmac_sha256 passphrase, candidate;
	struct xts slot;
	uint8_t derived[XTS_KEY_LEN];
	uint8_t key[XTS_KEY_LEN];
	uint8_t digest[LUKS_DIGEST_LEN];
	uint8_t material[LUKS_MATERIAL];
};

/* 0 and a->key, -EACCES when the slot does not open, or -errno. */
static int try_slot(struct attempt *a, const struct luks_header *header,
		    const struct luks_slot *slot, const struct luks_area *area)
{
	uint8_t differs = 0;
	int err = host_read(area->file, a->material, sizeof(a->material),
			    area->offset + slot->material);

	if (err)
		return err;
	pbkdf2_sha256(&a->passphrase, slot->salt, LUKS_SALT_LEN,
		      slot->iterations, a->derived, sizeof(a->derived));
	xts_init(&a->slot, a->derived);
	/* Its sectors are counted from its own start. */
	xts_decrypt(&a->slot, 0, a->material, sizeof(a->material));
	luks_merge(a->material, a->key);
	hmac_sha256_init(&a->candidate, a->key, sizeof(a->key));
	pbkdf2_sha256(&a->candidate, header->digest_salt, LUKS_SALT_LEN,
		      header->digest_iterations, a->digest, sizeof(a->digest));
	/* In a time that does not tell where they differ. */
	for (unsigned i = 0; i < LUKS_DIGEST_LEN; i++)
		differs |= a->digest[i] ^ header->digest[i];
	return differs ? -EACCES : 0;
}

int luks_find_slot(const struct luks_area *area,
		   const struct luks_header *header, unsigned slots,
		   const struct luks_secret *secret, struct xts *xts)
{
	struct attempt *a = secret_alloc(sizeof(*a));
	int err = -EACCES;

	if (!a)
		return -ENOMEM;
	hmac_sha256_init(&a->passphrase, secret->bytes, secret->len);
	for (unsigned i = 0; i < LUKS_SLOTS && err == -EACCES; i++) {
		if (!header->slot[i].active || !(slots & 1u << i))
			continue;
		err = try_slot(a, header, &header->slot[i], area);
		if (!err && xts)
			xts_init(xts, a->key);
		if (!err)
			err = i;
	}
	secret_free(a, sizeof(*a));
	return err;
}

int luks_read_header(const struct luks_area *area, struct luks_header *header)
{
	uint8_t bytes[LUKS_HEADER_LEN];
	char why[160];
	int err = host_read(area->file, bytes, sizeof(bytes), area->offset);

	if (err) {
		log_err("disk %s: cannot read its LUKS header: %s", area->name,
			strerror(-err));
		return err;
	}
	err = luks_header_parse(bytes, area->length, header, why, sizeof(why));
	if (err)
		log_err("disk %s: %s", area->name, why);
	return err;
}

int luks_open(const struct luks_area *area, const struct luks_secret *secret,
	      struct xts **xts)
{
	struct luks_header header;
	struct xts *found;
	int err = luks_read_header(area, &header);

	if (err)
		return err;
	found = secret_alloc(sizeof(*found));
	err = found ? luks_find_slot(area, &header, ~0u, secret, found)
		    : -ENOMEM;
	if (err >= 0) {
		*xts = found;
		return 0;
	}
	secret_free(found, sizeof(*found));
	if (err == -EACCES)
		log_err("disk %s: the passphrase opens none of its key slots; "
			"the key file is taken byte by byte, so check it for "
			"a newline at the end",
			area->name);
	else
		log_err("disk %s: cannot open its LUKS key: %s", area->name,
			strerror(-err));
	return err;
}
