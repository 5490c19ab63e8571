/* The recorder of fault.h: every change of a host file, in order. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/fault.h"
#include "util/checked.h"
#include "util/iov.h"

struct record_file {
	struct host_file file;
	struct host_file *below;
	struct recording *recording;
	unsigned number;
};

static struct record_file *to_record(struct host_file *file)
{
	return container_of(file, struct record_file, file);
}

/* Appends a record; NULL, and the recording has failed, without memory. */
static struct record *append(struct host_file *file, enum record_kind kind,
			     uint64_t offset, uint64_t length)
{
	struct recording *recording = to_record(file)->recording;
	struct record *record;

	if (recording->count == recording->space) {
		size_t space = recording->space * 2 + 64;

		record = realloc(recording->records, space * sizeof(*record));
		if (!record) {
			recording->failed = true;
			return NULL;
		}
		recording->records = record;
		recording->space = space;
	}
	record = &recording->records[recording->count++];
	record->kind = kind;
	record->file = to_record(file)->number;
	record->offset = offset;
	record->length = length;
	record->data = NULL;
	return record;
}

static ssize_t record_preadv(struct host_file *file, const struct iovec *iov,
			     int iovcnt, uint64_t offset)
{
	struct host_file *below = to_record(file)->below;

	return below->ops->preadv(below, iov, iovcnt, offset);
}

static ssize_t record_pwritev(struct host_file *file, const struct iovec *iov,
			      int iovcnt, uint64_t offset)
{
	struct host_file *below = to_record(file)->below;
	ssize_t n = below->ops->pwritev(below, iov, iovcnt, offset);
	struct record *record;
	uint8_t *at;

	if (n <= 0)
		return n;
	record = append(file, RECORD_WRITE, offset, n);
	at = record ? record->data = malloc(n) : NULL;
	if (!at) {
		to_record(file)->recording->failed = true;
		return n;
	}
	for (ssize_t left = n; left; iov++) {
		size_t len = iov->iov_len;

		if (len > (size_t)left)
			len = left;
		memcpy(at, iov->iov_base, len);
		at += len;
		left -= len;
	}
	return n;
}

static int record_sync(struct host_file *file)
{
	struct host_file *below = to_record(file)->below;
	int err = below->ops->sync(below);

	if (!err)
		append(file, RECORD_SYNC, 0, 0);
	return err;
}

static int record_punch(struct host_file *file, uint64_t offset,
			uint64_t length)
{
	struct host_file *below = to_record(file)->below;
	int err = below->ops->punch(below, offset, length);

	if (!err)
		append(file, RECORD_PUNCH, offset, length);
	return err;
}

static int record_allocate(struct host_file *file, uint64_t offset,
			   uint64_t length)
{
	struct host_file *below = to_record(file)->below;

	return below->ops->allocate(below, offset, length);
}

static int record_truncate(struct host_file *file, uint64_t size)
{
	struct host_file *below = to_record(file)->below;
	int err = below->ops->truncate(below, size);

	if (!err)
		append(file, RECORD_TRUNCATE, 0, size);
	return err;
}

static int record_size(struct host_file *file, uint64_t *size)
{
	struct host_file *below = to_record(file)->below;

	return below->ops->size(below, size);
}

static void record_close(struct host_file *file)
{
	struct record_file *r = to_record(file);

	r->below->ops->close(r->below);
	free(r);
}

static const struct host_file_ops record_ops = {
	.preadv = record_preadv,
	.pwritev = record_pwritev,
	.sync = record_sync,
	.punch = record_punch,
	.allocate = record_allocate,
	.truncate = record_truncate,
	.size = record_size,
	.close = record_close,
};

struct host_file *record_file_create(struct host_file *below,
				     struct recording *recording,
				     unsigned number)
{
	struct record_file *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->file.ops = &record_ops;
	r->below = below;
	r->recording = recording;
	r->number = number;
	return &r->file;
}

void recording_fini(struct recording *recording)
{
	for (size_t i = 0; i < recording->count; i++)
		free(recording->records[i].data);
	free(recording->records);
	memset(recording, 0, sizeof(*recording));
}

int record_apply(const struct record *record, uint64_t skip, uint64_t length,
		 struct memory_bytes *memory)
{
	struct host_file *file = memory_file_create(memory);
	int err = 0;

	if (!file)
		return -ENOMEM;
	switch (record->kind) {
	case RECORD_WRITE:
		err = host_write(file, record->data + skip, length,
				 record->offset + skip);
		break;
	case RECORD_PUNCH:
		err = file->ops->punch(file, record->offset, record->length);
		break;
	case RECORD_TRUNCATE:
		err = file->ops->truncate(file, record->length);
		break;
	case RECORD_SYNC:
		break;
	}
	file->ops->close(file);
	return err;
}
