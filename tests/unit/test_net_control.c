#include "unit.h"

#include "devices/virtio/net_parts.h"
#include "util/checked.h"

#include <linux/virtio_net.h>
#include <string.h>

#define F(name) NET_FEATURE(VIRTIO_NET_F_##name)
#define ALL                                                                    \
	(F(CTRL_VQ) | F(CTRL_RX) | F(CTRL_RX_EXTRA) | F(CTRL_VLAN) |           \
	 F(CTRL_MAC_ADDR) | F(GUEST_ANNOUNCE) | F(MQ) |                        \
	 F(CTRL_GUEST_OFFLOADS) | F(GUEST_CSUM) | F(GUEST_TSO4))
#define PAIRS 4

static const uint8_t own[NET_MAC] = { 2, 0, 0, 0, 0, 1 };

/* What may follow a command: at most 12 bytes. */
struct command {
	const char *name;
	uint64_t features;
	size_t len;
	uint8_t bytes[14];
	bool ok;
	enum net_effect effect;
};

static void a_command_is_carried_out_or_refused(void **state)
{
	static const struct command cases[] = {
		{ "nothing", ALL, 0, { 0 }, false, 0 },
		{ "a class alone", ALL, 1, { 0 }, false, 0 },
		{ "no such class", ALL, 3, { 9, 0, 1 }, false, 0 },
		{ "no such command", ALL, 3, { 0, 6, 1 }, false, 0 },
		{ "promiscuous", ALL, 3, { 0, 0, 1 }, true, NET_EFFECT_FILTER },
		{ "without a value", ALL, 2, { 0, 0 }, false, 0 },
		{ "with two values", ALL, 4, { 0, 0, 1, 1 }, false, 0 },
		{ "not negotiated", F(CTRL_VQ), 3, { 0, 0, 1 }, false, 0 },
		{ "no broadcasts",
		  ALL,
		  3,
		  { 0, 5, 1 },
		  true,
		  NET_EFFECT_FILTER },
		{ "extra, not negotiated",
		  F(CTRL_RX),
		  3,
		  { 0, 5, 1 },
		  false,
		  0 },
		{ "empty tables", ALL, 10, { 1, 0 }, true, NET_EFFECT_FILTER },
		{ "half a table", ALL, 9, { 1, 0 }, false, 0 },
		{ "one table", ALL, 6, { 1, 0 }, false, 0 },
		{ "bytes behind it", ALL, 11, { 1, 0 }, false, 0 },
		{ "a longer one than there is",
		  ALL,
		  10,
		  { 1, 0, 1 },
		  false,
		  0 },
		{ "a huge one",
		  ALL,
		  10,
		  { 1, 0, 0xff, 0xff, 0xff, 0xff },
		  false,
		  0 },
		{ "a MAC",
		  ALL,
		  8,
		  { 1, 1, 2, 0, 0, 0, 0, 9 },
		  true,
		  NET_EFFECT_MAC },
		{ "a multicast MAC",
		  ALL,
		  8,
		  { 1, 1, 3, 0, 0, 0, 0, 9 },
		  false,
		  0 },
		{ "half a MAC", ALL, 5, { 1, 1, 2, 0, 0 }, false, 0 },
		{ "a VLAN", ALL, 4, { 2, 0, 0xff, 0x0f }, true, 0 },
		{ "no VLAN", ALL, 4, { 2, 0, 0x00, 0x10 }, false, 0 },
		{ "announced", ALL, 2, { 3, 0 }, true, NET_EFFECT_ANNOUNCED },
		{ "four pairs",
		  ALL,
		  4,
		  { 4, 0, 4, 0 },
		  true,
		  NET_EFFECT_PAIRS },
		{ "no pair", ALL, 4, { 4, 0, 0, 0 }, false, 0 },
		{ "five pairs", ALL, 4, { 4, 0, 5, 0 }, false, 0 },
		{ "256 pairs", ALL, 4, { 4, 0, 0, 1 }, false, 0 },
		{ "an offload",
		  ALL,
		  10,
		  { 5, 0, 1 << VIRTIO_NET_F_GUEST_CSUM },
		  true,
		  NET_EFFECT_OFFLOADS },
		{ "no offload",
		  ALL,
		  10,
		  { 5, 0, 0 },
		  true,
		  NET_EFFECT_OFFLOADS },
		{ "one that is not negotiated",
		  ALL,
		  10,
		  { 5, 0, 0, 1 << (VIRTIO_NET_F_GUEST_TSO6 - 8) },
		  false,
		  0 },
		{ "a feature that is no offload",
		  ALL,
		  10,
		  { 5, 0, 1 << VIRTIO_NET_F_MAC },
		  false,
		  0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		enum net_effect effect = NET_EFFECT_NONE;
		struct net_control control, before;
		bool ok;

		net_control_init(&control, cases[i].features, PAIRS, own);
		before = control;
		ok = net_control_apply(&control, cases[i].bytes, cases[i].len,
				       cases[i].len, &effect);
		if (ok != cases[i].ok)
			fail_msg("%s: %d", cases[i].name, ok);
		if (ok)
			assert_int_equal(effect, cases[i].effect);
		else
			assert_memory_equal(&control, &before, sizeof(before));
	}
}

static bool apply(struct net_control *control, const uint8_t *bytes, size_t len)
{
	enum net_effect effect;

	return net_control_apply(control, bytes, len, len, &effect);
}
#define APPLY(control, ...)                                                    \
	assert_true(apply(control, (const uint8_t[]){ __VA_ARGS__ },           \
			  sizeof((const uint8_t[]){ __VA_ARGS__ })))

/* One of each kind of frame, and which of them pass: a letter each. */
static const struct {
	char letter;
	uint8_t frame[NET_FILTER_BYTES];
} frames[] = {
	{ 'o', { 2, 0, 0, 0, 0, 1 } },    /* our own */
	{ 'u', { 2, 0, 0, 0, 0, 7 } },    /* in the table */
	{ 'x', { 2, 0, 0, 0, 0, 8 } },    /* another's */
	{ 'm', { 1, 0, 0x5e, 0, 0, 1 } }, /* in the table */
	{ 'n', { 1, 0, 0x5e, 0, 0, 2 } }, /* another group */
	{ 'b', { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } },
	/* Our own, in VLAN 5, in VLAN 6, and with a priority only. */
	{ '5', { 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x81, 0, 0xe0, 5 } },
	{ '6', { 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 6 } },
	{ '0', { 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x81, 0, 0xe0, 0 } },
};

/* As the kernel's tap does it, but for the hash of its multicasts. */
static bool wants(const struct net_wanted *wanted, const uint8_t *mac)
{
	for (unsigned i = 0; i < wanted->count; i++) {
		if (!memcmp(wanted->mac[i], mac, NET_MAC))
			return true;
	}
	return !wanted->count || (wanted->flags && mac[0] & 1);
}

/* What passes must be wanted, too. */
static void passes(const struct net_control *control, const char *letters)
{
	struct net_wanted wanted;
	char got[ARRAY_SIZE(frames) + 1] = "";
	size_t n = 0;

	net_filter_wanted(&control->filter, &wanted);
	for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
		if (!net_filter_accepts(&control->filter, frames[i].frame))
			continue;
		got[n++] = frames[i].letter;
		assert_true(wants(&wanted, frames[i].frame));
	}
	assert_string_equal(got, letters);
}

