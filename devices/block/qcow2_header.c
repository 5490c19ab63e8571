/*
 * The header of an image and its extensions: what is read of them, and what is
 * refused.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "devices/block/qcow2_format.h"
#include "util/bytes.h"
#include "util/checked.h"

/* Header extensions. */
#define EXT_END            0x00000000u
#define EXT_BACKING_FORMAT 0xe2792acau
#define EXT_FEATURE_NAMES  0x6803f857u
#define EXT_BITMAPS        0x23852875u
#define EXT_LUKS           0x0537be77u
#define EXT_DATA_FILE      0x44415441u

#define FEATURE_NAME_LEN 48 /* type, bit, name of 46 bytes */

static int fail(struct qcow2_why *why, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct qcow2_why *why, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return err;
}

size_t qcow2_header_bytes(const uint8_t first[QCOW2_HEADER_V3],
			  struct qcow2_why *why)
{
	uint32_t version = get_be32(first + 4);
	uint32_t bits = get_be32(first + 20);

	if (get_be32(first) != QCOW2_MAGIC) {
		fail(why, 0,
		     "is not a qcow2 image; if it is a raw disk, say "
		     "format=raw, or -f raw");
		return 0;
	}
	if (version != 2 && version != 3) {
		fail(why, 0,
		     "is a qcow image of version %u; only 2 and 3 are "
		     "supported, so convert it with qemu-img convert -O qcow2",
		     version);
		return 0;
	}
	if (bits < QCOW2_CLUSTER_BITS_MIN || bits > QCOW2_CLUSTER_BITS_MAX) {
		fail(why, 0,
		     "the header is damaged: cluster_bits is %u, not %u..%u",
		     bits, QCOW2_CLUSTER_BITS_MIN, QCOW2_CLUSTER_BITS_MAX);
		return 0;
	}
	return 1u << bits;
}

static void parse_fields(const uint8_t *b, struct qcow2_header *h)
{
	memset(h, 0, sizeof(*h));
	h->version = get_be32(b + 4);
	h->cluster_bits = get_be32(b + 20);
	h->size = get_be64(b + 24);
	h->crypt_method = get_be32(b + 32);
	h->l1_entries = get_be32(b + 36);
	h->l1_offset = get_be64(b + 40);
	h->reftable_offset = get_be64(b + QCOW2_AT_REFTABLE);
	h->reftable_clusters = get_be32(b + QCOW2_AT_REFTABLE + 8);
	h->snapshots = get_be32(b + 60);
	h->snapshots_offset = get_be64(b + 64);
	h->refcount_order = 4;
	h->length = QCOW2_HEADER_V2;
	if (h->version == 2)
		return;
	h->incompatible = get_be64(b + QCOW2_AT_INCOMPATIBLE);
	h->compatible = get_be64(b + 80);
	h->autoclear = get_be64(b + QCOW2_AT_AUTOCLEAR);
	h->refcount_order = get_be32(b + 96);
	h->length = get_be32(b + 100);
	if (h->length > QCOW2_AT_COMPRESSION)
		h->compression = b[QCOW2_AT_COMPRESSION];
}

/* A table of the image: aligned, not over the header, within what a file can
 * hold. Tables past the end of the file are legal and read as zeros. */
static int check_table(const struct qcow2_header *h, const char *name,
		       uint64_t offset, uint64_t bytes, struct qcow2_why *why)
{
	uint64_t cluster = 1ull << h->cluster_bits;

	if (offset & (cluster - 1))
		return fail(why, -EINVAL,
			    "the header is damaged: the %s is at %#llx, not on "
			    "a cluster boundary",
			    name, (unsigned long long)offset);
	if (offset < cluster || !range_within(offset, bytes, QCOW2_OFFSET_END))
		return fail(why, -EINVAL,
			    "the header is damaged: the %s is at %#llx", name,
			    (unsigned long long)offset);
	return 0;
}

static int check_tables(const struct qcow2_header *h, struct qcow2_why *why)
{
	uint64_t per_l1 = 1ull << (h->cluster_bits + qcow2_l2_bits(h));
	uint64_t l1_bytes = h->l1_entries * 8ull;
	uint64_t reftable = (uint64_t)h->reftable_clusters << h->cluster_bits;
	int err;

	if (reftable > QCOW2_REFTABLE_MAX)
		return fail(why, -EINVAL,
			    "the refcount table has %u clusters, more than "
			    "8 MiB",
			    h->reftable_clusters);
	err = reftable ? check_table(h, "refcount table", h->reftable_offset,
				     reftable, why)
		       : 0;
	if (err)
		return err;
	if (l1_bytes > QCOW2_L1_BYTES_MAX)
		return fail(why, -EINVAL,
			    "the L1 table has %u entries, more than 32 MiB",
			    h->l1_entries);
	if (h->size && (h->size - 1) / per_l1 >= h->l1_entries)
		return fail(why, -EINVAL,
			    "the header is damaged: the L1 table has %u "
			    "entries, too few for a disk of %llu bytes",
			    h->l1_entries, (unsigned long long)h->size);
	err = h->l1_entries
		      ? check_table(h, "L1 table", h->l1_offset, l1_bytes, why)
		      : 0;
	if (err)
		return err;
	if (ranges_overlap(h->l1_offset, l1_bytes, h->reftable_offset,
			   reftable))
		return fail(why, -EINVAL,
			    "the header is damaged: the L1 table and the "
			    "refcount table overlap");
	return h->snapshots ? check_table(h, "snapshot table",
					  h->snapshots_offset, 0, why)
			    : 0;
}

