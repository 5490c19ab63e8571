/*
 * The inside of a qcow2 image; between the files qcow2*.c only. Lowest first:
 *
 *   qcow2_format.h    the bytes: header, entries, refcounts (pure)
 *   qcow2_header.c    the header and its extensions: read, checked, written
 *   qcow2_entry.c     an L2 entry taken apart, and put together
 *   qcow2_list.c      snapshots and bitmaps, as the image lists them
 *   qcow2_table.c     the L1 table and the refcount table, whole in memory
 *   qcow2_cache.c     slices of L2 tables and refcount blocks, bounded
 *   qcow2_refcount.c  which host clusters are used: allocate, free
 *   qcow2_map.c       guest offset -> extent: the cluster walk
 *   qcow2_extent.c    the same for tools
 *   qcow2_crypt.c     clusters of data: plain, or encrypted
 *   qcow2_data.c      an external data file
 *   qcow2_read.c      reads, and the backing file below
 *   qcow2_write.c     writes: in place, or allocate, copy, link
 *   qcow2_compress.c  compressed clusters, written
 *   qcow2_flight.c    reads and writes that go on while others are served
 *   qcow2_fresh.c     such writes that go to new clusters
 *   qcow2_zero.c      zero and discard; qcow2_zero_sub.c of subclusters
 *   qcow2_commit.c    the durable order of it all
 *   qcow2_rebuild.c   refcounts made anew for a dirty image
 *   qcow2_switch.c    changes to the whole image, by one write of the header;
 *                     qcow2_switch_count.c counts for it
 *   qcow2_resize.c    a disk of another size
 *   qcow2_amend.c     another header
 *   qcow2_width.c     refcounts of another width
 *   qcow2_bitmap.c    the bitmaps of another image
 *   qcow2_snapshot.c  snapshots: list, create, goto, delete
 *   qcow2.c           open, close, dispatch
 *
 * For tools, not for guests: qcow2_create.c makes an image; qcow2_check.c, with
 * qcow2_check_map.c and qcow2_check_list.c, finds out what is wrong with one,
 * and qcow2_repair.c puts it right.
 *
 * A struct qcow2 is used by one thread at a time, like the block it is.
 *
 * Q1: on disk, at any moment, every reference points to a cluster whose
 *     refcount on disk is at least the number of references to it. A crash
 *     can leak clusters, never share or lose one.
 * Q2: a cluster that is no longer referenced in memory is neither reused nor
 *     punched before the commit that makes its last reference go on disk, and
 *     before the end of all I/O in flight on it.
 * Q3: COPIED is set in an entry of the active tables iff the refcount is 1.
 * Q4: guest data reach the disk before the entry that shows them.
 * Q5: after a failed sync nothing is written any more, and nothing is called
 *     durable.
 * Q6: of two requests that change the same L2 entry, the second begins when the
 *     first has ended.
 */
#ifndef KVIST_BLOCK_QCOW2_H
#define KVIST_BLOCK_QCOW2_H

#include "devices/block/block.h"
#include "devices/block/flusher.h"
#include "devices/block/host_file.h"
#include "devices/block/qcow2_format.h"
#include "util/log.h"

struct qcow2;
struct zstd;
struct xts;

/* A table that is whole in memory, with a note of which of its 512-byte
 * sectors are newer than the file's. */
struct qcow2_table {
	uint64_t offset;
	uint32_t entries;
	uint64_t *entry; /* host byte order */
	uint64_t top;    /* no entry names a host offset above this one */
	uint8_t *dirty;  /* one byte a sector of 64 entries */
	bool any_dirty;
};

/* A cached piece of a table, in the file's byte order. */
struct qcow2_slice {
	uint64_t offset; /* 0: empty */
	uint64_t used;   /* the cache's clock when last asked for */
	uint8_t *data;   /* allocated with the first use */
	bool dirty;
};

#define QCOW2_WAYS 8

struct qcow2_cache {
	struct qcow2_slice *slices; /* sets * QCOW2_WAYS */
	struct qcow2_slice *last;   /* handed out, which often is the next */
	unsigned sets;
	uint64_t clock;
	bool any_dirty;
	/* Makes every dirty slice clean before one is given up. */
	int (*clean)(struct qcow2 *q);
};

