/*
 * A bridge takes the host's network card and gives it back, in a network
 * namespace of this process's own, with ip(8) as the witness.
 */
#include "bridge_world.h"

#define STEPS_MAX 64

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

/* By an altname, too: what is read of it later has only the name. */
static void a_port_may_be_called_by_another_of_its_names(void **state)
{
	char *before;

	(void)state;
	need_namespace();
	assert_true(shell(eth2) &&
		    shell("ip link property add dev eth2 altname uplink2 && "
			  "ip address add 192.0.2.201/25 dev eth2 label "
			  "eth2:1"));
	before = network(NULL);
	assert_int_equal(bridge_adopt("br2", "uplink2", MOVE_NO_FAULT), 0);
	assert_true(shell("ip link show br2 | grep -qx ' *alias eth2' && "
			  "ip address show br2 | grep -q br2:1 && "
			  "ip link property add dev br2 altname other2"));
	assert_int_equal(bridge_dissolve("other2", MOVE_NO_FAULT), 0);
	assert_same(before, network, NULL, "given back");
	free(before);
	assert_true(shell("ip link del eth2"));
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

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(what_is_on_a_card_moves_to_the_bridge_and_back),
	cmocka_unit_test(a_fault_at_any_step_leaves_the_network_as_it_was),
	cmocka_unit_test(a_connected_route_moves_whoever_made_it),
	cmocka_unit_test(what_a_port_has_of_its_own_stays),
	cmocka_unit_test(a_port_may_be_called_by_another_of_its_names),
	cmocka_unit_test(a_card_that_was_down_is_down_again),
	cmocka_unit_test(a_bridge_may_have_no_port_at_all),
};

NAMESPACE_MAIN(tests, card_enter)
