/*
 * The console, as its users meet it: each test starts a child process with
 * the terminal, pipes or files in question, in which a small guest echoes
 * what is typed, and looks at what comes out.
 */
#include "devices/console.h"
#include "util/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

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

static void guest_end(struct end_wire *wire, enum end end, uint32_t value)
{
	struct guest *guest = container_of(wire, struct guest, wire);

	(void)value;
	guest->code = end == END_USER ? EXIT_USER : 0;
	loop_stop(&guest->loop);
}

static void guest_say(struct guest *guest, const char *text)
{
	while (*text)
		console_put(&guest->console, *text++);
}

static uint8_t flood_byte(size_t i)
{
	return 'a' + i % 23;
}

/* Its vCPU: waits for room as a driver does that polls. */
static void *guest_flood(void *arg)
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

static void guest_done(struct watch *watch, uint32_t events)
{
	struct guest *guest = container_of(watch, struct guest, done);

	(void)events;
	loop_stop(&guest->loop);
}

static void guest_flood_start(struct guest *guest)
{
	guest->done.ready = guest_done;
	guest->done.fd = eventfd(0, EFD_CLOEXEC);
	loop_add(&guest->loop, &guest->done, EPOLLIN);
	pthread_create(&guest->thread, NULL, guest_flood, guest);
}

static size_t guest_input(struct console_client *client, const uint8_t *bytes,
			  size_t len)
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

static void guest_break(struct console_client *client)
{
	guest_say(container_of(client, struct guest, client), "<break>");
}

static void guest_nothing(struct console_client *client)
{
	(void)client;
}

static int guest_run(const char *text, struct guest *guest)
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

static void stdio_take(const struct stdio *stdio)
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

static pid_t start(const char *text, const struct stdio *stdio,
		   struct guest guest)
{
	pid_t pid = fork();

	if (pid == 0) {
		stdio_take(stdio);
		_exit(guest_run(text, &guest));
	}
	return pid;
}

