#include "devices/block/luks.h"

#include <errno.h>
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

static const struct choice {
	const char *name, *value;
	uint8_t at, is; /* the byte of struct luks_kind, and what it is then */
} choices[] = {
	{ "cipher-alg", "aes-128", offsetof(struct luks_kind, key_len), 32 },
	{ "cipher-alg", "aes-256", offsetof(struct luks_kind, key_len), 64 },
	{ "cipher-mode", "xts", offsetof(struct luks_kind, mode), 0 },
	{ "hash-alg", "sha1", offsetof(struct luks_kind, hash), HASH_SHA1 },
	{ "hash-alg", "sha256", offsetof(struct luks_kind, hash), HASH_SHA256 },
	{ "hash-alg", "sha512", offsetof(struct luks_kind, hash), HASH_SHA512 },
	{ "ivgen-alg", "plain", offsetof(struct luks_kind, plain), 1 },
	{ "ivgen-alg", "plain64", offsetof(struct luks_kind, plain), 0 },
	/* Of what is not made: taken, and of no meaning. */
	{ "ivgen-hash-alg", "sha256", offsetof(struct luks_kind, mode), 0 },
};

const struct luks_kind luks_usual = { .hash = HASH_SHA256, .key_len = 64 };

int luks_choose(struct luks_kind *kind, const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(choices); i++) {
		const struct choice *c = &choices[i];

		if (!strcmp(c->name, name) && !strcmp(c->value, value)) {
			((uint8_t *)kind)[c->at] = c->is;
			return 0;
		}
	}
	return -EINVAL;
}

