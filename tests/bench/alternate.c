/*
 * alternate: runs several commands in turn, many times, and compares how long
 * each takes to its first byte of output, on either of its outputs, and how
 * long from the first line with MARK in it ("0x2e", the guest's last byte as
 * kvist's trace shows it) to its end.
 *
 *	alternate [-n ROUNDS] [-w WARMUPS] COMMAND...
 *
 * Each COMMAND is one argument, split at blanks. Running them in turn, rather
 * than one after the other, gives each the same weather. Prints for each
 * command the medians in microseconds, the quartiles, and the ratio of its
 * medians to the first command's.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ARGS 64
#define MARK     "0x2e"

extern char **environ;

struct result {
	char *command;
	char *argv[MAX_ARGS];
	double *start; /* microseconds from exec to the first byte */
	double *end;   /* from the mark to the process's end */
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* When the process that writes to @fd has first written @mark; its output ends
 * no later than the process. */
static double time_of_mark(int fd, const char *command)
{
	static char text[65536];
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0) {
		double when = now();

		len += (size_t)n;
		text[len] = 0;
		if (strstr(text, MARK))
			return when;
	}
	fprintf(stderr, "alternate: %s never wrote %s\n", command, MARK);
	exit(1);
}

static void measure(struct result *r, int round)
{
	posix_spawn_file_actions_t actions;
	double begin, byte, mark, done;
	int fds[2], status;
	char first;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		fail("pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 2);
	begin = now();
	if (posix_spawnp(&pid, r->argv[0], &actions, NULL, r->argv, environ))
		fail(r->argv[0]);
	close(fds[1]);
	if (read(fds[0], &first, 1) <= 0)
		fprintf(stderr, "alternate: %s said nothing\n", r->command);
	byte = now();
	mark = time_of_mark(fds[0], r->command);
	while (waitpid(pid, &status, 0) != pid)
		;
	done = now();
	close(fds[0]);
	posix_spawn_file_actions_destroy(&actions);
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		fprintf(stderr, "alternate: %s: status %#x\n", r->command,
			(unsigned)status);
		exit(1);
	}
	if (round >= 0) {
		r->start[round] = byte - begin;
		r->end[round] = done - mark;
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double report(const char *what, double *v, int n, double base)
{
	double median;

	qsort(v, (size_t)n, sizeof(*v), compare);
	median = v[n / 2];
	printf("  %s %9.0f us  (%.0f .. %.0f)", what, median, v[n / 4],
	       v[n * 3 / 4]);
	if (base > 0)
		printf("  ratio %.2f", median / base);
	return median;
}

static void split(struct result *r, char *command)
{
	int n = 0;

	r->command = strdup(command);
	for (char *word = strtok(command, " "); word; word = strtok(NULL, " "))
		if (n < MAX_ARGS - 1)
			r->argv[n++] = word;
	r->argv[n] = NULL;
}

int main(int argc, char **argv)
{
	int rounds = 50, warmups = 3, opt, n;
	double start = 0, end = 0;
	struct result *results;

	while ((opt = getopt(argc, argv, "n:w:")) != -1) {
		if (opt == 'n')
			rounds = atoi(optarg);
		else if (opt == 'w')
			warmups = atoi(optarg);
		else
			return 64;
	}
	n = argc - optind;
	results = calloc((size_t)n, sizeof(*results));
	for (int i = 0; i < n; i++) {
		split(&results[i], argv[optind + i]);
		results[i].start = calloc((size_t)rounds, sizeof(double));
		results[i].end = calloc((size_t)rounds, sizeof(double));
	}
	for (int round = -warmups; round < rounds; round++)
		for (int i = 0; i < n; i++)
			measure(&results[i], round);
	for (int i = 0; i < n; i++) {
		double s, e;

		printf("%s\n", results[i].command);
		s = report("start", results[i].start, rounds, start);
		putchar('\n');
		e = report("end  ", results[i].end, rounds, end);
		putchar('\n');
		if (!i) {
			start = s;
			end = e;
		}
	}
	return 0;
}
