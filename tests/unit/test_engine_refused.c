/*
 * A kernel that is short of memory refuses to take more I/O. The engine waits
 * for what is in flight and does the rest itself; it does not ask in vain.
 *
 * A filter of system calls refuses: each test runs in a child process.
 */
#include "unit.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "devices/block/engine.h"
#include "util/checked.h"

enum { RIGHT, NO_RING = 77, WRONG, IN_VAIN };

static int refusal;      /* the -errno of io_uring_enter() */
static int refused;      /* how often */
static int in_flight_to; /* a pipe: what is in flight ends */

/* Stands for the kernel. What is in flight ends as soon as more is refused. */
static void refuse(int signal, siginfo_t *info, void *context)
{
	ucontext_t *at = context;

	(void)signal;
	(void)info;
	at->uc_mcontext.gregs[REG_RAX] = refusal;
	/* What follows is refused once more, when nothing is in flight. */
	if (++refused > 2)
		_exit(IN_VAIN);
	if (refused == 1 && write(in_flight_to, "first", 5) != 5)
		_exit(WRONG);
}

/* From now on io_uring_enter() with anything to submit is refused. */
static bool filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_enter, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(code), code };
	struct sigaction action = { .sa_sigaction = refuse,
				    .sa_flags = SA_SIGINFO };

	return !sigaction(SIGSYS, &action, NULL) &&
	       !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

struct transfer {
	struct host_io io;
	struct iovec iov;
	char bytes[5];
	int err, times;
};

static void transfer_done(struct host_io *io, int err)
{
	struct transfer *t = container_of(io, struct transfer, io);

	t->err = err;
	t->times++;
}

/* Two transfers: one waits for a pipe, and the other is refused. */
static int run(void)
{
	char path[] = "/tmp/kvist-refused-XXXXXX";
	int file = mkstemp(path), fds[2];
	struct host_file_how how = { 0 };
	struct transfer t[2] = { 0 };
	struct engine *engine;
	struct host_file *host;
	bool direct;

	if (uring_create(&engine))
		return NO_RING;
	how.engine = engine;
	if (file < 0 || unlink(path) || pipe(fds) ||
	    pwrite(file, "other", 5, 0) != 5)
		return WRONG;
	in_flight_to = fds[1];
	host = host_file_create_how(file, &how, &direct);
	for (int i = 0; i < 2; i++) {
		t[i].iov = (struct iovec){ t[i].bytes, 5 };
		t[i].io = (struct host_io){ .op = HOST_READ,
					    .iov = &t[i].iov,
					    .iovcnt = 1,
					    .length = 5,
					    .fd = fds[0],
					    .done = transfer_done };
	}
	engine->ops->submit(engine, &t[0].io);
	engine->ops->kick(engine);
	if (!host || t[0].times || !filter())
		return WRONG;
	host_submit(host, &t[1].io);
	engine->ops->kick(engine);
	if (t[0].times != 1 || t[1].times != 1 || t[0].err || t[1].err ||
	    memcmp(t[0].bytes, "first", 5) || memcmp(t[1].bytes, "other", 5))
		return WRONG;
	return refused == 2 ? RIGHT : WRONG;
}

static void a_refusal_waits_for_what_is_in_flight(void **state)
{
	static const int refusals[] = { -EAGAIN, -EBUSY };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			refusal = refusals[i];
			_exit(run());
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == NO_RING) {
			print_message("skipped: the host has no io_uring\n");
			skip();
		}
		assert_int_equal(WEXITSTATUS(status), RIGHT);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_refusal_waits_for_what_is_in_flight),
};

UNIT_MAIN(tests)
