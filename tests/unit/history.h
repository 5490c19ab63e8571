/*
 * What happened to each sector of a disk, for tests: after a crash it holds
 * what was last flushed or something written to it since (B2).
 */
#ifndef KVIST_TESTS_HISTORY_H
#define KVIST_TESTS_HISTORY_H

#include "disk_test.h"

/* One thing that happened to a sector. */
struct event {
	unsigned op;
	uint64_t value; /* repeated through the sector; 0: zeros */
	struct event *before;
};

struct flush {
	unsigned op;
	size_t record; /* it was complete before this record */
};

struct history {
	uint64_t sectors;
	struct event **last; /* of each sector */
	struct flush flushes[200];
	unsigned flush_count;
	size_t op_starts[400]; /* the record each operation began at */
	unsigned ops;          /* the last one is ops - 1 */
};

/* A disk of zeros. */
static inline void history_init(struct history *h, uint64_t sectors)
{
	h->sectors = sectors;
	h->last = calloc(sectors, sizeof(*h->last));
	assert_non_null(h->last);
}

static inline void history_fini(struct history *h)
{
	for (uint64_t i = 0; i < h->sectors; i++) {
		while (h->last[i]) {
			struct event *event = h->last[i];

			h->last[i] = event->before;
			free(event);
		}
	}
	free(h->last);
}

/* Another operation begins, when so many records were made. */
static inline void history_next(struct history *h, size_t records)
{
	assert_true(h->ops < ARRAY_SIZE(h->op_starts));
	h->op_starts[h->ops++] = records;
}

/* It was a flush, and is complete. */
static inline void history_flushed(struct history *h, size_t records)
{
	assert_true(h->flush_count < ARRAY_SIZE(h->flushes));
	h->flushes[h->flush_count++] =
		(struct flush){ .op = h->ops - 1, .record = records };
}

/* It wrote @value to a sector. */
static inline void history_add(struct history *h, uint64_t sector,
			       uint64_t value)
{
	struct event *event = malloc(sizeof(*event));

	assert_non_null(event);
	event->op = h->ops - 1;
	event->value = value;
	event->before = h->last[sector];
	h->last[sector] = event;
}

static inline void history_check_sector(const struct history *h,
					uint64_t sector, uint64_t value,
					unsigned flushed, unsigned begun)
{
	struct event *event = h->last[sector];

	for (; event; event = event->before) {
		if (event->op > begun)
			continue;
		if (event->value == value)
			return;
		if (event->op < flushed)
			break;
	}
	if (!event && !value)
		return; /* never touched, or nothing of it flushed */
	print_error("sector %llu: %#llx is neither flushed nor newer\n",
		    (unsigned long long)sector, (unsigned long long)value);
	fail();
}

/* The disk's bytes, 64 words a sector, after a crash before a record. */
static inline void history_check(const struct history *h, const uint64_t *words,
				 size_t crash)
{
	unsigned flushed = 0, begun = 0;

	for (unsigned i = 0; i < h->flush_count; i++) {
		if (h->flushes[i].record <= crash)
			flushed = h->flushes[i].op;
	}
	while (begun + 1 < h->ops && h->op_starts[begun + 1] <= crash)
		begun++;
	for (uint64_t i = 0; i < h->sectors; i++) {
		for (unsigned w = 1; w < 64; w++)
			assert_int_equal(words[i * 64 + w], words[i * 64]);
		history_check_sector(h, i, words[i * 64], flushed, begun);
	}
}

#endif
