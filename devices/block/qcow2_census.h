/*
 * What qcow2_check.c finds out and qcow2_repair.c acts upon; between the two.
 */
#ifndef KVIST_BLOCK_QCOW2_CENSUS_H
#define KVIST_BLOCK_QCOW2_CENSUS_H

#include "devices/block/qcow2.h"
#include "devices/block/qcow2_check.h"

struct qcow2_census {
	struct qcow2 *q; /* opened read-only: it changes nothing itself */
	FILE *to;
	struct qcow2_findings *found;
	struct qcow2_table reftable;
	uint64_t file_size;
	uint64_t clusters; /* of the file */
	/* Of each cluster, and the one behind the last: how many references
	 * were seen, and what the refcount is, no more than UINT32_MAX. */
	uint32_t *seen, *kept;
	uint8_t *table;      /* an L2 table or refcount block */
	uint64_t structural; /* errors that no refcount puts right */
};

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

/* One that does nothing but tell and count it as an error. */
int qcow2_census_tell(struct qcow2_census *c, uint64_t raw, uint64_t at);

/* Repairs what @fix allows and tells of COPIED what is left, durably.
 * 0 or -errno. */
int qcow2_repair(struct qcow2_census *c, unsigned fix);

#endif
