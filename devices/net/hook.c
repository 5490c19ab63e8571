#include "devices/net/hook.h"

#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The line that the shell is given: what comes first, the command, the tap. */
#define LINE "%s%s \"$1\""

/*
 * The shell that waits for the end of its input ignores the signals by which a
 * terminal, or a user, ends all processes: its turn is still to come.
 */
#define WAIT                                                                   \
	"trap '' HUP INT TERM; read -r _; trap - HUP INT TERM; "               \
	"exec </dev/null; "

struct hook {
	char *command;
	pid_t pid;
	int fd; /* its standard input's other end */
};

/* The environment of the command, one malloc() for each of its own three
 * lines; NULL without memory. */
#define OWN_LINES 3

static void environment_free(char **env)
{
	for (int i = 0; i < OWN_LINES && env; i++)
		free(env[i]);
	free(env);
}

static char **environment(const char *kind, const struct hook_event *event)
{
	size_t count = 0, n = OWN_LINES;
	char **env;

	while (environ[count])
		count++;
	env = calloc(count + OWN_LINES + 1, sizeof(*env));
	if (!env)
		return NULL;
	if (asprintf(&env[0], "KVIST_HOOK=%s", kind) < 0)
		env[0] = NULL;
	if (asprintf(&env[1], "KVIST_TAP=%s", event->tap) < 0)
		env[1] = NULL;
	if (asprintf(&env[2], "KVIST_BRIDGE=%s",
		     event->bridge ? event->bridge : "") < 0)
		env[2] = NULL;
	if (!env[0] || !env[1] || !env[2]) {
		environment_free(env);
		return NULL;
	}
	for (size_t i = 0; i < count; i++) {
		if (strncmp(environ[i], "KVIST_", 6))
			env[n++] = environ[i];
	}
	return env;
}

/* sh(1) with @line, its standard input @fd, with no signal blocked or ignored,
 * in a session of its own: its pid, or -errno. */
static pid_t spawn(char *line, const char *kind, const struct hook_event *event,
		   int fd)
{
	static char shell[] = "sh", dash_c[] = "-c", name[] = "kvist-hook";
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	char tap[32];
	char *argv[] = { shell, dash_c, line, name, tap, NULL };
	char **env = environment(kind, event);
	sigset_t none, all;
	pid_t pid;
	int err;

	if (!env)
		return -ENOMEM;
	snprintf(tap, sizeof(tap), "%s", event->tap);
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
	/* The other one may be the guest's console. */
	posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO,
					 STDOUT_FILENO);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETSID);
	err = posix_spawn(&pid, "/bin/sh", &actions, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	environment_free(env);
	return err ? -err : pid;
}

static pid_t start(const char *before, const char *command, const char *kind,
		   const struct hook_event *event, int fd)
{
	char *line;
	pid_t pid;

	if (asprintf(&line, LINE, before, command) < 0)
		return -ENOMEM;
	pid = spawn(line, kind, event, fd);
	free(line);
	return pid;
}

static int wait_for(pid_t pid, const char *kind, const char *command)
{
	int status, err;

	do
		err = waitpid(pid, &status, 0) < 0 ? -errno : 0;
	while (err == -EINTR);
	if (err) {
		log_err("net %s=%s: %s", kind, command, strerror(-err));
		return err;
	}
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	log_err("net %s=%s: it ended with %s %d", kind, command,
		WIFEXITED(status) ? "exit code" : "signal",
		WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	return -ECANCELED;
}

/* True when SIGINT or SIGTERM came before @pid ended: the machine keeps them
 * blocked, and reads no more of them. Not SIGHUP, of which a terminal that is
 * closed sends two. */
static bool given_up(pid_t pid)
{
	struct pollfd fds[2] = { { .events = POLLIN }, { .events = POLLIN } };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	fds[0].fd = syscall(SYS_pidfd_open, pid, 0);
	if (fds[0].fd < 0)
		return false; /* Linux 5.2 and before */
	fds[1].fd = signalfd(-1, &set, SFD_CLOEXEC);
	while (poll(fds, 2, -1) < 0 && errno == EINTR)
		;
	close(fds[0].fd);
	if (fds[1].fd >= 0)
		close(fds[1].fd);
	return fds[1].revents && !fds[0].revents;
}

int hook_run(const char *command, const struct hook_event *event)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pid_t pid = fd < 0 ? -errno : start("", command, "up", event, fd);

	if (fd >= 0)
		close(fd);
	if (pid > 0)
		return wait_for(pid, "up", command);
	log_err("net up=%s: cannot run it: %s", command, strerror(-pid));
	return pid;
}

int hook_prepare(const char *command, const struct hook_event *event,
		 struct hook **hook)
{
	struct hook *new = calloc(1, sizeof(*new));
	int fds[2] = { -1, -1 };
	int err = new ? 0 : -ENOMEM;

	if (!err && pipe2(fds, O_CLOEXEC))
		err = -errno;
	if (!err) {
		new->command = strdup(command);
		new->fd = fds[1];
		new->pid = start(WAIT, command, "down", event, fds[0]);
		err = !new->command ? -ENOMEM : new->pid < 0 ? new->pid : 0;
	}
	if (fds[0] >= 0)
		close(fds[0]);
	if (!err) {
		*hook = new;
		return 0;
	}
	log_err("net down=%s: cannot prepare it: %s", command, strerror(-err));
	if (fds[1] >= 0)
		close(fds[1]);
	if (new)
		free(new->command);
	free(new);
	return err;
}

void hook_finish(struct hook *hook)
{
	if (!hook)
		return;
	close(hook->fd);
	if (given_up(hook->pid))
		log_warn("net down=%s: it goes on by itself", hook->command);
	else
		wait_for(hook->pid, "down", hook->command);
	free(hook->command);
	free(hook);
}
