/*
 * What qcow2_check.c, qcow2_check_map.c and qcow2_check_list.c find out and
 * qcow2_repair.c acts upon; between the four.
 */
#ifndef KVIST_BLOCK_QCOW2_CENSUS_H
#define KVIST_BLOCK_QCOW2_CENSUS_H

#include "devices/block/qcow2.h"
#include "devices/block/qcow2_check.h"

/* What a reference calls a cluster: an L2 table or the disk's L1 table, which
 * are repaired in place, or anything else. */
enum qcow2_role { QCOW2_TABLE, QCOW2_NO_TABLE };

/* A word of a table that has to change. */
struct qcow2_mend {
	uint64_t at; /* host offset */
	uint64_t word;
};

struct qcow2_census {
	struct qcow2 *q; /* opened read-only: it changes nothing itself */
	FILE *to;
	struct qcow2_findings *found;
	struct qcow2_table reftable;
	unsigned fix; /* QCOW2_FIX_* */
	uint64_t file_size;
	uint64_t beyond;   /* what lies behind the file's end begins there */
	uint64_t clusters; /* of the file */
	uint64_t l1_bytes; /* of all L1 tables so far */
	uint32_t l1_tables;
	/* For each cluster: the last L1 table, counted from 1, that led to an
	 * L2 table there. And the bytes of L2 tables that were read again. */
	uint32_t *walked;
	uint64_t again;
	bool mended; /* c->mends has all of this table already */
	/* For each cluster, and the one behind the last: how many references
	 * were seen, and what the refcount is, UINT32_MAX at most. */
	uint32_t *seen, *kept;
	uint8_t *other; /* of those seen, how many as QCOW2_NO_TABLE, to 255 */
	struct qcow2_mend *mends;
	size_t nr_mends;
	uint8_t *table;      /* an L2 table or refcount block */
	uint64_t structural; /* errors of the tables themselves; ... */
	uint64_t misplaced;  /* ... how many of them new refcounts put right */
	bool rebuilt;        /* refcounts and what else: written anew */

	/* The snapshot table: what it takes, and if it is @bad what it should
	 * be. qcow2_check_list.c */
	struct qcow2_list {
		bool bad;
		uint64_t old_bytes;
		uint8_t *bytes; /* owned; room for more of them */
		size_t length, room;
		uint32_t count;
	} snapshots;
};

/* An error of the tables themselves: told and counted. */
void qcow2_census_damaged(struct qcow2_census *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

bool qcow2_census_aligned(const struct qcow2_census *c, uint64_t offset);

/* Adds @change (1, or -1 to take that back) to the references of each cluster
 * that the range touches. False for one that ends behind the file: nothing is
 * changed. */
bool qcow2_census_count(struct qcow2_census *c, uint64_t offset, uint64_t bytes,
			enum qcow2_role role, int change);

/* Counts one reference; where it leads behind the file, that is damage. */
void qcow2_census_see(struct qcow2_census *c, uint64_t offset, uint64_t bytes,
		      enum qcow2_role role);

/* Counts an L1 table and what it leads to; @active: the disk's, not that of a
 * snapshot. 0 or -errno. */
int qcow2_census_l1(struct qcow2_census *c, uint64_t offset, uint32_t entries,
		    bool active);

/* Hands each snapshot of the table that has an L1 table to @each, whatever the
 * table is like, and fills c->snapshots. 0 or -errno. */
int qcow2_census_snapshots(struct qcow2_census *c,
			   int (*each)(struct qcow2_census *c,
				       const struct qcow2_snapshot *snapshot));

/* True when a refcount table entry names a whole cluster of the file. */
bool qcow2_census_block(const struct qcow2_census *c, uint64_t entry);

/* The refcount of the cluster at host @offset: 0 where there is none. */
uint32_t qcow2_census_kept(const struct qcow2_census *c, uint64_t offset);

/*
 * Walks the active tables and hands on each entry whose COPIED is not what the
 * refcount says: @raw as it is, @at its host offset. 0, or what reading or
 * @each answers.
 */
int qcow2_census_copied(struct qcow2_census *c,
			int (*each)(struct qcow2_census *c, uint64_t raw,
				    uint64_t at));

/* An @each that only tells of the entry and counts it as an error. */
int qcow2_census_tell(struct qcow2_census *c, uint64_t raw, uint64_t at);

/* Repairs what c->fix allows and tells of COPIED what is left, durably.
 * 0 or -errno. */
int qcow2_repair(struct qcow2_census *c);

#endif