int qcow2_header_usable(const struct qcow2_header *h, struct qcow2_why *why)
{
	if (!h->reftable_clusters)
		return fail(why, -EINVAL,
			    "the header is damaged: it has no refcount table; "
			    "repair it with kvist img check -r all");
	if (h->snapshots > QCOW2_SNAPSHOTS_MAX)
		return fail(why, -EINVAL,
			    "it has %u snapshots, more than %u; kvist img "
			    "check -r all drops the last",
			    h->snapshots, QCOW2_SNAPSHOTS_MAX);
	return 0;
}

static int check_fields(const struct qcow2_header *h, struct qcow2_why *why)
{
	if (h->version == 3 && (h->length < QCOW2_HEADER_V3 || h->length % 8 ||
				h->length > 1u << h->cluster_bits))
		return fail(why, -EINVAL,
			    "the header is damaged: its length is %u",
			    h->length);
	if (h->refcount_order > 6)
		return fail(why, -EINVAL,
			    "the header is damaged: refcount_order is %u, "
			    "not 0..6",
			    h->refcount_order);
	if (h->size > INT64_MAX)
		return fail(why, -EINVAL,
			    "the header is damaged: the disk has %#llx bytes",
			    (unsigned long long)h->size);
	switch (h->crypt_method) {
	case QCOW2_PLAIN:
	case QCOW2_LUKS:
		return 0;
	case 1:
		return fail(why, -ENOTSUP,
			    "it is encrypted with AES, which is not supported; "
			    "decrypt it with qemu-img convert");
	}
	return fail(why, -EINVAL,
		    "the header is damaged: encryption method %u is unknown",
		    h->crypt_method);
}

/* Names go into messages and to the host's file system: no zero bytes, and
 * nothing that talks to a terminal. */
static bool printable(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return false;
	}
	return true;
}

/* The name the image's own feature table gives an incompatible @bit. */
static void feature_name(const uint8_t *table, size_t len, unsigned bit,
			 char name[47])
{
	*name = '\0';
	for (; len >= FEATURE_NAME_LEN;
	     table += FEATURE_NAME_LEN, len -= FEATURE_NAME_LEN) {
		if (table[0] != 0 || table[1] != bit)
			continue;
		memcpy(name, table + 2, 46);
		name[46] = '\0';
		/* Hostile text does not reach a terminal. */
		for (char *c = name; *c; c++) {
			if (*c < ' ' || *c > '~')
				*c = '?';
		}
		return;
	}
}

static int check_features(const struct qcow2_header *h, const uint8_t *names,
			  size_t names_len, struct qcow2_why *why)
{
	unsigned type = h->compression;
	uint64_t unknown = h->incompatible &
			   ~(QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_DATA_FILE |
			     QCOW2_COMPRESSION | QCOW2_EXTENDED_L2);
	char name[47];

	if (unknown) {
		unsigned bit = __builtin_ctzll(unknown);

		feature_name(names, names_len, bit, name);
		return fail(why, -ENOTSUP,
			    "it uses the incompatible feature %u%s%s, which is "
			    "not supported",
			    bit, *name ? ": " : "", name);
	}
	if (h->incompatible & QCOW2_EXTENDED_L2 &&
	    h->cluster_bits < QCOW2_EXTENDED_BITS_MIN)
		return fail(why, -EINVAL,
			    "the header is damaged: it has extended L2 entries "
			    "(subclusters) in clusters of %u bytes, below "
			    "%u",
			    1u << h->cluster_bits,
			    1u << QCOW2_EXTENDED_BITS_MIN);
	if (h->autoclear & QCOW2_AUTO_RAW &&
	    !(h->incompatible & QCOW2_DATA_FILE))
		return fail(why, -EINVAL,
			    "the header is damaged: it calls a data file raw, "
			    "but has none");
	if (!type != !(h->incompatible & QCOW2_COMPRESSION))
		return fail(why, -EINVAL,
			    "the header is damaged: the compression type is %u "
			    "but its feature bit says otherwise",
			    type);
	if (type > QCOW2_ZSTD)
		return fail(why, -ENOTSUP,
			    "it uses compression type %u, which is not "
			    "supported; convert it with qemu-img convert -O "
			    "qcow2 -o compression_type=zlib",
			    type);
	return 0;
}

static int parse_bitmaps(const uint8_t *data, uint32_t len,
			 struct qcow2_header *h, struct qcow2_why *why)
{
	uint32_t bitmaps;

