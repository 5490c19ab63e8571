/*
 * A hostile image and what a guest may do with it: the first bytes of the
 * input are operations, the rest is the image. Nothing is expected but that
 * every request is answered once, and that the sanitizers stay silent.
 *
 *   tests/fuzz/seeds corpus
 *   build-fuzz/tests/fuzz/fuzz_qcow2 -close_fd_mask=2 -max_len=16000 \
 *     corpus/qcow2
 */
#include <stdlib.h>
#include <string.h>

#include "devices/block/compress.h"
#include "devices/block/fault.h"
#include "devices/block/layers.h"
#include "devices/block/qcow2_amend.h"
#include "devices/block/qcow2_snapshot.h"
#include "util/bytes.h"
#include "util/checked.h"

#define OPS       12
#define OP_BYTES  5
#define FILE_MAX  (4u << 20)
#define BELOW_LEN 5000
#define BUF_LEN   (64u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct answer {
	struct block_request request;
	int times;
};

static void answered(struct block_request *request, int err)
{
	(void)err;
	container_of(request, struct answer, request)->times++;
}

/* What tools do to the image as a whole. */
static void change_all(struct block *block, const uint8_t *op, uint8_t *buf)
{
	static const char *const names[] = { "1", "2", "one", "new" };
	static const struct timespec now;
	const char *name = names[op[2] % ARRAY_SIZE(names)];

	switch (op[1] % 6) {
	case 0:
		qcow2_snapshot_create(block, name, &now);
		break;
	case 1:
		qcow2_snapshot_goto(block, name);
		break;
	case 2:
		qcow2_snapshot_delete(block, name);
		break;
	case 3:
		block->ops->resize(block,
				   (uint64_t)get_le16(op + 2) * BLOCK_SECTOR);
		break;
	case 4:
		qcow2_make_empty(block);
		break;
	default:
		qcow2_vm_state(block, op[2] & 1 ? BLOCK_READ : BLOCK_WRITE, buf,
			       op[3] % (BUF_LEN / BLOCK_SECTOR + 1) *
				       BLOCK_SECTOR,
			       op[4] * BLOCK_SECTOR);
	}
}

/* A compressed cluster, whose bytes need not make sense. */
static void write_compressed(struct block *block, const uint8_t *op,
			     const uint8_t *buf)
{
	uint64_t cluster;
	unsigned type;

	if (!qcow2_compression(block, &type, &cluster))
		qcow2_write_compressed(block, get_le16(op + 1) * cluster, buf,
				       get_le16(op + 3) % cluster);
}

/* One operation of five bytes: which one, where, how much. */
static void operate(struct block *block, const uint8_t *op, uint8_t *buf)
{
	uint64_t sectors = block->size / BLOCK_SECTOR;
	uint64_t offset = get_le16(op + 1), length = get_le16(op + 3);
	struct iovec iov = { .iov_base = buf };
	struct answer answer = { .request = { .op = op[0] % 5,
					      .iov = &iov,
					      .iovcnt = 1,
					      .done = answered } };

	/* Near the start, and now and then near the end. */
	if (op[0] & 0x80 && sectors > offset)
		offset = sectors - offset;
	answer.request.offset = offset * BLOCK_SECTOR;
	answer.request.length =
		length % (BUF_LEN / BLOCK_SECTOR + 1) * BLOCK_SECTOR;
	iov.iov_len = answer.request.length;
	block_submit(block, &answer.request);
	if (answer.times != 1)
		abort();
}

static void attack(const uint8_t *ops, struct memory_bytes *image,
		   struct memory_bytes *below, uint8_t *buf)
{
	struct host_file *file = memory_file_create(image);
	struct host_file *raw = memory_file_create(below);
	struct memory_bytes data = { .limit = FILE_MAX };
	struct host_file *data_file;
	struct block *block, *backing;

	if (!file || !raw || qcow2_open(file, "fuzz", ops[0] & 1, &block)) {
		if (file)
			file->ops->close(file);
		if (raw)
			raw->ops->close(raw);
		return;
	}
	if (ops[0] & 2 && !raw_open(raw, "below", true, NULL, &backing))
		qcow2_set_backing(block, backing);
	else
		raw->ops->close(raw);
	data_file = qcow2_data_name(block) ? memory_file_create(&data) : NULL;
	if (data_file)
		qcow2_set_data(block, data_file);
	for (unsigned i = 0; i < OPS; i++) {
		const uint8_t *op = ops + 1 + i * OP_BYTES;

		if ((op[0] & 0x60) == 0x60)
			change_all(block, op, buf);
		else if ((op[0] & 0x60) == 0x40)
			write_compressed(block, op, buf);
		else
			operate(block, op, buf);
	}
	block_close(block);
	free(data.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	size_t head = 1 + OPS * OP_BYTES;
	struct memory_bytes image = { .limit = FILE_MAX };
	struct memory_bytes below = { .limit = BELOW_LEN, .size = BELOW_LEN };
	uint8_t *buf;

	if (len < head || len - head > FILE_MAX)
		return 0;
	image.size = len - head;
	image.bytes = malloc(image.size ? image.size : 1);
	below.bytes = malloc(BELOW_LEN);
	buf = malloc(BUF_LEN);
	if (image.bytes && below.bytes && buf) {
		memcpy(image.bytes, data + head, image.size);
		memset(below.bytes, 0xb5, BELOW_LEN);
		memset(buf, 0xda, BUF_LEN);
		attack(data, &image, &below, buf);
	}
	free(image.bytes);
	free(below.bytes);
	free(buf);
	return 0;
}
