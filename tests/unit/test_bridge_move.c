/*
 * A bridge takes the host's network card and gives it back, in a network
 * namespace of this process's own, with ip(8) as the witness.
 */
#include "devices/net/bridge_move.h"
#include "net_world.h"
#include "said.h"

#include <sys/wait.h>

#define STEPS_MAX 64

static bool shell(const char *commands)
{
	return system(commands) == 0;
}

/* A card with all that may be on one, and another whose routes stay. */
static const char card[] =
	"set -e; ip link set lo up;"
	"echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad;"
	"ip link add eth0 type veth peer name wire0;"
	"ip link add eth1 type veth peer name wire1;"
	"for i in wire0 wire1 eth1; do ip link set $i up; done;"
	"ip link set eth0 up mtu 1400;"
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

static int card_enter(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET))
		why_not = "no right to make a network namespace (run as root)";
	else if (!shell(card))
		why_not = "the kernel makes no veth, or ip(8) is missing";
	else if (!shell(settled))
		why_not = "no shell";
	return 0;
}

/* What @command prints; the caller frees it. */
static char *output(const char *command)
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
static char *network(const char *unused)
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
static char *config_of(const char *name)
{
	char command[512];

	snprintf(command, sizeof(command),
		 "{ ip -o address show dev %s scope global;"
		 " ip route show table all dev %s;"
		 " ip -6 route show table all dev %s; } | sed -E "
		 "'/fe80::.*(proto kernel)|^multicast|^local/d; s/^[0-9]+: //;"
		 " s/%s/X/g; s/(valid|preferred)_lft [0-9]+sec//g'",
		 name, name, name, name);
	return output(command);
}

/* What @look tells becomes what it was: the kernel enters some of it in its own
 * time. */
