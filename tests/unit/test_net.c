/*
 * Taps, bridges and pairs: what goes over them, and what is left of them.
 * Those that are refused are in test_net_refused.c.
 */
#include "net_world.h"

#include "devices/net/bridge.h"
#include "devices/net/pair.h"
#include "devices/net/tap.h"
#include "devices/virtio/net_features.h"
#include "util/bytes.h"

#include <poll.h>
#include <signal.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define ETHERTYPE 0x88b5 /* for local experiments */

/* The tap's frames come back, as if the guest had sent them. */
static struct net_backend *port_open(const char *bridge)
{
	struct net_options options = { .kind = NET_BRIDGE, .ifname = bridge };
	struct net_backend *net = NULL;

	assert_int_equal(net_open(&options, &net), 0);
	return net;
}

static void frame_send(struct net_backend *net, const uint8_t to[6],
		       const uint8_t from[6], const char *text)
{
	uint8_t frame[NET_HEADER + 64] = { 0 };
	struct iovec iov = { frame, sizeof(frame) };

	memcpy(frame + NET_HEADER, to, 6);
	memcpy(frame + NET_HEADER + 6, from, 6);
	put_be16(frame + NET_HEADER + 12, ETHERTYPE);
	snprintf((char *)frame + NET_HEADER + 14, 50, "%s", text);
	assert_int_equal(net->ops->send(net, &iov, 1), sizeof(frame));
}

/* The text of the next frame of ours, or "" after @ms of silence. */
static const char *frame_text(struct net_backend *net, int ms)
{
	static uint8_t frame[2048];
	struct pollfd ready = { net->fd, POLLIN, 0 };
	struct iovec iov = { frame, sizeof(frame) };

	while (poll(&ready, 1, ms) == 1) {
		ssize_t n = net->ops->receive(net, &iov, 1);

		if (n < NET_HEADER + 64 ||
		    get_be16(frame + NET_HEADER + 12) != ETHERTYPE)
			continue;
		assert_int_equal(n, NET_HEADER + 64);
		return (const char *)frame + NET_HEADER + 14;
	}
	return "";
}

static void a_derived_mac_is_local_stable_and_its_own(void **state)
{
	uint8_t mac[NET_MAC], again[NET_MAC], other[NET_MAC];
	static const uint8_t known[] = { 0x52, 0x47, 0x9f, 0x30, 0x16, 0xe6 };

	(void)state;
	net_mac_derive("web", "net0", mac);
	assert_memory_equal(mac, known, NET_MAC);
	assert_int_equal(mac[0] & 3, 2);
	net_mac_derive("web", "net0", again);
	assert_memory_equal(mac, again, NET_MAC);
	net_mac_derive("web", "net1", other);
	assert_memory_not_equal(mac, other, NET_MAC);
	net_mac_derive("db", "net0", other);
	assert_memory_not_equal(mac, other, NET_MAC);
	/* The border between the names counts. */
	net_mac_derive("webn", "et0", other);
	assert_memory_not_equal(mac, other, NET_MAC);
}