static void the_filter_lets_in_what_it_was_told(void **state)
{
	struct net_control control;

	(void)state;
	net_control_init(&control, ALL, PAIRS, own);
	passes(&control, "ouxmnb560");
	APPLY(&control, 0, 0, 0); /* no longer promiscuous */
	passes(&control, "ob0");
	APPLY(&control, 2, 0, 5, 0); /* VLAN 5 */
	passes(&control, "ob50");
	APPLY(&control, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 7, 1, 0, 0, 0, 1, 0,
	      0x5e, 0, 0, 1);
	passes(&control, "oumb50");
	APPLY(&control, 0, 1, 1); /* all multicasts */
	passes(&control, "oumnb50");
	APPLY(&control, 0, 3, 1); /* none */
	passes(&control, "oub50");
	APPLY(&control, 0, 2, 1); /* all unicasts */
	passes(&control, "ouxb50");
	APPLY(&control, 0, 4, 1); /* none */
	passes(&control, "b");
	APPLY(&control, 0, 5, 1); /* no broadcasts either */
	passes(&control, "");
	APPLY(&control, 0, 0, 1);
	passes(&control, "ouxmnb560");
	net_control_init(&control, ALL, PAIRS, own);
	APPLY(&control, 0, 0, 0);
	APPLY(&control, 1, 1, 2, 0, 0, 0, 0, 8); /* another MAC */
	APPLY(&control, 2, 0, 6, 0);
	APPLY(&control, 2, 1, 6, 0); /* VLAN 6, and not */
	passes(&control, "xb");
}

