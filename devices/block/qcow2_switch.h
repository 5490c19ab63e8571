/*
 * A change to a whole qcow2 image that happens at once: between the files
 * qcow2*.c only.
 *
 * Snapshots change refcounts, COPIED bits, the L1 table and the snapshot table
 * all over the image, and the old image is only valid without any of it, the
 * new one only with all of it. So nothing is changed in place. What changes is
 * written beside the old, in free clusters:
 *
 *   header --> | L1 table | refcount table | snapshot table |     old
 *      :            |              |
 *      :       L2 tables     refcount blocks     and what they still share
 *      :            |              |
 *      `.....> | L1 table | refcount table | snapshot table |     new
 *
 * and then one write of at most 48 bytes, within the header's first sector,
 * names the new. A crash or an error before it leaves the old image as it was,
 * without even a leak; after it, the new one is complete.
 *
 * The price is free space for the metadata that change: at most one part in
 * some thousands of what the disk holds. What they replace is free again.
 */
#ifndef KVIST_BLOCK_QCOW2_SWITCH_H
#define KVIST_BLOCK_QCOW2_SWITCH_H

#include "devices/block/qcow2.h"

/* Blocks of refcounts that the largest table has. */
#define QCOW2_SWITCH_BLOCKS (QCOW2_REFTABLE_MAX / 8)

/* What becomes of one block of refcounts. */
struct qcow2_change {
	int32_t *delta; /* of each refcount; NULL: no change */
	uint64_t place; /* where it goes; 0: not known yet */
};

struct qcow2_switch {
	struct qcow2 *q;

	/* The new image: by the caller, between begin and run. */
	uint64_t size; /* of the disk; may be changed */
	uint64_t *l1;  /* the disk's; owned, host byte order */
	uint32_t l1_entries;
	uint8_t *snapshot_table; /* owned; NULL when empty */
	uint64_t snapshot_bytes;
	uint32_t snapshots;

	/* Internal. */
	struct qcow2_change *blocks;
	uint64_t top;     /* no change of blocks from this index on */
	uint64_t hint;    /* no cluster below this one is free */
	uint64_t entries; /* of L2 tables looked at */
	uint64_t counts;  /* refcounts of blocks that change */
	uint8_t *table;   /* one cluster */
	uint64_t l1_at, snapshot_at, reftable_at;
	uint32_t reftable_clusters;
};

/*
 * Starts from an image in which everything accepted so far is durable. The
 * new image begins as the old one, without L1 table and snapshot table: both
 * old tables still count. 0 or -errno; to be ended by qcow2_switch_end() in
 * either case.
 */
int qcow2_switch_begin(struct qcow2_switch *s, struct qcow2 *q);

/* The new image's L1 table is a copy of @l1, with @entries if those are more.
 * 0 or -ENOMEM. */
int qcow2_switch_take_l1(struct qcow2_switch *s, const struct qcow2_table *l1,
			 uint32_t entries);

/* The new image has the snapshots of the old. 0 or -errno. */
int qcow2_switch_keep_snapshots(struct qcow2_switch *s);

/* Adds @sign to the count of everything that an L1 table leads to, or of the
 * clusters in a range: 1, -1, or 0 to see only that all of it is counted. To be
 * called for the disk's tree before run, if only with 0. 0 or -errno. */
int qcow2_switch_count_tree(struct qcow2_switch *s, const uint64_t *l1,
			    uint32_t entries, int sign);
int qcow2_switch_count(struct qcow2_switch *s, uint64_t offset, uint64_t bytes,
		       int sign);

/*
 * Writes the new image beside the old, with COPIED as the new refcounts want
 * it, and switches. 0; -EINVAL when a refcount would not fit its width;
 * -ENOSPC, -EIO, -ENOMEM, -EFBIG. After an error the old image is in use,
 * unless the header itself could not be written: that latches q->error, as
 * only the next open can tell which of the two it names.
 */
int qcow2_switch_run(struct qcow2_switch *s);

void qcow2_switch_end(struct qcow2_switch *s);

/*
 * qcow2_switch_count.c, for qcow2_switch.c. Clusters are numbered from the
 * start of the host file.
 */
static inline uint64_t qcow2_switch_per_block(const struct qcow2_switch *s)
{
	return 1ull << s->q->refblock_bits;
}

/* How much the cluster's refcount changes; NULL: not at all. */
int32_t *qcow2_switch_delta(struct qcow2_switch *s, uint64_t cluster);
/* Changes that, for a cluster below QCOW2_SWITCH_BLOCKS blocks. */
int qcow2_switch_add(struct qcow2_switch *s, uint64_t cluster, int sign);
/* The refcount that the new image has. */
int qcow2_switch_new_count(struct qcow2_switch *s, uint64_t cluster,
			   uint64_t *value);
/* 0 when every count so far fits its width, or -EINVAL. */
int qcow2_switch_check(struct qcow2_switch *s);
/* Reads the L2 table that an L1 entry names into s->table. */
int qcow2_switch_read_l2(struct qcow2_switch *s, uint64_t raw,
			 uint64_t *offset);

#endif
