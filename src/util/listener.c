#include "util/listener.h"

#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_FLAGS (SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)

/* True if the socket file at @address has no one behind it any more. */
static bool is_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCKET_FLAGS, 0);
	bool stale = false;

	if (fd < 0)
		return false;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)))
		stale = errno == ECONNREFUSED;
	close(fd);
	return stale;
}

/* Binds, over the file of a socket whose owner died if need be. 0, -EADDRINUSE
 * (someone listens there), -EEXIST (no socket at all) or -errno. */
static int bind_over(int fd, const struct sockaddr_un *address)
{
	const struct sockaddr *generic = (const struct sockaddr *)address;
	struct stat st;

	if (!bind(fd, generic, sizeof(*address)))
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	if (lstat(address->sun_path, &st))
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	if (!is_stale(address))
		return -EADDRINUSE;
	if (unlink(address->sun_path) || bind(fd, generic, sizeof(*address)))
		return -errno;
	return 0;
}

/* Binds and listens with the socket's directory locked: of two that find the
 * same stale file, the second must see the first one's new one. */
static int bind_and_listen(struct listener *listener,
			   const struct sockaddr_un *address)
{
	char copy[sizeof(address->sun_path)];
	struct stat st;
	int dir, err;

	memcpy(copy, address->sun_path, sizeof(copy));
	dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	flock(dir, LOCK_EX);
	err = bind_over(listener->fd, address);
	if (!err && !lstat(address->sun_path, &st)) {
		listener->dev = st.st_dev;
		listener->ino = st.st_ino;
	}
	if (!err && listen(listener->fd, 4))
		err = -errno;
	close(dir);
	return err;
}

static const char *advice(int err)
{
	switch (err) {
	case -EADDRINUSE:
		return ": another process listens there: choose another path";
	case -EEXIST:
		return ": it is not a socket: choose another path or remove it";
	case -ENOENT:
		return ": make its folder first";
	case -ENAMETOOLONG:
		return ": a socket's path has at most 107 bytes";
	}
	return "";
}

int listener_open(struct listener *listener, const char *noun, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	int err = 0;

	*listener = (struct listener){ .fd = -1, .path = path };
	if (len >= sizeof(address.sun_path)) {
		err = -ENAMETOOLONG;
		goto failed;
	}
	memcpy(address.sun_path, path, len);
	listener->fd = socket(AF_UNIX, SOCKET_FLAGS, 0);
	/* The file will have this mode: everybody who may connect is the
	 * guest's administrator. */
	if (listener->fd < 0 || fchmod(listener->fd, 0600))
		err = -errno;
	else
		err = bind_and_listen(listener, &address);
	if (!err)
		return 0;
failed:
	log_err("%s unix:%s: %s%s", noun, path, strerror(-err), advice(err));
	listener_close(listener);
	return err;
}

void listener_close(struct listener *listener)
{
	struct stat st;

	if (listener->fd < 0)
		return;
	if (listener->ino && !lstat(listener->path, &st) &&
	    st.st_dev == listener->dev && st.st_ino == listener->ino)
		unlink(listener->path);
	close(listener->fd);
	listener->fd = -1;
}

int listener_accept(const struct listener *listener)
{
	return accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}