static int finish(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		fail_msg("killed by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

/* Reads until @text has come, for up to two seconds. */
static void expect(int fd, const char *text)
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

static void type(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int dev_null(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int temporary(const char *content, size_t len)
{
	char path[] = "/tmp/test_console.XXXXXX";
	int fd = mkstemp(path);

	unlink(path);
	assert_int_equal(write(fd, content, len), len);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static void a_console_is_named_by_its_kind_and_path(void **state)
{
	static const struct {
		const char *text;
		int err;
		enum console_kind kind;
		const char *path;
	} cases[] = {
		{ "stdio", 0, CONSOLE_STDIO, NULL },
		{ "none", 0, CONSOLE_NONE, NULL },
		{ "pty", 0, CONSOLE_PTY, NULL },
		{ "file:boot.log", 0, CONSOLE_FILE, "boot.log" },
		{ "file:a:b", 0, CONSOLE_FILE, "a:b" },
		{ "unix:/run/x", 0, CONSOLE_UNIX, "/run/x" },
		{ "file:", -EINVAL, 0, NULL },
		{ "file", -EINVAL, 0, NULL },
		{ "unix:", -EINVAL, 0, NULL },
		{ "stdio:x", -EINVAL, 0, NULL },
		{ "ptyx", -EINVAL, 0, NULL },
		{ "", -EINVAL, 0, NULL },
		{ "tcp:1", -EINVAL, 0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct console_options got = { 0 };
		int err = console_parse(cases[i].text, &got);

		if (err != cases[i].err || got.kind != cases[i].kind ||
		    strcmp(got.path ? got.path : "",
			   cases[i].path ? cases[i].path : ""))
			fail_msg("\"%s\"", cases[i].text);
	}
}

static void pipes_carry_plain_bytes_both_ways(void **state)
{
	int in[2], out[2], null = dev_null();
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
	pid = start("stdio",
		    &(struct stdio){ .in = in[0], .out = out[1], .err = null },
		    (struct guest){ 0 });
	expect(out[0], "up\n");
	/* Ctrl-A is a byte like any other here. */
	type(in[1], "one\001x");
	expect(out[0], "one\001x");
	type(in[1], "two\r\nQ");
	expect(out[0], "two\r\n");
	assert_int_equal(finish(pid), 0);
	/* The other side's descriptors stay as they were. */
	assert_false(fcntl(in[0], F_GETFL) & O_NONBLOCK);
	assert_false(fcntl(out[1], F_GETFL) & O_NONBLOCK);
	for (int i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
	}
	close(null);
}

static void any_standard_input_will_do(void **state)
{
	int ended[2], null = dev_null(), directory, ins[5];

	(void)state;
	assert_int_equal(pipe2(ended, O_CLOEXEC), 0);
	close(ended[1]);
	directory = open("/", O_RDONLY | O_CLOEXEC);
	ins[0] = null;
	ins[1] = -1; /* closed */
	ins[2] = ended[0];
	ins[3] = directory;
	ins[4] = temporary("", 0);
	for (size_t i = 0; i < ARRAY_SIZE(ins); i++) {
		int out[2];
		pid_t pid;

		assert_int_equal(pipe2(out, O_CLOEXEC), 0);
		pid = start("stdio",
			    &(struct stdio){
				    .in = ins[i], .out = out[1], .err = null },
			    (struct guest){ .flood = 100 });
		expect(out[0], "up\nabc");
		assert_int_equal(finish(pid), 0);
		close(out[0]);
		close(out[1]);
	}
	close(ins[4]);
	close(ended[0]);
	close(directory);
	close(null);
}

static void a_file_as_input_is_read_to_its_end_at_the_guests_pace(void **state)
{
	static char content[50000], back[sizeof(content) + 3];
	int in, out, null = dev_null();
	pid_t pid;

	(void)state;
	memset(content, 'x', sizeof(content));
	content[sizeof(content) - 1] = 'Q';
	in = temporary(content, sizeof(content));
	out = temporary("", 0);
	pid = start("stdio",
		    &(struct stdio){ .in = in, .out = out, .err = null },
		    (struct guest){ .swallow = 100 });
	assert_int_equal(finish(pid), 0);
	assert_int_equal(pread(out, back, sizeof(back), 0),
			 sizeof(content) + 2);
	assert_memory_equal(back, "up\nxxx", 6);
	close(in);
	close(out);
	close(null);
}

static void a_flood_of_input_waits_outside(void **state)
{
	static char block[4096];
	int in[2], null = dev_null();
	size_t written = 0;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	pid = start("stdio",
		    &(struct stdio){ .in = in[0], .out = null, .err = null },
		    (struct guest){ .deaf = true });
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	for (int idle = 0; idle < 10;) {
		ssize_t n = write(in[1], block, sizeof(block));

		written += n > 0 ? n : 0;
		idle = n > 0 ? 0 : idle + 1;
		usleep(10000);
	}
	/* The pipe holds 64 KiB, the console a page. */
	assert_in_range(written, 4096, 65536 + CONSOLE_INPUT);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(in[0]);
	close(in[1]);
	close(null);
}

static void a_slow_reader_gets_every_byte(void **state)
{
	const size_t total = 300000;
	int out[2], null = dev_null();
	char buffer[8192];
	size_t got = 0;
	ssize_t n;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	pid = start("stdio",
		    &(struct stdio){ .in = null, .out = out[1], .err = null },
		    (struct guest){ .flood = total });
	close(out[1]);
	expect(out[0], "up\n");
	while ((n = read(out[0], buffer, sizeof(buffer))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if ((uint8_t)buffer[i] != flood_byte(got++))
				fail_msg("byte %zu", got - 1);
		}
		usleep(5000);
	}
	assert_int_equal(got, total);
	assert_int_equal(finish(pid), 0);
	close(out[0]);
	close(null);
}

static void a_reader_that_stopped_does_not_hold_up_the_end(void **state)
{
	int out[2], err[2], null = dev_null();
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
	/* A pipe holds 64 KiB and the ring as much: the guest never waits, and
	 * something is left. */
	pid = start("stdio",
		    &(struct stdio){ .in = null, .out = out[1], .err = err[1] },
		    (struct guest){ .flood = 70000 });
	assert_int_equal(finish(pid), 0);
	expect(err[0], "the reader stopped");
	for (int i = 0; i < 2; i++) {
		close(out[i]);
		close(err[i]);
	}
	close(null);
}

static void
a_guest_that_does_not_wait_for_room_loses_its_own_bytes(void **state)
{
	int out[2], err[2], null = dev_null();
	char said[256] = "";
	unsigned lost = 0;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
	pid = start("stdio",
		    &(struct stdio){ .in = null, .out = out[1], .err = err[1] },
		    (struct guest){ .flood = 400000, .rude = true });
	assert_int_equal(finish(pid), 0);
	assert_true(read(err[0], said, sizeof(said) - 1) > 0);
	assert_int_equal(
		sscanf(said, "%*[^:]: %*[^:]: %*[^:]: %*[^:]: %u", &lost), 1);
	assert_in_range(lost, 1, CONSOLE_RING);
	for (int i = 0; i < 2; i++) {
		close(out[i]);
		close(err[i]);
	}
	close(null);
}

static void a_reader_that_left_is_no_error(void **state)
{
	int out[2], err[2], null = dev_null();
	char text[256];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
	close(out[0]);
	pid = start("stdio",
		    &(struct stdio){ .in = null, .out = out[1], .err = err[1] },
		    (struct guest){ .flood = 200000 });
	assert_int_equal(finish(pid), 0);
	close(err[1]);
	assert_int_equal(read(err[0], text, sizeof(text)), 0);
	close(out[1]);
	close(err[0]);
	close(null);
}

static void a_full_disk_is_told_once(void **state)
{
	int err[2], null = dev_null();
	char text[1024] = "";
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(err, O_CLOEXEC), 0);
	pid = start("file:/dev/full",
		    &(struct stdio){ .in = null, .out = null, .err = err[1] },
		    (struct guest){ .flood = 200000 });
	assert_int_equal(finish(pid), 0);
	assert_true(read(err[0], text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "file:/dev/full: No space left"));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	close(err[0]);
	close(err[1]);
	close(null);
}

static void what_comes_together_is_written_together(void **state)
{
	int out[2], null = dev_null();
	char text[8192];
	pid_t pid;

	(void)state;
	/* A socket that keeps the borders of writes shows each of them. */
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, out), 0);
	pid = start("stdio",
		    &(struct stdio){ .in = null, .out = out[1], .err = null },
		    (struct guest){ .flood = 4000 });
	close(out[1]);
	assert_int_equal(finish(pid), 0);
	/* 4,000 bytes are said in far less than two batches. */
	for (int writes = 0;; writes++) {
		assert_true(writes < 4);
		if (read(out[0], text, sizeof(text)) <= 0)
			break;
	}
	close(out[0]);
	close(null);
}

/* What the shell on a terminal tells of the job it runs. */
struct job {
	pid_t pid;
	int status;
	bool ended; /* or stopped; atomic */
};

/* A terminal: its master, its slave held open by the test, and the shell that
 * leads its session. */
struct terminal {
	int master, slave;
	char name[32];
	struct termios before;
	pid_t shell;
	struct job *job; /* shared with the shell */
};

static void terminal_make(struct terminal *t)
{
	t->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(t->master >= 0);
	assert_int_equal(grantpt(t->master) | unlockpt(t->master), 0);
	assert_int_equal(ptsname_r(t->master, t->name, sizeof(t->name)), 0);
	t->slave = open(t->name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(t->slave >= 0);
	assert_int_equal(tcgetattr(t->slave, &t->before), 0);
}

static void terminal_close(struct terminal *t)
{
	kill(t->shell, SIGKILL);
	waitpid(t->shell, NULL, 0);
	munmap(t->job, sizeof(*t->job));
	close(t->slave);
	close(t->master);
}

static bool terminal_is_as_before(struct terminal *t)
{
	struct termios now;

	tcgetattr(t->slave, &now);
	return now.c_iflag == t->before.c_iflag &&
	       now.c_oflag == t->before.c_oflag &&
	       now.c_cflag == t->before.c_cflag &&
	       now.c_lflag == t->before.c_lflag &&
	       !memcmp(now.c_cc, t->before.c_cc, sizeof(now.c_cc));
}

/* Runs the guest as a shell does: in a job of its own. It stays until the test
 * ends, for the end of a session's leader hangs up its terminal. */
static void __attribute__((noreturn))
shell_run(struct job *job, const struct stdio *stdio, bool background,
	  struct guest *guest)
{
	pid_t pid;

	stdio_take(stdio);
	setsid();
	ioctl(0, TIOCSCTTY, 0);
	signal(SIGTTOU, SIG_IGN);
	pid = fork();
	if (pid == 0) {
		/* By the job itself: the test knows it once it says "up". */
		job->pid = getpid();
		setpgid(0, 0);
		if (!background)
			tcsetpgrp(0, getpid());
		signal(SIGTTOU, SIG_DFL);
		_exit(guest_run("stdio", guest));
	}
	waitpid(pid, &job->status, WUNTRACED);
	__atomic_store_n(&job->ended, true, __ATOMIC_RELEASE);
	while (true)
		pause();
}

static void terminal_start(struct terminal *t, int out, bool background,
			   struct guest guest)
{
	struct stdio stdio = { .in = t->slave, .out = out, .err = out };

	t->job = mmap(NULL, sizeof(*t->job), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(t->job, MAP_FAILED);
	t->shell = fork();
	if (t->shell == 0)
		shell_run(t->job, &stdio, background, &guest);
}

static bool terminal_has_ended(struct terminal *t)
{
	return __atomic_load_n(&t->job->ended, __ATOMIC_ACQUIRE);
}

/* The exit code of the job, or 1000 and the signal that ended or stopped it. */
static int terminal_finish(struct terminal *t)
{
	for (int i = 0; i < 2000 && !terminal_has_ended(t); i++)
		usleep(5000);
	assert_true(terminal_has_ended(t));
	if (WIFSTOPPED(t->job->status))
		return 1000 + WSTOPSIG(t->job->status);
	if (WIFSIGNALED(t->job->status))
		return 1000 + WTERMSIG(t->job->status);
	return WEXITSTATUS(t->job->status);
}

static void a_terminal_is_raw_during_the_run_and_restored_after(void **state)
{
	struct terminal t;
	struct termios raw;

	(void)state;
	terminal_make(&t);
	terminal_start(&t, t.slave, false, (struct guest){ 0 });
	expect(t.master, "up\r\n");
	tcgetattr(t.slave, &raw);
	assert_false(raw.c_lflag & (ICANON | ECHO | ISIG));
	assert_true(raw.c_oflag & OPOST);
	type(t.master, "\003\r"); /* Ctrl-C is for the guest */
	expect(t.master, "\003\r");
	type(t.master, "Q");
	assert_int_equal(terminal_finish(&t), 0);
	assert_true(terminal_is_as_before(&t));
	assert_false(fcntl(t.slave, F_GETFL) & O_NONBLOCK);
	terminal_close(&t);
}

static void the_keys_of_a_terminal_do_what_help_says(void **state)
{
	struct terminal t;

	(void)state;
	terminal_make(&t);
	terminal_start(&t, t.slave, false, (struct guest){ 0 });
	expect(t.master, "up\r\n");
	type(t.master, "\001h");
	expect(t.master, "Ctrl-A x       end the run\r\n");
	expect(t.master, "send Ctrl-A to the guest\r\n");
	type(t.master, "<\001\001>");
	expect(t.master, "<\001>");
	type(t.master, "\001b");
	expect(t.master, "<break>");
	/* A key without a meaning is swallowed, even if it comes apart. */
	type(t.master, "[\001");
	expect(t.master, "[");
	type(t.master, "z]");
	expect(t.master, "]");
	type(t.master, "\001x");
	assert_int_equal(terminal_finish(&t), EXIT_USER);
	assert_true(terminal_is_as_before(&t));
	terminal_close(&t);
}

static void a_guest_that_hears_nothing_can_still_be_ended(void **state)
{
	struct terminal t;
	char page[1024];

	(void)state;
	memset(page, 'x', sizeof(page));
	terminal_make(&t);
	terminal_start(&t, t.slave, false, (struct guest){ .deaf = true });
	expect(t.master, "up\r\n");
	/* More than it keeps, and then the key. */
	fcntl(t.master, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 6; i++) {
		if (write(t.master, page, sizeof(page)) < 0)
			break;
		usleep(20000);
	}
	for (int i = 0; i < 200 && !terminal_has_ended(&t); i++) {
		usleep(10000);
		if (write(t.master, "\001x", 2) < 0 && errno != EAGAIN)
			break;
	}
	assert_int_equal(terminal_finish(&t), EXIT_USER);
	terminal_close(&t);
}

static void a_terminal_is_restored_after_kill_9(void **state)
{
	struct terminal t;
	pid_t guardian = 0;
	int status = -1;

	(void)state;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	terminal_make(&t);
	terminal_start(&t, t.slave, false, (struct guest){ 0 });
	expect(t.master, "up\r\n");
	assert_false(terminal_is_as_before(&t));
	kill(t.job->pid, SIGKILL);
	assert_int_equal(terminal_finish(&t), 1000 + SIGKILL);
	/* Its child outlives it, does its work, and goes as well. */
	for (int i = 0; i < 1000 && !guardian; i++) {
		usleep(5000);
		guardian = waitpid(-1, &status, WNOHANG);
	}
	assert_true(guardian > 0 && guardian != t.shell);
	assert_int_equal(status, 0);
	assert_true(terminal_is_as_before(&t));
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	terminal_close(&t);
}

static void in_the_background_a_terminal_is_left_alone(void **state)
{
	int out[2];
	struct terminal t;

	(void)state;
	terminal_make(&t);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	terminal_start(&t, out[1], true, (struct guest){ .flood = 30 });
	expect(out[0], "up\nabc");
	assert_true(terminal_is_as_before(&t));
	assert_int_equal(terminal_finish(&t), 0);
	assert_true(terminal_is_as_before(&t));
	terminal_close(&t);
	close(out[0]);
	close(out[1]);
}

/* Starts a guest on a pty and opens the name it prints. */
static int pty_start(struct guest guest, char name[64], pid_t *pid)
{
	int err[2], null = dev_null(), fd;
	size_t n = 0;

	assert_int_equal(pipe2(err, O_CLOEXEC), 0);
	*pid = start("pty",
		     &(struct stdio){ .in = null, .out = null, .err = err[1] },
		     guest);
	do
		assert_int_equal(read(err[0], name + n, 1), 1);
	while (name[n++] != '\n' && n < 64);
	name[n - 1] = '\0';
	assert_memory_equal(name, "serial: /dev/pts/", 17);
	memmove(name, name + 8, n - 8);
	fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(fd >= 0);
	close(err[0]);
	close(err[1]);
	close(null);
	return fd;
}

static void a_pty_serves_one_reader_after_the_other(void **state)
{
	char name[64];
	pid_t pid;
	int fd;

	(void)state;
	fd = pty_start((struct guest){ 0 }, name, &pid);
	for (int i = 0; i < 3; i++) {
		type(fd, "hello\r");
		expect(fd, "hello\r"); /* raw: nothing is translated */
		close(fd);
		usleep(20000);
		fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
		assert_true(fd >= 0);
	}
	type(fd, "bye!Q");
	expect(fd, "bye!");
	assert_int_equal(finish(pid), 0);
	close(fd);
}

static void a_slow_reader_of_a_pty_gets_every_byte(void **state)
{
	const size_t total = 20000;
	char name[64], buffer[512];
	size_t got = 0;
	ssize_t n;
	pid_t pid;
	int fd;

	(void)state;
	/* It starts when it is told to, so that nothing is said to no one. */
	fd = pty_start((struct guest){ .flood = total, .flood_on_input = true },
		       name, &pid);
	type(fd, "go");
	expect(fd, "go");
	while (got < total && (n = read(fd, buffer, sizeof(buffer))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if ((uint8_t)buffer[i] != flood_byte(got++))
				fail_msg("byte %zu", got - 1);
		}
		usleep(2000);
	}
	assert_int_equal(got, total);
	assert_int_equal(finish(pid), 0);
	close(fd);
}

static void without_a_reader_a_pty_holds_no_one_up(void **state)
{
	int null = dev_null();
	pid_t pid;

	(void)state;
	pid = start("pty",
		    &(struct stdio){ .in = null, .out = null, .err = null },
		    (struct guest){ .flood = 500000 });
	assert_int_equal(finish(pid), 0);
	close(null);
}

/* A directory of the test's own for sockets and files. */
static char directory[64];

static int directory_make(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/test_console.XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

static int directory_remove(void **state)
{
	(void)state;
	return rmdir(directory); /* fails unless it is empty again */
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	for (int i = 0; i < 200; i++) {
		if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
			return fd;
		usleep(10000);
	}
	close(fd);
	return -1;
}

static void a_socket_serves_one_client_at_a_time(void **state)
{
	int null = dev_null(), first, second;
	char text[128], path[96];
	struct stat st;
	pid_t pid;

	(void)state;
	snprintf(path, sizeof(path), "%s/serial", directory);
	snprintf(text, sizeof(text), "unix:%s", path);
	pid = start(text,
		    &(struct stdio){ .in = null, .out = null, .err = null },
		    (struct guest){ 0 });
	first = connect_to(path);
	assert_true(first >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	type(first, "hello");
	expect(first, "hello");
	second = connect_to(path);
	expect(second, "this serial port is in use\r\n");
	assert_int_equal(read(second, text, sizeof(text)), 0);
	close(second);
	type(first, "still here");
	expect(first, "still here");
	close(first);
	usleep(50000);
	second = connect_to(path);
	type(second, "next");
	expect(second, "next");
	type(second, "bye Q");
	expect(second, "bye ");
	assert_int_equal(finish(pid), 0);
	assert_int_equal(read(second, text, sizeof(text)), 0);
	close(second);
	assert_int_equal(access(path, F_OK), -1);
	close(null);
}

static void a_stale_socket_is_replaced_and_nothing_else_is(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int null = dev_null(), err[2], fd;
	char text[128], path[96];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(err, O_CLOEXEC), 0);
	snprintf(path, sizeof(path), "%s/serial", directory);
	snprintf(text, sizeof(text), "unix:%s", path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	/* In use: refused. */
	assert_int_equal(listen(fd, 1), 0);
	pid = start(text,
		    &(struct stdio){ .in = null, .out = null, .err = err[1] },
		    (struct guest){ 0 });
	assert_int_equal(finish(pid), EXIT_OPEN);
	expect(err[0], "another process listens there");
	/* Its owner is gone: replaced. */
	close(fd);
	pid = start(text,
		    &(struct stdio){ .in = null, .out = null, .err = err[1] },
		    (struct guest){ 0 });
	fd = connect_to(path);
	assert_true(fd >= 0);
	type(fd, "Q");
	assert_int_equal(finish(pid), 0);
	close(fd);
	assert_int_equal(access(path, F_OK), -1);
	/* A file that is no socket: refused, and kept. */
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	pid = start(text,
		    &(struct stdio){ .in = null, .out = null, .err = err[1] },
		    (struct guest){ 0 });
	assert_int_equal(finish(pid), EXIT_OPEN);
	expect(err[0], "it is not a socket");
	assert_int_equal(unlink(path), 0);
	close(err[0]);
	close(err[1]);
	close(null);
}

static void a_file_takes_the_output_and_is_emptied_first(void **state)
{
	char text[128], path[96], content[256];
	int null = dev_null(), fd;
	pid_t pid;

	(void)state;
	snprintf(path, sizeof(path), "%s/log", directory);
	snprintf(text, sizeof(text), "file:%s", path);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	memset(content, '#', sizeof(content));
	assert_int_equal(write(fd, content, sizeof(content)), sizeof(content));
	pid = start(text,
		    &(struct stdio){ .in = null, .out = null, .err = null },
		    (struct guest){ .flood = 5 });
	assert_int_equal(finish(pid), 0);
	assert_int_equal(pread(fd, content, sizeof(content), 0), 8);
	assert_memory_equal(content, "up\nabcde", 8);
	close(fd);
	assert_int_equal(unlink(path), 0);
	close(null);
}

static void a_path_that_cannot_be_opened_is_refused_in_one_line(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "file:/no/such/dir/log",
		  "serial file:/no/such/dir/log: No such file" },
		{ "file:/", "serial file:/: Is a directory" },
		{ "unix:/no/such/dir/s", "unix:/no/such/dir/s: No such file" },
		{ "unix:/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		  "at most 107 bytes" },
	};
	int null = dev_null();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char said[1024] = "";
		int err[2];
		pid_t pid;

		assert_int_equal(pipe2(err, O_CLOEXEC), 0);
		pid = start(cases[i].text,
			    &(struct stdio){
				    .in = null, .out = null, .err = err[1] },
			    (struct guest){ 0 });
		assert_int_equal(finish(pid), EXIT_OPEN);
		assert_true(read(err[0], said, sizeof(said) - 1) > 0);
		if (!strstr(said, cases[i].says) ||
		    strchr(said, '\n') != said + strlen(said) - 1)
			fail_msg("%s: %s", cases[i].text, said);
		close(err[0]);
		close(err[1]);
	}
	close(null);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_console_is_named_by_its_kind_and_path),
		cmocka_unit_test(pipes_carry_plain_bytes_both_ways),
		cmocka_unit_test(any_standard_input_will_do),
		cmocka_unit_test(
			a_file_as_input_is_read_to_its_end_at_the_guests_pace),
		cmocka_unit_test(a_flood_of_input_waits_outside),
		cmocka_unit_test(a_slow_reader_gets_every_byte),
		cmocka_unit_test(
			a_reader_that_stopped_does_not_hold_up_the_end),
		cmocka_unit_test(
			a_guest_that_does_not_wait_for_room_loses_its_own_bytes),
		cmocka_unit_test(a_reader_that_left_is_no_error),
		cmocka_unit_test(a_full_disk_is_told_once),
		cmocka_unit_test(what_comes_together_is_written_together),
		cmocka_unit_test(
			a_terminal_is_raw_during_the_run_and_restored_after),
		cmocka_unit_test(the_keys_of_a_terminal_do_what_help_says),
		cmocka_unit_test(a_guest_that_hears_nothing_can_still_be_ended),
		cmocka_unit_test(a_terminal_is_restored_after_kill_9),
		cmocka_unit_test(in_the_background_a_terminal_is_left_alone),
		cmocka_unit_test(a_pty_serves_one_reader_after_the_other),
		cmocka_unit_test(a_slow_reader_of_a_pty_gets_every_byte),
		cmocka_unit_test(without_a_reader_a_pty_holds_no_one_up),
		cmocka_unit_test(a_socket_serves_one_client_at_a_time),
		cmocka_unit_test(
			a_stale_socket_is_replaced_and_nothing_else_is),
		cmocka_unit_test(a_file_takes_the_output_and_is_emptied_first),
		cmocka_unit_test(
			a_path_that_cannot_be_opened_is_refused_in_one_line),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, directory_make, directory_remove);
}