	if (len != 24)
		return fail(why, -EINVAL,
			    "the header is damaged: the bitmaps extension has "
			    "%u bytes, not 24",
			    len);
	bitmaps = get_be32(data);
	if (!bitmaps || bitmaps > QCOW2_BITMAPS_MAX)
		return fail(why, -EINVAL,
			    "the header is damaged: it has %u bitmaps",
			    bitmaps);
	h->has_bitmaps = true;
	h->bitmaps = bitmaps;
	h->bitmap_directory_bytes = get_be64(data + 8);
	h->bitmap_directory = get_be64(data + 16);
	return 0;
}

static int parse_data_file(const uint8_t *data, uint32_t len,
			   struct qcow2_header *h, struct qcow2_why *why)
{
	if (len > QCOW2_BACKING_NAME_MAX)
		return fail(why, -EINVAL,
			    "the header is damaged: the data file's name has "
			    "%u bytes",
			    len);
	memcpy(h->data_file, data, len);
	h->data_file[len] = '\0';
	if (!printable(h->data_file, len))
		return fail(why, -EINVAL,
			    "the header is damaged: the data file's name holds "
			    "control characters");
	return 0;
}

/* Where the LUKS header and its key slots lie (the area is clusters). */
static int parse_luks(const uint8_t *data, uint32_t len, struct qcow2_header *h,
		      struct qcow2_why *why)
{
	if (h->crypt_method != QCOW2_LUKS || len != 16)
		return fail(why, -EINVAL,
			    "the header is damaged: a LUKS extension of %u "
			    "bytes, encryption method %u",
			    len, h->crypt_method);
	h->luks_offset = get_be64(data);
	h->luks_bytes = get_be64(data + 8);
	if (!h->luks_bytes || h->luks_bytes > QCOW2_LUKS_MAX)
		return fail(why, -EINVAL,
			    "the header is damaged: its LUKS area has %llu "
			    "bytes",
			    (unsigned long long)h->luks_bytes);
	return check_table(h, "LUKS area", h->luks_offset, h->luks_bytes, why);
}

/* Walks the extensions, which lie between the header and the backing file's
 * name. Unknown ones are skipped, and kept: headers are patched in place. */
static int parse_extensions(const uint8_t *bytes, size_t end,
			    struct qcow2_header *h, struct qcow2_why *why)
{
	const uint8_t *names = NULL;
	size_t names_len = 0, at = h->length;
	int err = 0;

	while (!err && at + 8 <= end) {
		uint32_t type = get_be32(bytes + at);
		uint32_t len = get_be32(bytes + at + 4);
		const uint8_t *data = bytes + at + 8;

		if (type == EXT_END)
			break;
		at += 8;
		if (len > end - at)
			return fail(why, -EINVAL,
				    "the header is damaged: extension %#x has "
				    "%u bytes, which do not fit",
				    type, len);
		if (type == EXT_FEATURE_NAMES) {
			names = data;
			names_len = len;
		} else if (type == EXT_BITMAPS && h->version == 3) {
			err = parse_bitmaps(data, len, h, why);
		} else if (type == EXT_LUKS) {
			err = parse_luks(data, len, h, why);
		} else if (type == EXT_DATA_FILE) {
			err = parse_data_file(data, len, h, why);
		} else if (type == EXT_BACKING_FORMAT) {
			size_t n = len < sizeof(h->backing_format) - 1
					   ? len
					   : sizeof(h->backing_format) - 1;

			memcpy(h->backing_format, data, n);
			if (!printable(h->backing_format, n))
				strcpy(h->backing_format, "?");
		}
		at += align_up(len, 8);
	}
	if (!err && h->crypt_method == QCOW2_LUKS && !h->luks_bytes)
		return fail(why, -EINVAL,
			    "the header is damaged: it is encrypted with LUKS "
			    "but does not say where the key is");
	return err ? err : check_features(h, names, names_len, why);
}

int qcow2_header_parse(const uint8_t *bytes, size_t len, struct qcow2_header *h,
		       struct qcow2_why *why)
{
	uint64_t name_offset;
	uint32_t name_len;
	size_t end = qcow2_header_bytes(bytes, why);
	int err;

	if (!end)
		return -EINVAL;
	if (len < end)
		return fail(why, -EINVAL, "the header is cut short");
	parse_fields(bytes, h);
	err = check_fields(h, why);
	if (err)
		return err;
	name_offset = get_be64(bytes + 8);
	name_len = name_offset ? get_be32(bytes + 16) : 0;
	if (name_len > QCOW2_BACKING_NAME_MAX ||
	    (name_len && (name_offset < h->length ||
			  !range_within(name_offset, name_len, end))))
		return fail(why, -EINVAL,
			    "the header is damaged: the backing file's name "
			    "has %u bytes at %#llx",
			    name_len, (unsigned long long)name_offset);
	if (name_len) {
		memcpy(h->backing, bytes + name_offset, name_len);
		if (!printable(h->backing, name_len))
			return fail(why, -EINVAL,
				    "the header is damaged: the backing file's "
				    "name holds control characters");
		end = name_offset;
	}
	err = parse_extensions(bytes, end, h, why);
	if (!err)
		err = check_tables(h, why);
	h->size = align_down(h->size, 512);
	return err;
}
