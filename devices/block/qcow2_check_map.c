/*
 * The tables of the disk and of its snapshots, for a census: what they refer to
 * is counted, what is wrong with them told. And once the refcounts are known,
 * whether the entries' COPIED agrees with them.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2_census.h"
#include "util/bytes.h"
#include "util/checked.h"

/* Bits that the specification keeps at zero. */
#define L1_RESERVED 0x7f000000000001ffull
#define L2_RESERVED 0x3f000000000001feull

/* Of a damaged image, this many bytes of L1 tables, and of L2 tables, more than
 * a sound one has are still read. */
#define DAMAGED_MAX (64u << 20)

#define LLU(n) ((unsigned long long)(n))

/* What an extended entry says of its subclusters. */
static void see_subclusters(struct qcow2_census *c, const uint8_t *at)
{
	uint64_t raw = get_be64(at),
		 bitmap = c->q->extended ? get_be64(at + 8) : 0;
	uint64_t host = raw & QCOW2_OFFSET_MASK;

	if (raw & QCOW2_COMPRESSED && bitmap)
		qcow2_census_damaged(
			c,
			"compressed cluster with non-zero subcluster "
			"allocation bitmap, entry=0x%llx",
			LLU(raw));
	else if (!(raw & QCOW2_COMPRESSED) &&
		 bitmap & bitmap >> 32 & UINT32_MAX)
		qcow2_census_damaged(
			c,
			"offset=%llx: Allocated cluster has corrupted "
			"subcluster allocation bitmap",
			LLU(host));
	else if (!(raw & QCOW2_COMPRESSED) && !host &&
		 !(qcow2_is_external(c->q) && raw & QCOW2_COPIED) &&
		 bitmap & UINT32_MAX)
		qcow2_census_damaged(
			c, "Unallocated cluster has non-zero subcluster "
			   "allocation map");
}

static void see_compressed(struct qcow2_census *c, uint64_t raw, bool active)
{
	struct qcow2_entry entry;

	qcow2_entry_decode(raw, c->q->header.cluster_bits, c->q->header.version,
			   &entry);
	if (raw & QCOW2_COPIED)
		qcow2_census_damaged(
			c,
			"coffset=0x%llx: copied flag must never be set for "
			"compressed clusters",
			LLU(entry.host));
	qcow2_census_see(c, entry.host, entry.bytes, QCOW2_NO_TABLE);
	if (active) {
		c->found->allocated++;
		c->found->compressed++;
		c->found->fragmented++; /* by nature */
	}
}

/* True when the place of an entry is one for later: nothing is in it. */
static bool only_zeros(const struct qcow2_census *c, const uint8_t *at)
{
	return c->q->extended
		       ? !(get_be64(at + 8) & UINT32_MAX)
		       : get_be64(at) & QCOW2_ZERO && c->q->header.version > 2;
}

/* Notes that the word at host offset @at has to become @word, once it is known
 * what else that cluster is. */
static int mend(struct qcow2_census *c, uint64_t at, uint64_t word)
{
	struct qcow2_mend *mends;

	if (c->mended)
		return 0;
	mends = realloc(c->mends, (c->nr_mends + 1) * sizeof(*mends));
	if (!mends)
		return -ENOMEM;
	mends[c->nr_mends++] = (struct qcow2_mend){ at, word };
	c->mends = mends;
	return 0;
}

/*
 * The entry that is read at @at, at host offset @host: its place and the bits
 * that are zero in each valid one. A misaligned place that holds nothing may be
 * given up: *gone. And of an extended entry the bitmap says all that bit 0
 * could.
 */
static int see_word(struct qcow2_census *c, const uint8_t *at, uint64_t host,
		    bool *gone)
{
	bool zero_bit = !c->q->extended && c->q->header.version > 2;
	bool fix = c->fix & QCOW2_FIX_ERRORS;
	uint64_t raw = get_be64(at), place = raw & QCOW2_OFFSET_MASK;

	*gone = fix && !qcow2_census_aligned(c, place) && only_zeros(c, at);
	if (*gone)
		return mend(c, host, c->q->extended ? 0 : QCOW2_ZERO);
	if (!qcow2_census_aligned(c, place))
		qcow2_census_damaged(c,
				     "offset=%llx: %s cluster is not properly "
				     "aligned; L2 entry corrupted.",
				     LLU(place),
				     only_zeros(c, at) ? "Preallocated"
						       : "Data");
	if (fix && c->q->extended && raw & QCOW2_ZERO && !(raw & L2_RESERVED))
		return mend(c, host, raw & ~QCOW2_ZERO);
	if (raw & (L2_RESERVED | (zero_bit ? 0 : QCOW2_ZERO)))
		qcow2_census_damaged(
			c, "found l2 entry with reserved bits set: %llx",
			LLU(raw));
	return 0;
}

