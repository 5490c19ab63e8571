/*
 * A new image, laid out in one go, all of it with refcount 1:
 *
 *   | header | refcount table | refcount blocks | L1 | L2 tables | data |
 *
 * The last two are there only when the clusters are allocated in advance. L2
 * table number n maps the n-th piece of the disk, and data lie in the order of
 * the disk: every entry is a sum.
 */
#include "devices/block/qcow2_create.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/luks.h"
#include "devices/block/qcow2_format.h"
#include "util/bytes.h"
#include "util/checked.h"

#define HEADER_BYTES  112 /* with the type of compression */
#define FEATURE_NAME  48
#define FEATURE_NAMES (sizeof(features) / sizeof(features[0]))

#define EXT_BACKING_FORMAT 0xe2792acau
#define EXT_FEATURE_NAMES  0x6803f857u
#define EXT_DATA_FILE      0x44415441u
#define EXT_LUKS           0x0537be77u

/* For a program that does not know a feature, to say what it lacks. */
static const struct {
	uint8_t type, bit; /* 0 incompatible, 1 compatible, 2 autoclear */
	const char *name;
} features[] = {
	{ 0, 0, "dirty bit" },
	{ 0, 1, "corrupt bit" },
	{ 0, 2, "external data file" },
	{ 0, 3, "compression type" },
	{ 0, 4, "extended L2 entries" },
	{ 1, 0, "lazy refcounts" },
	{ 2, 0, "bitmaps" },
	{ 2, 1, "raw external data" },
};

/* Parts of the file: first cluster and how many. */
struct part {
	uint64_t first, count;
};

struct layout {
	const struct qcow2_shape *shape;
	struct host_file *file;
	unsigned bits, order; /* of a cluster, of a refcount */
	unsigned entry_bytes; /* of an L2 table */
	uint64_t l1_entries;  /* that the disk needs */
	struct part reftable, refblocks, l1, luks, l2, data;
	uint64_t mapped;   /* clusters that the L2 tables name */
	uint64_t clusters; /* of the file */
	bool zeroed;       /* the file is new: what is not written is zeros */
	uint8_t *cluster;  /* one, to build in */
};

const struct qcow2_shape qcow2_shape_default = {
	.version = 3,
	.cluster_size = 64 << 10,
	.refcount_bits = 16,
};

static uint64_t div_up(uint64_t n, unsigned bits)
{
	return (n >> bits) + !!(n & ((1ull << bits) - 1));
}

static unsigned log2_of(uint64_t n)
{
	return 63 - __builtin_clzll(n);
}

/* The refcounts count themselves: goes on until table and blocks suffice. */
static void lay_out(struct layout *l, const struct qcow2_shape *shape)
{
	/* A reader of a raw data file does not see tables that say that parts
	 * of it are not there. */
	bool all = shape->preallocation != QCOW2_PREALLOC_OFF ||
		   shape->data_raw;
	unsigned bits = log2_of(shape->cluster_size);
	unsigned order = log2_of(shape->refcount_bits);
	uint64_t before;

	memset(l, 0, sizeof(*l));
	l->shape = shape;
	l->bits = bits;
	l->order = order;
	l->entry_bytes = shape->extended_l2 ? 16 : 8;
	l->l1_entries =
		div_up(shape->size, 2 * bits - (shape->extended_l2 ? 4 : 3));
	l->l1.count = div_up(l->l1_entries * 8, bits);
	l->luks.count = shape->luks ? div_up(LUKS_AREA, bits) : 0;
	l->l2.count = all ? l->l1_entries : 0;
	l->mapped = all ? div_up(shape->size, bits) : 0;
	l->data.count = shape->data_name ? 0 : l->mapped;
	l->reftable.first = 1;
	l->reftable.count = 1;
	do {
		before = l->clusters;
		l->refblocks.first = l->reftable.first + l->reftable.count;
		l->l1.first = l->refblocks.first + l->refblocks.count;
		l->luks.first = l->l1.first + l->l1.count;
		l->l2.first = l->luks.first + l->luks.count;
		l->data.first = l->l2.first + l->l2.count;
		l->clusters = l->data.first + l->data.count;
		l->refblocks.count = div_up(l->clusters, bits + 3 - order);
		l->reftable.count = div_up(l->refblocks.count * 8, bits);
	} while (l->clusters != before);
}

