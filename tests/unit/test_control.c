/*
 * The control socket (src/control.h): what its clients say, and how.
 * The socket is served by a process of its own, whose commands are the tests'.
 */
#include "unit.h"

#include "control.h"
#include "util/checked.h"
#include "util/json_read.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HELLO                                                                  \
	"{\"QMP\": {\"version\": {\"qemu\": {\"major\": 0, \"minor\": 0, "     \
	"\"micro\": 0}, \"package\": \"kvist " KVIST_VERSION                   \
	"\"}, \"capabilities\": []}}\n"
#define BEGIN   "{\"execute\": \"qmp_capabilities\"}"
#define NOTHING "{\"return\": {}}\n"
#define LONG    200000 /* more than a socket holds */

static char folder[] = "/tmp/test_control.XXXXXX";
static char path[64];

static void messages_are_taken_apart(void **state)
{
	static const struct {
		const char *text, *name, *arguments, *id, *wrong;
	} cases[] = {
		{ "{\"execute\":\"quit\"}", "quit", "", "", NULL },
		{ "{\"id\":{\"a\":[1]},\"arguments\":{\"b\":2},"
		  "\"execute\":\"x\"}",
		  "x", "{\"b\":2}", "{\"a\":[1]}", NULL },
		{ "{}", "", "", "", "'execute' is missing" },
		{ "{\"id\":null}", "", "", "null", "'execute' is missing" },
		{ "{\"execute\":\"\"}", "", "", "", "'execute' is missing" },
		{ "{\"execute\":7,\"id\":\"x\"}", "", "", "\"x\"",
		  "must be a string" },
		{ "{\"execute\":\"x\",\"arguments\":[]}", "x", "[]", "",
		  "must be an object" },
		{ "{\"exec-oob\":\"x\",\"id\":-1}", "", "", "-1",
		  "members are" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *arguments = cases[i].arguments, *id = cases[i].id;
		struct control_request request;
		const char *wrong = control_parse(cases[i].text, &request);

		if (!wrong != !cases[i].wrong ||
		    (wrong && !strstr(wrong, cases[i].wrong)))
			fail_msg("%s: %s", cases[i].text, wrong);
		assert_string_equal(request.name, cases[i].name);
		assert_int_equal(!*arguments, !request.arguments);
		assert_int_equal(!*id, !request.id);
		if (*arguments)
			assert_memory_equal(request.arguments, arguments,
					    strlen(arguments));
		if (*id)
			assert_memory_equal(request.id, id, strlen(id));
	}
}

/* The commands of the tests. */

static void say(struct control_call *call)
{
	const char *text = control_argument(call, "text");

	if (text)
		json_value(&call->reply, "return", text, json_measure(text));
	else
		control_fail(call, "DeviceNotFound", "no \"%s\"", "text");
}

static void flood(struct control_call *call)
{
	static char text[LONG];

	memset(text, 'x', sizeof(text) - 1);
	json_string(&call->reply, "return", text);
}

static void quit(struct control_call *call)
{
	loop_stop(call->machine);
}

static const struct control_command commands[] = {
	{ "flood", flood },
	{ "quit", quit },
	{ "say", say },
	{ NULL, NULL },
};

static void serve(void)
{
	struct control control;
	struct loop loop;
	int err;

	alarm(20); /* a test that hangs fails */
	err = loop_init(&loop);
	if (!err)
		err = control_open(&control, &loop, path, commands, &loop);
	if (!err)
		err = loop_run(&loop);
	if (!err)
		control_close(&control);
	_exit(err ? 1 : 0);
}

static pid_t start(void)
{
	pid_t pid = fork();

	if (!pid)
		serve();
	return pid;
}

static int finish(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int join_in(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	for (int i = 0; i < 1000; i++) {
		if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
			return fd;
		usleep(5000);
	}
	fail_msg("nobody listens at %s", path);
	return -1;
}

/* The next that comes is exactly @text. */
static void expect(int fd, const char *text)
{
	char said[4096] = "";
	size_t len = 0, want = strlen(text);
	struct pollfd ready = { fd, POLLIN, 0 };

	assert_true(want < sizeof(said));
	while (len < want && poll(&ready, 1, 5000) == 1) {
		ssize_t n = read(fd, said + len, want - len);

		if (n <= 0)
			break;
		len += n;
	}
	assert_string_equal(said, text);
}

static void expect_error(int fd, const char *desc)
{
	char said[512] = "", c;
	struct pollfd ready = { fd, POLLIN, 0 };
	size_t len = 0;

	while (len < sizeof(said) - 1 && poll(&ready, 1, 5000) == 1 &&
	       read(fd, &c, 1) == 1 && c != '\n')
		said[len++] = c;
	if (strncmp(said, "{\"error\": {\"class\": \"", 21) ||
	    !strstr(said, desc))
		fail_msg("%s: %s", desc, said);
}

static void type(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL),
			 strlen(text));
}