/* The table at @offset; @active: of the disk, not of a snapshot. */
static int see_l2(struct qcow2_census *c, uint64_t offset, bool active)
{
	uint64_t next = 0;
	int err = host_read(c->q->file, c->table, c->q->cluster_size, offset);

	for (uint64_t at = 0; !err && at < c->q->cluster_size;
	     at += c->q->entry_bytes) {
		uint64_t raw = get_be64(c->table + at);
		uint64_t host = raw & QCOW2_OFFSET_MASK;
		bool gone = false;

		see_subclusters(c, c->table + at);
		if (raw & QCOW2_COMPRESSED) {
			see_compressed(c, raw, active);
			continue;
		}
		err = see_word(c, c->table + at, offset + at, &gone);
		if (gone)
			continue;
		if (!host && !(qcow2_is_external(c->q) && raw & QCOW2_COPIED))
			continue;
		if (active) {
			c->found->allocated++;
			c->found->fragmented += next && host != next;
			next = host + c->q->cluster_size;
		}
		if (!qcow2_is_external(c->q))
			qcow2_census_see(c, host, c->q->cluster_size,
					 QCOW2_NO_TABLE);
	}
	return err;
}

/*
 * In a sound image no two entries of one L1 table name the same L2 table. In a
 * damaged one such a table is read again, up to a limit: an image of a few
 * megabytes could have one table read for days.
 */
static int walk_l2(struct qcow2_census *c, uint64_t offset, bool active)
{
	uint64_t n = offset >> c->q->header.cluster_bits;

	if (n >= c->clusters)
		return 0; /* there is nothing to be read */
	if (c->walked[n] == c->l1_tables)
		c->again += c->q->cluster_size;
	if (c->again > DAMAGED_MAX)
		return -EFBIG;
	c->mended = c->walked[n];
	c->walked[n] = c->l1_tables;
	return see_l2(c, offset, active);
}

/* Nor do two L1 tables share a cluster: without damage they are together no
 * larger than the file. */
int qcow2_census_l1(struct qcow2_census *c, uint64_t offset, uint32_t entries,
		    bool active)
{
	struct qcow2_table l1;
	int err;

	c->l1_tables++;
	c->l1_bytes += align_up(entries * 8ull, c->q->cluster_size);
	if (c->l1_bytes > c->file_size + DAMAGED_MAX)
		return -EFBIG;
	err = qcow2_table_load(c->q, &l1, offset, entries);
	if (err)
		return err;
	qcow2_census_see(c, offset, entries * 8ull,
			 active ? QCOW2_TABLE : QCOW2_NO_TABLE);
	for (uint32_t i = 0; i < entries && !err; i++) {
		uint64_t l2 = l1.entry[i] & QCOW2_OFFSET_MASK;

		if (!l1.entry[i])
			continue;
		if (l1.entry[i] & L1_RESERVED)
			qcow2_census_damaged(
				c,
				"found L1 entry with reserved bits set: "
				"%llx",
				LLU(l1.entry[i]));
		qcow2_census_see(c, l2, c->q->cluster_size, QCOW2_TABLE);
		if (!qcow2_census_aligned(c, l2))
			qcow2_census_damaged(
				c,
				"l2_offset=%llx: Table is not cluster "
				"aligned; L1 entry corrupted",
				LLU(l2));
		err = walk_l2(c, l2, active);
	}
	qcow2_table_fini(&l1);
	return err;
}

static bool copied_wrong(const struct qcow2_census *c, uint64_t raw)
{
	uint64_t host = raw & QCOW2_OFFSET_MASK;

	return host && !(raw & QCOW2_COMPRESSED) &&
	       (qcow2_census_kept(c, host) == 1) != !!(raw & QCOW2_COPIED);
}

int qcow2_census_copied(struct qcow2_census *c,
			int (*each)(struct qcow2_census *c, uint64_t raw,
				    uint64_t at))
{
	struct qcow2 *q = c->q;
	int err = 0;

	for (uint32_t i = 0; i < q->l1.entries && !err; i++) {
		/* The compressed bit means nothing in an L1 table. */
		uint64_t raw = q->l1.entry[i] & ~QCOW2_COMPRESSED;
		uint64_t l2 = raw & QCOW2_OFFSET_MASK;

		if (!l2)
			continue;
		if (copied_wrong(c, raw))
			err = each(c, raw, q->l1.offset + i * 8ull);
		if (qcow2_is_external(q))
			continue; /* nor are its clusters shared */
		if (!err)
			err = host_read(q->file, c->table, q->cluster_size, l2);
		for (uint64_t at = 0; !err && at < q->cluster_size;
		     at += q->entry_bytes) {
			raw = get_be64(c->table + at);
			if (copied_wrong(c, raw))
				err = each(c, raw, l2 + at);
		}
	}
	return err;
}

int qcow2_census_tell(struct qcow2_census *c, uint64_t raw, uint64_t at)
{
	fprintf(c->to,
		"ERROR OFLAG_COPIED %s cluster: entry=%llx refcount=%u\n",
		qcow2_is_l1(c->q, at) ? "L2" : "data", LLU(raw),
		qcow2_census_kept(c, raw & QCOW2_OFFSET_MASK));
	c->found->corruptions++;
	return 0;
}
