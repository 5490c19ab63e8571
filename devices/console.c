#include "devices/console.h"

#include "devices/console_kinds.h"
#include "util/checked.h"
#include "util/clock.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* A polled descriptor takes this much without blocking: PIPE_BUF at least, on
 * a pipe with a free page. */
#define POLLED_MAX 4096u

/* If the guest takes nothing for this long, a terminal is still read, for the
 * key that ends the run; what no one takes is dropped. */
#define STALL_NS 1000000000u

/*
 * The timer. Its watch is edge triggered and each setting clears what had
 * expired, so it never needs to be read. `armed` pairs with timer_ready():
 * whoever sets it last after a change of the ring or of a flag sees to it that
 * timer_ready() runs once more, after that change. All sequentially
 * consistent, because a store must come before the load of the other side's
 * word.
 */
static void timer_set(struct console *console, long ns)
{
	struct itimerspec when = { .it_value.tv_nsec = ns };

	timerfd_settime(console->timer.fd, 0, &when, NULL);
}

/* After a pause the first byte goes out at once, as an echo should. */
static void timer_arm(struct console *console)
{
	uint64_t last;

	if (__atomic_load_n(&console->armed, __ATOMIC_SEQ_CST) ||
	    __atomic_exchange_n(&console->armed, true, __ATOMIC_SEQ_CST))
		return;
	last = __atomic_load_n(&console->last_batch, __ATOMIC_RELAXED);
	timer_set(console, clock_ns(CLOCK_MONOTONIC) - last < CONSOLE_BATCH_NS
				   ? CONSOLE_BATCH_NS
				   : 1);
}

static uint32_t ring_used(const struct console *console)
{
	return __atomic_load_n(&console->tail, __ATOMIC_SEQ_CST) -
	       __atomic_load_n(&console->head, __ATOMIC_SEQ_CST);
}

void console_put(struct console *console, uint8_t byte)
{
	uint32_t tail = console->tail;

	if (!console->ring || ring_used(console) == CONSOLE_RING)
		return;
	console->ring[tail % CONSOLE_RING] = byte;
	__atomic_store_n(&console->tail, tail + 1, __ATOMIC_SEQ_CST);
	timer_arm(console);
}

bool console_ready(struct console *console)
{
	if (ring_used(console) <= CONSOLE_RING - CONSOLE_BURST)
		return true;
	/* Pairs with room_notify(): it sees the wish, or this the room. */
	__atomic_store_n(&console->want_room, true, __ATOMIC_SEQ_CST);
	return ring_used(console) <= CONSOLE_RING - CONSOLE_BURST;
}

void console_tick(struct console *console)
{
	__atomic_store_n(&console->want_tick, true, __ATOMIC_SEQ_CST);
	timer_arm(console);
}

void console_resume(struct console *console)
{
	__atomic_store_n(&console->resume, true, __ATOMIC_SEQ_CST);
	timer_set(console, 1);
}

/* Tells the device of room only once half of the ring is free, so that a slow
 * reader does not cost an interrupt for every few bytes. */
static void room_notify(struct console *console)
{
	if (ring_used(console) > CONSOLE_RING / 2 ||
	    !__atomic_load_n(&console->want_room, __ATOMIC_SEQ_CST))
		return;
	__atomic_store_n(&console->want_room, false, __ATOMIC_SEQ_CST);
	if (console->client)
		console->client->room(console->client);
}

static void out_watch(struct console *console, bool on)
{
	if (on == console->out_watched)
		return;
	if (!on)
		loop_remove(console->loop, &console->out);
	else if (loop_add(console->loop, &console->out, EPOLLOUT))
		return; /* the next batch tries again */
	console->out_watched = on;
}

/* Writes from [head, tail), whatever is taken at once. */
static ssize_t ring_write(struct console *console, uint32_t head, uint32_t used)
{
	uint32_t at = head % CONSOLE_RING;
	struct pollfd ready = { console->out.fd, POLLOUT, 0 };
	uint32_t first;
	struct iovec iov[2];

	if (console->out_polled) {
		if (used > POLLED_MAX)
			used = POLLED_MAX;
		if (poll(&ready, 1, 0) != 1) {
			errno = EAGAIN;
			return -1;
		}
	}
	first = used < CONSOLE_RING - at ? used : CONSOLE_RING - at;
	iov[0] = (struct iovec){ console->ring + at, first };
	iov[1] = (struct iovec){ console->ring, used - first };
	return writev(console->out.fd, iov, used > first ? 2 : 1);
}

/* No one reads any more: until the next client, or for good. A reader that
 * leaves is no error: a shell's pipes end like that every day. */
