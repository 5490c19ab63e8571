/*
 * Encrypted images (crypt_method 2): only clusters of data are encrypted, each
 * sector by the number it has in the host file. Metadata are clear.
 *
 * What is encrypted goes through a buffer of the image's own: the guest may
 * change its memory at any time, and must find neither half-made bytes nor
 * ciphertext there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/layers.h"
#include "devices/block/luks.h"
#include "devices/block/qcow2.h"
#include "devices/block/qcow2_amend.h"
#include "devices/block/secret.h"
#include "util/checked.h"
#include "util/iov.h"
#include "util/log.h"

bool qcow2_is_encrypted(struct block *block)
{
	return container_of(block, struct qcow2, block)->header.crypt_method;
}

static struct luks_area luks_area(struct qcow2 *q)
{
	return (struct luks_area){ q->file, q->header.luks_offset,
				   q->header.luks_bytes, q->block.name };
}

int qcow2_unlock(struct block *block, const char *key_file)
{
	struct qcow2 *q = container_of(block, struct qcow2, block);
	struct luks_area area = luks_area(q);
	uint8_t *passphrase;
	size_t len;
	int err;

	if (!key_file) {
		log_err("disk %s: it is encrypted with LUKS; name the file "
			"that holds its passphrase by the disk option "
			"key-file=PATH",
			block->name);
		return -EACCES;
	}
	err = secret_load(block->name, key_file, &passphrase, &len);
	if (err)
		return err;
	q->crypt_buffer = secret_alloc(QCOW2_BOUNCE);
	if (q->crypt_buffer) {
		err = luks_open(&area, &(struct luks_secret){ passphrase, len },
				&q->key);
	} else {
		log_err("disk %s: out of memory", block->name);
		err = -ENOMEM;
	}
	secret_free(passphrase, SECRET_FILE_MAX);
	return err;
}

int qcow2_amend_keys(struct block *block, struct luks_change *change)
{
	struct qcow2 *q = qcow2_of(block);

	if (!q || !q->key) {
		log_err("%s: Can't amend encryption options - encryption not "
			"present",
			block->name);
		return -EINVAL;
	}
	change->area = luks_area(q);
	change->key = q->key;
	return luks_amend(change);
}

void qcow2_lock_up(struct qcow2 *q)
{
	secret_free(q->key, sizeof(*q->key));
	secret_free(q->crypt_buffer, QCOW2_BOUNCE);
}

struct host_file *qcow2_file_at(const struct qcow2 *q, uint64_t *offset)
{
	if (*offset < QCOW2_DATA_BASE)
		return q->file;
	*offset -= QCOW2_DATA_BASE;
	return q->data;
}

static uint64_t piece(uint64_t length)
{
	return length < QCOW2_BOUNCE ? length : QCOW2_BOUNCE;
}

int qcow2_data_readv(struct qcow2 *q, const struct iovec *iov, int iovcnt,
		     uint64_t skip, uint64_t length, uint64_t offset)
{
	struct host_file *file = qcow2_file_at(q, &offset);

	if (!file)
		return -EIO;
	if (!q->header.crypt_method)
		return host_readv(file, iov, iovcnt, skip, length, offset);
	while (length) {
		uint64_t len = piece(length);
		int err = q->key ? host_read(file, q->crypt_buffer, len, offset)
				 : -EACCES;

		if (err)
			return err;
		xts_decrypt(q->key, offset / XTS_SECTOR, q->crypt_buffer, len);
		iov_copy_in(iov, iovcnt, skip, q->crypt_buffer, len);
		skip += len;
		offset += len;
		length -= len;
	}
	return 0;
}

int qcow2_data_writev(struct qcow2 *q, const struct iovec *iov, int iovcnt,
		      uint64_t skip, uint64_t length, uint64_t offset)
{
	struct host_file *file = qcow2_file_at(q, &offset);

	if (!file)
		return -EIO;
	if (!q->header.crypt_method)
		return host_writev(file, iov, iovcnt, skip, length, offset);
	while (length) {
		uint64_t len = piece(length);
		int err;

		if (!q->key)
			return -EACCES;
		iov_copy_out(iov, iovcnt, skip, q->crypt_buffer, len);
		xts_encrypt(q->key, offset / XTS_SECTOR, q->crypt_buffer, len);
		err = host_write(file, q->crypt_buffer, len, offset);
		if (err)
			return err;
		skip += len;
		offset += len;
		length -= len;
	}
	return 0;
}
