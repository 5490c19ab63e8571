/*
 * QCOW2 as bytes: the header, mapping entries and refcounts, by the format's
 * specification (QEMU docs/interop/qcow2.rst). Pure functions over memory,
 * any thread: nothing here does I/O, and nothing trusts a byte.
 *
 * All integers of the format are big endian.
 */
#ifndef KVIST_BLOCK_QCOW2_FORMAT_H
#define KVIST_BLOCK_QCOW2_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QCOW2_MAGIC                0x514649fbu /* "QFI\xfb" */
#define QCOW2_HEADER_V2            72
#define QCOW2_HEADER_V3            104
#define QCOW2_CLUSTER_BITS_MIN     9
#define QCOW2_CLUSTER_BITS_MAX     21
#define QCOW2_BACKING_NAME_MAX     1023
#define QCOW2_L1_BYTES_MAX         (32u << 20)
#define QCOW2_REFTABLE_MAX         (8u << 20)
#define QCOW2_SNAPSHOTS_MAX        65536
#define QCOW2_SNAPSHOT_TABLE_MAX   (64u << 20)
#define QCOW2_SNAPSHOT_EXTRA_MAX   1024
#define QCOW2_BITMAPS_MAX          65535
#define QCOW2_LUKS_MAX             (64u << 20)
#define QCOW2_BITMAP_DIRECTORY_MAX (64u << 20)

/* Where the header keeps what is rewritten in place. */
#define QCOW2_AT_REFTABLE       48 /* 8 bytes offset, 4 bytes clusters */
#define QCOW2_AT_INCOMPATIBLE   72
#define QCOW2_AT_AUTOCLEAR      88
#define QCOW2_AT_REFCOUNT_ORDER 96
#define QCOW2_AT_COMPRESSION    104

/* Incompatible features, by bit. */
#define QCOW2_DIRTY       (1ull << 0)
#define QCOW2_CORRUPT     (1ull << 1)
#define QCOW2_DATA_FILE   (1ull << 2)
#define QCOW2_COMPRESSION (1ull << 3)
#define QCOW2_EXTENDED_L2 (1ull << 4)

/* Compatible features, by bit. */
#define QCOW2_LAZY_REFCOUNTS (1ull << 0)

/* Methods of encryption; 1 is an old one, which is refused. */
#define QCOW2_PLAIN 0
#define QCOW2_LUKS  2

/* Types of compression. */
#define QCOW2_ZLIB 0
#define QCOW2_ZSTD 1

/* Autoclear features, by bit. */
#define QCOW2_AUTO_BITMAPS (1ull << 0)
#define QCOW2_AUTO_RAW     (1ull << 1) /* the data file is a raw disk */

/* Bits of L1 and L2 entries. */
#define QCOW2_COPIED      (1ull << 63)
#define QCOW2_COMPRESSED  (1ull << 62)
#define QCOW2_ZERO        (1ull << 0)
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ull
#define QCOW2_OFFSET_END  (1ull << 56)

struct qcow2_header {
	unsigned version; /* 2 or 3 */
	unsigned cluster_bits;
	unsigned refcount_order; /* a refcount has 1 << order bits */
	uint64_t size;           /* of the disk, rounded down to a sector */
	uint32_t crypt_method;   /* QCOW2_PLAIN or QCOW2_LUKS */
	uint64_t luks_offset, luks_bytes; /* where the LUKS header is */
	uint64_t l1_offset;
	uint32_t l1_entries;
	uint64_t reftable_offset;
	uint32_t reftable_clusters;
	uint64_t snapshots_offset;
	uint32_t snapshots;
	uint64_t incompatible, compatible, autoclear;
	uint32_t length;     /* of the header itself */
	uint8_t compression; /* QCOW2_ZLIB or QCOW2_ZSTD */
	bool has_bitmaps;
	uint32_t bitmaps; /* entries of their directory */
	uint64_t bitmap_directory, bitmap_directory_bytes;
	char backing[QCOW2_BACKING_NAME_MAX + 1]; /* empty: none */
	char backing_format[16]; /* empty: not stated; cut when longer */
	char data_file[QCOW2_BACKING_NAME_MAX + 1]; /* empty: not stated */
};

/* log2 of the entries that an L2 table has. */
static inline unsigned qcow2_l2_bits(const struct qcow2_header *h)
{
	return h->cluster_bits - (h->incompatible & QCOW2_EXTENDED_L2 ? 4 : 3);
}

/* What is wrong with an image: half a sentence that follows its name, and
 * what to do about it. */
struct qcow2_why {
	char text[320];
};

/*
 * Bytes of the file that qcow2_header_parse() needs, from the first
 * QCOW2_HEADER_V3 of them: a whole cluster, as extensions and the backing
 * file's name may be anywhere in it. 0 and @why when they are no qcow2 header.
 */
size_t qcow2_header_bytes(const uint8_t first[QCOW2_HEADER_V3],
			  struct qcow2_why *why);

/*
 * Reads and checks the header in @bytes, the file's first cluster. What the
 * image uses and this implementation does not know is refused by name. 0,
 * -EINVAL (not qcow2, or damaged) or -ENOTSUP, and @why.
 */
int qcow2_header_parse(const uint8_t *bytes, size_t len,
		       struct qcow2_header *header, struct qcow2_why *why);