/* What the header holds besides its fields: 8 bytes an extension, the end
 * among them, and the backing file's name. */
static size_t header_bytes(const struct qcow2_shape *shape, bool names)
{
	size_t n = shape->version == 2 ? QCOW2_HEADER_V2 : HEADER_BYTES;

	if (shape->backing_fmt)
		n += 8 + align_up(strlen(shape->backing_fmt), 8);
	if (shape->data_name)
		n += 8 + align_up(strlen(shape->data_name), 8);
	if (shape->luks)
		n += 8 + 16;
	if (names)
		n += 8 + FEATURE_NAMES * FEATURE_NAME;
	return n + 8 + (shape->backing ? strlen(shape->backing) : 0);
}

static const char *data_wrong(const struct qcow2_shape *shape)
{
	if (shape->data_name && shape->version == 2)
		return "An external data file needs compat=1.1";
	if (shape->data_raw && !shape->data_name)
		return "data-file-raw requires data-file";
	if (shape->data_raw && shape->backing)
		return "Backing file and data-file-raw cannot be used at the "
		       "same time";
	if (shape->data_name &&
	    (strlen(shape->data_name) > QCOW2_BACKING_NAME_MAX ||
	     header_bytes(shape, false) > shape->cluster_size))
		return "The name of the data file is too long (try using a "
		       "larger cluster size)";
	return NULL;
}

static const char *backing_wrong(const struct qcow2_shape *shape)
{
	if (shape->backing_fmt && !shape->backing)
		return "Backing format cannot be used without backing file";
	if (!shape->backing)
		return NULL;
	if (shape->preallocation != QCOW2_PREALLOC_OFF && !shape->extended_l2)
		return "Backing file and preallocation can only be used at "
		       "the same time if extended_l2 is on";
	if (strlen(shape->backing) > QCOW2_BACKING_NAME_MAX ||
	    header_bytes(shape, false) > shape->cluster_size)
		return "The name of the backing file is too long (try using a "
		       "larger cluster size)";
	return NULL;
}

const char *qcow2_shape_wrong(const struct qcow2_shape *shape)
{
	struct layout l;

	if (shape->version != 2 && shape->version != 3)
		return "The version is not 2 or 3";
	if (!is_power_of_two(shape->cluster_size) ||
	    shape->cluster_size < 1u << QCOW2_CLUSTER_BITS_MIN ||
	    shape->cluster_size > 1u << QCOW2_CLUSTER_BITS_MAX)
		return "Cluster size must be a power of two between 512 and "
		       "2048k";
	if (shape->version == 2 && shape->extended_l2)
		return "Extended L2 entries need compat=1.1";
	if (shape->extended_l2 &&
	    shape->cluster_size < 1u << QCOW2_EXTENDED_BITS_MIN)
		return "Extended L2 entries are only supported with cluster "
		       "sizes of at least 16384 bytes";
	if (shape->version == 2 && shape->lazy_refcounts)
		return "Lazy refcounts need compat=1.1";
	if (shape->version == 2 && shape->compression != QCOW2_ZLIB)
		return "A compression type other than zlib needs compat=1.1";
	if (!is_power_of_two(shape->refcount_bits) || shape->refcount_bits > 64)
		return "Refcount width must be a power of two and may not "
		       "exceed 64 bits";
	if (shape->version == 2 && shape->refcount_bits != 16)
		return "Refcounts of other than 16 bits need compat=1.1";
	if (shape->size % 512 || shape->size > INT64_MAX)
		return "The image size is no multiple of 512";
	lay_out(&l, shape);
	if (l.l1_entries * 8 > QCOW2_L1_BYTES_MAX ||
	    l.reftable.count << l.bits > QCOW2_REFTABLE_MAX)
		return "The image size is too large for file format 'qcow2' "
		       "(try using a larger cluster size)";
	/* Zeros that are decrypted are none, and version 2 cannot say so. */
	if (shape->luks && shape->version == 2 &&
	    shape->preallocation != QCOW2_PREALLOC_OFF)
		return "Encryption and preallocation at once need compat=1.1";
	return data_wrong(shape) ? data_wrong(shape) : backing_wrong(shape);
}

