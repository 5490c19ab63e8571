#include "devices/block/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>

#include "util/checked.h"

/* QEMU's permissions, by the number of their byte. */
enum { CONSISTENT_READ = 0, WRITE = 1, WRITE_UNCHANGED = 2, RESIZE = 3 };

#define BIT(n)       (1u << (n))
#define PERMISSIONS  4
#define USED_BYTES   100
#define DENIED_BYTES 200

static int hold(int fd, off_t byte)
{
	struct flock lock = { .l_type = F_RDLCK,
			      .l_whence = SEEK_SET,
			      .l_start = byte,
			      .l_len = 1 };

	if (!fcntl(fd, F_OFD_SETLK, &lock))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return -EBUSY;
	return errno == EINVAL || errno == ENOLCK ? -EOPNOTSUPP : -errno;
}

static int probe(int fd, off_t byte)
{
	struct flock lock = { .l_type = F_WRLCK,
			      .l_whence = SEEK_SET,
			      .l_start = byte,
			      .l_len = 1 };

	if (fcntl(fd, F_OFD_GETLK, &lock))
		return -errno;
	return lock.l_type == F_UNLCK ? 0 : -EBUSY;
}

int image_lock(int fd, bool writer)
{
	unsigned used = BIT(CONSISTENT_READ);
	unsigned denied = BIT(WRITE) | BIT(RESIZE);
	int err;

	if (writer)
		used |= BIT(WRITE) | BIT(RESIZE);
	/* Take first, then look: of two that start together at least one sees
	 * the other. */
	for (int p = 0; p < PERMISSIONS; p++) {
		err = used & BIT(p) ? hold(fd, USED_BYTES + p) : 0;
		if (!err && denied & BIT(p))
			err = hold(fd, DENIED_BYTES + p);
		if (err)
			return err;
	}
	for (int p = 0; p < PERMISSIONS; p++) {
		err = used & BIT(p) ? probe(fd, DENIED_BYTES + p) : 0;
		if (!err && denied & BIT(p))
			err = probe(fd, USED_BYTES + p);
		if (err)
			return err;
	}
	return 0;
}