static void a_mac_is_parsed_or_refused(void **state)
{
	static const struct {
		const char *text;
		int err;
		uint8_t mac[NET_MAC];
	} cases[] = {
		{ "52:54:00:12:34:56", 0, { 0x52, 0x54, 0, 0x12, 0x34, 0x56 } },
		{ "0A:bC:Ff:00:00:01", 0, { 0x0a, 0xbc, 0xff, 0, 0, 1 } },
		{ "00:00:00:00:00:00", -EINVAL, { 0 } },
		{ "01:00:5e:00:00:01", -EINVAL, { 0 } },
		{ "ff:ff:ff:ff:ff:ff", -EINVAL, { 0 } },
		{ "52:54:00:12:34", -EINVAL, { 0 } },
		{ "52:54:00:12:34:5", -EINVAL, { 0 } },
		{ "52:54:00:12:34:56:", -EINVAL, { 0 } },
		{ "52:54:00:12:34:567", -EINVAL, { 0 } },
		{ "52-54-00-12-34-56", -EINVAL, { 0 } },
		{ "52:54:00:12:34:5g", -EINVAL, { 0 } },
		{ "5254:00:12:34:56:", -EINVAL, { 0 } },
		{ "", -EINVAL, { 0 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t mac[NET_MAC] = { 0 };

		if (net_mac_parse(cases[i].text, mac) != cases[i].err ||
		    memcmp(mac, cases[i].mac, NET_MAC))
			fail_msg("\"%s\"", cases[i].text);
	}
}

static void a_pair_carries_frames_both_ways_and_keeps_borders(void **state)
{
	struct net_backend *ends[2];
	char one[] = "one", two[] = "two", first[8] = "", second[64] = "";
	struct iovec out[2] = { { one, 3 }, { two, 3 } };
	struct iovec in[2] = { { first, 2 }, { second, sizeof(second) } };

	(void)state;
	assert_int_equal(net_pair(ends), 0);
	for (int i = 0; i < 2; i++) {
		struct net_backend *a = ends[i], *b = ends[1 - i];

		assert_int_equal(b->ops->receive(b, in, 2), -EAGAIN);
		assert_int_equal(a->ops->send(a, out, 2), 6);
		assert_int_equal(a->ops->send(a, out, 1), 3);
		assert_int_equal(b->ops->receive(b, in, 2), 6);
		assert_memory_equal(first, "on", 2);
		assert_memory_equal(second, "etwo", 4);
		assert_int_equal(b->ops->receive(b, in, 2), 3);
	}
	ends[0]->ops->close(ends[0]);
	assert_int_equal(ends[1]->ops->receive(ends[1], in, 2), -ENOTCONN);
	assert_true(ends[1]->ops->send(ends[1], out, 1) < 0);
	ends[1]->ops->close(ends[1]);
}

static const uint8_t mac_a[] = { 0x52, 0, 0, 0, 0, 0xa };
static const uint8_t mac_b[] = { 0x52, 0, 0, 0, 0, 0xb };
static const uint8_t everyone[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static void guests_on_one_bridge_reach_each_other_and_it_learns(void **state)
{
	struct net_backend *a, *b, *c;

	(void)state;
	need_namespace();
	make_bridge("br0");
	a = port_open("br0");
	b = port_open("br0");
	c = port_open("br0");
	assert_memory_equal(a->name, "kvist", 5);
	assert_string_not_equal(a->name, b->name);

	frame_send(a, everyone, mac_a, "who is b?");
	assert_string_equal(frame_text(b, 1000), "who is b?");
	assert_string_equal(frame_text(c, 1000), "who is b?");
	frame_send(b, mac_a, mac_b, "I am");
	assert_string_equal(frame_text(a, 1000), "I am");
	frame_send(a, mac_b, mac_a, "hello");
	assert_string_equal(frame_text(b, 1000), "hello");
	/* Both addresses are learned: none of it reached the third. */
	assert_string_equal(frame_text(c, 50), "");
	a->ops->close(a);
	b->ops->close(b);
	c->ops->close(c);
}

/* What is to be cut to 1,448 bytes each by whoever must. */
static const struct big {
	uint8_t gso_type, protocol, headers, sum_at;
	unsigned offloads;     /* of who takes it whole */
	unsigned major, minor; /* of the first Linux that has them */
} bigs[] = {
	{ VIRTIO_NET_HDR_GSO_TCPV4, 6, 54, 16, TUN_F_TSO4, 2, 6 },
	{ VIRTIO_NET_HDR_GSO_UDP_L4, 17, 42, 6, TUN_F_USO4 | TUN_F_USO6, 6, 2 },
};

static bool kernel_is_from(unsigned major, unsigned minor)
{
	struct utsname name;
	unsigned is[2] = { 0 };

	uname(&name);
	sscanf(name.release, "%u.%u", &is[0], &is[1]);
	return is[0] > major || (is[0] == major && is[1] >= minor);
}

/* 20,000 bytes of it; the frame's length. */
static size_t big_segment(uint8_t *frame, const struct big *big)
{
	struct virtio_net_hdr_v1 *hdr = (struct virtio_net_hdr_v1 *)frame;
	uint8_t *eth = frame + NET_HEADER, *ip = eth + 14, *l4 = ip + 20;
	static const uint8_t addresses[] = { 192, 0, 2, 1, 192, 0, 2, 2 };
	uint32_t sum = 0;
	size_t len = big->headers - 34 + 20000;

	memset(frame, 0, NET_HEADER + 34 + len);
	hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	hdr->gso_type = big->gso_type;
	hdr->hdr_len = big->headers;
	hdr->gso_size = 1448;
	hdr->csum_start = 34;
	hdr->csum_offset = big->sum_at;
	memcpy(eth, mac_b, 6);
	memcpy(eth + 6, mac_a, 6);
	put_be16(eth + 12, 0x0800);
	ip[0] = 0x45;
	put_be16(ip + 2, 20 + len);
	ip[8] = 64;
	ip[9] = big->protocol;
	memcpy(ip + 12, addresses, sizeof(addresses));
	for (int i = 0; i < 20; i += 2)
		sum += get_be16(ip + i);
	put_be16(ip + 10, ~(sum + (sum >> 16)));
	if (big->protocol == 6)
		put_be16(l4 + 12, 0x5010);
	else
		put_be16(l4 + 4, len);
	/* The pseudo header's sum, which the driver leaves there. */
	sum = big->protocol + len;
	for (int i = 0; i < 8; i += 2)
		sum += get_be16(addresses + i);
	put_be16(l4 + big->sum_at, (sum & 0xffff) + (sum >> 16));
	return NET_HEADER + 34 + len;
}

static size_t longest_frame(struct net_backend *net)
{
	static uint8_t frame[65536];
	struct pollfd ready = { net->fd, POLLIN, 0 };
	struct iovec iov = { frame, sizeof(frame) };
	ssize_t n, longest = 0;

	while (poll(&ready, 1, longest ? 20 : 1000) == 1) {
		n = net->ops->receive(net, &iov, 1);
		if (n > longest)
			longest = n;
	}
	return longest;
}

static void large_segments_pass_whole_only_to_who_accepts_them(void **state)
{
	static uint8_t frame[65536];
	struct net_backend *a, *b;

	(void)state;
	need_namespace();
	make_bridge("br0");
	a = port_open("br0");
	b = port_open("br0");
	frame_send(b, everyone, mac_b, "here"); /* the bridge learns b */
	for (size_t i = 0; i < ARRAY_SIZE(bigs); i++) {
		struct iovec iov = { frame, big_segment(frame, &bigs[i]) };
		size_t cut = NET_HEADER + bigs[i].headers + 1448;

		if (!kernel_is_from(bigs[i].major, bigs[i].minor))
			continue;
		assert_true(b->offloads & bigs[i].offloads);
		for (int whole = 0; whole < 3; whole++) {
			unsigned flags = TUN_F_CSUM | bigs[i].offloads | 0x8000;

			assert_int_equal(
				b->ops->set_offloads(b, whole == 1 ? flags : 0),
				0);
			assert_int_equal(a->ops->send(a, &iov, 1), iov.iov_len);
			assert_int_equal(longest_frame(b),
					 whole == 1 ? iov.iov_len : cut);
		}
	}
	a->ops->close(a);
	b->ops->close(b);
}

static void a_guest_keeps_the_bridges_mtu_and_address(void **state)
{
	static const char low[] = { 2, 0, 0, 0, 0, 1 };
	struct ifreq ifr = { .ifr_mtu = 1400 };
	struct ifreq index = { 0 }, mac = { 0 };
	struct net_backend *net;

	(void)state;
	need_namespace();
	make_bridge("br1");
	assert_int_equal(netif_request("br1", SIOCSIFMTU, &ifr), 0);
	/* A network card: here a tap of a low address. */
	tap_make("card", IFF_TAP | IFF_NO_PI, 0);
	mac.ifr_hwaddr.sa_family = 1;
	memcpy(mac.ifr_hwaddr.sa_data, low, 6);
	assert_int_equal(netif_request("card", SIOCSIFHWADDR, &mac), 0);
	assert_int_equal(netif_request("card", SIOCSIFMTU, &ifr), 0);
	assert_int_equal(netif_request("card", SIOCGIFINDEX, &index), 0);
	assert_int_equal(netif_request("br1", SIOCBRADDIF, &index), 0);

	net = port_open("br1");
	assert_int_equal(net->mtu, 1400);
	assert_int_equal(netif_request(net->name, SIOCGIFMTU, &ifr), 0);
	assert_int_equal(ifr.ifr_mtu, 1400);
	assert_int_equal(netif_request("br1", SIOCGIFMTU, &ifr), 0);
	assert_int_equal(ifr.ifr_mtu, 1400);
	assert_int_equal(netif_request(net->name, SIOCGIFHWADDR, &mac), 0);
	assert_int_equal((uint8_t)mac.ifr_hwaddr.sa_data[0], 0xfe);
	assert_int_equal(netif_request("br1", SIOCGIFHWADDR, &mac), 0);
	assert_memory_equal(mac.ifr_hwaddr.sa_data, low, 6);
	net->ops->close(net);
}

static void a_tap_vanishes_when_it_is_closed(void **state)
{
	struct net_backend *net;
	char name[16];

	(void)state;
	need_namespace();
	make_bridge("br0");
	net = port_open("br0");
	memcpy(name, net->name, sizeof(name));
	assert_true(netif_index(name) > 0);
	net->ops->close(net);
	assert_int_equal(netif_index(name), -ENODEV);
}

static void a_tap_vanishes_when_its_process_is_killed(void **state)
{
	char name[16] = "";
	int fds[2];
	pid_t pid;

	(void)state;
	need_namespace();
	make_bridge("br0");
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		struct net_backend *net = port_open("br0");

		if (write(fds[1], net->name, sizeof(net->name)) < 0)
			_exit(1);
		pause();
	}
	assert_int_equal(read(fds[0], name, sizeof(name)), sizeof(name));
	assert_true(netif_index(name) > 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* The kernel finishes the dead process's files in its own time. */
	for (int i = 0; i < 100 && netif_index(name) > 0; i++)
		usleep(10000);
	assert_int_equal(netif_index(name), -ENODEV);
	close(fds[0]);
	close(fds[1]);
}

/* The link, as one finds it who may not ask for the tap's namespace. */
static bool link_for_nobody(struct net_backend *net)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(setuid(NOBODY) ? 2 : net->ops->link(net));
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
	return WEXITSTATUS(status);
}

/* Another interface here of the name that the tap has where it is. */
static void a_namesake_is_not_the_tap(struct net_backend *net)
{
	struct net_backend *handed;

	tap_make("moved", IFF_TAP | IFF_NO_PI, 0);
	assert_int_equal(system("ip link set moved mtu 9000"), 0);
	assert_true(net->ops->link(net));
	assert_true(link_for_nobody(net));
	assert_int_equal(tap_adopt(dup(net->fd), &handed), 0);
	assert_int_equal(handed->mtu, 1500);
	handed->ops->close(handed);
	assert_int_equal(system("ip link delete moved"), 0);
}

/* A hook may give the tap to a container, or another name. */
static void a_tap_that_is_moved_or_renamed_is_not_a_cable_pulled(void **state)
{
	struct net_options options = { .kind = NET_TAP,
				       .ifname = "moves",
				       .create = true };
	struct net_backend *net;
	char command[80];
	pid_t pid;

	(void)state;
	need_namespace();
	assert_int_equal(net_open(&options, &net), 0);
	assert_true(net->ops->link(net));
	assert_int_equal(system("ip link set moves down"), 0);
	assert_false(net->ops->link(net));
	assert_false(link_for_nobody(net));
	assert_int_equal(system("ip link set moves name moved && "
				"ip link set moved up"),
			 0);
	assert_true(net->ops->link(net));
	pid = elsewhere();
	snprintf(command, sizeof(command), "ip link set moved netns %d", pid);
	assert_int_equal(system(command), 0);
	assert_int_equal(netif_index("moved"), -ENODEV);
	assert_true(net->ops->link(net));
	a_namesake_is_not_the_tap(net);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* The namespace goes, and its taps with it. */
	for (int i = 0; i < 100 && net->ops->link(net); i++)
		usleep(10000);
	assert_false(net->ops->link(net));
	net->ops->close(net);
}

static void a_bridge_that_is_made_stays_as_it_is(void **state)
{
	struct net_options options = { .kind = NET_BRIDGE,
				       .ifname = "made",
				       .create = true,
				       .mtu = 9000 };
	struct net_backend *first, *second;
	struct ifreq ifr = { 0 }, mac = { 0 };
	char left[IFNAMSIZ];

	(void)state;
	need_namespace();
	/* Someone of our number was killed while making one. */
	snprintf(left, sizeof(left), "kvist.%d", getpid());
	make_bridge(left);
	assert_int_equal(netif_index("made"), -ENODEV);
	assert_int_equal(net_open(&options, &first), 0);
	assert_true(netif_is("made", "bridge"));
	assert_true(netif_is_up("made"));
	assert_int_equal(first->mtu, 9000);
	assert_int_equal(netif_request("made", SIOCGIFHWADDR, &mac), 0);
	assert_int_equal(system("ip -d link show made | "
				"grep bridge_id | grep -qv 0:0:0:0:0:0"),
			 0);
	/* Now it is there, and taken as it is. */
	options.mtu = 1280;
	assert_int_equal(net_open(&options, &second), 0);
	assert_int_equal(second->mtu, 1280);
	assert_int_equal(netif_request(second->name, SIOCGIFMTU, &ifr), 0);
	assert_int_equal(ifr.ifr_mtu, 9000);
	first->ops->close(first);
	second->ops->close(second);
	assert_true(netif_index("made") > 0);
	assert_int_equal(netif_request("made", SIOCGIFMTU, &ifr), 0);
	assert_int_equal(ifr.ifr_mtu, 9000);
	assert_int_equal(netif_request("made", SIOCGIFHWADDR, &ifr), 0);
	assert_memory_equal(ifr.ifr_hwaddr.sa_data, mac.ifr_hwaddr.sa_data,
			    NET_MAC);
}

static void a_users_tap_stays_and_is_brought_up(void **state)
{
	struct net_options options = { .kind = NET_TAP, .ifname = "stays" };
	struct net_backend *net;

	(void)state;
	need_namespace();
	tap_make("stays", IFF_TAP | IFF_NO_PI, 0);
	assert_false(netif_is_up("stays"));
	assert_int_equal(net_open(&options, &net), 0);
	assert_true(netif_is_up("stays"));
	assert_int_equal(net->mtu, 1500);
	net->ops->close(net);
	assert_true(netif_index("stays") > 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_derived_mac_is_local_stable_and_its_own),
	cmocka_unit_test(a_mac_is_parsed_or_refused),
	cmocka_unit_test(a_pair_carries_frames_both_ways_and_keeps_borders),
	cmocka_unit_test(guests_on_one_bridge_reach_each_other_and_it_learns),
	cmocka_unit_test(large_segments_pass_whole_only_to_who_accepts_them),
	cmocka_unit_test(a_guest_keeps_the_bridges_mtu_and_address),
	cmocka_unit_test(a_tap_vanishes_when_it_is_closed),
	cmocka_unit_test(a_tap_vanishes_when_its_process_is_killed),
	cmocka_unit_test(a_tap_that_is_moved_or_renamed_is_not_a_cable_pulled),
	cmocka_unit_test(a_bridge_that_is_made_stays_as_it_is),
	cmocka_unit_test(a_users_tap_stays_and_is_brought_up),
};

NAMESPACE_MAIN(tests, namespace_enter)
