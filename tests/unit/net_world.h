/*
 * A network namespace of the test's own: nothing of the host's network is seen
 * or changed. Without the right to make one, tests say so and are skipped.
 */
#ifndef KVIST_TESTS_NET_WORLD_H
#define KVIST_TESTS_NET_WORLD_H

#include "devices/net/net.h"
#include "devices/net/netif.h"
#include "unit.h"
#include "util/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 65534

static const char *why_not; /* no namespace of our own: the reason */

static inline void sysctl_set(const char *path)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0)
		return; /* a kernel without IPv6 */
	if (write(fd, "1", 1) != 1)
		fail_msg("%s: %s", path, strerror(errno));
	close(fd);
}

static inline int namespace_enter(void **state)
{
	(void)state;
	/* What was inherited may have numbers that a test gives. */
	syscall(SYS_close_range, 3u, ~0u, 0u);
	if (unshare(CLONE_NEWNET))
		why_not = "no right to make a network namespace (run as root)";
	else if (access("/dev/net/tun", R_OK | W_OK))
		why_not = "no access to /dev/net/tun";
	if (why_not)
		return 0;
	/* The host's own neighbour discovery is noise here. */
	sysctl_set("/proc/sys/net/ipv6/conf/all/disable_ipv6");
	sysctl_set("/proc/sys/net/ipv6/conf/default/disable_ipv6");
	return 0;
}

/* A process in a network namespace of its own. */
static inline pid_t elsewhere(void)
{
	int fds[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNET) || write(fds[1], "", 1) < 0)
			_exit(1);
		pause();
	}
	assert_int_equal(read(fds[0], &byte, 1), 1);
	close(fds[0]);
	close(fds[1]);
	return pid;
}

static inline void need_namespace(void)
{
	if (!why_not)
		return;
	print_message("SKIPPED: %s\n", why_not);
	skip();
}

static inline void make_bridge(const char *name)
{
	struct ifreq unused;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (netif_request(name, SIOCGIFINDEX, &unused) == 0) {
		close(fd);
		return;
	}
	assert_int_equal(ioctl(fd, SIOCBRADDBR, name), 0);
	close(fd);
	assert_int_equal(netif_set_up(name), 0);
}

/* A tap or tun as a user's script would make it: it stays. */
static inline void tap_make(const char *name, short flags, uid_t owner)
{
	struct ifreq ifr = { .ifr_flags = flags };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	assert_int_equal(ioctl(fd, TUNSETPERSIST, 1), 0);
	assert_int_equal(ioctl(fd, TUNSETOWNER, (unsigned long)owner), 0);
	close(fd);
}

/* Runs @tests in what @enter makes; 77 when not all could run. */
#define NAMESPACE_MAIN(tests, enter)                                           \
	int main(int argc, char **argv)                                        \
	{                                                                      \
		int failed;                                                    \
                                                                               \
		if (argc > 1)                                                  \
			cmocka_set_test_filter(argv[1]);                       \
		failed = cmocka_run_group_tests(tests, enter, NULL);           \
		return failed || !why_not ? failed : 77;                       \
	}

#endif
