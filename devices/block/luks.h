/*
 * LUKS version 1 (the on-disk format specification 1.2.3), as qemu-img makes
 * it inside a qcow2 image: AES-256 in XTS mode, sector numbers as "plain64",
 * SHA-256. The header is hostile input; what it asks for beyond that is
 * refused by name.
 *
 * One thread at a time opens; the key that comes of it is read-only, for any.
 */
#ifndef KVIST_BLOCK_LUKS_H
#define KVIST_BLOCK_LUKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/block/host_file.h"
#include "devices/block/xts.h"

#define LUKS_HEADER_LEN 592
#define LUKS_SLOTS      8
#define LUKS_SALT_LEN   32
#define LUKS_DIGEST_LEN 20
#define LUKS_UUID_LEN   40
#define LUKS_STRIPES    4000
#define LUKS_MATERIAL   (LUKS_STRIPES * XTS_KEY_LEN)

/* A passphrase is tried in seconds, whatever the header says. */
#define LUKS_ITERATIONS_MAX (1u << 26)

struct luks_slot {
	bool active;
	uint32_t iterations;
	uint8_t salt[LUKS_SALT_LEN];
	uint64_t material; /* bytes from the LUKS header's start */
};

struct luks_header {
	uint8_t digest[LUKS_DIGEST_LEN]; /* of the master key */
	uint8_t digest_salt[LUKS_SALT_LEN];
	uint32_t digest_iterations;
	uint64_t payload;             /* bytes from the LUKS header's start */
	char uuid[LUKS_UUID_LEN + 1]; /* in a form that may be shown */
	struct luks_slot slot[LUKS_SLOTS];
};

/*
 * Reads and checks a header that lies in an area of @area bytes. 0, -EINVAL
 * (damaged) or -ENOTSUP, and half a sentence in @why.
 */
int luks_header_parse(const uint8_t bytes[LUKS_HEADER_LEN], uint64_t area,
		      struct luks_header *header, char *why, size_t why_len);

/*
 * Opens the area [offset, offset + area) of @file with the passphrase: tries
 * every active slot. On success *xts, in memory of secret_alloc(), is the
 * caller's. -EACCES when no slot opens, -EINVAL, -ENOTSUP, -EIO, -ENOMEM;
 * logged with @name.
 */
int luks_open(struct host_file *file, uint64_t offset, uint64_t area,
	      const char *name, const uint8_t *passphrase, size_t len,
	      struct xts **xts);

/* Undoes the anti-forensic split (specification, section 2.4): @material is
 * LUKS_STRIPES stripes of a key. */
void luks_merge(const uint8_t material[LUKS_MATERIAL],
		uint8_t key[XTS_KEY_LEN]);

/* The opposite: all stripes but the last are there and random; makes that. */
void luks_split(const uint8_t key[XTS_KEY_LEN],
		uint8_t material[LUKS_MATERIAL]);

/* luks_create.c */
#define LUKS_AREA    2068480 /* bytes: the header and eight key slots */
#define LUKS_TIME_MS 2000    /* of work for whoever tries a passphrase */

/*
 * Makes a header with a new random key, which the passphrase opens, in
 * @area[0..LUKS_AREA). The passphrase is hashed as often as takes this host @ms
 * of one CPU. 0 or -errno (-ENOMEM, or no random bytes), not logged.
 */
int luks_create(uint8_t *area, const uint8_t *passphrase, size_t len,
		uint64_t ms);

#endif
