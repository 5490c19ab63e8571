/*
 * Reading, compressing and writing go on at the same time (copy_pipe.h). The
 * reader asks the tables of the source for what need not be read at all; what
 * was read is looked at for zeros.
 */
#include "devices/block/image_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "devices/block/compress.h"
#include "devices/block/copy_pipe.h"
#include "devices/block/image_map.h"
#include "devices/block/layers.h"
#include "util/checked.h"
#include "util/log.h"

#define PIECE      (1u << 20)
#define PIECE_PACK (256u << 10) /* of clusters that are compressed */

/* How far ahead it is asked what is there: a host may take the longer for it
 * the more there is, and then not once for each piece. */
#define AHEAD (64u << 20)

/* What is to be done with a part of the disk. */
enum deed { COPY, CLEAR, LEAVE };

struct job {
	const struct image_copy *copy;
	uint64_t at;    /* what is read next, */
	uint64_t asked; /* and up to where is known what is to be done */
	enum deed deed;
	uint64_t room; /* bytes of a piece */
	/* Of compressing: */
	unsigned type;
	uint64_t cluster;
};

static bool is_zero(const uint8_t *bytes, size_t len)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, len - 1);
}

int image_transfer(struct block *block, enum block_op op, uint8_t *bytes,
		   uint64_t length, uint64_t offset)
{
	struct iovec iov = { .iov_base = bytes, .iov_len = length };

	return block_transfer(block, op, &iov, 1, 0, length, offset);
}

int image_failed(const struct block *block, const char *what, uint64_t at,
		 int err)
{
	log_err("%s: error while %s at byte %llu: %s", block->name, what,
		(unsigned long long)at, strerror(-err));
	return err;
}

static enum deed deed_of(const struct image_copy *copy,
			 const struct block_extent *e, uint64_t offset)
{
	if (copy->backed && !e->allocated)
		return LEAVE;
	if (copy->backed && e->zero)
		return offset >= copy->backing_size ? LEAVE : CLEAR;
	if (!e->zero || !copy->sparse)
		return COPY;
	return copy->zeroed ? LEAVE : CLEAR;
}

/* What is to be done at @offset, and for how many bytes. */
static int decide(const struct image_copy *copy, uint64_t offset, uint64_t end,
		  enum deed *deed, uint64_t *length)
{
	struct image_extent extent = { 0 };
	uint64_t at = offset;
	int err = 0;

	for (*length = 0; at < end && !err; *length = at - offset) {
		enum deed next;

		err = copy->backed
			      ? image_map_layer(copy->from, at, end - at,
						&extent.at)
			      : image_map(copy->from, at, end - at, &extent);
		next = deed_of(copy, &extent.at, at);
		if (at > offset && next != *deed)
			break;
		*deed = next;
		at += extent.at.length;
	}
	return err;
}

static uint64_t ahead(const struct job *job)
{
	uint64_t size = job->copy->from->size;

	return size - job->at > AHEAD ? job->at + AHEAD : size;
}

/*
 * The same in whole clusters of the target: what is compressed is written as a
 * whole, so that anything to be copied in a cluster is reason to copy it all.
 */
static int decide_clusters(const struct job *job, enum deed *deed,
			   uint64_t *length)
{
	const struct image_copy *copy = job->copy;
	uint64_t size = copy->from->size, end, at = job->at, n;
	int err = decide(copy, at, ahead(job), deed, length);

	end = align_down(at + *length, job->cluster);
	if (err || at + *length == size || end > at) {
		if (!err && at + *length != size)
			*length = end - at;
		return err;
	}
	end = at + job->cluster < size ? at + job->cluster : size;
	for (at += *length; at < end && !err; at += n) {
		enum deed next;

		err = decide(copy, at, end, &next, &n);
		if (next != *deed)
			*deed = COPY;
	}
	*length = end - job->at;
	return err;
}

/* Reads what can be read, sector by sector, and fills up with zeros. */
static void salvage(const struct image_copy *copy, uint8_t *bytes,
		    uint64_t length, uint64_t offset)
{
	for (uint64_t at = 0; at < length; at += BLOCK_SECTOR) {
		int err = image_transfer(copy->from, BLOCK_READ, bytes + at,
					 BLOCK_SECTOR, offset + at);

		if (!err)
			continue;
		image_failed(copy->from, "reading; zeros take the place",
			     offset + at, err);
		memset(bytes + at, 0, BLOCK_SECTOR);
	}
}

/* The reader: of the copy_plan. */
static int read_piece(void *opaque, struct copy_piece *piece)
{
	struct job *job = opaque;
	const struct image_copy *copy = job->copy;
	enum deed deed;
	uint64_t length;
	int err = 0;

	if (job->at == copy->from->size)
		return 0;
	if (job->at == job->asked) {
		err = job->cluster ? decide_clusters(job, &job->deed, &length)
				   : decide(copy, job->at, ahead(job),
					    &job->deed, &length);
		job->asked += length;
	}
	deed = job->deed;
	length = job->asked - job->at;
	if (!err && deed == COPY) {
		if (length > job->room)
			length = job->room;
		err = image_transfer(copy->from, BLOCK_READ, piece->bytes,
				     length, job->at);
		if (err && copy->salvage) {
			salvage(copy, piece->bytes, length, job->at);
			err = 0;
		}
	}
	if (err)
		return image_failed(copy->from, "reading", job->at, err);
	piece->offset = job->at;
	piece->length = length;
	piece->empty = deed != COPY;
	piece->clear = deed == CLEAR;
	job->at += length;
	return 1;
}