static void a_backend_is_told_which_destinations_are_wanted(void **state)
{
	static const struct {
		const char *name;
		struct net_filter filter;
		const char *wanted; /* letters of frames[] */
	} cases[] = {
		{ "all", { .promisc = true }, "ouxmnb" },
		{ "our own", { 0 }, "ob" },
		{ "no broadcasts", { .nobcast = true }, "o" },
		{ "all multicasts", { .allmulti = true }, "omnb" },
		{ "all unicasts", { .alluni = true }, "ouxmnb" },
		{ "a long list", { .unicast.all = true }, "ouxmnb" },
		{ "one of groups", { .multicast.all = true }, "omnb" },
		{ "a list of each",
		  { .unicast = { .count = 1, .mac = { { 2, 0, 0, 0, 0, 7 } } },
		    .multicast = { .count = 1,
				   .mac = { { 1, 0, 0x5e, 0, 0, 1 } } } },
		  "oumb" },
		/* Nothing would mean all. */
		{ "nothing",
		  { .nouni = true,
		    .nomulti = true,
		    .nobcast = true,
		    .alluni = true,
		    .allmulti = true },
		  "o" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct net_filter filter = cases[i].filter;
		struct net_wanted wanted;
		char got[ARRAY_SIZE(frames) + 1] = "";
		size_t n = 0;

		memcpy(filter.mac, own, NET_MAC);
		net_filter_wanted(&filter, &wanted);
		for (size_t j = 0; frames[j].letter != '5'; j++) {
			if (wants(&wanted, frames[j].frame))
				got[n++] = frames[j].letter;
		}
		if (strcmp(got, cases[i].wanted))
			fail_msg("%s: %s", cases[i].name, got);
	}
}

static void without_a_vlan_filter_all_vlans_pass(void **state)
{
	struct net_control control;

	(void)state;
	net_control_init(&control, ALL & ~F(CTRL_VLAN), PAIRS, own);
	APPLY(&control, 0, 0, 0);
	passes(&control, "ob560");
}

/* A command with two lists of @unicast and @multicast addresses; its length. */
static size_t make_table(uint8_t *bytes, uint32_t unicast, uint32_t multicast)
{
	const uint32_t counts[] = { unicast, multicast };
	uint8_t *at = bytes;

	*at++ = VIRTIO_NET_CTRL_MAC;
	*at++ = VIRTIO_NET_CTRL_MAC_TABLE_SET;
	for (int list = 0; list < 2; list++) {
		memcpy(at, &counts[list], 4);
		at += 4;
		for (uint32_t i = 0; i < counts[list]; i++, at += NET_MAC)
			memcpy(at, (uint8_t[]){ 2 - list, 9, 9, 9, i >> 8, i },
			       NET_MAC);
	}
	return at - bytes;
}

static void a_table_too_long_to_keep_lets_all_of_its_kind_in(void **state)
{
	static const struct {
		uint32_t unicast, multicast;
		const char *passes;
	} cases[] = {
		{ NET_TABLE_MAX, NET_TABLE_MAX, "ob0" },
		{ NET_TABLE_MAX + 1, 0, "ouxb0" },
		{ 0, NET_TABLE_MAX + 1, "omnb0" },
		{ 300, 0, "ouxmnb0" }, /* and no telling what follows */
		{ 3, 3000, "omnb0" },
	};
	static uint8_t bytes[20000];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t len =
			make_table(bytes, cases[i].unicast, cases[i].multicast);
		enum net_effect effect;
		struct net_control control;

		net_control_init(&control, ALL, PAIRS, own);
		APPLY(&control, 0, 0, 0);
		assert_true(net_control_apply(
			&control, bytes,
			len < NET_COMMAND_MAX ? len : NET_COMMAND_MAX, len,
			&effect));
		passes(&control, cases[i].passes);
	}
}