/* Host clusters whose reference went, but not yet on disk (Q2). */
struct qcow2_freed {
	uint64_t offset;
	uint64_t clusters;
	bool punch; /* give their space back to the host */
};

struct qcow2 {
	struct block block;
	struct host_file *file;
	struct host_file *data; /* the external data file; owned, or NULL */
	struct block *backing;  /* owned, or NULL */
	struct qcow2_header header;

	uint64_t cluster_size;
	uint64_t sub_size;      /* of a subcluster; else of a cluster */
	bool extended;          /* L2 entries have subclusters */
	unsigned entry_bytes;   /* of an L2 entry */
	unsigned slice_bits;    /* log2 of a slice's bytes */
	unsigned refblock_bits; /* log2 of refcounts in a block */

	struct qcow2_table l1, reftable;
	struct qcow2_cache l2_cache, ref_cache;

	uint64_t free_hint;   /* no cluster below this one is free */
	uint64_t pack_at;     /* where the next compressed cluster may go */
	bool blocks_distinct; /* checked: no refcount block serves twice */
	uint64_t bogus;       /* refcounts found set past the end of the file */
	uint64_t file_end;    /* bytes from here on were never written: zeros */
	struct qcow2_freed *freed;
	size_t freed_count, freed_space;

	uint8_t *bounce;      /* QCOW2_BOUNCE bytes, allocated on first use */
	uint8_t *inflated;    /* the last compressed cluster read ... */
	uint64_t inflated_at; /* ... its host offset; 0: none */
	struct zstd *zstd;    /* scratch, allocated on first use */

	struct xts *key;       /* of an encrypted image; secret_alloc() */
	uint8_t *crypt_buffer; /* QCOW2_BOUNCE bytes, with the key */

	bool looked, preallocated; /* set by qcow2_map_extent() */

	struct flusher flusher, data_flusher;

	/* qcow2_flight.c */
	struct qcow2_piece *flying, *free_pieces;
	struct qcow2_op *waiting, **waiting_end, *free_ops;
	unsigned ops;      /* requests that are not done */
	uint64_t reserved; /* the host file was made longer up to here; or 0 */
	unsigned pieces;   /* in flight */
	uint64_t around_bytes; /* old contents in memory for these pieces */

	int error;    /* latched: no more writes, no more flushes (Q5) */
	bool corrupt; /* said so already */
	bool checked; /* opened to be checked: see qcow2_open_damaged() */
	struct guest_error bad_data; /* compressed clusters not inflated */
};

#define QCOW2_BOUNCE (64u << 10)

/* A page of the host: I/O through the page cache and I/O past it must not touch
 * the same one. */
#define QCOW2_PAGE 4096

/* Clusters up to this size are filled up in memory for a write to part of
 * one. */
#define QCOW2_SURROUND   (256u << 10)
/* With this many such bytes in flight, a further write is done at once. */
#define QCOW2_AROUND_MAX (16u << 20)

/*
 * Offsets of the host from here on are bytes of the external data file, which
 * holds each cluster of the disk at the cluster's own offset, and nothing else.
 * Its clusters are not counted and always the image's alone.
 */
#define QCOW2_DATA_BASE (1ull << 60)

static inline bool qcow2_is_external(const struct qcow2 *q)
{
	return q->header.incompatible & QCOW2_DATA_FILE;
}

/* A data file that others may read as a raw disk: what the tables call zeros
 * has to be zeros there. */
static inline bool qcow2_is_raw(const struct qcow2 *q)
{
	return qcow2_is_external(q) && q->header.autoclear & QCOW2_AUTO_RAW;
}

/* The image behind a block, or NULL for another layer. */
struct qcow2 *qcow2_of(struct block *block);

/* Before the first change: features that a writer has to know, and that this
 * one does not keep up (bitmaps among them), lose their autoclear bit. */
int qcow2_begin_writing(struct qcow2 *q);

/* Logs that the image is damaged, once, marks it so on disk, and refuses
 * writes from then on. Always -EIO. */
