/*
 * A console that has a path: a socket, which serves one client at a time, or a
 * file.
 */
#include "console_guest.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

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
		  "serial file:/no/such/dir/log: No such file or directory: "
		  "make its folder first" },
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