const char *luks_chosen(const struct luks_kind *kind, const char *name)
{
	const struct choice *c = choices;

	while (strcmp(c->name, name) || ((const uint8_t *)kind)[c->at] != c->is)
		c++;
	return c->value;
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

static int parse_slot(struct luks_header *header, const uint8_t *bytes,
		      uint64_t area, unsigned n)
{
	const uint8_t *b = bytes + LUKS_AT_SLOTS + n * LUKS_SLOT_LEN;
	struct luks_slot *slot = &header->slot[n];

	slot->active = get_be32(b) == LUKS_SLOT_ACTIVE;
	slot->iterations = get_be32(b + 4);
	memcpy(slot->salt, b + 8, LUKS_SALT_LEN);
	slot->material = get_be32(b + 40) * (uint64_t)XTS_SECTOR;
	if (!slot->active)
		return 0;
	if (!slot->iterations || slot->iterations > LUKS_ITERATIONS_MAX ||
	    get_be32(b + 44) != LUKS_STRIPES ||
	    slot->material < LUKS_HEADER_LEN ||
	    !range_within(slot->material, luks_material(&header->kind), area))
		return -EINVAL;
	return 0;
}

/* What was chosen of all that there is: whether that is supported. */
static bool parse_kind(const uint8_t *bytes, struct luks_kind *kind, char *why,
		       size_t why_len)
{
	uint32_t key_len = get_be32(bytes + AT_KEY_LEN);
	char cipher[33], mode[33], hash[33];

	copy_text(cipher, bytes + AT_CIPHER, 32);
	copy_text(mode, bytes + AT_MODE, 32);
	copy_text(hash, bytes + AT_HASH, 32);
	*kind = luks_usual;
	kind->key_len = key_len;
	if (!strcmp(cipher, "aes") && !strncmp(mode, "xts-", 4) &&
	    !luks_choose(kind, "ivgen-alg", mode + 4) &&
	    !luks_choose(kind, "hash-alg", hash) &&
	    (key_len == 32 || key_len == 64))
		return true;
	snprintf(
		why, why_len,
		"it is encrypted with %s-%s, %u bytes of key and %s; supported "
		"are aes-xts-plain64 and -plain, 32 and 64, sha1, sha256 and "
		"sha512",
		cipher, mode, key_len, hash);
	return false;
}

int luks_header_parse(const uint8_t bytes[LUKS_HEADER_LEN], uint64_t area,
		      struct luks_header *header, char *why, size_t why_len)
{
	unsigned slot = 0;

	if (memcmp(bytes, "LUKS\xba\xbe", 6)) {
		snprintf(why, why_len,
			 "its LUKS header is damaged: it has no signature");
		return -EINVAL;
	}
	if (get_be16(bytes + AT_VERSION) != 1) {
		snprintf(why, why_len,
			 "it is encrypted with LUKS version %u; only 1 is "
			 "supported",
			 get_be16(bytes + AT_VERSION));
		return -ENOTSUP;
	}
	if (!parse_kind(bytes, &header->kind, why, why_len))
		return -ENOTSUP;
	memcpy(header->digest, bytes + AT_DIGEST, LUKS_DIGEST_LEN);
	memcpy(header->digest_salt, bytes + AT_SALT, LUKS_SALT_LEN);
	header->payload = get_be32(bytes + AT_PAYLOAD) * (uint64_t)XTS_SECTOR;
	copy_text(header->uuid, bytes + AT_UUID, LUKS_UUID_LEN);
	header->digest_iterations = get_be32(bytes + AT_ITERATIONS);
	if (!header->digest_iterations ||
	    header->digest_iterations > LUKS_ITERATIONS_MAX) {
		snprintf(why, why_len,
			 "its LUKS header is damaged: %u iterations",
			 header->digest_iterations);
		return -EINVAL;
	}
	while (slot < LUKS_SLOTS && !parse_slot(header, bytes, area, slot))
		slot++;
	if (slot == LUKS_SLOTS)
		return 0;
	snprintf(why, why_len, "its LUKS header is damaged: key slot %u", slot);
	return -EINVAL;
}

/* Hashes each piece of the stripe with its number, so that one lost bit
 * spreads over all of it. */
static void diffuse(const struct hash *fresh, uint8_t *stripe, size_t len)
{
	size_t size = hash_len(fresh->kind);
	uint8_t digest[HASH_LEN_MAX];

	for (uint32_t i = 0; i * size < len; i++) {
		uint8_t number[4], *at = stripe + i * size;
		size_t n = len - i * size < size ? len - i * size : size;
		struct hash s = *fresh;

		put_be32(number, i);
		hash_add(&s, number, sizeof(number));
		hash_add(&s, at, n);
		hash_end(&s, digest);
		memcpy(at, digest, n);
		explicit_bzero(&s, sizeof(s));
	}
	explicit_bzero(digest, sizeof(digest));
}

void luks_merge(const struct luks_kind *kind, const uint8_t *material,
		uint8_t *key)
{
	struct hash fresh;

	/* Once: asking the processor what it can do traps in a machine. */
	hash_init(&fresh, kind->hash);
	memset(key, 0, kind->key_len);
	for (unsigned i = 0; i < LUKS_STRIPES; i++) {
		if (i)
			diffuse(&fresh, key, kind->key_len);
		for (unsigned j = 0; j < kind->key_len; j++)
			key[j] ^= *material++;
	}
}

void luks_split(const struct luks_kind *kind, const uint8_t *key,
		uint8_t *material)
{
	uint8_t *last = material + luks_material(kind) - kind->key_len;
	uint8_t before[XTS_KEY_MAX];

	/* What the merge has by then, so that it ends with the key. */
	memset(last, 0, kind->key_len);
	luks_merge(kind, material, before);
	for (unsigned j = 0; j < kind->key_len; j++)
		last[j] = before[j] ^ key[j];
	explicit_bzero(before, sizeof(before));
}

void luks_cipher(const struct luks_kind *kind, const uint8_t *key,
		 struct xts *xts)
{
	xts_init(xts, key, kind->key_len);
	xts->plain = kind->plain;
}

/* All that is secret while a passphrase is tried. */
struct attempt {
	struct hmac passphrase, candidate;
	struct xts slot;
	uint8_t derived[XTS_KEY_MAX];
	uint8_t key[XTS_KEY_MAX];
	uint8_t digest[LUKS_DIGEST_LEN];
	uint8_t material[LUKS_MATERIAL_MAX];
};

/* 0 and a->key, -EACCES when the slot does not open, or -errno. */
static int try_slot(struct attempt *a, const struct luks_header *header,
		    const struct luks_slot *slot, const struct luks_area *area)
{
	const struct luks_kind *kind = &header->kind;
	size_t len = luks_material(kind);
	uint8_t differs = 0;
	int err = host_read(area->file, a->material, len,
			    area->offset + slot->material);

	if (err)
		return err;
	pbkdf2(&a->passphrase, slot->salt, LUKS_SALT_LEN, slot->iterations,
	       a->derived, kind->key_len);
	luks_cipher(kind, a->derived, &a->slot);
	/* Its sectors are counted from its own start. */
	xts_decrypt(&a->slot, 0, a->material, len);
	luks_merge(kind, a->material, a->key);
	hmac_init(&a->candidate, kind->hash, a->key, kind->key_len);
	pbkdf2(&a->candidate, header->digest_salt, LUKS_SALT_LEN,
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
	hmac_init(&a->passphrase, header->kind.hash, secret->bytes,
		  secret->len);
	for (unsigned i = 0; i < LUKS_SLOTS && err == -EACCES; i++) {
		if (!header->slot[i].active || !(slots & 1u << i))
			continue;
		err = try_slot(a, header, &header->slot[i], area);
		if (!err && xts)
			luks_cipher(&header->kind, a->key, xts);
		if (!err)
			err = i;
	}
	secret_free(a, sizeof(*a));
	return err;
}

int luks_read_header(const struct luks_area *area, struct luks_header *header)
{
	uint8_t bytes[LUKS_HEADER_LEN];
	char why[LUKS_WHY_LEN];
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
