/*
 * What a change to the whole image does to its refcounts: how much each of them
 * rises or falls, in memory only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2_switch.h"
#include "util/bytes.h"

/* A hostile image names the same L2 table again and again. */
#define ENTRIES_MAX (1ull << 30)

/* More refcounts cannot be held in reasonable memory: those of blocks that
 * change, 4 bytes each. A file of 16 TiB in clusters of 64 KiB has as many. */
#define COUNTS_MAX (1ull << 28)

int qcow2_switch_begin(struct qcow2_switch *s, struct qcow2 *q)
{
	int err;

	memset(s, 0, sizeof(*s));
	s->q = q;
	err = qcow2_settle(q);
	if (err)
		return err;
	s->size = q->header.size;
	s->hint = q->free_hint;
	s->blocks = calloc(QCOW2_SWITCH_BLOCKS, sizeof(*s->blocks));
	s->table = malloc(q->cluster_size);
	return s->blocks && s->table ? 0 : -ENOMEM;
}

void qcow2_switch_end(struct qcow2_switch *s)
{
	for (uint64_t b = 0; b < s->top; b++)
		free(s->blocks[b].delta);
	free(s->blocks);
	free(s->table);
	free(s->l1);
	free(s->snapshot_table);
}

int qcow2_switch_take_l1(struct qcow2_switch *s, const struct qcow2_table *l1,
			 uint32_t entries)
{
	if (entries < l1->entries)
		entries = l1->entries;
	s->l1 = calloc(entries ? entries : 1, 8);
	if (!s->l1)
		return -ENOMEM;
	if (l1->entries)
		memcpy(s->l1, l1->entry, l1->entries * 8ul);
	s->l1_entries = entries;
	return 0;
}

static int no_look(void *opaque, const struct qcow2_snapshot *snapshot)
{
	(void)opaque;
	(void)snapshot;
	return 0;
}

int qcow2_switch_keep_snapshots(struct qcow2_switch *s)
{
	const struct qcow2_header *h = &s->q->header;
	int err = qcow2_each_snapshot(s->q, no_look, NULL, &s->snapshot_bytes);

	if (err || !s->snapshot_bytes)
		return err;
	s->snapshots = h->snapshots;
	s->snapshot_table = malloc(s->snapshot_bytes);
	if (!s->snapshot_table)
		return -ENOMEM;
	err = host_read(s->q->file, s->snapshot_table, s->snapshot_bytes,
			h->snapshots_offset);
	return err ? err
		   : qcow2_switch_count(s, h->snapshots_offset,
					s->snapshot_bytes, -1);
}

int32_t *qcow2_switch_delta(struct qcow2_switch *s, uint64_t cluster)
{
	uint64_t index = cluster >> s->q->refblock_bits;

	if (index >= s->top || !s->blocks[index].delta)
		return NULL;
	return &s->blocks[index]
			.delta[cluster & (qcow2_switch_per_block(s) - 1)];
}

int qcow2_switch_add(struct qcow2_switch *s, uint64_t cluster, int sign)
{
	uint64_t index = cluster >> s->q->refblock_bits;
	int32_t *delta = s->blocks[index].delta;

	if (!delta) {
		s->counts += qcow2_switch_per_block(s);
		if (s->counts > COUNTS_MAX)
			return -EFBIG;
		delta = calloc(qcow2_switch_per_block(s), sizeof(*delta));
		if (!delta)
			return -ENOMEM;
		s->blocks[index].delta = delta;
		if (index >= s->top)
			s->top = index + 1;
	}
	delta[cluster & (qcow2_switch_per_block(s) - 1)] += sign;
	return 0;
}

int qcow2_switch_count(struct qcow2_switch *s, uint64_t offset, uint64_t bytes,
		       int sign)
{
	unsigned bits = s->q->header.cluster_bits;
	uint64_t end = (offset + bytes + s->q->cluster_size - 1) >> bits;
	int err = 0;

	for (uint64_t c = offset >> bits; bytes && c < end && !err; c++) {
		uint64_t value;

		err = qcow2_refcount_read(s->q, c, &value);
		/* Such a cluster might be taken for a free one. */
		if (!err && !value)
			err = qcow2_corrupt(
				s->q,
				"the cluster at %#llx is in use with "
				"refcount 0",
				(unsigned long long)c << bits);
		if (!err && sign)
			err = qcow2_switch_add(s, c, sign);
	}
	return err;
}

int qcow2_switch_read_l2(struct qcow2_switch *s, uint64_t raw, uint64_t *offset)
{
	struct qcow2 *q = s->q;

	*offset = raw & QCOW2_OFFSET_MASK;
	if (raw & ~(QCOW2_OFFSET_MASK | QCOW2_COPIED) ||
	    *offset & (q->cluster_size - 1) ||
	    qcow2_is_fixed(q, *offset, q->cluster_size))
		return qcow2_corrupt(q, "an L1 entry is %#llx",
				     (unsigned long long)raw);
	s->entries += q->cluster_size / 8;
	if (s->entries > ENTRIES_MAX)
		return -EFBIG;
	return host_read(q->file, s->table, q->cluster_size, *offset);
}

static int count_l2(struct qcow2_switch *s, int sign)
{
	struct qcow2 *q = s->q;
	int err = 0;

	if (qcow2_is_external(q))
		return 0;
	for (uint64_t at = 0; at < q->cluster_size && !err;
	     at += q->entry_bytes) {
		uint64_t raw = get_be64(s->table + at);
		struct qcow2_entry entry;

		if (qcow2_l2_decode(q, s->table + at, &entry))
			return qcow2_corrupt(q, "an L2 entry is %#llx",
					     (unsigned long long)raw);
		if (entry.kind == QCOW2_KIND_COMPRESSED)
			err = qcow2_switch_count(s, entry.host, entry.bytes,
						 sign);
		else if (entry.host)
			err = qcow2_switch_count(s, entry.host, q->cluster_size,
						 sign);
	}
	return err;
}

int qcow2_switch_count_tree(struct qcow2_switch *s, const uint64_t *l1,
			    uint32_t entries, int sign)
{
	int err = 0;

	for (uint32_t i = 0; i < entries && !err; i++) {
		uint64_t offset;

		if (!l1[i])
			continue;
		err = qcow2_switch_read_l2(s, l1[i], &offset);
		if (!err)
			err = qcow2_switch_count(s, offset, s->q->cluster_size,
						 sign);
		if (!err)
			err = count_l2(s, sign);
	}
	return err;
}

int qcow2_switch_new_count(struct qcow2_switch *s, uint64_t cluster,
			   uint64_t *value)
{
	int32_t *delta = qcow2_switch_delta(s, cluster);
	int err = qcow2_refcount_read(s->q, cluster, value);

	if (!err && delta)
		*value += *delta;
	return err;
}

int qcow2_switch_check(struct qcow2_switch *s)
{
	uint64_t max = qcow2_refcount_max(s->q->header.refcount_order);

	for (uint64_t b = 0; b < s->top; b++) {
		const int32_t *delta = s->blocks[b].delta;

		for (uint64_t i = 0; delta && i < qcow2_switch_per_block(s);
		     i++) {
			uint64_t old;
			int err;

			if (!delta[i])
				continue;
			err = qcow2_refcount_read(
				s->q, (b << s->q->refblock_bits) + i, &old);
			if (err)
				return err;
			if (delta[i] > 0 && max - old < (uint64_t)delta[i])
				return -EINVAL;
			if (delta[i] < 0 && old < -(uint64_t)delta[i])
				return qcow2_corrupt(s->q,
						     "a refcount is too low");
		}
	}
	return 0;
}
