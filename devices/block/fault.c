#include "devices/block/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/checked.h"
#include "util/iov.h"

struct memory_file {
	struct host_file file;
	struct memory_bytes *memory;
};

static struct memory_bytes *memory_of(struct host_file *file)
{
	return container_of(file, struct memory_file, file)->memory;
}

static int memory_grow(struct memory_bytes *memory, uint64_t size)
{
	uint8_t *bytes;

	if (size > memory->limit)
		return -ENOSPC;
	bytes = realloc(memory->bytes, size ? size : 1);
	if (!bytes)
		return -ENOMEM;
	if (size > memory->size)
		memset(bytes + memory->size, 0, size - memory->size);
	memory->bytes = bytes;
	memory->size = size;
	return 0;
}

static ssize_t memory_preadv(struct host_file *file, const struct iovec *iov,
			     int iovcnt, uint64_t offset)
{
	struct memory_bytes *memory = memory_of(file);
	uint64_t len = iov_total(iov, iovcnt);

	if (offset >= memory->size)
		return 0;
	if (len > memory->size - offset)
		len = memory->size - offset;
	iov_copy_in(iov, iovcnt, 0, memory->bytes + offset, len);
	return len;
}

static ssize_t memory_pwritev(struct host_file *file, const struct iovec *iov,
			      int iovcnt, uint64_t offset)
{
	struct memory_bytes *memory = memory_of(file);
	uint64_t end, len = iov_total(iov, iovcnt);

	if (!checked_add(offset, len, &end))
		return -EFBIG;
	if (end > memory->size) {
		int err = memory_grow(memory, end);

		if (err)
			return err;
	}
	for (int i = 0; i < iovcnt; i++) {
		memcpy(memory->bytes + offset, iov[i].iov_base, iov[i].iov_len);
		offset += iov[i].iov_len;
	}
	return len;
}

static int memory_sync(struct host_file *file)
{
	(void)file;
	return 0;
}

static int memory_punch(struct host_file *file, uint64_t offset,
			uint64_t length)
{
	struct memory_bytes *memory = memory_of(file);

	if (offset >= memory->size)
		return 0;
	if (length > memory->size - offset)
		length = memory->size - offset;
	memset(memory->bytes + offset, 0, length);
	return 0;
}

static int memory_allocate(struct host_file *file, uint64_t offset,
			   uint64_t length)
{
	struct memory_bytes *memory = memory_of(file);
	uint64_t end;

	if (!checked_add(offset, length, &end))
		return -EFBIG;
	return end > memory->size ? memory_grow(memory, end) : 0;
}

static int memory_truncate(struct host_file *file, uint64_t size)
{
	return memory_grow(memory_of(file), size);
}

static int memory_size(struct host_file *file, uint64_t *size)
{
	*size = memory_of(file)->size;
	return 0;
}

static void memory_close(struct host_file *file)
{
	free(container_of(file, struct memory_file, file));
}

static const struct host_file_ops memory_ops = {
	.preadv = memory_preadv,
	.pwritev = memory_pwritev,
	.sync = memory_sync,
	.punch = memory_punch,
	.allocate = memory_allocate,
	.truncate = memory_truncate,
	.size = memory_size,
	.close = memory_close,
};

struct host_file *memory_file_create(struct memory_bytes *memory)
{
	struct memory_file *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->file.ops = &memory_ops;
	m->memory = memory;
	return &m->file;
}

struct fault_file {
	struct host_file file;
	struct host_file *below;
	struct fault_plan *plan;
};

static struct fault_file *to_fault(struct host_file *file)
{
	return container_of(file, struct fault_file, file);
}

static int fault(struct host_file *file, enum fault_kind kind)
{
	struct fault_plan *plan = to_fault(file)->plan;

	if (!(plan->kinds & kind))
		return 0;
	plan->done++;
	return plan->fail_at && plan->done >= plan->fail_at &&
			       plan->done - plan->fail_at < plan->fail_for
		       ? plan->err
		       : 0;
}

/* The vectors of a transfer that is cut short by the plan. */
static int cut(struct host_file *file, struct iovec *out, int max,
	       const struct iovec *iov, int iovcnt)
{
	uint64_t taken, len = to_fault(file)->plan->cut;

	return iov_slice(out, max, iov, iovcnt, 0, len ? len : UINT64_MAX,
			 &taken);
}

static ssize_t fault_preadv(struct host_file *file, const struct iovec *iov,
			    int iovcnt, uint64_t offset)
{
	struct host_file *below = to_fault(file)->below;
	struct iovec part[64];
	int err = fault(file, FAULT_READ);

	if (err)
		return err;
	iovcnt = cut(file, part, 64, iov, iovcnt);
	return below->ops->preadv(below, part, iovcnt, offset);
}

static ssize_t fault_pwritev(struct host_file *file, const struct iovec *iov,
			     int iovcnt, uint64_t offset)
{
	struct host_file *below = to_fault(file)->below;
	struct iovec part[64];
	int err = fault(file, FAULT_WRITE);

	if (err)
		return err;
	iovcnt = cut(file, part, 64, iov, iovcnt);
	return below->ops->pwritev(below, part, iovcnt, offset);
}

static int fault_sync(struct host_file *file)
{
	struct host_file *below = to_fault(file)->below;
	int err = fault(file, FAULT_SYNC);

	return err ? err : below->ops->sync(below);
}

static int fault_punch(struct host_file *file, uint64_t offset, uint64_t length)
{
	struct host_file *below = to_fault(file)->below;
	int err = fault(file, FAULT_PUNCH);

	return err ? err : below->ops->punch(below, offset, length);
}

static int fault_allocate(struct host_file *file, uint64_t offset,
			  uint64_t length)
{
	struct host_file *below = to_fault(file)->below;
	int err = fault(file, FAULT_WRITE);

	return err ? err : below->ops->allocate(below, offset, length);
}

static int fault_truncate(struct host_file *file, uint64_t size)
{
	struct host_file *below = to_fault(file)->below;
	int err = fault(file, FAULT_WRITE);

	return err ? err : below->ops->truncate(below, size);
}

static int fault_size(struct host_file *file, uint64_t *size)
{
	struct host_file *below = to_fault(file)->below;

	return below->ops->size(below, size);
}

static void fault_close(struct host_file *file)
{
	struct fault_file *f = to_fault(file);

	f->below->ops->close(f->below);
	free(f);
}

static const struct host_file_ops fault_ops = {
	.preadv = fault_preadv,
	.pwritev = fault_pwritev,
	.sync = fault_sync,
	.punch = fault_punch,
	.allocate = fault_allocate,
	.truncate = fault_truncate,
	.size = fault_size,
	.close = fault_close,
};

struct host_file *fault_file_create(struct host_file *below,
				    struct fault_plan *plan)
{
	struct fault_file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->file.ops = &fault_ops;
	f->below = below;
	f->plan = plan;
	return &f->file;
}
