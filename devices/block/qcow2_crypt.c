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
#include "devices/block/secret.h"
#include "util/checked.h"
#include "util/iov.h"
#include "util/log.h"

bool qcow2_is_encrypted(struct block *block)
{
	return container_of(block, struct qcow2, block)->header.crypt_method;
}

int qcow2_unlock(struct block *block, const char *key_file)
{
	struct qcow2 *q = container_of(block, struct qcow2, block);
	uint8_t *passphrase;
	long len;
	int err;

	if (!key_file) {
		log_err("disk %s: it is encrypted with LUKS; name the file "
			"that holds its passphrase by the disk option "
			"key-file=PATH",
			block->name);
		return -EACCES;
	}
	passphrase = secret_alloc(SECRET_FILE_MAX);
	q->crypt_buffer = secret_alloc(QCOW2_BOUNCE);
	if (!passphrase || !q->crypt_buffer) {
		secret_free(passphrase, SECRET_FILE_MAX);
		log_err("disk %s: out of memory", block->name);
		return -ENOMEM;
	}
	len = secret_read_file(key_file, passphrase);
	if (len <= 0) {
		err = len ? (int)len : -EINVAL;
		log_err("disk %s: cannot read the passphrase from %s: %s",
			block->name, key_file,
			len ? strerror(-err) : "the file is empty");
	} else {
		err = luks_open(q->file, q->header.luks_offset,
				q->header.luks_bytes, block->name, passphrase,
				len, &q->key);
	}
	secret_free(passphrase, SECRET_FILE_MAX);
	return err;
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
