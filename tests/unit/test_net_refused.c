/*
 * Networks that cannot be opened as they are asked for: each is refused in one
 * line that says what to do, whoever the user is.
 */
#include "net_world.h"
#include "said.h"

#include "devices/net/tap.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

/* What a user may be: each is a child process, so that it can be left. */
enum user { ROOT, STRANGER, NO_TUN, LOCKED_TUN };
/* Descriptors that it is handed. */
enum { FD_NONE = 60, FD_FILE, FD_TUN, FD_BARE, FD_TAP };

static void tun_hide(enum user user)
{
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/dev/net", "tmpfs", 0, NULL))
		_exit(100);
	if (user == NO_TUN)
		return;
	umask(0);
	if (mknod("/dev/net/tun", S_IFCHR | (user == LOCKED_TUN ? 0600 : 0666),
		  makedev(10, 200)))
		_exit(101);
}

/* net_open() as @user; its messages go to @text. Returns its error. */
static int open_as(enum user user, const struct net_options *options,
		   char *text, size_t size)
{
	struct said said = said_begin();
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		struct net_backend *net;
		int err;

		if (user != ROOT)
			tun_hide(user);
		if ((user == STRANGER || user == LOCKED_TUN) &&
		    (setgid(NOBODY) || setuid(NOBODY)))
			_exit(102);
		err = net_open(options, &net);
		if (!err)
			net_close(net);
		_exit(-err);
	}
	waitpid(pid, &status, 0);
	said_end(said, text, size);
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

#define ON_BRIDGE(...)                                                         \
	{                                                                      \
		.kind = NET_BRIDGE, .ifname = __VA_ARGS__                      \
	}
#define ON_FD(...)                                                             \
	{                                                                      \
		.kind = NET_FD, .ifname = "3", .fd = __VA_ARGS__               \
	}
#define ON_TAP(...)                                                            \
	{                                                                      \
		.kind = NET_TAP, .ifname = __VA_ARGS__                         \
	}