static int begin(void)
{
	int fd = join_in();

	expect(fd, HELLO);
	type(fd, BEGIN);
	expect(fd, NOTHING);
	return fd;
}

static void end(pid_t pid, int fd)
{
	type(fd, "{\"execute\":\"quit\"}");
	expect(fd, NOTHING);
	assert_int_equal(finish(pid), 0);
	close(fd);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_client_is_greeted_and_answered(void **state)
{
	pid_t pid = start();
	int fd = join_in();
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	expect(fd, HELLO);
	type(fd, "{\"execute\":\"quit\",\"id\":1}\n");
	expect(fd, "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": "
		   "\"The command quit has not been found: "
		   "'qmp_capabilities' comes first\"}, \"id\": 1}\n");
	type(fd, BEGIN);
	expect(fd, NOTHING);
	type(fd, "{\"execute\":\"say\",\"arguments\":{\"text\":[1, {}]},"
		 "\"id\":{\"a\": \"\\u00e5\"}}");
	expect(fd, "{\"return\": [1, {}], \"id\": {\"a\": \"\\u00e5\"}}\n");
	type(fd, "{\"execute\":\"say\"}");
	expect(fd, "{\"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"no "
		   "\\\"text\\\"\"}}\n");
	type(fd, "{\"execute\":\"query-commands\"}");
	expect(fd, "{\"return\": [{\"name\": \"qmp_capabilities\"}, {\"name\": "
		   "\"query-commands\"}, {\"name\": \"query-version\"}, "
		   "{\"name\": \"flood\"}, {\"name\": \"quit\"}, {\"name\": "
		   "\"say\"}]}\n");
	type(fd, "{\"execute\":\"\\\"no\\nsuch\"}");
	expect_error(fd, "The command \\\\\\\"no\\\\nsuch has not been found");
	end(pid, fd);
}

static void messages_come_in_any_pieces(void **state)
{
	static const char two[] = "{\"execute\":\"say\",\"arguments\":{\"text\""
				  ":\"}{\"},\"id\":[\"a b\",\r\n1]}\r\n \r\n"
				  "{\"execute\":\"say\",\"arguments\":"
				  "{\"text\":2}}";
	static const char answer[] = "{\"return\": \"}{\", "
				     "\"id\": [\"a b\",  1]}\n"
				     "{\"return\": 2}\n";
	pid_t pid = start();
	int fd = begin();

	(void)state;
	for (const char *p = two; *p; p++) {
		assert_int_equal(send(fd, p, 1, MSG_NOSIGNAL), 1);
		if (p[1] == 'b')
			usleep(1000);
	}
	expect(fd, answer);
	/* At once, and twice. */
	type(fd, two);
	type(fd, two);
	expect(fd, answer);
	expect(fd, answer);
	end(pid, fd);
}

static void what_is_wrong_is_skipped_to_the_end_of_its_line(void **state)
{
	static const char *const lines[] = {
		"quit", "[]",     "{\"a\"}{\"execute\":\"quit\"}",
		"}}}}", "\"{}\"", "{\"execute\":\"quit\"]",
		"{\1}",
	};
	pid_t pid = start();
	int fd = begin();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		type(fd, lines[i]);
		type(fd, "\n");
		expect_error(fd, "JSON parse error");
		type(fd, "{\"execute\":\"say\",\"arguments\":{\"text\":3}}");
		expect(fd, "{\"return\": 3}\n");
	}
	end(pid, fd);
}

static void a_message_that_is_too_much_is_refused(void **state)
{
	static const char *const begins[] = { "{\"execute\":\"",
					      "{\"a\":[[[[" };
	char text[CONTROL_MESSAGE * 3 + 1];
	pid_t pid = start();
	int fd = begin();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(begins); i++) {
		memset(text, i ? '[' : 'a', sizeof(text) - 1);
		text[sizeof(text) - 1] = '\0';
		memcpy(text, begins[i], strlen(begins[i]));
		type(fd, text);
		expect_error(fd, "too long or nested too deeply");
		type(fd, "\n{\"execute\":\"say\",\"arguments\":{\"text\":4}}");
		expect(fd, "{\"return\": 4}\n");
	}
	/* The longest there may be, of blanks. */
	memset(text, ' ', CONTROL_MESSAGE);
	memcpy(text, "{\"execute\":", 11);
	memcpy(text + CONTROL_MESSAGE - 6, "\"say\"}", 7);
	type(fd, text);
	expect_error(fd, "no \\\"text\\\"");
	/* One that says what is no text is left. */
	assert_int_equal(send(fd, "{\0}", 3, MSG_NOSIGNAL), 3);
	expect(fd, "");
	assert_true(read(fd, text, 1) <= 0);
	close(fd);
	end(pid, begin());
}