int qcow2_corrupt(struct qcow2 *q, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* True for a host offset in the L1 table. */
static inline bool qcow2_is_l1(const struct qcow2 *q, uint64_t offset)
{
	return offset >= q->l1.offset &&
	       offset < q->l1.offset + q->l1.entries * 8ull;
}

/* True when the range touches the header, the LUKS area, the L1 or the refcount
 * table: no entry may point there. qcow2_is_metadata() also asks about L2
 * tables and refcount blocks, which takes time. */
bool qcow2_is_fixed(const struct qcow2 *q, uint64_t offset, uint64_t length);
bool qcow2_is_metadata(const struct qcow2 *q, uint64_t offset, uint64_t length);

/* qcow2_table.c. Errors of I/O are not logged: the caller knows the noun. */
int qcow2_table_load(struct qcow2 *q, struct qcow2_table *table,
		     uint64_t offset, uint32_t entries);
void qcow2_table_set(struct qcow2_table *table, uint32_t index, uint64_t value);
int qcow2_table_write(struct qcow2 *q, struct qcow2_table *table);
/* True when no two entries except zeros are the same; or -ENOMEM. */
int qcow2_table_distinct(const struct qcow2_table *table);
void qcow2_table_fini(struct qcow2_table *table);
/* Makes the refcount table that was built at @offset the image's own: durable
 * first, then the header switches to it, and to the width that its refcounts
 * have, 1 << @order bits. */
int qcow2_reftable_switch(struct qcow2 *q, uint64_t offset, uint32_t clusters,
			  unsigned order);

/* qcow2_cache.c */
/* Makes room for slices of @budget bytes in all, in place of the present ones,
 * which are clean. 0, or -ENOMEM: then the cache can only be freed. */
int qcow2_cache_init(struct qcow2 *q, struct qcow2_cache *cache, size_t budget,
		     int (*clean)(struct qcow2 *q));
void qcow2_cache_fini(struct qcow2_cache *cache);
/* The slice at host @offset, read if need be. Borrowed until the next get from
 * the same cache. */
int qcow2_cache_get(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset,
		    struct qcow2_slice **slice);
void qcow2_cache_dirty(struct qcow2_cache *cache, struct qcow2_slice *slice);
int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *cache);
/* Forgets the slices of a host cluster that begins a new life. */
void qcow2_cache_drop(struct qcow2 *q, uint64_t offset);
/* Forgets all of it: the tables are others now. */
void qcow2_cache_forget(struct qcow2_cache *cache);

/* qcow2_refcount.c. Clusters are numbered from the start of the host file. */
int qcow2_refcount_read(struct qcow2 *q, uint64_t cluster, uint64_t *value);
/* 0 if no refcount block serves twice; -EIO: the image is damaged; -ENOMEM. */
int qcow2_check_blocks(struct qcow2 *q);
/* Up to @want clusters that follow each other, at least one, with refcount 1:
 * at host offset *offset, *got of them. */
int qcow2_alloc(struct qcow2 *q, uint64_t want, uint64_t *offset,
		uint64_t *got);
/* Adds a reference to the cluster at @offset, which has one already; -EOVERFLOW
 * when its refcount is too narrow. */
int qcow2_ref(struct qcow2 *q, uint64_t offset);
/* Takes back what was allocated but never referenced. */
void qcow2_release(struct qcow2 *q, uint64_t offset, uint64_t clusters);
/* Makes room for @more calls of qcow2_free_later(), which then cannot fail. */
int qcow2_freed_reserve(struct qcow2 *q, size_t more);
/* Drops one reference to each cluster once the next commit is durable (Q2). */
void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t clusters,
		      bool punch);
/* The same for what an L2 entry refers to; counts as one call at most. */
void qcow2_free_entry(struct qcow2 *q, const struct qcow2_entry *entry,
		      bool punch);
/* For qcow2_commit(): the references are gone from the disk, drop them. */
void qcow2_apply_freed(struct qcow2 *q);

/* qcow2_map.c */
struct qcow2_extent {
	struct qcow2_entry entry; /* .host: of the extent's first byte, unless
				   * compressed; .kind: of its subclusters */
	uint64_t length;          /* guest bytes that are alike */
};

/* Reads the L2 entry at @at. 0, or -EIO for one that no valid image holds. */
int qcow2_l2_decode(const struct qcow2 *q, const uint8_t *at,
		    struct qcow2_entry *entry);
/* Writes it: @data and @zeros of its subclusters, where there are any. */
void qcow2_l2_put(const struct qcow2 *q, uint8_t *at, uint64_t raw,
		  uint32_t data, uint32_t zeros);
