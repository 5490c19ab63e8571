/*
 * A pseudo-terminal: kvist has the master, and the program that opens the slave
 * (screen /dev/pts/N) is the client. inotify tells when it opens; the master
 * itself tells when it has gone, by a hang-up.
 */
#include "devices/console_kinds.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static void pty_opened(struct watch *watch, uint32_t events)
{
	struct console *console = container_of(watch, struct console, listen);
	char buffer[sizeof(struct inotify_event) * 16];

	(void)events;
	/* What happened is known: someone opened the slave. */
	while (read(watch->fd, buffer, sizeof(buffer)) > 0)
		;
	if (!console->connected)
		console_connect(console);
}

void pty_disconnect(struct console *console)
{
	console_disconnect(console);
}

static int pty_listen(struct console *console, const char *slave)
{
	int err;

	console->listen.ready = pty_opened;
	console->listen.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (console->listen.fd < 0 ||
	    inotify_add_watch(console->listen.fd, slave, IN_OPEN) < 0)
		return -errno;
	err = loop_add(console->loop, &console->listen, EPOLLIN);
	if (err) {
		close(console->listen.fd);
		console->listen.fd = -1;
	}
	return err;
}

int pty_open(struct console *console)
{
	struct termios raw;
	char slave[32], line[64];
	int n, err, fd;

	fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		goto fail;
	console->in.fd = fd;
	if (grantpt(fd) || unlockpt(fd) || tcgetattr(fd, &raw))
		goto fail;
	cfmakeraw(&raw); /* of the slave: the guest's own tty does the rest */
	if (tcsetattr(fd, TCSANOW, &raw))
		goto fail;
	err = ptsname_r(fd, slave, sizeof(slave));
	if (err) {
		errno = err;
		goto fail;
	}
	console->out.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (console->out.fd < 0)
		goto fail;
	err = pty_listen(console, slave);
	if (err) {
		errno = -err;
		goto fail;
	}
	n = snprintf(line, sizeof(line), "serial: %s\n", slave);
	if (write(STDERR_FILENO, line, n) < 0)
		log_debug("%s: stderr is closed", console->name);
	return 0;
fail:
	err = -errno;
	log_err("%s: cannot make a pseudo-terminal: %s", console->name,
		strerror(-err));
	return err;
}

/*
 * Closing the master throws away what the client has not read yet: wait for
 * it, as long as it goes on reading. The slave tells what is ready for it to
 * read, but not what the kernel is still moving there, so it must be found
 * empty a few times running.
 */
static void pty_linger(struct console *console)
{
	const struct timespec step = { .tv_nsec = 5000000 };
	unsigned idle_ms = 0, empty = 0;
	int queued, last = 0;
	char slave[32];
	int fd;

	if (ptsname_r(console->in.fd, slave, sizeof(slave)))
		return;
	fd = open(slave, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	while (idle_ms < console->patience_ms && empty < 4 &&
	       !ioctl(fd, FIONREAD, &queued)) {
		empty = queued ? 0 : empty + 1;
		idle_ms = queued == last ? idle_ms + 5 : 0;
		last = queued;
		nanosleep(&step, NULL);
	}
	close(fd);
}

void pty_close(struct console *console)
{
	if (console->connected)
		pty_linger(console);
	if (console->listen.fd >= 0) {
		loop_remove(console->loop, &console->listen);
		close(console->listen.fd);
	}
}