/* Writes the piece without its zeros, in as few writes as can be. */
static int write_data(const struct image_copy *copy,
		      const struct copy_piece *piece)
{
	uint64_t begin = 0, at = 0, step = copy->sparse;
	int err = 0;

	if (!step)
		step = piece->length;
	while (at < piece->length && !err) {
		uint64_t n = piece->length - at < step ? piece->length - at
						       : step;

		if (copy->sparse && is_zero(piece->bytes + at, n)) {
			if (begin < at)
				err = image_transfer(copy->to, BLOCK_WRITE,
						     piece->bytes + begin,
						     at - begin,
						     piece->offset + begin);
			if (!err && (!copy->zeroed || copy->backed))
				err = image_transfer(copy->to, BLOCK_ZERO, NULL,
						     n, piece->offset + at);
			begin = at + n;
		}
		at += n;
	}
	if (!err && begin < piece->length)
		err = image_transfer(
			copy->to, BLOCK_WRITE, piece->bytes + begin,
			piece->length - begin, piece->offset + begin);
	return err;
}

static void *compressor_make(void *opaque)
{
	const struct job *job = opaque;

	return compressor_create(job->type);
}

static void compressor_free(void *scratch)
{
	compressor_destroy(scratch);
}

#define IS_ZERO SIZE_MAX /* in place of a length */

/* A worker: of the copy_plan. */
static void compress_piece(void *opaque, void *scratch,
			   struct copy_piece *piece)
{
	const struct job *job = opaque;
	uint64_t size = job->cluster;

	for (uint64_t at = 0; at < piece->length; at += size) {
		size_t *len = &piece->packed_len[at / size];

		/* The last cluster of a disk ends in zeros. */
		if (piece->length - at < size)
			memset(piece->bytes + piece->length, 0,
			       at + size - piece->length);
		if (job->copy->sparse && is_zero(piece->bytes + at, size))
			*len = IS_ZERO;
		else if (!scratch) /* no memory to compress in */
			*len = 0;
		else
			*len = compressor_run(scratch, piece->bytes + at, size,
					      piece->packed + at);
	}
}

static int write_cluster(const struct job *job, const struct copy_piece *piece,
			 uint64_t at)
{
	const struct image_copy *copy = job->copy;
	uint64_t n = piece->length - at < job->cluster ? piece->length - at
						       : job->cluster;
	size_t len = piece->packed_len[at / job->cluster];

	if (len == IS_ZERO && (!copy->zeroed || copy->backed))
		return image_transfer(copy->to, BLOCK_ZERO, NULL, n,
				      piece->offset + at);
	if (len == IS_ZERO)
		return 0;
	if (!len)
		return image_transfer(copy->to, BLOCK_WRITE, piece->bytes + at,
				      n, piece->offset + at);
	return qcow2_write_compressed(copy->to, piece->offset + at,
				      piece->packed + at, len);
}

static int write_piece(const struct job *job, const struct copy_piece *piece)
{
	const struct image_copy *copy = job->copy;
	int err = 0;

	if (piece->empty)
		return piece->clear
			       ? image_transfer(copy->to, BLOCK_ZERO, NULL,
						piece->length, piece->offset)
			       : 0;
	if (!job->cluster)
		return write_data(copy, piece);
	for (uint64_t at = 0; at < piece->length && !err; at += job->cluster)
		err = write_cluster(job, piece, at);
	return err;
}

void image_rate_begin(struct image_rate *rate, uint64_t bytes)
{
	*rate = (struct image_rate){ .bytes = bytes };
	clock_gettime(CLOCK_MONOTONIC, &rate->begin);
}

void image_rate_hold(struct image_rate *rate, uint64_t written)
{
	struct timespec until = rate->begin;
	uint64_t part;

	if (!rate->bytes)
		return;
	rate->written += written;
	part = rate->written % rate->bytes;
	until.tv_sec += rate->written / rate->bytes;
	until.tv_nsec += (long)((double)part / (double)rate->bytes * 1e9);
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) ==
	       EINTR)
		;
}

static int write_all(const struct job *job, struct copy_pipe *pipe)
{
	const struct image_copy *copy = job->copy;
	struct copy_piece *piece;
	struct image_rate rate;
	int ret;

	image_rate_begin(&rate, copy->rate);
	while ((ret = copy_pipe_get(pipe, &piece)) > 0) {
		int err = write_piece(job, piece);

		if (err)
			return image_failed(copy->to, "writing", piece->offset,
					    err);
		image_rate_hold(&rate, piece->empty ? 0 : piece->length);
		if (copy->progress)
			copy->progress(copy->opaque,
				       piece->offset + piece->length);
		copy_pipe_put(pipe);
	}
	return ret;
}

int image_copy(const struct image_copy *copy)
{
	struct job job = { .copy = copy, .room = PIECE };
	struct copy_plan plan = { .opaque = &job, .read = read_piece };
	struct copy_pipe *pipe;
	int err;

	if (copy->compress) {
		err = qcow2_compression(copy->to, &job.type, &job.cluster);
		if (err) {
			log_err("%s: this image cannot hold compressed data",
				copy->to->name);
			return err;
		}
		job.room = job.cluster > PIECE_PACK ? job.cluster : PIECE_PACK;
		plan.parts = job.room / job.cluster;
		plan.workers = copy->workers;
		plan.work = compress_piece;
		plan.scratch_create = compressor_make;
		plan.scratch_destroy = compressor_free;
	}
	plan.room = job.room;
	err = copy_pipe_start(&plan, &pipe);
	if (err) {
		log_err("%s: cannot start copying: %s", copy->to->name,
			strerror(-err));
		return err;
	}
	err = write_all(&job, pipe);
	copy_pipe_stop(pipe);
	return err;
}