static void a_header_is_checked_against_what_was_negotiated(void **state)
{
#define SUM VIRTIO_NET_HDR_F_NEEDS_CSUM
	static const struct {
		const char *name;
		uint64_t features;
		struct virtio_net_hdr_v1 header;
		uint32_t len;
		bool ok;
	} cases[] = {
		{ "plain", 0, { 0 }, 60, true },
		{ "unknown flags", 0, { .flags = 0xfe }, 60, true },
		{ "checksum",
		  F(CSUM),
		  { .flags = SUM, .csum_start = 34, .csum_offset = 16 },
		  60,
		  true },
		{ "checksum, not negotiated",
		  0,
		  { .flags = SUM, .csum_start = 34, .csum_offset = 16 },
		  60,
		  false },
		{ "checksum at the end",
		  F(CSUM),
		  { .flags = SUM, .csum_start = 34, .csum_offset = 24 },
		  60,
		  true },
		{ "checksum beyond it",
		  F(CSUM),
		  { .flags = SUM, .csum_start = 34, .csum_offset = 25 },
		  60,
		  false },
		{ "checksum that wraps",
		  F(CSUM),
		  { .flags = SUM, .csum_start = 0xffff, .csum_offset = 0xffff },
		  60,
		  false },
		{ "segments",
		  F(CSUM) | F(HOST_TSO4),
		  { .flags = SUM,
		    .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		    .gso_size = 1448,
		    .hdr_len = 66 },
		  9000,
		  true },
		{ "segments of another kind",
		  F(CSUM) | F(HOST_TSO4),
		  { .flags = SUM,
		    .gso_type = VIRTIO_NET_HDR_GSO_TCPV6,
		    .gso_size = 1448 },
		  9000,
		  false },
		{ "segments of no size",
		  F(CSUM) | F(HOST_TSO4),
		  { .flags = SUM, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 },
		  9000,
		  false },
		{ "segments without a checksum",
		  F(CSUM) | F(HOST_TSO4),
		  { .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 1448 },
		  9000,
		  false },
		{ "headers longer than the frame",
		  F(CSUM) | F(HOST_TSO4),
		  { .flags = SUM,
		    .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		    .gso_size = 1448,
		    .hdr_len = 9001 },
		  9000,
		  false },
		{ "ECN, not negotiated",
		  F(CSUM) | F(HOST_TSO4),
		  { .flags = SUM,
		    .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 |
				VIRTIO_NET_HDR_GSO_ECN,
		    .gso_size = 1448 },
		  9000,
		  false },
		{ "ECN",
		  F(CSUM) | F(HOST_TSO4) | F(HOST_ECN),
		  { .flags = SUM,
		    .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 |
				VIRTIO_NET_HDR_GSO_ECN,
		    .gso_size = 1448 },
		  9000,
		  true },
		{ "ECN alone",
		  F(CSUM) | F(HOST_TSO4) | F(HOST_ECN),
		  { .flags = SUM,
		    .gso_type = VIRTIO_NET_HDR_GSO_ECN,
		    .gso_size = 1448 },
		  9000,
		  false },
		{ "datagrams",
		  F(CSUM) | F(HOST_USO),
		  { .flags = SUM,
		    .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
		    .gso_size = 1448 },
		  9000,
		  true },
		{ "fragments of UDP",
		  ~0ull,
		  { .flags = SUM,
		    .gso_type = VIRTIO_NET_HDR_GSO_UDP,
		    .gso_size = 1448 },
		  9000,
		  false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct virtio_net_hdr_v1 header = cases[i].header;
		bool ok = net_header_check(&header, cases[i].features,
					   cases[i].len);

		if (ok != cases[i].ok)
			fail_msg("%s: %d", cases[i].name, ok);
		assert_false(header.flags & ~SUM);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_command_is_carried_out_or_refused),
	cmocka_unit_test(the_filter_lets_in_what_it_was_told),
	cmocka_unit_test(a_backend_is_told_which_destinations_are_wanted),
	cmocka_unit_test(without_a_vlan_filter_all_vlans_pass),
	cmocka_unit_test(a_table_too_long_to_keep_lets_all_of_its_kind_in),
	cmocka_unit_test(a_header_is_checked_against_what_was_negotiated),
};

UNIT_MAIN(tests)
