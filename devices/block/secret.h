/*
 * Memory for keys and passphrases: zeroed, left out of core dumps, not
 * inherited by a fork, and wiped when it is given back. Any thread.
 */
#ifndef KVIST_BLOCK_SECRET_H
#define KVIST_BLOCK_SECRET_H

#include <stddef.h>
#include <stdint.h>

/* NULL when memory is out. */
void *secret_alloc(size_t size);
/* @size as it was asked for; NULL is allowed. */
void secret_free(void *secret, size_t size);

#define SECRET_FILE_MAX (64u << 10)

/*
 * Reads the whole file into @bytes, SECRET_FILE_MAX of them; returns how many,
 * -EFBIG when there are more, or -errno. The file may be a pipe.
 */
long secret_read_file(const char *path, uint8_t *bytes);

/*
 * The same in memory of secret_alloc(SECRET_FILE_MAX), *bytes, which is the
 * caller's; *len > 0 of them are used. 0 or -errno, -EINVAL when the file is
 * empty; logged with @who.
 */
int secret_load(const char *who, const char *path, uint8_t **bytes,
		size_t *len);

#endif