static void one_client_is_served_after_the_other(void **state)
{
	pid_t pid = start();
	int first = begin(), second = join_in();
	struct pollfd ready = { second, POLLIN, 0 };

	(void)state;
	/* While the first is there, the second waits, whatever it says. */
	type(second, "{\"execute\":\"say\"}" BEGIN);
	type(first, "{\"execute\":\"say\",\"arguments\":{\"text\":5}}");
	expect(first, "{\"return\": 5}\n");
	assert_int_equal(poll(&ready, 1, 0), 0);
	/* Half a message is nobody else's. */
	type(first, "{\"execute\":");
	close(first);
	/* Nor is what the first had asked for. */
	expect(second, HELLO);
	expect_error(second, "'qmp_capabilities' comes first");
	expect(second, NOTHING);
	end(pid, second);
}

/* Two long answers and a short one, read slowly. */
static void take_floods(int fd)
{
	static char got[2 * LONG + 64];
	struct pollfd ready = { fd, POLLIN, 0 };
	size_t len = 0;

	while (len < 2 * (LONG + 14) + 14) {
		ssize_t n;

		assert_int_equal(poll(&ready, 1, 5000), 1);
		n = read(fd, got + len, sizeof(got) - len);
		assert_true(n > 0);
		len += n;
		usleep(100);
	}
	assert_memory_equal(got + len - 14, "{\"return\": 6}\n", 14);
}

/* Nothing is said, and so nothing is done. */
static void assert_rests(pid_t pid)
{
	struct timespec before, after;
	clockid_t clock;

	assert_int_equal(clock_getcpuclockid(pid, &clock), 0);
	clock_gettime(clock, &before);
	usleep(20000);
	clock_gettime(clock, &after);
	assert_in_range((after.tv_sec - before.tv_sec) * 1000000000 +
				after.tv_nsec - before.tv_nsec,
			0, 5000000);
}

static void who_reads_slowly_holds_up_nobody(void **state)
{
	static const char text[] = "{\"execute\":\"flood\"}"
				   "{\"execute\":\"flood\"}"
				   "{\"execute\":\"say\",\"arguments\":"
				   "{\"text\":6}}";
	pid_t pid = start();
	int fd = begin(), sent = 0;
	struct pollfd ready = { fd, POLLOUT, 0 };
	static char blanks[65536];

	(void)state;
	type(fd, text);
	/* It is not listened to any more: what it says piles up outside. */
	fcntl(fd, F_SETFL, O_NONBLOCK);
	memset(blanks, ' ', sizeof(blanks));
	while (poll(&ready, 1, 200) == 1 && sent < 10000000) {
		ssize_t n = send(fd, blanks, sizeof(blanks), MSG_NOSIGNAL);

		assert_true(n > 0 || errno == EAGAIN);
		sent += n > 0 ? n : 0;
	}
	assert_true(sent < 10000000);
	fcntl(fd, F_SETFL, 0);
	take_floods(fd);
	/* With nothing more from it, room in its socket is news enough. */
	type(fd, text);
	usleep(20000); /* it is blocked now, or comes through anyway */
	take_floods(fd);
	assert_rests(pid);
	end(pid, fd);
	/* Who leaves without his answer leaves nothing behind. */
	pid = start();
	fd = begin();
	type(fd, text);
	close(fd);
	end(pid, begin());
}

static int folder_make(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/socket", folder);
	return 0;
}

static int folder_remove(void **state)
{
	(void)state;
	return rmdir(folder);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_are_taken_apart),
		cmocka_unit_test(a_client_is_greeted_and_answered),
		cmocka_unit_test(messages_come_in_any_pieces),
		cmocka_unit_test(
			what_is_wrong_is_skipped_to_the_end_of_its_line),
		cmocka_unit_test(a_message_that_is_too_much_is_refused),
		cmocka_unit_test(one_client_is_served_after_the_other),
		cmocka_unit_test(who_reads_slowly_holds_up_nobody),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
