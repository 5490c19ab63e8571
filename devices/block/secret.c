#include "devices/block/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/log.h"

void *secret_alloc(size_t size)
{
	void *secret = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (secret == MAP_FAILED)
		return NULL;
	/* An old kernel without the second is no reason to fail. */
	madvise(secret, size, MADV_DONTDUMP);
	madvise(secret, size, MADV_WIPEONFORK);
	return secret;
}

void secret_free(void *secret, size_t size)
{
	if (!secret)
		return;
	explicit_bzero(secret, size);
	munmap(secret, size);
}

long secret_read_file(const char *path, uint8_t *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	long result = 0;
	uint8_t more;

	if (fd < 0)
		return -errno;
	for (;;) {
		size_t space = SECRET_FILE_MAX - len;
		ssize_t n = space ? read(fd, bytes + len, space)
				  : read(fd, &more, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || !space) {
			result = n < 0 ? -errno : n ? -EFBIG : (long)len;
			break;
		}
		len += n;
	}
	close(fd);
	return result;
}

int secret_load(const char *who, const char *path, uint8_t **bytes, size_t *len)
{
	uint8_t *text = secret_alloc(SECRET_FILE_MAX);
	long result = text ? secret_read_file(path, text) : -ENOMEM;

	if (result > 0) {
		*bytes = text;
		*len = result;
		return 0;
	}
	log_err("%s: cannot read the passphrase from %s: %s", who, path,
		result ? strerror(-result) : "the file is empty");
	secret_free(text, SECRET_FILE_MAX);
	return result ? (int)result : -EINVAL;
}
