/*
 * The console, as its users meet it: each test starts a child process with the
 * terminal or pty in question, in which a small guest echoes what is typed,
 * and looks at what comes out.
 */
#include "console_guest.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <termios.h>

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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_terminal_is_raw_during_the_run_and_restored_after),
		cmocka_unit_test(the_keys_of_a_terminal_do_what_help_says),
		cmocka_unit_test(a_guest_that_hears_nothing_can_still_be_ended),
		cmocka_unit_test(a_terminal_is_restored_after_kill_9),
		cmocka_unit_test(in_the_background_a_terminal_is_left_alone),
		cmocka_unit_test(a_pty_serves_one_reader_after_the_other),
		cmocka_unit_test(a_slow_reader_of_a_pty_gets_every_byte),
		cmocka_unit_test(without_a_reader_a_pty_holds_no_one_up),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
