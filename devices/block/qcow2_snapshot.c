/*
 * Snapshots. Each one has an L1 table of its own and an entry in the snapshot
 * table; what the L1 table leads to it shares with the disk and with other
 * snapshots, by refcounts.
 *
 *   create  the disk's L1 table becomes the snapshot's, the disk gets a copy
 *   goto    the disk gets a copy of the snapshot's L1 table
 *   delete  the snapshot's L1 table goes
 *
 * In each case this file says what counts and which tables there are;
 * qcow2_switch.c writes it and switches.
 *
 * An entry of the snapshot table, followed by id and name, padded to 8 bytes:
 *
 *   0 L1 offset  8 its entries  12 length of id  14 of name  16 seconds
 *   20 nanoseconds  24 clock of the guest  32 old size of the machine's state
 *   36 length of extra data  40 that: size of state, of the disk, icount, ...
 */
#include "devices/block/qcow2_snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/layers.h"
#include "devices/block/qcow2.h"
#include "devices/block/qcow2_switch.h"
#include "util/bytes.h"
#include "util/checked.h"

#define FIXED       40
#define EXTRA_V3    16 /* what version 3 asks for: sizes of state and disk */
#define EXTRA_WRITE 24 /* and icount */
#define TEXT_MAX    65535

struct entry {
	uint8_t *bytes; /* as on disk, kept with what is not known here */
	size_t length;
	struct qcow2_snapshot at; /* of an entry in these bytes */
};

struct list {
	const struct qcow2 *q;
	struct entry *entries;
	size_t count;
	uint64_t bytes; /* of the table on disk */
};

static void list_free(struct list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->entries[i].bytes);
	free(list->entries);
}

static int list_add(void *opaque, const struct qcow2_snapshot *at)
{
	struct list *list = opaque;
	const struct qcow2 *q = list->q;
	struct entry *entry = &list->entries[list->count];

	entry->length = at->length;
	entry->bytes = malloc(at->length);
	if (!entry->bytes)
		return -ENOMEM;
	memcpy(entry->bytes, at->bytes, at->length);
	list->count++;
	if (!qcow2_snapshot_parse(entry->bytes, entry->length,
				  q->header.cluster_bits, &entry->at))
		return -EINVAL;
	if (entry->at.disk_size == UINT64_MAX)
		entry->at.disk_size = q->header.size;
	return 0;
}

/* Reads all entries, with room for one more. */
static int list_read(struct qcow2 *q, struct list *list)
{
	int err;

	memset(list, 0, sizeof(*list));
	list->q = q;
	list->entries =
		calloc(q->header.snapshots + 1ul, sizeof(*list->entries));
	if (!list->entries)
		return -ENOMEM;
	err = qcow2_each_snapshot(q, list_add, list, &list->bytes);
	if (err)
		list_free(list);
	return err;
}

/* Version 3 asks for extra data that entries from an image of version 2 may
 * not have. */
static int entry_complete(const struct qcow2 *q, struct entry *entry)
{
	uint32_t extra = get_be32(entry->bytes + 36);
	size_t texts = (size_t)entry->at.id_len + entry->at.name_len;
	size_t length = align_up(FIXED + EXTRA_V3 + texts, 8);
	uint8_t *bytes;

	if (q->header.version < 3 || extra >= EXTRA_V3)
		return 0;
	bytes = calloc(1, length);
	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, entry->bytes, FIXED);
	put_be32(bytes + 36, EXTRA_V3);
	put_be64(bytes + FIXED, entry->at.vm_state_size);
	put_be64(bytes + FIXED + 8, entry->at.disk_size);
	memcpy(bytes + FIXED + EXTRA_V3, entry->at.id, texts);
	entry->at.id = (char *)bytes + FIXED + EXTRA_V3;
	entry->at.name = entry->at.id + entry->at.id_len;
	free(entry->bytes);
	entry->bytes = bytes;
	entry->length = length;
	return 0;
}

/* Makes the new snapshot table of all entries but @without (or NULL). */
static int list_write(struct list *list, const struct entry *without,
		      struct qcow2_switch *s)
{
	size_t at = 0;

	for (size_t i = 0; i < list->count; i++) {
		int err = entry_complete(list->q, &list->entries[i]);

		if (err)
			return err;
		if (&list->entries[i] != without)
			s->snapshot_bytes += list->entries[i].length;
	}
	s->snapshots = list->count - !!without;
	if (!s->snapshot_bytes)
		return 0;
	if (s->snapshot_bytes > QCOW2_SNAPSHOT_TABLE_MAX ||
	    s->snapshots > QCOW2_SNAPSHOTS_MAX)
		return -EFBIG;
	s->snapshot_table = malloc(s->snapshot_bytes);
	if (!s->snapshot_table)
		return -ENOMEM;
	for (size_t i = 0; i < list->count; i++) {
		const struct entry *entry = &list->entries[i];

		if (entry == without)
			continue;
		memcpy(s->snapshot_table + at, entry->bytes, entry->length);
		at += entry->length;
	}
	return 0;
}

