/*
 * Standard input and output, which may be a terminal, a pipe, a socket, a
 * file or nothing. Their open file descriptions are shared with the program
 * that started us, so O_NONBLOCK is never set on them: terminals and pipes are
 * opened anew through /proc/self/fd, and what cannot be is polled first.
 */
#include "devices/console_kinds.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEY_ESCAPE 0x01 /* Ctrl-A */

void console_prepare(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		/* The lowest free descriptor is the one that is missing. */
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", O_RDWR);
	}
}

/*
 * A descriptor of our own for @fd. *polled: it may block. -errno.
 */
static int stdio_dup(int fd, int flags, bool *polled)
{
	char path[32];
	struct stat st;
	int pty, own = -1;

	*polled = false;
	if (fstat(fd, &st))
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	/* A pty's master is a terminal too, but opened anew it is another. */
	if (S_ISFIFO(st.st_mode) || (isatty(fd) && ioctl(fd, TIOCGPTN, &pty)))
		own = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own >= 0)
		return own;
	*polled = S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || isatty(fd);
	own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return own < 0 ? -errno : own;
}

/* A terminal of another job would stop us for touching it. */
static bool in_background(int fd)
{
	pid_t foreground = tcgetpgrp(fd);

	return foreground >= 0 && foreground != getpgrp();
}

/* The child that outlives us. It keeps the terminal and the pipe, nothing
 * else: no guest memory, no /dev/kvm, no disk. */
static void __attribute__((noreturn))
guardian(const struct console *console, int pipe_fd)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	sigset_t none;
	ssize_t n;
	char byte;

	setsid(); /* Ctrl-C and hang-ups are for kvist, not for us */
	if (chdir("/"))
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	sigaction(SIGHUP, &ignore, NULL);
	dup2(console->in.fd, 0);
	dup2(pipe_fd, 1);
	syscall(SYS_close_range, 2u, ~0u, 0u);
	prctl(PR_SET_NAME, "kvist-tty");
	do
		n = read(1, &byte, 1);
	while (n < 0 && errno == EINTR);
	/* A byte says that all is well; the end of the pipe alone that kvist
	 * died. In a session of our own no SIGTTOU can stop us. */
	if (n == 0)
		tcsetattr(0, TCSANOW, &console->saved);
	_exit(0);
}

static int guardian_start(struct console *console)
{
	int pipe_fds[2], err;

	if (pipe2(pipe_fds, O_CLOEXEC))
		return -errno;
	console->guardian = fork();
	if (console->guardian == 0)
		guardian(console, pipe_fds[0]);
	err = console->guardian < 0 ? -errno : 0;
	close(pipe_fds[0]);
	if (err)
		close(pipe_fds[1]);
	else
		console->guardian_pipe = pipe_fds[1];
	return err;
}

static void guardian_dismiss(struct console *console)
{
	char byte = 'q';

	if (console->guardian_pipe < 0)
		return;
	if (write(console->guardian_pipe, &byte, 1) != 1)
		log_debug("%s: the guardian is gone", console->name);
	close(console->guardian_pipe);
	console->guardian_pipe = -1;
	while (waitpid(console->guardian, NULL, 0) < 0 && errno == EINTR)
		;
}

static void keeps_line_mode(const struct console *console, int err)
{
	log_warn("%s: the terminal stays in line mode: %s", console->name,
		 strerror(-err));
}

/* The guardian comes early, before there is guest memory to inherit. */
static int terminal_open(struct console *console)
{
	int err;

	if (tcgetattr(console->in.fd, &console->saved))
		return -errno;
	err = guardian_start(console);
	console->terminal = !err;
	return err;
}

/* Raw mode, but a newline on output still starts at the left: kvist's own
 * messages go to the same screen. */
void stdio_begin(struct console *console)
{
	struct termios raw = console->saved;

	if (!console->terminal)
		return;
	cfmakeraw(&raw);
	raw.c_oflag = console->saved.c_oflag;
	/* Not TCSADRAIN: a screen stopped by Ctrl-S would stop us as well. */
	if (tcsetattr(console->in.fd, TCSANOW, &raw))
		keeps_line_mode(console, -errno);
}

int stdio_open(struct console *console)
{
	bool terminal = isatty(STDIN_FILENO);
	int err;

	console->out.fd =
		stdio_dup(STDOUT_FILENO, O_WRONLY, &console->out_polled);
	if (!terminal || !in_background(STDIN_FILENO))
		console->in.fd =
			stdio_dup(STDIN_FILENO, O_RDONLY, &console->in_polled);
	else
		log_info("%s: in the background: no input", console->name);
	if (terminal && console->in.fd >= 0) {
		err = terminal_open(console);
		if (err)
			keeps_line_mode(console, err);
	}
	err = console_connect(console);
	if (err)
		log_err("%s: %s", console->name, strerror(-err));
	return err;
}

void stdio_close(struct console *console)
{
	if (!console->terminal)
		return;
	/* If we are in the background now, the program that took the terminal
	 * has set it up for itself. */
	if (!in_background(console->in.fd))
		tcsetattr(console->in.fd, TCSANOW, &console->saved);
	console->terminal = false;
	guardian_dismiss(console);
}

static void keys_help(void)
{
	static const char text[] =
		"\nkvist: keys:\n"
		"  Ctrl-A x       end the run\n"
		"  Ctrl-A p       press the power button\n"
		"  Ctrl-A b       send a break\n"
		"  Ctrl-A h       show this\n"
		"  Ctrl-A Ctrl-A  send Ctrl-A to the guest\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		return; /* there is nowhere left to say so */
}

size_t stdio_keys(struct console *console, uint8_t *bytes, size_t len)
{
	size_t kept = 0;

	for (size_t i = 0; i < len; i++) {
		if (!console->escape) {
			if (bytes[i] == KEY_ESCAPE)
				console->escape = true;
			else
				bytes[kept++] = bytes[i];
			continue;
		}
		console->escape = false;
		switch (bytes[i]) {
		case 'x':
			end_request(console->end, END_USER, 0);
			break;
		case 'p':
			if (console->power_button)
				console->power_button(console->power_arg);
			break;
		case 'b':
			if (console->client)
				console->client->send_break(console->client);
			break;
		case 'h':
			keys_help();
			break;
		case KEY_ESCAPE:
			bytes[kept++] = KEY_ESCAPE;
			break;
		}
	}
	return kept;
}
