/*
 * A network card of a host with all that may be on one, in a network namespace
 * of the test's own, for bridges to take over, with ip(8) as the witness.
 */
#ifndef KVIST_TESTS_BRIDGE_WORLD_H
#define KVIST_TESTS_BRIDGE_WORLD_H

#include "devices/net/bridge_move.h"
#include "net_world.h"
#include "said.h"

#include <sys/wait.h>

static inline bool shell(const char *commands)
{
	return system(commands) == 0;
}

static const char links[] =
	"set -e; ip link set lo up;"
	"echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad;"
	"ip link add eth0 type veth peer name wire0;"
	"ip link add eth1 type veth peer name wire1;"
	"for i in wire0 wire1 eth1; do ip link set $i up; done;"
	"ip link set eth0 up mtu 1400";

/* A card with all that may be on one, and another whose routes stay. */
static const char card[] =
	"set -e;"
	"ip address add 192.0.2.5/24 brd + dev eth0;"
	"ip address add 192.0.2.6/24 dev eth0 label eth0:1;"
	"ip address add 192.0.2.7/24 dev eth0 valid_lft 9000 preferred_lft 900;"
	"ip address add 198.51.100.5/25 dev eth1;"
	"ip address add 2001:db8::5/64 dev eth0;"
	"ip address add 2001:db8::6/64 dev eth0 noprefixroute;"
	"ip address add 198.51.100.133/26 dev eth0 noprefixroute;"
	"ip address add 2001:db8:3::5/64 dev eth0 noprefixroute;"
	"ip route add 198.51.100.128/26 dev eth0 proto kernel scope link "
	"src 198.51.100.133 metric 100;"
	"ip -6 route add 2001:db8:3::/64 dev eth0 proto kernel metric 100;"
	"ip route add local 203.0.113.10 dev eth0;"
	"ip route add 203.0.113.9 via 198.51.100.129;"
	"ip route add default via 192.0.2.1 metric 100;"
	"ip route add default via 198.51.100.1 metric 200;"
	"ip route add 203.0.113.0/25 dev eth0 proto static scope link;"
	"ip route add 203.0.113.128/25 via 203.0.113.1 mtu 1300;"
	"ip route add 198.51.100.128/25 via 192.0.2.1 src 192.0.2.6 table 77;"
	"ip -6 route add default via 2001:db8::1 pref high;"
	"ip -6 route add 2001:db8:2::/48 via 2001:db8::1 src 2001:db8::6;"
	"ip -6 route add 2001:db8:4::/48 via 2001:db8:3::1;"
	"ip -6 route add 2001:db8:1::/48 via fe80::1 dev eth0 metric 7";

/* Another, for tests of their own. */
static const char eth2[] = "ip link add eth2 type veth peer name wire2 && "
			   "ip link set wire2 up && ip link set eth2 up";

/* IPv6 appears in a kernel's own time, after a link is up. */
static const char settled[] =
	"for i in $(seq 100); do"
	" [ $(ip -6 address show scope link | grep -c fe80) = 4 ] && break;"
	" sleep 0.02; done";

static inline int card_enter(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET))
		why_not = "no right to make a network namespace (run as root)";
	else if (!shell(links))
		why_not = "the kernel makes no veth, or ip(8) is missing";
	else if (!shell(settled) || !shell(card))
		why_not = "a card does not get its addresses and routes";
	return 0;
}

/* What @command prints; the caller frees it. */
static inline char *output(const char *command)
{
	FILE *from = popen(command, "r");
	char *text = calloc(1, 65536);

	assert_true(from && text);
	assert_true(fread(text, 1, 65535, from) < 65535);
	assert_int_equal(pclose(from), 0);
	return text;
}

/* All of the network that may be seen, but for its clocks, and for how far the
 * kernel is with bringing a link up. It enters the local route of an IPv6
 * address some time after the address. */
static inline char *network(const char *unused)
{
	(void)unused;
	return output("for i in $(seq 100); do"
		      " [ $(ip -6 -o address show up | wc -l) ="
		      " $(ip -6 route show table local type local | wc -l) ]"
		      " && break; sleep 0.02; done;"
		      " { printf 'link\\naddress\\nroute show table all\\n"
		      "rule\\nneigh show nud permanent\\n' |"
		      " ip -d -o -batch -; ip -6 route show table all; } |"
		      " sed -E 's/(valid|preferred)_lft [0-9]+sec//g;"
		      " s/[a-z_]+_timer +[0-9.]+//g; s/state [A-Z]+//'");
}

/* What is on an interface, called X. */
static inline char *config_of(const char *name)
{
	char command[512];

	snprintf(
		command, sizeof(command),
		"{ ip -o address show dev %s scope global;"
		" ip route show table all dev %s;"
		" ip -6 route show table all dev %s; } | sed -E "
		"'/fe80::.*(proto kernel)|^multicast|^local.*proto kernel/d; s/^[0-9]+: //;"
		" s/%s/X/g; s/(valid|preferred)_lft [0-9]+sec//g'",
		name, name, name, name);
	return output(command);
}

/* What @look tells becomes what it was: the kernel enters some of it in its own
 * time. */
static inline void assert_same(const char *before,
			       char *(*look)(const char *name),
			       const char *name, const char *when)
{
	char *after = look(name);

	for (int i = 0; i < 100 && strcmp(before, after); i++) {
		usleep(20000);
		free(after);
		after = look(name);
	}
	if (strcmp(before, after)) {
		fprintf(stdout, "before:\n%s\nafter:\n%s\n", before, after);
		fail_msg("%s", when);
	}
	free(after);
}

/* Standard error goes nowhere, until loudly() gets what this returns. */
static inline int quietly(void)
{
	int kept = dup(STDERR_FILENO), fd = open("/dev/null", O_WRONLY);

	dup2(fd, STDERR_FILENO);
	close(fd);
	return kept;
}

static inline void loudly(int kept)
{
	dup2(kept, STDERR_FILENO);
	close(kept);
}

/* As a user who may do nothing, or as root; what was said goes to @text. */
static inline int refused_as(uid_t user, const char *bridge, const char *port,
			     bool dissolves, char *text, size_t size)
{
	struct said said = said_begin();
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		if (user && (setgid(user) || setuid(user)))
			_exit(99);
		_exit(-(dissolves ? bridge_dissolve(bridge, MOVE_NO_FAULT)
				  : bridge_adopt(bridge, port, MOVE_NO_FAULT)));
	}
	waitpid(pid, &status, 0);
	said_end(said, text, size);
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

#endif
