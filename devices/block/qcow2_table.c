/*
 * The two tables that are whole in memory: L1 and the refcount table.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2.h"
#include "util/bytes.h"

#define PER_SECTOR (BLOCK_SECTOR / 8)

static void raise_top(struct qcow2_table *table, uint64_t value)
{
	if ((value & QCOW2_OFFSET_MASK) > table->top)
		table->top = value & QCOW2_OFFSET_MASK;
}

int qcow2_table_load(struct qcow2 *q, struct qcow2_table *table,
		     uint64_t offset, uint32_t entries)
{
	size_t sectors = entries / PER_SECTOR + 1;
	uint64_t *entry = calloc(entries ? entries : 1, 8);
	uint8_t *dirty = calloc(sectors, 1);
	int err = entry && dirty ? 0 : -ENOMEM;

	if (!err)
		err = host_read(q->file, entry, entries * 8ul, offset);
	if (err) {
		free(entry);
		free(dirty);
		return err;
	}
	table->top = 0;
	for (uint32_t i = 0; i < entries; i++) {
		entry[i] = be64toh(entry[i]);
		raise_top(table, entry[i]);
	}
	table->offset = offset;
	table->entries = entries;
	table->entry = entry;
	table->dirty = dirty;
	table->any_dirty = false;
	return 0;
}

void qcow2_table_set(struct qcow2_table *table, uint32_t index, uint64_t value)
{
	table->entry[index] = value;
	raise_top(table, value);
	table->dirty[index / PER_SECTOR] = 1;
	table->any_dirty = true;
}

int qcow2_table_write(struct qcow2 *q, struct qcow2_table *table)
{
	uint64_t sector[PER_SECTOR];

	if (!table->any_dirty)
		return 0;
	for (uint32_t at = 0; at < table->entries; at += PER_SECTOR) {
		uint32_t n = table->entries - at;
		int err;

		if (!table->dirty[at / PER_SECTOR])
			continue;
		if (n > PER_SECTOR)
			n = PER_SECTOR;
		for (uint32_t i = 0; i < n; i++)
			sector[i] = htobe64(table->entry[at + i]);
		err = qcow2_put(q, sector, n * 8, table->offset + at * 8ull);
		if (err)
			return err;
		table->dirty[at / PER_SECTOR] = 0;
	}
	table->any_dirty = false;
	return 0;
}

int qcow2_reftable_switch(struct qcow2 *q, uint64_t offset, uint32_t clusters,
			  unsigned order)
{
	bool wider = order != q->header.refcount_order;
	size_t to = wider ? QCOW2_AT_REFCOUNT_ORDER + 4
			  : QCOW2_AT_REFTABLE + 12;
	uint8_t header[QCOW2_HEADER_V3];
	struct qcow2_table table;
	int err = qcow2_barrier(q);

	if (!err)
		err = host_read(q->file, header, to, 0);

	if (!err)
		err = qcow2_table_load(q, &table, offset,
				       clusters
					       << (q->header.cluster_bits - 3));
	if (err)
		return err;
	put_be64(header + QCOW2_AT_REFTABLE, offset);
	put_be32(header + QCOW2_AT_REFTABLE + 8, clusters);
	if (wider)
		put_be32(header + QCOW2_AT_REFCOUNT_ORDER, order);
	err = qcow2_put(q, header + QCOW2_AT_REFTABLE, to - QCOW2_AT_REFTABLE,
			QCOW2_AT_REFTABLE);
	if (!err)
		err = qcow2_barrier(q);
	if (err) {
		/* Which of the two tables the header names is not known. */
		if (!q->error)
			q->error = err;
		qcow2_table_fini(&table);
		return err;
	}
	qcow2_table_fini(&q->reftable);
	q->reftable = table;
	q->header.reftable_offset = offset;
	q->header.reftable_clusters = clusters;
	return 0;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The usual case: a file that has grown. */
static bool rises(const uint64_t *entry, uint32_t entries)
{
	uint64_t last = 0;

	for (uint32_t i = 0; i < entries; i++) {
		if (entry[i] && entry[i] <= last)
			return false;
		if (entry[i])
			last = entry[i];
	}
	return true;
}

int qcow2_table_distinct(const struct qcow2_table *table)
{
	uint64_t *sorted;
	int distinct;

	if (rises(table->entry, table->entries))
		return true;
	sorted = malloc(table->entries * sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	memcpy(sorted, table->entry, table->entries * sizeof(*sorted));
	qsort(sorted, table->entries, sizeof(*sorted), compare);
	distinct = true;
	for (uint32_t i = 1; i < table->entries; i++)
		distinct &= !sorted[i] || sorted[i] != sorted[i - 1];
	free(sorted);
	return distinct;
}

void qcow2_table_fini(struct qcow2_table *table)
{
	free(table->entry);
	free(table->dirty);
	table->entry = NULL;
	table->dirty = NULL;
}