int qcow2_snapshot_open(struct host_file *file, const char *name,
			struct block **block)
{
	return qcow2_open(file, name, false, block);
}

/* As qcow2_begin_writing() where the disk stays as it is: bitmaps, which say
 * what was written to it, stay true. */
static int begin_beside(struct qcow2 *q)
{
	uint64_t keep = q->header.autoclear & QCOW2_AUTO_BITMAPS;

	if (q->error || q->header.autoclear == keep)
		return q->error;
	return qcow2_put_features(q, q->header.incompatible, keep);
}

/* Common to all changes; to be ended by end() unless it fails. */
static int begin(struct block *block, struct list *list, struct qcow2_switch *s)
{
	struct qcow2 *q = qcow2_of(block);
	int err;

	if (!q)
		return -ENOTSUP;
	/* There is one place for each cluster, not one for each version. */
	if (qcow2_is_external(q))
		return -EXDEV;
	if (block->read_only)
		return -EROFS;
	err = begin_beside(q);
	if (!err)
		err = list_read(q, list);
	if (err)
		return err;
	err = qcow2_switch_begin(s, q);
	/* The old snapshot table is replaced by a new one. */
	if (!err)
		err = qcow2_switch_count(s, q->header.snapshots_offset,
					 list->bytes, -1);
	if (err) {
		qcow2_switch_end(s);
		list_free(list);
	}
	return err;
}

static void end(struct list *list, struct qcow2_switch *s)
{
	qcow2_switch_end(s);
	list_free(list);
}

/* One more than the largest id that is a number, as QEMU chooses it. */
static unsigned long new_id(const struct list *list)
{
	unsigned long max = 0;

	for (size_t i = 0; i < list->count; i++) {
		const struct qcow2_snapshot *at = &list->entries[i].at;
		char text[24] = "";
		unsigned long id;

		if (at->id_len < sizeof(text))
			memcpy(text, at->id, at->id_len);
		id = strtoul(text, NULL, 10);

		if (id > max)
			max = id;
	}
	return max + 1;
}

static int add_entry(struct qcow2 *q, struct list *list, const char *name,
		     const struct timespec *now)
{
	struct qcow2_snapshot at;
	size_t name_length = strlen(name), id_length;
	uint8_t *bytes;
	char id[24];
	int err;

	if (name_length > TEXT_MAX)
		return -EFBIG;
	id_length = snprintf(id, sizeof(id), "%lu", new_id(list));
	at.length = align_up(FIXED + EXTRA_WRITE + id_length + name_length, 8);
	bytes = calloc(1, at.length);
	if (!bytes)
		return -ENOMEM;
	put_be64(bytes, q->l1.offset);
	put_be32(bytes + 8, q->l1.entries);
	put_be16(bytes + 12, id_length);
	put_be16(bytes + 14, name_length);
	put_be32(bytes + 16, now->tv_sec);
	put_be32(bytes + 20, now->tv_nsec);
	put_be32(bytes + 36, EXTRA_WRITE);
	put_be64(bytes + FIXED + 8, q->header.size);
	memcpy(bytes + FIXED + EXTRA_WRITE, id, id_length);
	memcpy(bytes + FIXED + EXTRA_WRITE + id_length, name, name_length);
	at.bytes = bytes;
	err = list_add(list, &at);
	free(bytes);
	return err;
}

int qcow2_snapshot_create(struct block *block, const char *name,
			  const struct timespec *now)
{
	struct qcow2_switch s;
	struct list list;
	int err = begin(block, &list, &s);

	if (err)
		return err;
	err = add_entry(s.q, &list, name, now);
	if (!err)
		err = list_write(&list, NULL, &s);
	if (!err)
		err = qcow2_switch_take_l1(&s, &s.q->l1, 0);
	if (!err)
		err = qcow2_switch_count_tree(&s, s.l1, s.l1_entries, 1);
	if (!err)
		err = qcow2_switch_run(&s);
	end(&list, &s);
	return err;
}

static bool is_text(const char *text, const char *bytes, size_t length)
{
	return strlen(text) == length && !memcmp(text, bytes, length);
}

/* The first with this ID and this name, of which one may be NULL: any. */
static struct entry *find(const struct list *list, const char *id,
			  const char *name)
{
	for (size_t i = 0; i < list->count; i++) {
		struct entry *entry = &list->entries[i];

		if ((!id || is_text(id, entry->at.id, entry->at.id_len)) &&
		    (!name ||
		     is_text(name, entry->at.name, entry->at.name_len)))
			return entry;
	}
	return NULL;
}

