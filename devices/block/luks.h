/*
 * LUKS version 1 (the on-disk format specification 1.2.3), as qemu-img makes
 * it inside a qcow2 image: AES in XTS mode, with what struct luks_kind has of
 * hashes, key lengths and sector numbers. The header is hostile input; what it
 * asks for beyond that is refused by name.
 *
 * One thread at a time opens; the key that comes of it is read-only, for any.
 */
#ifndef KVIST_BLOCK_LUKS_H
#define KVIST_BLOCK_LUKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/block/hash.h"
#include "devices/block/host_file.h"
#include "devices/block/xts.h"

#define LUKS_HEADER_LEN   592
#define LUKS_SLOTS        8
#define LUKS_SALT_LEN     32
#define LUKS_DIGEST_LEN   20
#define LUKS_UUID_LEN     40
#define LUKS_STRIPES      4000
#define LUKS_MATERIAL_MAX (LUKS_STRIPES * XTS_KEY_MAX)

/* Where the header has its slots, and what the first word of one says. */
#define LUKS_AT_SLOTS    208
#define LUKS_SLOT_LEN    48
#define LUKS_SLOT_ACTIVE 0x00ac71f3u
#define LUKS_SLOT_FREE   0x0000deadu

/* A passphrase is tried in seconds, whatever the header says. */
#define LUKS_ITERATIONS_MAX (1u << 26)

/* How an image is encrypted. */
struct luks_kind {
	uint8_t hash;    /* enum hash_kind */
	uint8_t key_len; /* of both XTS keys: 32 for AES-128, 64 for AES-256 */
	uint8_t plain;   /* sector numbers have 32 bits */
	uint8_t mode;    /* 0: XTS, the only one */
};

extern const struct luks_kind luks_usual; /* unless one is chosen */

/* Its parts have the names that qemu-img gives them: "hash-alg" is "sha256" and
 * so on. Sets the one called @name: 0, or -EINVAL when there is no such value.
 */
int luks_choose(struct luks_kind *kind, const char *name, const char *value);
/* The name of the value that the part called @name has: of luks_usual, or what
 * luks_choose() or luks_header_parse() made. */
const char *luks_chosen(const struct luks_kind *kind, const char *name);

struct luks_slot {
	bool active;
	uint32_t iterations;
	uint8_t salt[LUKS_SALT_LEN];
	uint64_t material; /* bytes from the LUKS header's start */
};

struct luks_header {
	struct luks_kind kind;
	uint8_t digest[LUKS_DIGEST_LEN]; /* of the master key */
	uint8_t digest_salt[LUKS_SALT_LEN];
	uint32_t digest_iterations;
	uint64_t payload;             /* bytes from the LUKS header's start */
	char uuid[LUKS_UUID_LEN + 1]; /* in a form that may be shown */
	struct luks_slot slot[LUKS_SLOTS];
};

#define LUKS_WHY_LEN 288

/*
 * Reads and checks a header that lies in an area of @area bytes. 0, or -EINVAL
 * (damaged) or -ENOTSUP with half a sentence in @why, for which LUKS_WHY_LEN
 * bytes are enough.
 */
int luks_header_parse(const uint8_t bytes[LUKS_HEADER_LEN], uint64_t area,
		      struct luks_header *header, char *why, size_t why_len);

/* The area [offset, offset + length) of a file; errors are logged with the
 * name. */
struct luks_area {
	struct host_file *file;
	uint64_t offset, length;
	const char *name;
};

/* A passphrase: borrowed. */
struct luks_secret {
	const uint8_t *bytes;
	size_t len;
};

/* Reads the header of @area, and checks it. 0 or -errno, logged. */
int luks_read_header(const struct luks_area *area, struct luks_header *header);

/*
 * Tries the passphrase on those active slots whose bits are set in @slots.
 * Returns the number of the first that it opens, and sets *xts (NULL: of no
 * interest), a secret; -EACCES, -EIO or -ENOMEM, not logged.
 */
int luks_find_slot(const struct luks_area *area,
		   const struct luks_header *header, unsigned slots,
		   const struct luks_secret *secret, struct xts *xts);

/*
 * Opens the area with the passphrase: tries every active slot. On success *xts,
 * in memory of secret_alloc(), is the caller's. -EACCES when no slot opens,
 * -EINVAL, -ENOTSUP, -EIO, -ENOMEM; logged.
 */
int luks_open(const struct luks_area *area, const struct luks_secret *secret,
	      struct xts **xts);

/* The bytes of the stripes that a key of that kind is split into. */
static inline size_t luks_material(const struct luks_kind *kind)
{
	return (size_t)LUKS_STRIPES * kind->key_len;
}

/* Undoes the anti-forensic split (specification, section 2.4): @material is
 * LUKS_STRIPES stripes of a key. */
void luks_merge(const struct luks_kind *kind, const uint8_t *material,
		uint8_t *key);

/* The opposite: all stripes except the last are there, random; makes the last.
 */
void luks_split(const struct luks_kind *kind, const uint8_t *key,
		uint8_t *material);

/* What encrypts sectors by that key. */
void luks_cipher(const struct luks_kind *kind, const uint8_t *key,
		 struct xts *xts);

/* luks_create.c */
#define LUKS_AREA    2068480 /* bytes: the header and eight key slots */
#define LUKS_TIME_MS 2000    /* of work to try one passphrase */

/*
 * Makes a header with a new random key, which the passphrase opens, in
 * @area[0..LUKS_AREA). To hash the passphrase takes this host @ms of one CPU. 0
 * or -errno (-ENOMEM, or no random bytes), not logged.
 */
int luks_create(uint8_t *area, const struct luks_kind *kind,
		const struct luks_secret *secret, uint64_t ms);

/* All that is secret while a key goes into a slot; of secret_alloc(). */
struct luks_making {
	struct luks_kind kind;
	struct hmac passphrase, master;
	struct xts slot;
	uint8_t key[XTS_KEY_MAX];
	uint8_t derived[XTS_KEY_MAX];
};

/* @len random bytes: 0 or -errno, not logged. */
int luks_random(uint8_t *to, size_t len);
/* The rounds that take @ms of this thread's time, to derive a key; for 0 as
 * few as LUKS allows. */
uint32_t luks_rounds(struct luks_making *m, uint64_t ms);
/*
 * Splits m->key and encrypts it by m->passphrase: writes the salt and @rounds
 * of a slot to its bytes in the header, and all luks_material() bytes of its
 * material. The caller fills in the rest of @slot. 0 or -errno, not logged.
 */
int luks_seal(struct luks_making *m, uint8_t slot[LUKS_SLOT_LEN],
	      uint8_t *material, uint32_t rounds);

/* luks_amend.c */
struct luks_change {
	struct luks_area area;
	const struct xts *key;     /* as it was opened */
	bool erase, force;         /* force: even if it could lose the data */
	int slot;                  /* -1: one that is free, or all that fit */
	struct luks_secret secret; /* added, or erased; no bytes: any */
	uint64_t ms;               /* as in luks_create() */
};

/*
 * Adds a key or erases some. A crash at any time leaves a key that opens: an
 * old one that was to stay, or the new one. 0 or -errno, logged.
 */
int luks_amend(const struct luks_change *change);

#endif