/* Of a header that was parsed: what must be so to use the image, but can be
 * put right. 0, or -EINVAL and @why. */
int qcow2_header_usable(const struct qcow2_header *header,
			struct qcow2_why *why);

/* What an L2 entry says of its cluster. */
enum qcow2_kind {
	QCOW2_KIND_UNALLOCATED,    /* the backing file's, or zeros */
	QCOW2_KIND_ZERO,           /* zeros, no host cluster */
	QCOW2_KIND_ZERO_ALLOCATED, /* zeros, a host cluster kept for later */
	QCOW2_KIND_DATA,
	QCOW2_KIND_COMPRESSED,
};

struct qcow2_entry {
	enum qcow2_kind kind;
	bool copied;    /* its host cluster's refcount is 1: write in place */
	uint64_t host;  /* offset; of a compressed cluster any byte */
	uint32_t bytes; /* compressed: up to this many */
	/* Of extended entries: the subclusters that hold data, and those that
	 * are zeros, the first one lowest. The others are unallocated. */
	uint32_t data, zeros;
};

/* 0, or -EIO for an entry that no valid image holds. */
int qcow2_entry_decode(uint64_t raw, unsigned cluster_bits, unsigned version,
		       struct qcow2_entry *entry);

/*
 * Extended entries: the 8 bytes of others, and 8 that tell of each of the
 * cluster's subclusters, in the high half which are zeros and in the low half
 * which hold data. The kind that is decoded is the cluster's: has it a host
 * cluster or not (or is it compressed).
 */
#define QCOW2_SUBCLUSTERS       32
#define QCOW2_EXTENDED_BITS_MIN 14 /* of a cluster: subclusters are sectors */

int qcow2_extended_decode(uint64_t raw, uint64_t bitmap, unsigned cluster_bits,
			  struct qcow2_entry *entry);

/* What such an entry says of subcluster @sub. An unallocated one may have its
 * place in a host cluster. */
enum qcow2_kind qcow2_sub_kind(const struct qcow2_entry *entry, unsigned sub);

static inline uint64_t qcow2_sub_bitmap(uint32_t data, uint32_t zeros)
{
	return (uint64_t)zeros << 32 | data;
}

/*
 * The refcount number @index of a block of refcounts of 1 << @order bits.
 * Below a byte the first is in the least significant bits.
 */
uint64_t qcow2_refcount_get(const uint8_t *block, unsigned order,
			    uint64_t index);
void qcow2_refcount_put(uint8_t *block, unsigned order, uint64_t index,
			uint64_t value);
/* The largest refcount of that width. */
uint64_t qcow2_refcount_max(unsigned order);

/*
 * One entry of the snapshot table. Parses the one at @bytes, of which @len are
 * left, and returns its length with padding, or 0 when it is damaged.
 */
struct qcow2_snapshot {
	uint64_t l1_offset;
	uint32_t l1_entries;
	const char *id, *name; /* in @bytes, not terminated */
	uint16_t id_len, name_len;
	uint32_t date_sec, date_nsec;
	uint64_t vm_clock_nsec;
	uint64_t vm_state_size;
	uint64_t icount;      /* UINT64_MAX: not known */
	uint64_t disk_size;   /* bytes; UINT64_MAX: not said */
	const uint8_t *bytes; /* the entry as it is: borrowed */
	size_t length;        /* of it, with padding */
};

size_t qcow2_snapshot_parse(const uint8_t *bytes, size_t len,
			    unsigned cluster_bits,
			    struct qcow2_snapshot *snapshot);

/*
 * One entry of the bitmap directory, likewise.
 */
#define QCOW2_BITMAP_FIXED    24 /* bytes before its name */
#define QCOW2_BITMAP_NAME_MAX 1023
#define QCOW2_BITMAP_IN_USE   (1u << 0) /* it may not be true: not to be used */
#define QCOW2_BITMAP_AUTO     (1u << 1)
#define QCOW2_BITMAP_EXTRA                                                     \
	(1u << 2)              /* programs that do not know its extra
					 * data may use it */
#define QCOW2_BITMAP_FLAGS  7u /* all that there are */
#define QCOW2_BITMAP_TRACKS 1  /* the type: what was written to */

struct qcow2_bitmap {
	uint64_t table_offset;
	uint32_t table_entries;
	uint32_t flags;
	uint8_t granularity_bits;
	const char *name; /* in @bytes, not terminated */
	uint16_t name_len;
	bool again; /* by qcow2_each_bitmap(): another has this name, too */
};

/* The bytes that a bitmap of that disk takes. */
static inline uint64_t qcow2_bitmap_bytes(uint64_t disk_size,
					  unsigned granularity_bits)
{
	uint64_t bits = (disk_size >> granularity_bits) +
			!!(disk_size & ((1ull << granularity_bits) - 1));

	return (bits + 7) / 8;
}

/* What one entry of its table says: all ones, or the host offset of a cluster,
 * or 0 for all zeros. */
#define QCOW2_BITMAP_ONES 1

/* False for one that no valid image holds. */
bool qcow2_bitmap_entry_ok(uint64_t entry, unsigned cluster_bits);

size_t qcow2_bitmap_parse(const uint8_t *bytes, size_t len,
			  unsigned cluster_bits, struct qcow2_bitmap *bitmap);

#endif