static void out_failure(struct console *console, int err)
{
	if (console->kind == CONSOLE_UNIX) {
		unix_disconnect(console);
		return;
	}
	if (console->kind == CONSOLE_PTY) {
		pty_disconnect(console);
		return;
	}
	if (err != EPIPE)
		log_err("%s: %s: the guest's output is lost from here",
			console->name, strerror(err));
	out_watch(console, false);
	close(console->out.fd);
	console->out.fd = -1;
}

/* Writes what the ring holds now, until a write would block. What is put
 * meanwhile has set the timer again and goes with the next batch. */
static void out_drain(struct console *console)
{
	uint32_t left = ring_used(console);

	while (left > 0) {
		uint32_t head = console->head;
		ssize_t n = left;

		if (console->connected && console->out.fd >= 0)
			n = ring_write(console, head, left);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			out_watch(console, true);
			return;
		}
		if (n < 0) {
			out_failure(console, errno);
			continue;
		}
		__atomic_store_n(&console->head, head + n, __ATOMIC_SEQ_CST);
		left -= n;
		room_notify(console);
	}
	out_watch(console, false);
}

static void out_ready(struct watch *watch, uint32_t events)
{
	struct console *console = container_of(watch, struct console, out);

	(void)events; /* an error shows in the write */
	out_drain(console);
}

static void input_end(struct console *console)
{
	if (console->kind == CONSOLE_UNIX || console->kind == CONSOLE_PTY) {
		out_failure(console, EPIPE);
		return;
	}
	if (!console->in_file)
		loop_remove(console->loop, &console->in);
	close(console->in.fd);
	console->in.fd = -1;
}

static void input_deliver(struct console *console)
{
	size_t taken;
	bool full;

	if (console->input_len && console->client) {
		taken = console->client->input(console->client, console->input,
					       console->input_len);
		console->input_len -= taken;
		memmove(console->input, console->input + taken,
			console->input_len);
		if (taken)
			console->input_taken = clock_ns(CLOCK_MONOTONIC);
	}
	full = console->input_len == CONSOLE_INPUT;
	if (full == console->in_paused)
		return;
	console->in_paused = full;
	if (console->in.fd >= 0 && !console->in_file)
		loop_change(console->loop, &console->in,
			    full ? EPOLLIN | EPOLLET : EPOLLIN);
}

/* Reads once. False when there is nothing, or no one, to read from. */
static bool input_read(struct console *console)
{
	uint8_t *at = console->input + console->input_len;
	struct pollfd ready = { console->in.fd, POLLIN, 0 };
	ssize_t n;

	if (console->in.fd < 0 ||
	    (console->in_polled && poll(&ready, 1, 0) != 1))
		return false;
	n = read(console->in.fd, at, CONSOLE_INPUT - console->input_len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		input_end(console);
		return false;
	}
	if (console->terminal)
		n = stdio_keys(console, at, n);
	console->input_len += n;
	return true;
}

static void in_ready(struct watch *watch, uint32_t events)
{
	struct console *console = container_of(watch, struct console, in);

	(void)events; /* the end of input shows in the read */
	if (console->in_paused) {
		if (!console->terminal ||
		    clock_ns(CLOCK_MONOTONIC) - console->input_taken < STALL_NS)
			return;
		console->input_len = 0;
	}
	input_read(console);
	input_deliver(console);
}

/* The guest can take more: what is held, and then the rest of a file. */
static void input_pump(struct console *console)
{
	do
		input_deliver(console);
	while (console->in_file && !console->input_len && input_read(console));
}

static void timer_ready(struct watch *watch, uint32_t events)
{
	struct console *console = container_of(watch, struct console, timer);

	(void)events;
	__atomic_store_n(&console->last_batch, clock_ns(CLOCK_MONOTONIC),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&console->armed, false, __ATOMIC_SEQ_CST);
	if (!console->out_watched)
		out_drain(console);
	if (__atomic_exchange_n(&console->want_tick, false, __ATOMIC_SEQ_CST) &&
	    console->client)
		console->client->tick(console->client);
	if (__atomic_exchange_n(&console->resume, false, __ATOMIC_SEQ_CST))
		input_pump(console);
}

int console_connect(struct console *console)
{
	int err = 0;

	if (console->in.fd >= 0)
		err = loop_add(console->loop, &console->in, EPOLLIN);
	console->in_file = err == -EPERM;
	if (err && err != -EPERM)
		return err;
	console->connected = true;
	return 0;
}

void console_disconnect(struct console *console)
{
	if (!console->connected)
		return;
	out_watch(console, false);
	console->connected = false;
	if (console->in.fd >= 0 && !console->in_file)
		loop_remove(console->loop, &console->in);
	console->input_len = 0;
	console->in_paused = false;
}

