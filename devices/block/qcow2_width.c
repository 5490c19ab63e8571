/*
 * Refcounts of another width: all of them are written once more, behind what is
 * in use, where nothing refers to them yet,
 *
 *   header --> | refcount table | blocks |   ...                          old
 *      `.................................... | refcount table | blocks |  new
 *
 * and when they are durable, one write within the header's first sector names
 * them and their width. A crash or an error before leaves the image as it was.
 * What they replace is free then; a crash before that is written leaks it.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2.h"

/* More counts than these are not held in memory, as 4 bytes each: a file of 16
 * TiB in clusters of 64 KiB has as many. */
#define COUNTS_MAX (1ull << 28)

static void set_width(struct qcow2 *q, unsigned order)
{
	q->header.refcount_order = order;
	q->refblock_bits = q->header.cluster_bits + 3 - order;
}

/* How many clusters there are up to the last one in use. */
static int count_clusters(struct qcow2 *q, uint64_t *clusters)
{
	uint64_t block = q->reftable.entries, value = 0;
	int err = 0;

	while (block && !q->reftable.entry[block - 1])
		block--;
	*clusters = block << q->refblock_bits;
	if (*clusters > COUNTS_MAX)
		return -EINVAL;
	while (!err && *clusters && !value) {
		err = qcow2_refcount_read(q, *clusters - 1, &value);
		*clusters -= !value;
	}
	return err;
}

/* Reads all counts; each has to fit @order. */
static int read_counts(struct qcow2 *q, uint32_t *count, uint64_t clusters,
		       unsigned order)
{
	int err = 0;

	for (uint64_t i = 0; i < clusters && !err; i++) {
		uint64_t value;

		err = qcow2_refcount_read(q, i, &value);
		if (!err &&
		    (value > qcow2_refcount_max(order) || value > UINT32_MAX))
			err = -ERANGE;
		if (!err)
			count[i] = value;
	}
	return err;
}

/* The old table and its blocks go with the next commit, which is never if there
 * is no switch. */
static int free_old(struct qcow2 *q)
{
	const struct qcow2_table *table = &q->reftable;
	int err = qcow2_freed_reserve(q, 1 + table->entries);

	if (err)
		return err;
	qcow2_free_later(q, table->offset, q->header.reftable_clusters, true);
	for (uint32_t i = 0; i < table->entries; i++) {
		if (table->entry[i])
			qcow2_free_later(q, table->entry[i], 1, true);
	}
	return 0;
}

static int write_new(struct qcow2 *q, const uint32_t *count, uint64_t clusters,
		     unsigned order)
{
	unsigned old = q->header.refcount_order;
	uint64_t offset = clusters << q->header.cluster_bits, area, table;
	uint8_t *block = malloc(q->cluster_size);
	int err = block ? 0 : -ENOMEM;

	set_width(q, order);
	area = qcow2_counts_area(q, clusters, &table);
	if (!err && qcow2_is_metadata(q, offset, area * q->cluster_size))
		err = qcow2_corrupt(q, "the refcounts call metadata free");
	if (!err)
		err = qcow2_counts_write(q, count, clusters, block);
	set_width(q, old);
	free(block);
	if (!err)
		err = free_old(q);
	if (!err)
		err = qcow2_reftable_switch(q, offset, table, order);
	if (err)
		q->freed_count = 0;
	return err;
}

int qcow2_set_width(struct qcow2 *q, unsigned order)
{
	uint32_t *count;
	uint64_t clusters;
	int err;

	if (order == q->header.refcount_order)
		return 0;
	err = qcow2_settle(q);
	if (!err)
		err = qcow2_check_blocks(q);
	if (!err)
		err = count_clusters(q, &clusters);
	if (err)
		return err;
	count = calloc(clusters, sizeof(*count));
	if (!count)
		return -ENOMEM;
	err = read_counts(q, count, clusters, order);
	if (!err)
		err = write_new(q, count, clusters, order);
	free(count);
	if (err)
		return err;
	set_width(q, order);
	q->free_hint = 1;
	qcow2_cache_forget(&q->ref_cache);
	return qcow2_settle(q);
}
