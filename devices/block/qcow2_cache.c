/*
 * A set-associative cache of table slices: a slice has one set it can be in,
 * by its offset, and takes the place of the set's least recently used one.
 * Slices instead of whole tables keep random I/O over a large disk in little
 * memory: one of 4 KiB maps 32 MiB of guest disk in clusters of 64 KiB.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2.h"

void qcow2_cache_fini(struct qcow2_cache *cache)
{
	for (unsigned i = 0; cache->slices && i < cache->sets * QCOW2_WAYS; i++)
		free(cache->slices[i].data);
	free(cache->slices);
	cache->slices = NULL;
}

int qcow2_cache_init(struct qcow2 *q, struct qcow2_cache *cache, size_t budget,
		     int (*clean)(struct qcow2 *q))
{
	qcow2_cache_fini(cache);
	cache->last = NULL;
	cache->sets = (budget >> q->slice_bits) / QCOW2_WAYS;
	cache->clean = clean;
	cache->slices = calloc((size_t)cache->sets * QCOW2_WAYS,
			       sizeof(*cache->slices));
	return cache->slices ? 0 : -ENOMEM;
}

static struct qcow2_slice *
set_of(const struct qcow2 *q, const struct qcow2_cache *cache, uint64_t offset)
{
	/* Tables lie far apart and are used from their start: fold higher bits
	 * of the offset in, so that first slices do not all share one set. */
	uint64_t n = offset >> q->slice_bits;

	n ^= n >> 7 ^ n >> 13;
	return cache->slices + n % cache->sets * QCOW2_WAYS;
}

static struct qcow2_slice *
find(const struct qcow2 *q, const struct qcow2_cache *cache, uint64_t offset)
{
	struct qcow2_slice *set = set_of(q, cache, offset);

	for (unsigned way = 0; way < QCOW2_WAYS; way++) {
		if (set[way].offset == offset)
			return &set[way];
	}
	return NULL;
}

static struct qcow2_slice *oldest(struct qcow2_slice *set)
{
	struct qcow2_slice *victim = set;

	for (unsigned way = 1; way < QCOW2_WAYS; way++) {
		if (set[way].used < victim->used)
			victim = &set[way];
	}
	return victim;
}

int qcow2_cache_get(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset,
		    struct qcow2_slice **out)
{
	struct qcow2_slice *slice = cache->last;
	int err;

	if (!slice || slice->offset != offset)
		slice = find(q, cache, offset);
	if (slice) {
		cache->last = slice;
		slice->used = ++cache->clock;
		*out = slice;
		return 0;
	}
	slice = oldest(set_of(q, cache, offset));
	if (slice->dirty) {
		err = cache->clean(q);
		if (err)
			return err;
	}
	if (!slice->data) {
		slice->data = malloc(1ul << q->slice_bits);
		if (!slice->data)
			return -ENOMEM;
	}
	slice->offset = 0;
	slice->used = 0;
	err = host_read(q->file, slice->data, 1ul << q->slice_bits, offset);
	if (err)
		return err;
	slice->offset = offset;
	slice->used = ++cache->clock;
	cache->last = slice;
	*out = slice;
	return 0;
}

void qcow2_cache_dirty(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
	slice->dirty = true;
	cache->any_dirty = true;
}

int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *cache)
{
	if (!cache->any_dirty)
		return 0;
	for (unsigned i = 0; i < cache->sets * QCOW2_WAYS; i++) {
		struct qcow2_slice *slice = &cache->slices[i];
		int err;

		if (!slice->dirty)
			continue;
		err = qcow2_put(q, slice->data, 1ul << q->slice_bits,
				slice->offset);
		if (err)
			return err;
		slice->dirty = false;
	}
	cache->any_dirty = false;
	return 0;
}

void qcow2_cache_drop(struct qcow2 *q, uint64_t offset)
{
	struct qcow2_cache *caches[] = { &q->l2_cache, &q->ref_cache };

	for (int i = 0; i < 2; i++) {
		for (uint64_t at = 0; at < q->cluster_size;
		     at += 1ull << q->slice_bits) {
			struct qcow2_slice *slice =
				find(q, caches[i], offset + at);

			if (slice) {
				slice->offset = 0;
				slice->used = 0;
				slice->dirty = false;
			}
		}
	}
}

void qcow2_cache_forget(struct qcow2_cache *cache)
{
	for (unsigned i = 0; i < cache->sets * QCOW2_WAYS; i++) {
		cache->slices[i].offset = 0;
		cache->slices[i].used = 0;
		cache->slices[i].dirty = false;
	}
	cache->any_dirty = false;
}