static uint8_t *put_extension(uint8_t *to, uint32_t type, size_t len)
{
	put_be32(to, type);
	put_be32(to + 4, len);
	return to + 8;
}

static void put_names(uint8_t *to)
{
	for (size_t i = 0; i < FEATURE_NAMES; i++) {
		to[0] = features[i].type;
		to[1] = features[i].bit;
		memcpy(to + 2, features[i].name, strlen(features[i].name));
		to += FEATURE_NAME;
	}
}

static void fill_fields(const struct layout *l, uint8_t *header)
{
	put_be32(header, QCOW2_MAGIC);
	put_be32(header + 4, l->shape->version);
	put_be32(header + 20, l->bits);
	put_be64(header + 24, l->shape->size);
	put_be32(header + 36, l->l1_entries);
	put_be64(header + 40, l->l1_entries ? l->l1.first << l->bits : 0);
	put_be64(header + QCOW2_AT_REFTABLE, l->reftable.first << l->bits);
	put_be32(header + QCOW2_AT_REFTABLE + 8, l->reftable.count);
	if (l->shape->luks)
		put_be32(header + 32, QCOW2_LUKS);
	if (l->shape->version == 2)
		return;
	put_be64(header + QCOW2_AT_INCOMPATIBLE,
		 (l->shape->compression != QCOW2_ZLIB ? QCOW2_COMPRESSION : 0) |
			 (l->shape->extended_l2 ? QCOW2_EXTENDED_L2 : 0) |
			 (l->shape->data_name ? QCOW2_DATA_FILE : 0));
	put_be64(header + QCOW2_AT_AUTOCLEAR,
		 l->shape->data_raw ? QCOW2_AUTO_RAW : 0);
	put_be64(header + 80, l->shape->lazy_refcounts);
	header[QCOW2_AT_COMPRESSION] = l->shape->compression;
	put_be32(header + 96, l->order);
	put_be32(header + 100, HEADER_BYTES);
}

static uint8_t *put_text(uint8_t *to, uint32_t type, const char *text)
{
	size_t len = strlen(text);

	to = put_extension(to, type, len);
	memcpy(to, text, len);
	return to + align_up(len, 8);
}

static void fill_header(const struct layout *l, uint8_t *header)
{
	const struct qcow2_shape *shape = l->shape;
	uint8_t *to = header;

	fill_fields(l, header);
	to += shape->version == 2 ? QCOW2_HEADER_V2 : HEADER_BYTES;
	if (shape->backing_fmt)
		to = put_text(to, EXT_BACKING_FORMAT, shape->backing_fmt);
	if (shape->data_name)
		to = put_text(to, EXT_DATA_FILE, shape->data_name);
	if (shape->luks) {
		to = put_extension(to, EXT_LUKS, 16);
		put_be64(to, l->luks.first << l->bits);
		put_be64(to + 8, LUKS_AREA);
		to += 16;
	}
	/* Names are a courtesy, left out where there is no room. */
	if (shape->version == 3 &&
	    header_bytes(shape, true) <= shape->cluster_size) {
		size_t len = FEATURE_NAMES * FEATURE_NAME;

		put_names(put_extension(to, EXT_FEATURE_NAMES, len));
		to += 8 + len;
	}
	to += 8; /* the end of the extensions: zeros */
	if (shape->backing) {
		put_be64(header + 8, to - header);
		put_be32(header + 16, strlen(shape->backing));
		memcpy(to, shape->backing, strlen(shape->backing));
	}
}

static int put_cluster(struct layout *l, uint64_t number)
{
	return host_write(l->file, l->cluster, l->shape->cluster_size,
			  number << l->bits);
}

/*
 * Writes the clusters of @part, a table whose entries, of @bytes each, are the
 * offsets of @count clusters from number @first on, with @flags; zeros follow.
 * Subclusters are unallocated: what they will hold comes with the first write.
 */
