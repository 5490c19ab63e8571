/*
 * The host's end of the serial line: where the guest's characters go to and
 * where typed ones come from. The serial device is the other end.
 *
 * Owned by the machine. Opened, closed and served on the main thread, by its
 * loop; the functions marked "vCPU" are for the device, with its lock held.
 *
 * Output. A vCPU puts bytes into a ring and never waits. The first byte after a
 * pause wakes the main loop at once; the first of each further batch sets a
 * timer of CONSOLE_BATCH_NS, and the main loop writes what has come together
 * by then, in one write. So a boot log costs three system calls (set the timer,
 * wake up, write) for every two milliseconds, however many lines these are, and
 * an eye sees no delay. A direct write at each newline would cost one call a
 * line, and a wake-up at the first byte of an empty ring three calls for every
 * few bytes. While the ring is nearly full the device tells the guest to wait,
 * so a host terminal that is stopped stops neither a vCPU nor the main loop.
 * When a reader is gone, output is dropped.
 *
 * Input. At most CONSOLE_INPUT bytes are held; the descriptor is read again
 * when the guest has taken them.
 *
 * On a terminal (standard input is one, and this process is in its
 * foreground): raw mode, except that newlines are still translated on output;
 * Ctrl-A x ends the run, Ctrl-A p presses the power button, Ctrl-A h lists the
 * keys, Ctrl-A b sends a break, Ctrl-A Ctrl-A sends a Ctrl-A. The terminal is
 * restored however the run ends: a small child process waits for this one's
 * end, even by SIGKILL, and does it.
 */
#ifndef KVIST_DEVICES_CONSOLE_H
#define KVIST_DEVICES_CONSOLE_H

#include "util/listener.h"
#include "util/loop.h"
#include "util/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <termios.h>

#define CONSOLE_RING        65536u /* bytes of output; a power of two */
#define CONSOLE_INPUT       4096u  /* bytes of input */
#define CONSOLE_BURST       16u    /* what the guest may write at once */
#define CONSOLE_BATCH_NS    2000000u
#define CONSOLE_PATIENCE_MS 5000

enum console_kind {
	CONSOLE_STDIO,
	CONSOLE_NONE,
	CONSOLE_FILE, /* output only; the file is emptied first */
	CONSOLE_PTY,  /* its name is printed on stderr */
	CONSOLE_UNIX, /* a listening socket; one client at a time */
};

struct console_options {
	enum console_kind kind;
	const char *path; /* of FILE and UNIX; borrowed from the text */
};

/* "stdio", "none", "file:PATH", "pty" or "unix:PATH". 0, or -EINVAL, silent:
 * the command line knows its own noun. */
int console_parse(const char *text, struct console_options *options);

/* The device at the guest's end. Called on the main thread, no lock held. */
struct console_client {
	/* Takes up to @len bytes; returns how many. After a short count the
	 * client calls console_resume() when it can take more. */
	size_t (*input)(struct console_client *client, const uint8_t *bytes,
			size_t len);
	/* The user asks for a break condition on the line. */
	void (*send_break)(struct console_client *client);
	/* console_ready() was false and is true again. */
	void (*room)(struct console_client *client);
	/* console_tick() was called CONSOLE_BATCH_NS or less ago. */
	void (*tick)(struct console_client *client);
};

struct console {
	enum console_kind kind;
	const char *path;     /* borrowed */
	char name[80];        /* for messages: "serial file:boot.log" */
	struct loop *loop;    /* borrowed */
	struct end_wire *end; /* borrowed */
	struct console_client *client;
	unsigned patience_ms; /* CONSOLE_PATIENCE_MS; the tests have less */
	void (*power_button)(void *arg); /* the key that presses it, or NULL */
	void *power_arg;                 /* borrowed */

	/* The ring: the vCPUs (one at a time, under the device's lock) move
	 * tail, the main thread moves head; both are atomic. */
	uint8_t *ring;
	uint32_t head, tail;
	uint64_t last_batch; /* atomic; CLOCK_MONOTONIC ns */
	bool armed;          /* atomic: the timer is set */
	bool want_room;      /* atomic: console_ready() said no */
	bool want_tick;      /* atomic */
	bool resume;         /* atomic: the guest can take input again */

	/* All below: main thread. */
	struct watch timer;
	struct watch out, in; /* fd -1: nowhere, nothing */
	bool connected;       /* someone is there; else output is dropped */
	bool out_polled;      /* a write may block: ask poll(2) first */
	bool out_watched;     /* waiting for EPOLLOUT */
	bool in_polled;       /* a read may block: ask poll(2) first */
	bool in_paused;       /* no room: told only of news (EPOLLET) */
	bool in_file;         /* always ready, never watched: a regular file */
	uint8_t input[CONSOLE_INPUT];
	size_t input_len;
	uint64_t input_taken; /* CLOCK_MONOTONIC ns, when the guest last did */

	/* A terminal. */
	bool terminal, escape; /* escape: the last key was Ctrl-A */
	struct termios saved;
	pid_t guardian;
	int guardian_pipe;

	/* pty and unix. */
	struct watch listen; /* news of clients: the socket, or inotify */
	struct listener listener;
};

/* First thing in main(): descriptors 0 to 2 that are closed become /dev/null,
 * so that no later file takes their place. */
void console_prepare(void);

/*
 * Opens the console and adds it to @loop. @end is pulled (END_USER) by the key
 * that ends; it may be used only later, when the loop runs. Call it before
 * guest memory is mapped and before the first thread: it may fork. SIGPIPE is
 * ignored from here on. 0 or -errno, logged.
 */
int console_open(struct console *console, struct loop *loop,
		 struct end_wire *end, const struct console_options *options);

/* Connects the device, before the loop runs, or with NULL takes it away. */
void console_attach(struct console *console, struct console_client *client);

/* A terminal's keys go to the guest from now on, Ctrl-C among them. Main
 * thread, before a vCPU runs. */
void console_begin(struct console *console);

/*
 * Writes out what is in the ring, waiting for a slow reader as long as it
 * takes at least a byte every CONSOLE_PATIENCE_MS; what is left then is
 * dropped with a warning. Then a terminal has its settings back. Main thread,
 * no vCPU runs.
 */
void console_end(struct console *console);

/* Flushes, restores the terminal, removes the socket. No vCPU runs. */
void console_close(struct console *console);

/* vCPU: true if CONSOLE_BURST bytes may be put. If not, client->room() will
 * be called once they may. */
bool console_ready(struct console *console);
/* vCPU: one byte of output; dropped if the ring is full. */
void console_put(struct console *console, uint8_t byte);
/* vCPU: asks for a call of client->tick(), soon. */
void console_tick(struct console *console);
/* vCPU: after client->input() took less than it was offered. */
void console_resume(struct console *console);

#endif
