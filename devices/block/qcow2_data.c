/*
 * An external data file: the clusters of the disk, each at its own offset. The
 * image itself holds the tables, which say of each whether it is there.
 */
#include <errno.h>

#include "devices/block/layers.h"
#include "devices/block/qcow2.h"

const char *qcow2_data_name(struct block *block)
{
	const struct qcow2 *q = qcow2_of(block);

	return qcow2_is_external(q) ? q->header.data_file : NULL;
}

void qcow2_set_data(struct block *block, struct host_file *data)
{
	struct qcow2 *q = qcow2_of(block);

	q->data = data;
	flusher_init(&q->data_flusher, data, q->block.name);
}

int qcow2_data_zero(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	if (!q->data)
		return -EIO;
	flusher_wrote(&q->data_flusher);
	/* A hole reads as zeros, if the host has holes. */
	return q->data->ops->punch(q->data, offset, length)
		       ? host_write_zeros(q->data, offset, length)
		       : 0;
}

void qcow2_data_punch(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	if (!q->data)
		return;
	flusher_wrote(&q->data_flusher);
	q->data->ops->punch(q->data, offset, length);
}

int qcow2_data_resize(struct qcow2 *q, uint64_t old, uint64_t size)
{
	uint64_t is;
	int err;

	if (!qcow2_is_raw(q))
		return 0;
	if (!q->data)
		return -EIO;
	err = q->data->ops->size(q->data, &is);
	flusher_wrote(&q->data_flusher);
	/* What lies behind the end of the disk would come up again. */
	if (!err && is > old && size > old)
		err = q->data->ops->truncate(q->data, old);
	return err ? err : q->data->ops->truncate(q->data, size);
}
