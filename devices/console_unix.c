/*
 * A listening socket in the file system; one client at a time, and a second
 * one is told so. What the guest says while no one is there is dropped.
 */
#include "devices/console_kinds.h"
#include "util/checked.h"
#include "util/log.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void client_accept(struct watch *watch, uint32_t events)
{
	static const char busy[] = "kvist: this serial port is in use\r\n";
	struct console *console = container_of(watch, struct console, listen);
	int fd = listener_accept(&console->listener);

	(void)events;
	if (fd < 0)
		return;
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

int unix_open(struct console *console)
{
	int err = listener_open(&console->listener, "serial", console->path);

	if (err)
		return err;
	console->listen.ready = client_accept;
	console->listen.fd = console->listener.fd;
	err = loop_add(console->loop, &console->listen, EPOLLIN);
	if (err)
		log_err("%s: %s", console->name, strerror(-err));
	return err;
}

void unix_close(struct console *console)
{
	unix_disconnect(console);
	if (console->listen.fd < 0)
		return;
	loop_remove(console->loop, &console->listen);
	console->listen.fd = -1;
	listener_close(&console->listener);
}
