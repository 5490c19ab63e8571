/*
 * The console, as its users meet it: each test starts a child process with the
 * pipes or files in question, in which a small guest echoes what is typed, and
 * looks at what comes out.
 */
#include "console_guest.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

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

static void a_guest_that_does_not_wait_for_room_loses_its_bytes(void **state)
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

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_console_is_named_by_its_kind_and_path),
	cmocka_unit_test(pipes_carry_plain_bytes_both_ways),
	cmocka_unit_test(any_standard_input_will_do),
	cmocka_unit_test(a_file_as_input_is_read_to_its_end_at_the_guests_pace),
	cmocka_unit_test(a_flood_of_input_waits_outside),
	cmocka_unit_test(a_slow_reader_gets_every_byte),
	cmocka_unit_test(a_reader_that_stopped_does_not_hold_up_the_end),
	cmocka_unit_test(a_guest_that_does_not_wait_for_room_loses_its_bytes),
	cmocka_unit_test(a_reader_that_left_is_no_error),
	cmocka_unit_test(a_full_disk_is_told_once),
	cmocka_unit_test(what_comes_together_is_written_together),
};

UNIT_MAIN(tests)
