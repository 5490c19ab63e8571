/*
 * A listening socket in the file system; one client at a time, and a second
 * one is told so. What the guest says while no one is there is dropped.
 */
#include "devices/console_kinds.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void client_accept(struct watch *watch, uint32_t events)
{
	static const char busy[] = "kvist: this serial port is in use\r\n";
	struct console *console = container_of(watch, struct console, listen);
	int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return; /* it has left already */
	if (console->connected) {
		send(fd, busy, sizeof(busy) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		close(fd);
		return;
	}
	console->in.fd = fd;
	console->out.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (console->out.fd < 0 || console_connect(console))
		unix_disconnect(console);
}

void unix_disconnect(struct console *console)
{
	console_disconnect(console);
	if (console->in.fd >= 0)
		close(console->in.fd);
	if (console->out.fd >= 0)
		close(console->out.fd);
	console->in.fd = -1;
	console->out.fd = -1;
}

/* True if the socket file at @address has no one behind it any more. */
static bool socket_is_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
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
static int socket_bind(int fd, const struct sockaddr_un *address)
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
	if (!socket_is_stale(address))
		return -EADDRINUSE;
	if (unlink(address->sun_path) || bind(fd, generic, sizeof(*address)))
		return -errno;
	return 0;
}

/* Binds and listens with the socket's directory locked: of two that find the
 * same stale file, the second must see the first one's new one. */
static int socket_listen(struct console *console,
			 const struct sockaddr_un *address)
{
	char copy[sizeof(address->sun_path)];
	int fd = console->listen.fd;
	struct stat st;
	int dir, err;

	memcpy(copy, address->sun_path, sizeof(copy));
	dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	flock(dir, LOCK_EX);
	err = socket_bind(fd, address);
	if (!err && !lstat(address->sun_path, &st)) {
		console->socket_dev = st.st_dev;
		console->socket_ino = st.st_ino;
	}
	if (!err && listen(fd, 4))
		err = -errno;
	close(dir);
	return err;
}

static const char *socket_advice(int err)
{
	switch (err) {
	case -EADDRINUSE:
		return ": another process listens there: choose another path";
	case -EEXIST:
		return ": it is not a socket: choose another path or remove it";
	case -ENAMETOOLONG:
		return ": a socket's path has at most 107 bytes";
	}
	return "";
}

int unix_open(struct console *console)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(console->path);
	int err = 0;

	if (len >= sizeof(address.sun_path)) {
		err = -ENAMETOOLONG;
		goto out;
	}
	memcpy(address.sun_path, console->path, len);
	console->listen.ready = client_accept;
	console->listen.fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The mode is that of the file to come: a guest's console is a login
	 * prompt, or a root shell. */
	if (console->listen.fd < 0 || fchmod(console->listen.fd, 0600)) {
		err = -errno;
		goto out;
	}
	err = socket_listen(console, &address);
	if (!err)
		err = loop_add(console->loop, &console->listen, EPOLLIN);
out:
	if (err)
		log_err("%s: %s%s", console->name, strerror(-err),
			socket_advice(err));
	return err;
}

void unix_close(struct console *console)
{
	struct stat st;

	unix_disconnect(console);
	if (console->listen.fd < 0)
		return;
	loop_remove(console->loop, &console->listen);
	if (console->socket_ino && !lstat(console->path, &st) &&
	    st.st_dev == console->socket_dev &&
	    st.st_ino == console->socket_ino)
		unlink(console->path);
	close(console->listen.fd);
	console->listen.fd = -1;
}