/* The disk's new L1 table: the snapshot's, and long enough for its size. */
static int take_l1(struct qcow2_switch *s, const struct entry *from,
		   const struct qcow2_table *l1)
{
	unsigned bits =
		s->q->header.cluster_bits + qcow2_l2_bits(&s->q->header);
	uint64_t size = from->at.disk_size, entries;

	if (size > INT64_MAX)
		return -EINVAL;
	entries = size ? ((size - 1) >> bits) + 1 : 0;
	if (entries * 8 > QCOW2_L1_BYTES_MAX)
		return -EFBIG;
	s->size = size;
	return qcow2_switch_take_l1(s, l1, entries);
}

int qcow2_snapshot_goto(struct block *block, const char *which)
{
	struct qcow2_switch s;
	struct qcow2_table l1 = { 0 };
	struct entry *entry;
	struct list list;
	int err = begin(block, &list, &s);

	if (err)
		return err;
	entry = find(&list, which, NULL);
	if (!entry)
		entry = find(&list, NULL, which);
	err = entry ? qcow2_table_load(s.q, &l1, entry->at.l1_offset,
				       entry->at.l1_entries)
		    : -ENOENT;
	/* Now the disk changes, too. */
	if (!err)
		err = qcow2_begin_writing(s.q);
	if (!err)
		err = take_l1(&s, entry, &l1);
	if (!err)
		err = list_write(&list, NULL, &s);
	if (!err)
		err = qcow2_switch_count_tree(&s, l1.entry, l1.entries, 1);
	if (!err)
		err = qcow2_switch_count_tree(&s, s.q->l1.entry,
					      s.q->l1.entries, -1);
	if (!err)
		err = qcow2_switch_count(&s, s.q->l1.offset,
					 s.q->l1.entries * 8ull, -1);
	if (!err)
		err = qcow2_switch_run(&s);
	qcow2_table_fini(&l1);
	end(&list, &s);
	return err;
}

/* True when an L1 table is long enough for a disk of that size. */
static bool maps(const struct qcow2 *q, const struct qcow2_table *l1,
		 uint64_t size)
{
	unsigned bits = q->header.cluster_bits + qcow2_l2_bits(&q->header);

	return size <= INT64_MAX && (!size || (size - 1) >> bits < l1->entries);
}

int qcow2_snapshot_view(struct block *block, const char *id, const char *name)
{
	struct qcow2 *q = qcow2_of(block);
	struct qcow2_table l1 = { 0 };
	struct entry *entry;
	struct list list;
	int err = q ? list_read(q, &list) : -ENOTSUP;

	if (err)
		return err;
	entry = find(&list, id, name);
	err = entry ? qcow2_table_load(q, &l1, entry->at.l1_offset,
				       entry->at.l1_entries)
		    : -ENOENT;
	if (!err && !maps(q, &l1, entry->at.disk_size))
		err = -EINVAL;
	if (!err) {
		qcow2_table_fini(&q->l1);
		q->l1 = l1;
		q->header.size = align_down(entry->at.disk_size, BLOCK_SECTOR);
		block->size = q->header.size;
		qcow2_cache_forget(&q->l2_cache);
	} else {
		qcow2_table_fini(&l1);
	}
	list_free(&list);
	return err;
}

int qcow2_snapshot_delete(struct block *block, const char *name)
{
	struct qcow2_switch s;
	struct qcow2_table l1 = { 0 };
	struct entry *entry;
	struct list list;
	int err = begin(block, &list, &s);

	if (err)
		return err;
	entry = find(&list, NULL, name);
	err = entry ? qcow2_table_load(s.q, &l1, entry->at.l1_offset,
				       entry->at.l1_entries)
		    : -ENOENT;
	if (!err)
		err = list_write(&list, entry, &s);
	if (!err)
		err = qcow2_switch_take_l1(&s, &s.q->l1, 0);
	if (!err)
		err = qcow2_switch_count_tree(&s, l1.entry, l1.entries, -1);
	if (!err)
		err = qcow2_switch_count(&s, entry->at.l1_offset,
					 entry->at.l1_entries * 8ull, -1);
	/* Of the disk: nothing but that all of it is counted. */
	if (!err)
		err = qcow2_switch_count_tree(&s, s.l1, s.l1_entries, 0);
	if (!err)
		err = qcow2_switch_count(&s, s.q->l1.offset,
					 s.q->l1.entries * 8ull, -1);
	if (!err)
		err = qcow2_switch_run(&s);
	qcow2_table_fini(&l1);
	end(&list, &s);
	return err;
}