static const char *file_advice(int err)
{
	switch (err) {
	case -ENXIO:
		return ": start the reader of this FIFO first";
	case -ENOENT:
		return ": make its folder first";
	}
	return "";
}

static int file_open(struct console *console)
{
	/* Without a reader a FIFO would block for ever: refuse it instead. */
	int fd = open(console->path,
		      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK |
			      O_NOCTTY,
		      0666);

	if (fd < 0) {
		int err = -errno;

		log_err("%s: %s%s", console->name, strerror(-err),
			file_advice(err));
		return err;
	}
	console->out.fd = fd;
	return console_connect(console);
}

static int kind_open(struct console *console)
{
	switch (console->kind) {
	case CONSOLE_STDIO:
		return stdio_open(console);
	case CONSOLE_FILE:
		return file_open(console);
	case CONSOLE_PTY:
		return pty_open(console);
	case CONSOLE_UNIX:
		return unix_open(console);
	case CONSOLE_NONE:
		break;
	}
	return 0;
}

static void name_set(struct console *console)
{
	static const char *const kinds[] = {
		[CONSOLE_STDIO] = "stdio", [CONSOLE_NONE] = "none",
		[CONSOLE_FILE] = "file:",  [CONSOLE_PTY] = "pty",
		[CONSOLE_UNIX] = "unix:",
	};

	snprintf(console->name, sizeof(console->name), "serial %s%s",
		 kinds[console->kind], console->path ? console->path : "");
}

int console_open(struct console *console, struct loop *loop,
		 struct end_wire *end, const struct console_options *options)
{
	int err;

	*console = (struct console){
		.kind = options->kind,
		.path = options->path,
		.loop = loop,
		.end = end,
		.patience_ms = CONSOLE_PATIENCE_MS,
		.out = { .fd = -1, .ready = out_ready },
		.in = { .fd = -1, .ready = in_ready },
		.listen.fd = -1,
		.guardian_pipe = -1,
	};
	name_set(console);
	signal(SIGPIPE, SIG_IGN);
	if (console->kind != CONSOLE_NONE) {
		console->ring = malloc(CONSOLE_RING);
		if (!console->ring)
			return -ENOMEM;
	}
	console->timer.ready = timer_ready;
	console->timer.fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	err = console->timer.fd < 0 ? -errno : 0;
	if (!err)
		err = loop_add(loop, &console->timer, EPOLLIN | EPOLLET);
	if (err)
		log_err("%s: timer: %s", console->name, strerror(-err));
	else
		err = kind_open(console);
	if (err)
		console_close(console);
	return err;
}

void console_attach(struct console *console, struct console_client *client)
{
	console->client = client;
	if (client && console->in_file)
		console_resume(console);
}

void console_begin(struct console *console)
{
	if (console->kind == CONSOLE_STDIO)
		stdio_begin(console);
}

/* What stands between a writer and its reader, so that a reader's progress
 * shows even if it frees no room yet. */
static int out_queued(const struct console *console)
{
	int queued = 0;

	if (ioctl(console->out.fd, TIOCOUTQ, &queued) &&
	    ioctl(console->out.fd, FIONREAD, &queued))
		return 0;
	return queued;
}

static void flush(struct console *console)
{
	uint64_t since = clock_ns(CLOCK_MONOTONIC);
	uint64_t last = 0;

	while (console->ring) {
		struct pollfd ready = { console->out.fd, POLLOUT, 0 };
		uint64_t waiting;

		out_drain(console);
		waiting = ring_used(console);
		if (!waiting)
			return;
		waiting += out_queued(console);
		if (waiting != last)
			since = clock_ns(CLOCK_MONOTONIC);
		last = waiting;
		if (clock_ns(CLOCK_MONOTONIC) - since >
		    console->patience_ms * 1000000ull)
			break;
		poll(&ready, 1, 50);
	}
	if (console->ring) {
		log_warn("%s: the reader stopped: %u bytes of the guest's "
			 "output are lost",
			 console->name, ring_used(console));
		console->head = console->tail;
	}
}

void console_end(struct console *console)
{
	flush(console);
	if (console->kind == CONSOLE_STDIO)
		stdio_close(console);
}

void console_close(struct console *console)
{
	console_end(console);
	if (console->kind == CONSOLE_PTY)
		pty_close(console);
	console_disconnect(console);
	if (console->kind == CONSOLE_UNIX)
		unix_close(console);
	if (console->timer.fd >= 0) {
		loop_remove(console->loop, &console->timer);
		close(console->timer.fd);
	}
	if (console->in.fd >= 0)
		close(console->in.fd);
	if (console->out.fd >= 0)
		close(console->out.fd);
	free(console->ring);
	console->ring = NULL;
}
