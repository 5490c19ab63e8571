#include "devices/block/qcow2.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/layers.h"
#include "util/checked.h"
#include "util/log.h"

/* Memory for cached metadata, allocated as it is used. In clusters of 64 KiB
 * the first maps 4 GiB of disk, if nothing else is said, and the second counts
 * 4 GiB of file. */
#define L2_CACHE  (512u << 10)
#define REF_CACHE (256u << 10)

#define SLICE_BITS 12

static struct qcow2 *to_qcow2(struct block *block)
{
	return container_of(block, struct qcow2, block);
}

int qcow2_begin_writing(struct qcow2 *q)
{
	const struct qcow2_header *h = &q->header;
	uint64_t autoclear = qcow2_is_raw(q) ? QCOW2_AUTO_RAW : 0;
	uint64_t incompatible = h->incompatible;

	if (h->compatible & QCOW2_LAZY_REFCOUNTS)
		incompatible |= QCOW2_DIRTY;
	if (q->error ||
	    (h->autoclear == autoclear && h->incompatible == incompatible))
		return q->error;
	if (h->has_bitmaps && h->autoclear & QCOW2_AUTO_BITMAPS)
		log_warn("disk %s: its bitmaps are not kept up to date and "
			 "become invalid",
			 q->block.name);
	return qcow2_put_features(q, incompatible, autoclear);
}

static void qcow2_submit(struct block *block, struct block_request *request)
{
	qcow2_start(to_qcow2(block), request);
}

static void qcow2_kick(struct block *block)
{
	struct qcow2 *q = to_qcow2(block);

	host_kick(q->file);
	if (q->data)
		host_kick(q->data);
	/* One engine serves the whole chain, but a test's file has its own. */
	if (q->backing)
		block_kick(q->backing);
}

static void qcow2_reap(struct block *block)
{
	host_reap(to_qcow2(block)->file);
}

/* One engine serves the whole chain. */
static bool qcow2_wait(struct block *block)
{
	return host_wait(to_qcow2(block)->file);
}

static int qcow2_read_now(struct block *block, const struct iovec *iov,
			  int iovcnt, uint64_t skip, uint64_t length,
			  uint64_t offset)
{
	return qcow2_read(to_qcow2(block), iov, iovcnt, skip, offset, length);
}

static void qcow2_free(struct qcow2 *q)
{
	if (q->data)
		q->data->ops->close(q->data);
	qcow2_table_fini(&q->l1);
	qcow2_table_fini(&q->reftable);
	qcow2_cache_fini(&q->l2_cache);
	qcow2_cache_fini(&q->ref_cache);
	free(q->freed);
	free(q->bounce);
	free(q->inflated);
	free(q->zstd);
	qcow2_lock_up(q);
	free(q->block.data_name);
	free(q->block.name);
	free(q);
}

static int qcow2_close(struct block *block)
{
	struct qcow2 *q = to_qcow2(block);
	int err = 0;

	qcow2_land(q);
	/* Writes nothing when all is clean. */
	if (!q->block.read_only)
		err = qcow2_settle(q);
	if (!err)
		qcow2_unreserve(q);
	if (err && !q->error)
		log_err("disk %s: cannot write it out: %s; what was not "
			"flushed is lost",
			q->block.name, strerror(-err));
	if (q->backing)
		block_close(q->backing);
	q->file->ops->close(q->file);
	qcow2_free(q);
	return err;
}

static const struct block_ops qcow2_ops = {
	.submit = qcow2_submit,
	.kick = qcow2_kick,
	.reap = qcow2_reap,
	.wait = qcow2_wait,
	.read = qcow2_read_now,
	.map = qcow2_map_extent,
	.resize = qcow2_resize,
	.allocate = qcow2_allocate,
	.close = qcow2_close,
};

struct qcow2 *qcow2_of(struct block *block)
{
	return block->ops == &qcow2_ops ? to_qcow2(block) : NULL;
}

static int read_header(struct qcow2 *q)
{
	uint8_t first[QCOW2_HEADER_V3];
	struct qcow2_why why;
	uint8_t *bytes = NULL;
	size_t len = 0;
	int err = host_read(q->file, first, sizeof(first), 0);

	if (!err) {
		len = qcow2_header_bytes(first, &why);
		err = len ? 0 : -EINVAL;
	} else {
		snprintf(why.text, sizeof(why.text), "cannot be read: %s",
			 strerror(-err));
	}
	if (!err) {
		bytes = malloc(len);
		if (!bytes || host_read(q->file, bytes, len, 0)) {
			err = bytes ? -EIO : -ENOMEM;
			snprintf(why.text, sizeof(why.text),
				 "cannot be read: %s", strerror(-err));
		}
	}
	if (!err)
		err = qcow2_header_parse(bytes, len, &q->header, &why);
	if (!err && !q->checked)
		err = qcow2_header_usable(&q->header, &why);
	free(bytes);
	if (!err && q->header.incompatible & QCOW2_CORRUPT &&
	    !q->block.read_only) {
		err = -EINVAL;
		snprintf(why.text, sizeof(why.text),
			 "is marked corrupt and can only be read; "
			 "repair it with kvist img check -r all");
	}
	if (err)
		log_err("disk %s: %s", q->block.name, why.text);
	return err;
}