static const struct failure {
	enum user user;
	struct net_options options;
	int err;
	const char *says;
} failures[] = {
	{ ROOT, ON_BRIDGE("nobr"), -ENODEV,
	  "say bridge=nobr,create, or make it with: sudo kvist net create "
	  "nobr" },
	{ ROOT, ON_BRIDGE("ours", .create = true), -ENODEV,
	  "not a Linux bridge" },
	{ STRANGER, ON_BRIDGE("nobr", .create = true), -EPERM,
	  "CAP_NET_ADMIN): run as root, or once: sudo kvist net "
	  "create nobr" },
	{ ROOT, ON_BRIDGE("br0", .vlan = 10), -EOPNOTSUPP,
	  "ip link set br0 type bridge vlan_filtering 1" },
	{ ROOT, ON_BRIDGE("br0", .mtu = 9000), -EMSGSIZE,
	  "ip link set br0 mtu 9000" },
	{ ROOT, ON_BRIDGE("br0", .mtu = 1500), 0, "" },
	{ ROOT, ON_TAP("ours", .mtu = 1501), -EMSGSIZE,
	  "ip link set ours mtu 1501" },
	{ ROOT, ON_BRIDGE("lo"), -ENODEV, "not a Linux bridge" },
	{ ROOT, ON_BRIDGE("ours"), -ENODEV, "not a Linux bridge" },
	{ ROOT, ON_TAP("notap"), -ENODEV,
	  "ip tuntap add dev notap mode tap user $USER" },
	{ ROOT, ON_TAP("lo"), -EINVAL, "not a tap" },
	{ ROOT, ON_TAP("br0"), -EINVAL, "not a tap" },
	{ ROOT, ON_TAP("atun"), -EINVAL, "not a tap" },
	{ ROOT, ON_TAP("busy"), -EBUSY, "in use" },
	{ ROOT, ON_TAP("many"), 0, "" },
	{ ROOT, ON_TAP("many", .queues = 3), 0, "" },
	{ ROOT, ON_TAP("ours", .queues_auto = 4), 0, "" },
	{ ROOT, ON_TAP("ours", .queues = 4), -EINVAL, "multi_queue" },
	{ ROOT, ON_TAP("ours"), 0, "" },
	{ STRANGER, ON_BRIDGE("br0"), -EPERM,
	  "sudo ip tuntap add dev tap0 mode tap user $USER && sudo ip "
	  "link set tap0 master br0 up" },
	{ STRANGER, ON_TAP("ours"), -EPERM, "another user" },
	/* Its own, and up: no right is needed, nothing is said. */
	{ STRANGER, ON_TAP("theirs"), 0, "" },
	{ STRANGER, ON_TAP("down"), 0, "ip link set down up" },
	/* A descriptor needs no right at all. */
	{ STRANGER, ON_FD(FD_TAP), 0, "" },
	{ STRANGER, ON_FD(FD_TAP, .mtu = 1501), -EMSGSIZE,
	  "ip link set handed mtu 1501" },
	{ ROOT, ON_FD(FD_NONE), -EBADF, "no such descriptor is open" },
	{ ROOT, ON_FD(FD_FILE), -ENOTTY, "not a tap" },
	{ ROOT, ON_FD(FD_TUN), -ENOTTY, "not a tap" },
	{ ROOT, ON_FD(FD_BARE), -EINVAL, "IFF_VNET_HDR" },
	{ ROOT, ON_TAP("made", .create = true), 0, "" },
	{ ROOT, ON_TAP("made", .create = true, .mtu = 9000), 0, "" },
	{ ROOT, ON_TAP("made", .create = true, .mtu = 65535), -EINVAL,
	  "cannot set its MTU" },
	{ STRANGER, ON_TAP("made", .create = true), -EPERM,
	  "CAP_NET_ADMIN): run as root, or once: sudo ip tuntap add "
	  "dev made mode tap user $USER" },
	{ ROOT, ON_TAP("ours", .up = "exit 3;"), -ECANCELED,
	  "net up=exit 3;: it ended with exit code 3" },
	{ ROOT, ON_TAP("ours", .up = "kill -9 $$;"), -ECANCELED, "signal 9" },
	{ ROOT, ON_TAP("ours", .down = "exit 4;"), 0,
	  "net down=exit 4;: it ended with exit code 4" },
	{ LOCKED_TUN, ON_TAP("theirs"), -EACCES, "chmod 0666 /dev/net/tun" },
	{ LOCKED_TUN, ON_BRIDGE("br0"), -EACCES, "/dev/net/tun" },
	{ NO_TUN, ON_TAP("ours"), -ENOENT, "modprobe tun" },
	{ NO_TUN, ON_BRIDGE("br0"), -ENOENT, "modprobe tun" },
};

/* Taps of all kinds, a tun, and descriptors; returns who has "busy" open. */
static struct net_backend *make_interfaces(void)
{
	static const short flags[] = { [FD_TUN - FD_TUN] = IFF_TUN | IFF_NO_PI,
				       [FD_BARE - FD_TUN] = IFF_TAP | IFF_NO_PI,
				       [FD_TAP - FD_TUN] = IFF_TAP | IFF_NO_PI |
							   IFF_VNET_HDR };
	static const char *const names[] = { "atun2", "bare", "handed" };
	struct net_options busy = { .kind = NET_TAP, .ifname = "busy" };
	struct net_backend *holder;

	tap_make("ours", IFF_TAP | IFF_NO_PI, 0);
	tap_make("busy", IFF_TAP | IFF_NO_PI, 0);
	tap_make("many", IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE, 0);
	tap_make("atun", IFF_TUN | IFF_NO_PI, 0);
	tap_make("theirs", IFF_TAP | IFF_NO_PI, NOBODY);
	tap_make("down", IFF_TAP | IFF_NO_PI, NOBODY);
	assert_int_equal(netif_set_up("theirs"), 0);
	assert_int_equal(net_open(&busy, &holder), 0);
	assert_int_equal(dup2(STDIN_FILENO, FD_FILE), FD_FILE);
	for (int i = 0; i < 3; i++) {
		struct ifreq ifr = { .ifr_flags = flags[i] };
		int fd = open("/dev/net/tun", O_RDWR);

		strncpy(ifr.ifr_name, names[i], IFNAMSIZ - 1);
		assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
		assert_int_equal(dup2(fd, FD_TUN + i), FD_TUN + i);
		close(fd);
	}
	return holder;
}

