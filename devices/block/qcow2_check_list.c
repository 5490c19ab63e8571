/*
 * The snapshot table of an image of which nothing may be taken for granted, and
 * what it should be instead: entries with extra data that nobody knows lose
 * them, entries that lack what version 3 wants get it, and those that do not
 * fit the largest table are dropped, as QEMU does it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/qcow2_census.h"
#include "util/bytes.h"
#include "util/checked.h"

/* An entry: its fixed part, extra data, id and name. */
#define FIXED     40
#define AT_EXTRA  36 /* how many bytes of extra data there are */
#define WANTED    16 /* extra data that version 3 wants */
#define KNOWN     24
#define ENTRY_MAX (FIXED + QCOW2_SNAPSHOT_EXTRA_MAX + 2 * 65535 + 8)

struct raw_entry {
	uint8_t *bytes; /* room for ENTRY_MAX */
	size_t length;  /* as it should be, with padding */
	uint64_t takes; /* in the table as it is */
	bool bad;
};

/* Gives the entry, of @extra bytes of extra data, those that are missing. */
static uint32_t complete(const struct qcow2_census *c, struct raw_entry *e,
			 uint32_t extra)
{
	uint8_t *at = e->bytes + FIXED;

	if (extra < 8)
		put_be64(at, get_be32(e->bytes + 32)); /* size of VM state */
	put_be64(at + 8, c->q->header.size);
	return WANTED;
}

/* Reads the entry at host offset @at and makes it what it should be. */
static int read_entry(struct qcow2_census *c, uint32_t number, uint64_t at,
		      struct raw_entry *e)
{
	struct host_file *file = c->q->file;
	uint32_t extra, keep, names;
	int err;

	memset(e->bytes, 0, ENTRY_MAX);
	err = host_read(file, e->bytes, FIXED, at);
	if (err)
		return err;
	extra = keep = get_be32(e->bytes + AT_EXTRA);
	names = get_be16(e->bytes + 12) + get_be16(e->bytes + 14);
	e->takes = align_up((uint64_t)FIXED + extra + names, 8);
	e->bad = true;
	if (extra > QCOW2_SNAPSHOT_EXTRA_MAX) {
		qcow2_census_damaged(c,
				     "snapshot table entry %u has %u bytes of "
				     "extra data, more than %u",
				     number, extra, QCOW2_SNAPSHOT_EXTRA_MAX);
		keep = KNOWN;
	}
	err = host_read(file, e->bytes + FIXED, keep, at + FIXED);
	if (err)
		return err;
	if (c->q->header.version == 3 && keep < WANTED) {
		qcow2_census_damaged(c, "snapshot table entry %u is incomplete",
				     number);
		keep = complete(c, e, keep);
	}
	e->bad = keep != extra;
	put_be32(e->bytes + AT_EXTRA, keep);
	e->length = align_up((uint64_t)FIXED + keep + names, 8);
	return host_read(file, e->bytes + FIXED + keep, names,
			 at + FIXED + extra);
}

static int append(struct qcow2_list *list, const struct raw_entry *e)
{
	if (list->length + e->length > list->room) {
		size_t room = 2 * list->room + ENTRY_MAX;
		uint8_t *bytes = realloc(list->bytes, room);

		if (!bytes)
			return -ENOMEM;
		list->bytes = bytes;
		list->room = room;
	}
	memcpy(list->bytes + list->length, e->bytes, e->length);
	list->length += e->length;
	list->count++;
	return 0;
}

static int see_entry(struct qcow2_census *c, uint32_t number,
		     struct raw_entry *e,
		     int (*each)(struct qcow2_census *c,
				 const struct qcow2_snapshot *snapshot))
{
	struct qcow2_snapshot snapshot;

	if (e->bad) {
		c->snapshots.bad = true;
		c->misplaced++;
	}
	if (qcow2_snapshot_parse(e->bytes, e->length, c->q->header.cluster_bits,
				 &snapshot))
		return each(c, &snapshot);
	qcow2_census_damaged(c,
			     "snapshot table entry %u is corrupted: L1 table "
			     "of %u entries at %#llx",
			     number, get_be32(e->bytes + 8),
			     (unsigned long long)get_be64(e->bytes));
	return 0;
}

int qcow2_census_snapshots(struct qcow2_census *c,
			   int (*each)(struct qcow2_census *c,
				       const struct qcow2_snapshot *snapshot))
{
	const struct qcow2_header *h = &c->q->header;
	struct qcow2_list *list = &c->snapshots;
	struct raw_entry e = { .bytes = malloc(ENTRY_MAX) };
	uint32_t i = 0;
	int err = e.bytes ? 0 : -ENOMEM;

	for (; i < h->snapshots && !err; i++) {
		uint64_t at = h->snapshots_offset + list->old_bytes;

		/* Nothing is behind the end of the file. */
		if (i >= QCOW2_SNAPSHOTS_MAX ||
		    list->old_bytes > QCOW2_SNAPSHOT_TABLE_MAX ||
		    (list->old_bytes && at >= c->file_size))
			break;
		err = read_entry(c, i, at, &e);
		if (err)
			break;
		if (list->old_bytes + e.takes > QCOW2_SNAPSHOT_TABLE_MAX)
			break;
		list->old_bytes += e.takes;
		err = append(list, &e);
		if (!err)
			err = see_entry(c, i, &e, each);
	}
	if (!err && i < h->snapshots) {
		qcow2_census_damaged(c,
				     "the snapshot table is too large: the "
				     "last %u of %u entries do not fit",
				     h->snapshots - i, h->snapshots);
		list->bad = true;
		c->misplaced++;
	}
	free(e.bytes);
	return err;
}
