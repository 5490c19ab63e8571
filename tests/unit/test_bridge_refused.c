/*
 * What a bridge does not do with the host's network card: it says why, and all
 * is as it was. In a network namespace of this process's own, with ip(8) as the
 * witness.
 */
#include "bridge_world.h"

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
	assert_non_null(strstr(text, "onto br0: IPv6 is off there"));
	assert_same(before, network, NULL, "the kernel refused an address");
	free(before);
	assert_true(shell(less));
}

/* Where the kernel has one for the address, it takes no other, and says the
 * same as of its twin. */
static void a_route_in_the_place_of_the_kernel_s_is_not_lost(void **state)
{
	static const char *const routes[] = {
		"metric 256 mtu 1400",
		"proto kernel metric 256 mtu 1400",
		"proto kernel metric 256 src 2001:db8::5",
		"proto kernel metric 256 pref high",
		"proto static metric 256",
	};
	char text[1024], command[256], *before;

	(void)state;
	need_namespace();
	for (size_t i = 0; i < 2 * ARRAY_SIZE(routes); i++) {
		bool dissolves = i % 2;

		assert_true(shell(eth2) &&
			    shell("ip address add 2001:db8:8::5/64 dev eth2"));
		if (dissolves)
			assert_int_equal(
				bridge_adopt("br2", "eth2", MOVE_NO_FAULT), 0);
		snprintf(command, sizeof(command),
			 "ip -6 route replace 2001:db8:8::/64 dev %s %s",
			 dissolves ? "br2" : "eth2", routes[i / 2]);
		assert_true(shell(command));
		before = network(NULL);
		assert_int_equal(refused_as(0, "br2", "eth2", dissolves, text,
					    sizeof(text)),
				 -EEXIST);
		assert_non_null(strstr(text, "put the route to 2001:db8:8::/64 "
					     "onto"));
		assert_same(before, network, NULL, routes[i / 2]);
		free(before);
		assert_true(shell("ip link del eth2"));
		if (dissolves)
			assert_true(shell("ip link del br2"));
	}
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
		  "eth1's addresses move only to a new one" },
		{ 0, "br9", "nowhere0", false, -ENODEV, "nowhere0" },
		{ 0, "br9", "lo", false, -EINVAL, "not an Ethernet card" },
		{ 0, "br9", "br5", false, -EINVAL, "not an Ethernet card" },
		{ 0, "br9", "eth3", false, -EBUSY, "is a port of br5" },
		{ 0, "br9", "eth1", false, -EOPNOTSUPP, "several next hops" },
		{ NOBODY, "br9", "eth0", false, -EPERM, "CAP_NET_ADMIN" },
		{ NOBODY, "br9", NULL, false, -EPERM, "CAP_NET_ADMIN" },
		{ NOBODY, "br5", NULL, true, -EPERM, "CAP_NET_ADMIN" },
		{ 0, "nowhere0", NULL, true, -ENODEV, "no such bridge" },
		{ 0, "eth0", NULL, true, -ENODEV, "no such bridge" },
		{ 0, "br6", NULL, true, -EBUSY, "ip link set tap6 nomaster" },
		{ 0, "br7", NULL, true, -EBUSY, "ip link set PORT nomaster" },
		{ 0, "br8", NULL, true, -EBUSY, "ip link set eth7 nomaster" },
		{ 0, "br10", NULL, true, -EBUSY, "ip link set eth10 nomaster" },
		{ 0, "br11", NULL, true, -EBUSY, "ip link del svc0" },
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
		"ip link add br10 address 02:00:00:00:00:10 type bridge;"
		"ip link add eth9 type veth peer name eth10;"
		"ip link set eth10 master br10; ip link set br10 alias eth9;"
		"ip link set eth9 address 02:00:00:00:00:10 master br10;"
		"ip link add br11 type bridge;"
		"ip link add svc0 link br11 type macvlan;"
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

/* Numbers of interfaces are a namespace's own: those made first in each have
 * the same. */
static void a_link_on_its_number_elsewhere_does_not_keep_it(void **state)
{
	char command[160];
	pid_t pid;

	(void)state;
	need_namespace();
	pid = elsewhere();
	namespace_enter(state);
	assert_true(shell("ip link add br12 type bridge"));
	snprintf(command, sizeof(command),
		 "ip link add here type veth peer name there netns %d && "
		 "ip -o link show here | grep -q '@if%d:'",
		 pid, netif_index("br12"));
	assert_true(shell(command));
	assert_int_equal(bridge_dissolve("br12", MOVE_NO_FAULT), 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(what_the_bridge_cannot_take_was_never_off_the_card),
	cmocka_unit_test(a_route_in_the_place_of_the_kernel_s_is_not_lost),
	cmocka_unit_test(only_the_card_whose_place_it_took_gets_all_back),
	cmocka_unit_test(a_refusal_is_one_line_and_changes_nothing),
	cmocka_unit_test(a_link_on_its_number_elsewhere_does_not_keep_it),
};

NAMESPACE_MAIN(tests, card_enter)