static void every_failure_is_one_line_that_says_what_to_do(void **state)
{
	struct net_backend *holder;
	char text[2048];

	(void)state;
	need_namespace();
	make_bridge("br0");
	holder = make_interfaces();
	for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
		int err = open_as(failures[i].user, &failures[i].options, text,
				  sizeof(text));
		char *line_end = strchr(text, '\n');

		if (err != failures[i].err || !strstr(text, failures[i].says) ||
		    (*failures[i].says && (!line_end || line_end[1])) ||
		    (!*failures[i].says && *text))
			fail_msg("case %zu: %d: %s", i, err, text);
	}
	for (int fd = FD_FILE; fd <= FD_TAP; fd++)
		close(fd);
	holder->ops->close(holder);
	/* Nothing is left of the failed ones. */
	assert_int_equal(netif_index("kvist0"), -ENODEV);
	assert_int_equal(netif_index("made"), -ENODEV);
}

static void a_tap_of_several_queues_is_for_one_at_a_time(void **state)
{
	static const struct net_options asked[] = {
		ON_TAP("wide"),
		ON_TAP("wide", .queues_auto = 2),
		ON_TAP("wide", .queues = 2),
		ON_TAP("wide", .create = true),
	};
	struct net_options wide = ON_TAP("wide", .queues = 2);
	struct net_backend *holder, *other;

	(void)state;
	need_namespace();
	tap_make("wide", IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE, 0);
	assert_int_equal(tap_queues("wide").open, 0);
	assert_int_equal(net_open(&wide, &holder), 0);
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		/* Also while its guest uses only one of them. */
		assert_int_equal(holder->ops->enable(holder->next, i & 2), 0);
		assert_int_equal(net_open(&asked[i], &other), -EBUSY);
		/* Nor if the holder came between the question and this. */
		assert_int_equal(tap_open("wide", 1 + i % 2, &other), -EBUSY);
		assert_int_equal(tap_queues("wide").open, i & 2 ? 2 : 1);
	}
	/* Queues that get no frames are in nobody's way. */
	for (other = holder; other; other = other->next)
		assert_int_equal(other->ops->enable(other, false), 0);
	assert_int_equal(net_open(&wide, &other), 0);
	net_close(other);
	net_close(holder);
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		assert_int_equal(net_open(&asked[i], &other), 0);
		net_close(other);
	}
}

static void a_tap_that_has_gone_keeps_nothing_from_being_stopped(void **state)
{
	struct net_options goes = ON_TAP("goes", .queues = 2);
	struct net_backend *net;

	(void)state;
	need_namespace();
	tap_make("goes", IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE, 0);
	assert_int_equal(net_open(&goes, &net), 0);
	assert_int_equal(system("ip link del goes"), 0);
	assert_int_equal(net->ops->enable(net->next, false), 0);
	assert_int_equal(net->ops->set_steering(net, NULL, 0), 0);
	assert_int_equal(net->ops->set_offloads(net, 0), 0);
	net_close(net);
}

/* The bridge module alone would not help. */
static void
a_kernel_whose_bridges_know_no_vlans_is_told_from_one_without(void **state)
{
	struct net_options options =
		ON_BRIDGE("apart", .create = true, .vlan = 10);
	char text[2048];
	int err;

	(void)state;
	need_namespace();
	err = open_as(ROOT, &options, text, sizeof(text));
	if (err)
		assert_int_equal(err, -EOPNOTSUPP);
	assert_int_equal(!err, !strstr(text, "lacks CONFIG_BRIDGE_VLAN_"
					     "FILTERING, or: modprobe bridge"));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(
		a_kernel_whose_bridges_know_no_vlans_is_told_from_one_without),
	cmocka_unit_test(a_tap_of_several_queues_is_for_one_at_a_time),
	cmocka_unit_test(a_tap_that_has_gone_keeps_nothing_from_being_stopped),
	cmocka_unit_test(every_failure_is_one_line_that_says_what_to_do),
};

NAMESPACE_MAIN(tests, namespace_enter)