static int put_table(struct layout *l, struct part part, unsigned bytes,
		     uint64_t first, uint64_t count, uint64_t flags)
{
	uint64_t per_cluster = l->shape->cluster_size / bytes;
	int err = 0;

	for (uint64_t c = 0; c < part.count && !err; c++) {
		if (c * per_cluster >= count && l->zeroed)
			break;
		memset(l->cluster, 0, l->shape->cluster_size);
		for (uint64_t i = 0; i < per_cluster; i++) {
			uint64_t n = c * per_cluster + i;

			if (n >= count)
				break;
			put_be64(l->cluster + i * bytes,
				 (first + n) << l->bits | flags);
		}
		err = put_cluster(l, part.first + c);
	}
	return err;
}

static int put_refblocks(struct layout *l)
{
	uint64_t per_block = 1ull << (l->bits + 3 - l->order);
	int err = 0;

	for (uint64_t b = 0; b < l->refblocks.count && !err; b++) {
		memset(l->cluster, 0, l->shape->cluster_size);
		for (uint64_t i = 0; i < per_block; i++) {
			if (b * per_block + i >= l->clusters)
				break;
			qcow2_refcount_put(l->cluster, l->order, i, 1);
		}
		err = put_cluster(l, l->refblocks.first + b);
	}
	return err;
}

static int put_luks(struct layout *l)
{
	uint64_t offset = l->luks.first << l->bits;
	uint64_t space = l->luks.count << l->bits;
	int err;

	if (!l->shape->luks)
		return 0;
	err = host_write(l->file, l->shape->luks, LUKS_AREA, offset);
	return err ? err
		   : host_write_zeros(l->file, offset + LUKS_AREA,
				      space - LUKS_AREA);
}

static int put_data(struct layout *l)
{
	uint64_t offset = l->data.first << l->bits;
	uint64_t bytes = l->data.count << l->bits;
	struct host_file *file = l->file;
	bool zeroed = l->zeroed;
	int err = 0;

	if (l->shape->data) {
		file = l->shape->data;
		offset = 0;
		bytes = l->shape->size;
		err = file->ops->truncate(file, 0);
		if (!err)
			err = file->ops->truncate(file, bytes);
		zeroed = true;
	}
	if (err || !bytes || l->shape->preallocation == QCOW2_PREALLOC_OFF)
		return err;
	if (l->shape->preallocation == QCOW2_PREALLOC_FALLOC)
		err = file->ops->allocate(file, offset, bytes);
	/* A disk allocated in advance reads as zeros, whatever the device held
	 * before. */
	if (l->shape->preallocation == QCOW2_PREALLOC_FULL || (!err && !zeroed))
		err = host_write_zeros(file, offset, bytes);
	return err;
}

static int put_image(struct layout *l)
{
	int err;

	/* A block device has the size it has, and is not empty; it is no image
	 * from here to the new header. */
	l->zeroed = !l->file->ops->truncate(l->file, 0);
	err = l->zeroed
		      ? l->file->ops->truncate(l->file, l->clusters << l->bits)
		      : host_write_zeros(l->file, 0, 1u << l->bits);
	if (!err)
		err = put_table(l, l->reftable, 8, l->refblocks.first,
				l->refblocks.count, 0);
	if (!err)
		err = put_refblocks(l);
	if (!err)
		err = put_table(l, l->l1, 8, l->l2.first, l->l2.count,
				QCOW2_COPIED);
	if (!err)
		err = put_table(
			l, l->l2, l->entry_bytes,
			l->shape->data_name ? 0 : l->data.first, l->mapped,
			QCOW2_COPIED | (l->shape->luks && !l->shape->extended_l2
						? QCOW2_ZERO
						: 0));
	if (!err)
		err = put_luks(l);
	if (!err)
		err = put_data(l);
	if (!err && l->shape->data)
		err = l->shape->data->ops->sync(l->shape->data);
	if (!err)
		err = l->file->ops->sync(l->file);
	if (err)
		return err;
	memset(l->cluster, 0, l->shape->cluster_size);
	fill_header(l, l->cluster);
	err = put_cluster(l, 0);
	return err ? err : l->file->ops->sync(l->file);
}

int qcow2_create(struct host_file *file, const struct qcow2_shape *shape)
{
	struct layout l;
	int err;

	lay_out(&l, shape);
	l.file = file;
	l.cluster = malloc(shape->cluster_size);
	if (!l.cluster)
		return -ENOMEM;
	err = put_image(&l);
	free(l.cluster);
	return err;
}
