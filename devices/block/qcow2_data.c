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
	qcow2_of(block)->data = data;
}

int qcow2_data_zero(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	if (!q->data)
		return -EIO;
	q->data_unsynced = true;
	/* A hole reads as zeros, if the host has holes. */
	return q->data->ops->punch(q->data, offset, length)
		       ? host_write_zeros(q->data, offset, length)
		       : 0;
}

void qcow2_data_punch(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	if (!q->data)
		return;
	q->data_unsynced = true;
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
	q->data_unsynced = true;
	/* What lies behind the end of the disk would come up again. */
	if (!err && is > old && size > old)
		err = q->data->ops->truncate(q->data, old);
	return err ? err : q->data->ops->truncate(q->data, size);
}