static void assert_same(const char *before, char *(*look)(const char *name),
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
static int quietly(void)
{
	int kept = dup(STDERR_FILENO), fd = open("/dev/null", O_WRONLY);

	dup2(fd, STDERR_FILENO);
	close(fd);
	return kept;
}

static void loudly(int kept)
{
	dup2(kept, STDERR_FILENO);
	close(kept);
}

static void what_is_on_a_card_moves_to_the_bridge_and_back(void **state)
{
	char *before, *on_card, *nothing;

	(void)state;
	need_namespace();
	before = network(NULL);
	on_card = config_of("eth0");
	assert_non_null(strstr(on_card, "192.0.2.6/24"));
	assert_non_null(strstr(on_card, "X:1"));
	assert_non_null(strstr(on_card, "2001:db8:1::/48 via fe80::1"));
	assert_int_equal(bridge_adopt("br0", "eth0", MOVE_NO_FAULT), 0);
	assert_same(on_card, config_of, "br0", "on the bridge");
	nothing = config_of("eth0");
	assert_string_equal(nothing, "");
	free(nothing);
	/* The bridge has the card's address and MTU. */
	assert_true(shell("ip -o link show br0 | grep -q 'mtu 1400' && "
			  "[ \"$(ip -o link show br0 | grep -o 'ether [^ ]*')\""
			  " = \"$(ip -o link show eth0 | "
			  "grep -o 'ether [^ ]*')\" ]"));
	assert_int_equal(bridge_dissolve("br0", MOVE_NO_FAULT), 0);
	assert_same(before, network, NULL, "given back");
	free(before);
	free(on_card);
}

/* Every step in turn fails; at last none does. How many there were. */
static int fail_in_turn(int (*move)(int fault))
{
	char *before = network(NULL);
	char when[40];
	int fault = 0;

	for (; fault < STEPS_MAX; fault++) {
		int err = move(fault);

		if (!err)
			break;
		assert_int_equal(err, -EIO);
		snprintf(when, sizeof(when), "step %d failed", fault);
		assert_same(before, network, NULL, when);
	}
	free(before);
	return fault;
}

static int adopt(int fault)
{
	return bridge_adopt("br0", "eth0", fault);
}

static int dissolve(int fault)
{
	return bridge_dissolve("br0", fault);
}

static void a_fault_at_any_step_leaves_the_network_as_it_was(void **state)
{
	int steps, kept = quietly();

	(void)state;
	need_namespace();
	steps = fail_in_turn(adopt);
	assert_in_range(steps, 3 + 2 * 20, STEPS_MAX - 1);
	assert_int_equal(fail_in_turn(dissolve), steps - 2);
	loudly(kept);
}

/* NetworkManager's addresses bring no route along: it makes that itself, as if
 * it were the kernel. */
static void a_connected_route_moves_whoever_made_it(void **state)
{
	static const char managed[] =
		"set -e; ip address add 198.51.100.197/26 dev eth2 "
		"noprefixroute; ip route add 198.51.100.192/26 dev eth2 "
		"proto kernel scope link src 198.51.100.197 metric 100;"
		"ip address add 2001:db8:8::5/64 dev eth2 noprefixroute;"
		"ip -6 route add 2001:db8:8::/64 dev eth2 proto kernel "
		"metric 100";
	static const char *const gateways[] = {
		"true",
		"ip route add default via 198.51.100.193 metric 50",
		"ip -6 route add default via 2001:db8:8::1 metric 50",
		"ip route add default via inet6 2001:db8:8::1 metric 50",
		("ip route add default via 192.0.2.200 dev eth2 onlink "
		 "metric 50 && ip -6 route add default via 2001:db8:9::1 dev "
		 "eth2 onlink metric 50"),
		("ip route del 198.51.100.192/26 dev eth2 && "
		 "ip -6 route del 2001:db8:8::/64 dev eth2 && "
		 "ip route add default via 192.0.2.200 dev eth2 onlink "
		 "metric 50"),
		/* Addresses of both kinds in one network. */
		("ip address add 198.51.100.198/26 dev eth2 && "
		 "ip address add 2001:db8:8::6/64 dev eth2"),
	};
	char *before, *on_card;

	(void)state;
	need_namespace();
	for (size_t i = 0; i < ARRAY_SIZE(gateways); i++) {
		assert_true(shell(eth2) && shell(managed) &&
			    shell(gateways[i]));
		before = network(NULL);
		on_card = config_of("eth2");
		assert_int_equal(bridge_adopt("br2", "eth2", MOVE_NO_FAULT), 0);
		assert_same(on_card, config_of, "br2", gateways[i]);
		assert_same("", config_of, "eth2", "nothing is on the card");
		assert_int_equal(bridge_dissolve("br2", MOVE_NO_FAULT), 0);
		assert_same(before, network, NULL, gateways[i]);
		free(before);
		free(on_card);
		assert_true(shell("ip link del eth2"));
	}
}

/* The address's route is the port's own, too. What comes later than this would
 * change which of two equal routes is the first. */
static void what_a_port_has_of_its_own_stays(void **state)
{
	char *before;
	int kept;

	(void)state;
	need_namespace();
	assert_true(shell(eth2));
	assert_true(shell("ip address add 2001:db8:8::5/64 dev eth2"));
	assert_int_equal(bridge_adopt("br2", "eth2", MOVE_NO_FAULT), 0);
	assert_true(shell("ip address add 2001:db8:8::9/64 dev eth2"));
	before = network(NULL);
	kept = quietly();
	for (int fault = 0; fault < 3; fault++) {
		assert_int_equal(bridge_dissolve("br2", fault), -EIO);
		assert_same(before, network, NULL, "a step failed");
	}
	loudly(kept);
	free(before);
	assert_int_equal(bridge_dissolve("br2", MOVE_NO_FAULT), 0);
	assert_true(shell("ip link del eth2"));
}

/* As a user who may do nothing, or as root; what was said goes to @text. */
static int refused_as(uid_t user, const char *bridge, const char *port,
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

/* What is put back onto a card is not all as it was: equal routes change their
 * order, static neighbours and the temporary are gone for good. */
static void what_the_bridge_cannot_take_was_never_off_the_card(void **state)
{
	static const char more[] =
		"set -e; echo 2 >/proc/sys/net/ipv6/conf/eth0/use_tempaddr;"
		"ip address add 2001:db8:7::5/64 dev eth0 mngtmpaddr;"
		"ip neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev eth0;"
		"ip route add 10.0.0.0/8 via 192.0.2.1 dev eth0;"
		"ip route append 10.0.0.0/8 via 198.51.100.1 dev eth1;"
		"ip route add default via 192.0.2.1 table 88;"
		"ip rule add iif eth0 lookup 88;"
		"echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6";
	static const char less[] =
		"set -e; echo 0 >/proc/sys/net/ipv6/conf/default/disable_ipv6;"
		"ip address del 2001:db8:7::5/64 dev eth0;"
		"ip route del 10.0.0.0/8 dev eth1;"
		"ip route del 10.0.0.0/8 dev eth0;"
		"ip route del default table 88; ip rule del iif eth0;"
		"ip neigh del 192.0.2.77 dev eth0";
	char text[1024], *before;

	(void)state;
	need_namespace();
	assert_true(shell(more));
	before = network(NULL);
	assert_int_equal(
		refused_as(0, "br0", "eth0", false, text, sizeof(text)),
		-EACCES);
	assert_non_null(strstr(text, "onto br0: IPv6 is turned off there"));
	assert_same(before, network, NULL, "the kernel refused an address");
	free(before);
	assert_true(shell(less));
}

static void a_card_that_was_down_is_down_again(void **state)
{
	char *before;
	int kept;

	(void)state;
	need_namespace();
	assert_true(shell("ip link add eth2 type veth peer name wire2 && "
			  "ip address add 192.0.2.130/25 dev eth2 && "
			  "ip link set eth2 up && ip link set eth2 down"));
	before = network(NULL);
	kept = quietly();
	for (int fault = 0; fault < 5; fault++) {
		assert_int_equal(bridge_adopt("br2", "eth2", fault), -EIO);
		assert_same(before, network, NULL, "a step failed");
	}
	loudly(kept);
	free(before);
	assert_int_equal(bridge_adopt("br2", "eth2", MOVE_NO_FAULT), 0);
	assert_true(shell("ip -o link show eth2 | grep -q '[<,]UP[,>]'"));
	assert_int_equal(bridge_dissolve("br2", MOVE_NO_FAULT), 0);
	assert_true(shell("ip link del eth2"));
}

static void a_bridge_may_have_no_port_at_all(void **state)
{
	char *before;

	(void)state;
	need_namespace();
	before = network(NULL);
	assert_int_equal(bridge_adopt("br3", NULL, MOVE_NO_FAULT), 0);
	assert_true(shell("ip -o link show br3 | grep -q '[<,]UP[,>]'"));
	assert_true(shell("ip address add 192.0.2.129/25 dev br3"));
	assert_int_equal(bridge_dissolve("br3", MOVE_NO_FAULT), 0);
	assert_same(before, network, NULL, "gone");
	free(before);
}

/* And to another only when the user has said so. */
static void only_the_card_whose_place_it_took_gets_all_back(void **state)
{
	static const char *const bridges[] = {
		/* ip(8) made it: it has the port's MAC by itself. */
		"ip link add br2 type bridge; ip link set br2 up;"
		"ip link set eth2 master br2",
		/* Ours, with another MAC since. */
		"ip link set br2 address 02:00:00:00:00:99",
		/* Ours, with another card since. */
		"ip link set eth2 nomaster; ip link del eth2;"
		"ip link add eth2 type veth peer name wire2;"
		"ip link set eth2 master br2; ip link set eth2 up",
		"ip link set br2 alias eth2-and-some-more",
	};
	char text[1024], cure[1200], *before, *at;

	(void)state;
	need_namespace();
	for (size_t i = 0; i < ARRAY_SIZE(bridges); i++) {
		assert_true(shell(eth2));
		if (i)
			assert_int_equal(
				bridge_adopt("br2", "eth2", MOVE_NO_FAULT), 0);
		assert_true(shell(bridges[i]) &&
			    shell("ip address add 192.0.2.200/25 dev br2"));
		before = network(NULL);
		assert_int_equal(
			refused_as(0, "br2", NULL, true, text, sizeof(text)),
			-EBUSY);
		assert_same(before, network, NULL, bridges[i]);
		free(before);
		at = strstr(text, "ip link set br2 ");
		assert_non_null(at);
		snprintf(cure, sizeof(cure),
			 "unshare -m sh -c 'mount -t sysfs none /sys && %s'",
			 at);
		assert_true(shell(cure));
		assert_int_equal(bridge_dissolve("br2", MOVE_NO_FAULT), 0);
		assert_true(shell("ip address show eth2 | grep -q 192.0.2.200 "
				  "&& ip link del eth2"));
	}
}

static void a_refusal_is_one_line_and_changes_nothing(void **state)
{
	static const struct {
		uid_t user;
		const char *bridge, *port;
		bool dissolves;
		int err;
		const char *says;
	} cases[] = {
		{ 0, "eth0", NULL, false, -EEXIST, "already" },
		{ 0, "br5", "eth1", false, -EEXIST,
		  "ip link set eth1 master br5" },
		{ 0, "br9", "nowhere0", false, -ENODEV, "nowhere0" },
		{ 0, "br9", "lo", false, -EINVAL, "only an Ethernet card" },
		{ 0, "br9", "br5", false, -EINVAL, "only an Ethernet card" },
		{ 0, "br9", "eth3", false, -EBUSY, "port of br5 already" },
		{ 0, "br9", "eth1", false, -EOPNOTSUPP, "several next hops" },
		{ NOBODY, "br9", "eth0", false, -EPERM, "CAP_NET_ADMIN" },
		{ NOBODY, "br9", NULL, false, -EPERM, "CAP_NET_ADMIN" },
		{ NOBODY, "br5", NULL, true, -EPERM, "CAP_NET_ADMIN" },
		{ 0, "nowhere0", NULL, true, -ENODEV, "no such bridge" },
		{ 0, "eth0", NULL, true, -ENODEV, "no such bridge" },
		{ 0, "br6", NULL, true, -EBUSY, "ip link set tap6 nomaster" },
		{ 0, "br7", NULL, true, -EBUSY, "several ports" },
		{ 0, "br8", NULL, true, -EBUSY, "ip link set eth7 nomaster" },
	};
	char text[1024], *before;

	(void)state;
	need_namespace();
	assert_true(shell(
		"set -e; ip link add br5 type bridge;"
		"ip link add eth3 type veth peer name wire3;"
		"ip link set eth3 master br5; ip link add br6 type bridge;"
		"ip tuntap add tap6 mode tap; ip link set tap6 master br6;"
		"ip link add br7 type bridge;"
		"ip link add eth4 type veth peer name eth5;"
		"ip link set eth4 master br7; ip link set eth5 master br7;"
		/* Of two ports, the one that is not the card is to leave. */
		"ip link add br8 address 02:00:00:00:00:08 type bridge;"
		"ip link add eth7 type veth peer name eth8;"
		"ip link set br8 alias eth8; ip link set eth7 master br8;"
		"ip link set eth8 address 02:00:00:00:00:08 master br8;"
		"ip route add 203.0.113.77 nexthop via 198.51.100.1 "
		"nexthop via 198.51.100.2"));
	before = network(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int err = refused_as(cases[i].user, cases[i].bridge,
				     cases[i].port, cases[i].dissolves, text,
				     sizeof(text));
		char *line_end = strchr(text, '\n');

		if (err != cases[i].err || !strstr(text, cases[i].says) ||
		    !line_end || line_end[1])
			fail_msg("case %zu: %d: %s", i, err, text);
		assert_same(before, network, NULL, "refused");
	}
	free(before);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(what_is_on_a_card_moves_to_the_bridge_and_back),
	cmocka_unit_test(a_fault_at_any_step_leaves_the_network_as_it_was),
	cmocka_unit_test(a_connected_route_moves_whoever_made_it),
	cmocka_unit_test(what_a_port_has_of_its_own_stays),
	cmocka_unit_test(what_the_bridge_cannot_take_was_never_off_the_card),
	cmocka_unit_test(a_card_that_was_down_is_down_again),
	cmocka_unit_test(a_bridge_may_have_no_port_at_all),
	cmocka_unit_test(only_the_card_whose_place_it_took_gets_all_back),
	cmocka_unit_test(a_refusal_is_one_line_and_changes_nothing),
};

NAMESPACE_MAIN(tests, card_enter)
