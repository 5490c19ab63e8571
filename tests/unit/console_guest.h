/*
 * The guest behind a console under test: it echoes what is typed, in a child
 * process with the terminal, pipes or files in question.
 */
#ifndef KVIST_TESTS_CONSOLE_GUEST_H
#define KVIST_TESTS_CONSOLE_GUEST_H

#include "devices/console.h"
#include "unit.h"
#include "util/checked.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_USER 42 /* the key that ends was typed */
#define EXIT_OPEN 43 /* console_open() failed */

/* The guest of the tests. 'Q' ends its run. */
struct guest {
	struct loop loop;
	struct console console;
	struct console_client client;
	struct end_wire wire;
	struct watch done;
	size_t flood;   /* bytes it says of its own accord */
	size_t swallow; /* how much input it takes at a time; 0: all */
	bool deaf;      /* takes no input at all */
	bool flood_on_input;
	bool rude; /* does not wait for room */
	pthread_t thread;
	int code;
};

static inline void guest_end(struct end_wire *wire, enum end end,
			     uint32_t value)
{
	struct guest *guest = container_of(wire, struct guest, wire);

	(void)value;
	guest->code = end == END_USER ? EXIT_USER : 0;
	loop_stop(&guest->loop);
}

static inline void guest_say(struct guest *guest, const char *text)
{
	while (*text)
		console_put(&guest->console, *text++);
}

static inline uint8_t flood_byte(size_t i)
{
	return 'a' + i % 23;
}

/* Its vCPU: waits for room as a driver does that polls. */
static inline void *guest_flood(void *arg)
{
	struct guest *guest = arg;
	uint64_t one = 1;

	for (size_t i = 0; i < guest->flood; i++) {
		while (!guest->rude && !console_ready(&guest->console))
			usleep(100);
		console_put(&guest->console, flood_byte(i));
	}
	return write(guest->done.fd, &one, 8) == 8 ? NULL : arg;
}

static inline void guest_done(struct watch *watch, uint32_t events)
{
	struct guest *guest = container_of(watch, struct guest, done);

	(void)events;
	loop_stop(&guest->loop);
}

static inline void guest_flood_start(struct guest *guest)
{
	guest->done.ready = guest_done;
	guest->done.fd = eventfd(0, EFD_CLOEXEC);
	loop_add(&guest->loop, &guest->done, EPOLLIN);
	pthread_create(&guest->thread, NULL, guest_flood, guest);
}

static inline size_t guest_input(struct console_client *client,
				 const uint8_t *bytes, size_t len)
{
	struct guest *guest = container_of(client, struct guest, client);

	if (guest->deaf)
		return 0;
	if (guest->swallow && len > guest->swallow) {
		len = guest->swallow;
		console_resume(&guest->console);
	}
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == 'Q')
			guest_end(&guest->wire, END_POWEROFF, 0);
		else
			console_put(&guest->console, bytes[i]);
	}
	if (guest->flood_on_input)
		guest_flood_start(guest);
	return len;
}

static inline void guest_break(struct console_client *client)
{
	guest_say(container_of(client, struct guest, client), "<break>");
}

static inline void guest_nothing(struct console_client *client)
{
	(void)client;
}

static inline int guest_run(const char *text, struct guest *guest)
{
	struct console_options options;

	alarm(20); /* a test that hangs fails */
	console_prepare();
	guest->wire.request = guest_end;
	guest->client = (struct console_client){ guest_input, guest_break,
						 guest_nothing, guest_nothing };
	if (loop_init(&guest->loop) || console_parse(text, &options) ||
	    console_open(&guest->console, &guest->loop, &guest->wire, &options))
		return EXIT_OPEN;
	guest->console.patience_ms = 200;
	console_begin(&guest->console);
	console_attach(&guest->console, &guest->client);
	guest_say(guest, "up\n");
	if (guest->flood && !guest->flood_on_input)
		guest_flood_start(guest);
	loop_run(&guest->loop);
	if (guest->flood)
		pthread_join(guest->thread, NULL);
	console_attach(&guest->console, NULL);
	console_close(&guest->console);
	loop_fini(&guest->loop);
	return guest->code;
}

/* What the child finds as its descriptors 0 to 2; -1 is closed. */
struct stdio {
	int in, out, err;
};

static inline void stdio_take(const struct stdio *stdio)
{
	const int fds[] = { stdio->in, stdio->out, stdio->err };

	for (int i = 0; i < 3; i++) {
		if (fds[i] >= 0)
			dup2(fds[i], i);
		else
			close(i);
	}
	close_range(3, ~0u, 0);
}

static inline pid_t start(const char *text, const struct stdio *stdio,
			  struct guest guest)
{
	pid_t pid = fork();

	if (pid == 0) {
		stdio_take(stdio);
		_exit(guest_run(text, &guest));
	}
	return pid;
}

static inline int finish(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		fail_msg("killed by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

/* Reads until @text has come, for up to two seconds. */
static inline void expect(int fd, const char *text)
{
	static char seen[65536];
	struct pollfd ready = { fd, POLLIN, 0 };
	size_t len = 0;

	while (len < sizeof(seen) - 1 && poll(&ready, 1, 2000) == 1) {
		ssize_t n = read(fd, seen + len, 1);

		if (n <= 0)
			break;
		len += n;
		seen[len] = '\0';
		if (strstr(seen, text))
			return;
	}
	fail_msg("\"%s\" did not come, but \"%.*s\"", text, (int)len, seen);
}

static inline void type(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static inline int dev_null(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static inline int temporary(const char *content, size_t len)
{
	char path[] = "/tmp/test_console.XXXXXX";
	int fd = mkstemp(path);

	unlink(path);
	assert_int_equal(write(fd, content, len), len);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

#endif