static int check_snapshot(void *opaque, const struct qcow2_snapshot *snapshot)
{
	(void)opaque;
	(void)snapshot;
	return 0;
}

static int clean_refcounts(struct qcow2 *q)
{
	/* Refcounts may go out at any time: raised ones early are leaks until
	 * the rest follows, and they are only lowered after it did (Q2). */
	return q->error ? q->error : qcow2_cache_write(q, &q->ref_cache);
}

static int load(struct qcow2 *q)
{
	const struct qcow2_header *h = &q->header;
	uint64_t snapshot_bytes;
	int err;

	q->cluster_size = 1ull << h->cluster_bits;
	q->slice_bits = h->cluster_bits < SLICE_BITS ? h->cluster_bits
						     : SLICE_BITS;
	q->refblock_bits = h->cluster_bits + 3 - h->refcount_order;
	q->extended = h->incompatible & QCOW2_EXTENDED_L2;
	q->entry_bytes = q->extended ? 16 : 8;
	q->sub_size = q->cluster_size;
	if (q->extended)
		q->sub_size /= QCOW2_SUBCLUSTERS;
	q->free_hint = 1;
	q->block.size = h->size;
	q->block.block_size = q->cluster_size < 4096 ? q->cluster_size : 4096;
	q->block.discard_unit = q->cluster_size;
	err = q->file->ops->size(q->file, &q->file_end);
	if (!err)
		err = qcow2_cache_init(q, &q->l2_cache, L2_CACHE, qcow2_commit);
	if (!err)
		err = qcow2_cache_init(q, &q->ref_cache, REF_CACHE,
				       clean_refcounts);
	if (!err)
		err = qcow2_table_load(q, &q->l1, h->l1_offset, h->l1_entries);
	if (!err && !q->block.read_only)
		err = qcow2_table_load(q, &q->reftable, h->reftable_offset,
				       h->reftable_clusters
					       << (h->cluster_bits - 3));
	if (!err && !q->checked)
		err = qcow2_each_snapshot(q, check_snapshot, NULL,
					  &snapshot_bytes);
	if (err == -EINVAL)
		log_err("disk %s: its snapshot table is damaged; repair it "
			"with kvist img check -r all",
			q->block.name);
	else if (err)
		log_err("disk %s: cannot read its tables: %s", q->block.name,
			strerror(-err));
	if (!err && !q->block.read_only && h->incompatible & QCOW2_DIRTY)
		err = qcow2_rebuild(q);
	return err;
}

static int open_as(struct host_file *file, const char *name, bool read_only,
		   bool checked, struct block **block)
{
	struct qcow2 *q = calloc(1, sizeof(*q));
	int err;

	if (!q || !(q->block.name = strdup(name))) {
		free(q);
		log_err("disk %s: out of memory", name);
		return -ENOMEM;
	}
	q->file = file;
	q->block.ops = &qcow2_ops;
	q->block.read_only = read_only;
	q->checked = checked;
	q->block.event_fd = host_event_fd(file);
	flusher_init(&q->flusher, file, q->block.name);
	err = read_header(q);
	if (!err)
		err = load(q);
	if (err) {
		qcow2_free(q);
		return err;
	}
	*block = &q->block;
	return 0;
}

int qcow2_open(struct host_file *file, const char *name, bool read_only,
	       struct block **block)
{
	return open_as(file, name, read_only, false, block);
}

int qcow2_open_damaged(struct host_file *file, const char *name,
		       struct block **block)
{
	return open_as(file, name, true, true, block);
}

const char *qcow2_backing_name(struct block *block)
{
	const struct qcow2 *q = to_qcow2(block);

	return *q->header.backing ? q->header.backing : NULL;
}

const char *qcow2_backing_format(struct block *block)
{
	return to_qcow2(block)->header.backing_format;
}

int qcow2_set_l2_cache(struct block *block, size_t bytes)
{
	struct qcow2 *q = to_qcow2(block);
	int err = qcow2_cache_init(q, &q->l2_cache, bytes, qcow2_commit);

	if (err)
		log_err("%s: out of memory", block->name);
	return err;
}

void qcow2_set_backing(struct block *block, struct block *backing)
{
	to_qcow2(block)->backing = backing;
}

void qcow2_abandon(struct block *block)
{
	qcow2_free(to_qcow2(block));
}
