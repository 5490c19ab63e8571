#include "boot/file.h"

#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What an open descriptor is when it is not a file with bytes in it. */
static const char *file_oddity(const struct stat *st)
{
	switch (st->st_mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a pipe";
	case S_IFCHR:
	case S_IFBLK:
		return "a device";
	case S_IFSOCK:
		return "a socket";
	case S_IFREG:
		return st->st_size ? NULL : "an empty file";
	default:
		return "not a file";
	}
}

int boot_file_open(struct boot_file *file, const char *noun, const char *path)
{
	const char *oddity;
	struct stat st;
	int err;

	/* Not blocking: a pipe would wait for its writer. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st)) {
		err = -errno;
		log_err("%s %s: %s%s", noun, path, strerror(-err),
			err == -EMFILE || err == -ENFILE ? ""
							 : "; check the path");
		goto err_close;
	}
	oddity = file_oddity(&st);
	if (oddity) {
		err = -EINVAL;
		log_err("%s %s: is %s; give a regular file", noun, path,
			oddity);
		goto err_close;
	}
	*file = (struct boot_file){
		.noun = noun, .path = path, .fd = fd, .size = st.st_size
	};
	return 0;

err_close:
	if (fd >= 0)
		close(fd);
	return err;
}

void boot_file_close(struct boot_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

int boot_file_read(const struct boot_file *file, const char *what,
		   uint64_t offset, void *buf, uint64_t len)
{
	uint64_t done = 0;

	if (!range_within(offset, len, file->size)) {
		log_err("%s %s: is truncated or damaged: %s would lie past the "
			"end of the file",
			file->noun, file->path, what);
		return -EINVAL;
	}
	while (done < len) {
		ssize_t n = pread(file->fd, (uint8_t *)buf + done, len - done,
				  offset + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int err = -errno;

			log_err("%s %s: reading: %s", file->noun, file->path,
				strerror(-err));
			return err;
		}
		if (n == 0) {
			log_err("%s %s: became shorter while it was read",
				file->noun, file->path);
			return -EINVAL;
		}
		done += n;
	}
	return 0;
}

int boot_kernel_read(const struct boot *boot, const char *what, uint64_t offset,
		     void *buf, uint64_t len)
{
	if (!range_within(offset, len, BOOT_HEAD) ||
	    !range_within(offset, len, boot->kernel.size))
		return boot_file_read(&boot->kernel, what, offset, buf, len);
	memcpy(buf, boot->head + offset, len);
	return 0;
}
