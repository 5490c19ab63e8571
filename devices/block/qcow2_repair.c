/*
 * Repairs what a census found, in the order in which a crash does no harm:
 *
 *   refcounts that are too low are raised       sync
 *   refcounts that are too high are lowered     sync
 *   COPIED is made what the refcounts say       sync
 *   the marks "dirty" and "corrupt" go          sync
 *   the file ends with its last cluster
 *
 * Nothing is moved or made: a refcount whose block is missing, and a table
 * entry that is damaged, stay as they are. While there are such entries nothing
 * is lowered: what they meant to refer to is not known.
 */
#include <errno.h>

#include "devices/block/qcow2_census.h"
#include "util/bytes.h"

/* True when refcount number @n can become @count, in the block it has. */
static bool can_keep(const struct qcow2_census *c, uint64_t n, uint32_t count)
{
	const struct qcow2 *q = c->q;
	uint64_t i = n >> q->refblock_bits;
	uint64_t block = i < c->reftable.entries ? c->reftable.entry[i] : 0;

	return block && !(block & (q->cluster_size - 1)) &&
	       block >> q->header.cluster_bits < c->clusters &&
	       count <= qcow2_refcount_max(q->header.refcount_order);
}

/* Writes the refcount of cluster @n, in place. */
static int put_refcount(struct qcow2_census *c, uint64_t n, uint32_t count)
{
	const struct qcow2 *q = c->q;
	unsigned order = q->header.refcount_order;
	uint64_t index = n & ((1ull << q->refblock_bits) - 1);
	uint64_t block = c->reftable.entry[n >> q->refblock_bits];
	/* The eight bytes that hold it. */
	uint64_t per_word = 64u >> order;
	uint64_t at = block + index / per_word * 8;
	uint8_t word[8];
	int err = host_read(q->file, word, sizeof(word), at);

	qcow2_refcount_put(word, order, index % per_word, count);
	return err ? err : host_write(q->file, word, sizeof(word), at);
}

static int sync_now(struct qcow2_census *c)
{
	return c->q->file->ops->sync(c->q->file);
}

/* Makes the refcounts that are wrong in one direction what they should be. */
static int renew(struct qcow2_census *c, bool raise, uint64_t *left,
		 uint64_t *fixed)
{
	for (uint64_t n = 0; n < c->clusters; n++) {
		int err;

		if (raise ? c->kept[n] >= c->seen[n] : c->kept[n] <= c->seen[n])
			continue;
		if (!can_keep(c, n, c->seen[n]))
			continue;
		err = put_refcount(c, n, c->seen[n]);
		if (err)
			return err;
		c->kept[n] = c->seen[n];
		--*left;
		++*fixed;
	}
	return sync_now(c);
}

static int put_copied(struct qcow2_census *c, uint64_t raw, uint64_t at)
{
	uint8_t entry[8];

	put_be64(entry, raw ^ QCOW2_COPIED);
	c->found->corruptions_fixed++;
	return host_write(c->q->file, entry, sizeof(entry), at);
}

static int clear_marks(struct qcow2_census *c)
{
	uint64_t marks = c->q->header.incompatible &
			 (QCOW2_DIRTY | QCOW2_CORRUPT);
	uint8_t field[8];
	int err;

	if (!marks)
		return 0;
	put_be64(field, c->q->header.incompatible ^ marks);
	err = host_write(c->q->file, field, sizeof(field),
			 QCOW2_AT_INCOMPATIBLE);
	return err ? err : sync_now(c);
}

/* What lies behind the last cluster is space that a writer had reserved before
 * it was killed. Only when each reference is known and counted. A block device
 * is as long as it is. */
static void cut_off(struct qcow2_census *c)
{
	uint64_t n = c->clusters, end;

	while (n && !c->seen[n - 1])
		n--;
	end = n << c->q->header.cluster_bits;
	if (end < c->file_size)
		c->q->file->ops->truncate(c->q->file, end);
}

int qcow2_repair(struct qcow2_census *c, unsigned fix)
{
	struct qcow2_findings *f = c->found;
	bool errors = fix & QCOW2_FIX_ERRORS;
	int err = 0;

	if (f->corruptions && errors)
		err = renew(c, true, &f->corruptions, &f->corruptions_fixed);
	if (!err && f->leaks && fix & QCOW2_FIX_LEAKS && !c->structural)
		err = renew(c, false, &f->leaks, &f->leaks_fixed);
	/* A cluster that lost a leaked reference may be alone now: its entry
	 * has to say so, which is part of repairing leaks. */
	if (!err && (errors || (!f->corruptions && !f->leaks))) {
		err = qcow2_census_copied(c, put_copied);
		if (!err)
			err = sync_now(c);
	} else if (!err) {
		err = qcow2_census_copied(c, qcow2_census_tell);
	}
	if (!err && errors && !f->corruptions)
		err = clear_marks(c);
	if (!err && fix & QCOW2_FIX_LEAKS && !f->corruptions && !f->leaks &&
	    !c->structural)
		cut_off(c);
	return err;
}