/* The subclusters of a cluster that guest [offset, end) within it touches. */
uint32_t qcow2_sub_mask(const struct qcow2 *q, uint64_t offset, uint64_t end);

/* What holds guest bytes [offset, offset + length), as far as it is of one
 * kind, contiguous, and within one slice of an L2 table. */
int qcow2_map(struct qcow2 *q, uint64_t offset, uint64_t length,
	      struct qcow2_extent *extent);
/* The slice that holds the L2 entry of guest @offset, and the entry's index in
 * it; *slice is NULL where there is no L2 table. */
int qcow2_l2_slice(struct qcow2 *q, uint64_t offset, struct qcow2_slice **slice,
		   unsigned *index);
/* Makes the L2 table for guest @offset exist and be this image's alone. */
int qcow2_l2_private(struct qcow2 *q, uint64_t offset);

/* Makes every cluster of the disk that begins at or behind @from unallocated,
 * durably. */
int qcow2_forget(struct qcow2 *q, uint64_t from);
/* qcow2_extent.c, qcow2_resize.c, qcow2_write.c: of struct block_ops. */
int qcow2_allocate(struct block *block, uint64_t offset, uint64_t length,
		   enum block_space space);
int qcow2_map_extent(struct block *block, uint64_t offset, uint64_t length,
		     struct block_extent *extent);
int qcow2_resize(struct block *block, uint64_t size);

/* qcow2_read.c, qcow2_write.c, qcow2_zero.c: guest ranges, sector aligned. */
int qcow2_read(struct qcow2 *q, const struct iovec *iov, int iovcnt,
	       uint64_t skip, uint64_t offset, uint64_t length);
/* True when [offset, offset + length) lies past the end of the backing file:
 * what is unallocated there reads as zeros. */
bool qcow2_past_backing(const struct qcow2 *q, uint64_t offset);
int qcow2_write(struct qcow2 *q, const struct iovec *iov, int iovcnt,
		uint64_t offset, uint64_t length);
int qcow2_write_zeros(struct qcow2 *q, uint64_t offset, uint64_t length);
int qcow2_zero(struct qcow2 *q, uint64_t offset, uint64_t length);
int qcow2_discard(struct qcow2 *q, uint64_t offset, uint64_t length);
/* Zero or discard, for an image with subclusters. */
int qcow2_zero_sub(struct qcow2 *q, uint64_t offset, uint64_t length,
		   bool discard);
/* The bounce buffer, or NULL when memory is out. */
uint8_t *qcow2_bounce(struct qcow2 *q);

/*
 * A write to new clusters, in three steps: qcow2_run_begin() finds a run of
 * them for the first bytes of the extent at @offset; the data are written, with
 * old contents before and behind them (qcow2_run_around()); qcow2_run_end()
 * makes the L2 entries name the run, or with an @err gives it back.
 */
struct qcow2_run {
	uint64_t start, end; /* guest, whole (sub)clusters */
	uint64_t host;       /* of start */
	bool fresh;          /* the host bytes were never written: zeros */
	bool allocated;      /* by us, to be released on an error */
};

int qcow2_run_begin(struct qcow2 *q, const struct qcow2_extent *e,
		    uint64_t offset, struct qcow2_run *run);
/* Guest [*start, offset) and [end, *stop) have to be written as well; what lies
 * beside the run in its cluster has been copied. */
int qcow2_run_around(struct qcow2 *q, const struct qcow2_run *run,
		     const struct qcow2_entry *old, uint64_t offset,
		     uint64_t end, uint64_t *start, uint64_t *stop);
/* Writes guest [offset, end) to the run, and the old contents around it. */
int qcow2_run_write(struct qcow2 *q, const struct qcow2_run *run,
		    enum qcow2_kind kind, const struct iovec *iov, int iovcnt,
		    uint64_t skip, uint64_t offset, uint64_t end);
int qcow2_run_end(struct qcow2 *q, const struct qcow2_run *run, int err);
/* What the guest's disk holds now; past its end, in the last cluster, zeros. */
int qcow2_old_contents(struct qcow2 *q, uint64_t from, size_t len,
		       uint8_t *buf);

/* qcow2_flight.c: requests that are not done at once. */
void qcow2_start(struct qcow2 *q, struct block_request *request);
/* True while an I/O on these bytes of the file is in flight. */
bool qcow2_in_flight(const struct qcow2 *q, uint64_t offset, uint64_t length);
/* Waits until nothing is in flight; frees what was kept for it. */
void qcow2_land(struct qcow2 *q);
/* qcow2_fresh.c. When the image is closed, after all else: the file ends with
 * its last cluster. */
void qcow2_unreserve(struct qcow2 *q);

/* qcow2_crypt.c: moves guest data between the list and a cluster of data, as
 * host_readv() and host_writev() do; sectors of an encrypted image are
 * decrypted and encrypted on the way. */
int qcow2_data_readv(struct qcow2 *q, const struct iovec *iov, int iovcnt,
		     uint64_t skip, uint64_t length, uint64_t offset);
int qcow2_data_writev(struct qcow2 *q, const struct iovec *iov, int iovcnt,
		      uint64_t skip, uint64_t length, uint64_t offset);
/* Makes guest [offset, offset + length) zeros in the data file. */
int qcow2_data_zero(struct qcow2 *q, uint64_t offset, uint64_t length);
/* Gives the space of that range back to the host, if the host can take it. */
void qcow2_data_punch(struct qcow2 *q, uint64_t offset, uint64_t length);
/* Makes a raw data file as long as the disk: zeros from @old on. */
int qcow2_data_resize(struct qcow2 *q, uint64_t old, uint64_t size);
/* The file that holds the bytes at host *offset, which becomes the offset
 * there. NULL for a data file that was not opened. */
struct host_file *qcow2_file_at(const struct qcow2 *q, uint64_t *offset);
/* Wipes and frees the key. */
void qcow2_lock_up(struct qcow2 *q);

/* qcow2_commit.c */
/* Writes bytes of the image itself: everything but guest data. */
int qcow2_put(struct qcow2 *q, const void *buf, size_t len, uint64_t offset);
/* To be called before guest data or zeros are written to the host range. */
void qcow2_will_write(struct qcow2 *q, uint64_t offset, uint64_t length);
/* Everything written so far becomes durable; latches an error. */
int qcow2_barrier(struct qcow2 *q);
/* Everything accepted so far becomes durable, in the order that keeps Q1. */
int qcow2_commit(struct qcow2 *q);
/* Writes out the refcounts; not durable yet. */
int qcow2_put_refcounts(struct qcow2 *q);
/* A commit, and then the refcounts that went with it, so that nothing is left
 * to be written; the image is not dirty any more. */
int qcow2_settle(struct qcow2 *q);
/* Changes the header's feature bits, durably. */
int qcow2_put_features(struct qcow2 *q, uint64_t incompatible,
		       uint64_t autoclear);

/* qcow2_rebuild.c: counts every reference and writes new refcounts, for an
 * image that was left dirty. Logged. */
int qcow2_rebuild(struct qcow2 *q);
/*
 * Writes a whole new set of refcounts, @count for the first @clusters clusters
 * of the file. It is put right behind them,
 *
 *   | refcount table | blocks for everything up to and with this area |
 *
 * and nothing refers to it yet. @block is room for one cluster. 0; -EINVAL
 * when a count does not fit its width or there are too many; -ENOMEM, or an
 * error of the I/O.
 */
int qcow2_counts_write(struct qcow2 *q, const uint32_t *count,
		       uint64_t clusters, uint8_t *block);
/* How many clusters that area has, and how many of them its table takes. */
uint64_t qcow2_counts_area(const struct qcow2 *q, uint64_t clusters,
			   uint64_t *table_clusters);
/* qcow2_width.c: makes refcounts 1 << @order bits wide, durably. Version 3
 * only. 0; -ERANGE when one does not fit; -EINVAL when there are too many;
 * -ENOMEM, or an error of the I/O. */
int qcow2_set_width(struct qcow2 *q, unsigned order);
/* Reads the snapshot table and hands every snapshot to @each. */
int qcow2_each_snapshot(struct qcow2 *q,
			int (*each)(void *opaque,
				    const struct qcow2_snapshot *snapshot),
			void *opaque, uint64_t *table_bytes);

/* qcow2_list.c: hands every bitmap of the directory to @each. 0, -EINVAL when
 * the directory is damaged, or what reading it or @each answers; not logged. */
int qcow2_each_bitmap(struct qcow2 *q,
		      int (*each)(void *opaque,
				  const struct qcow2_bitmap *bitmap),
		      void *opaque);

#endif
