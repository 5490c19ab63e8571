#include "unit.h"

#include "devices/virtio/net_parts.h"
#include "util/checked.h"

#include <linux/virtio_net.h>
#include <string.h>

#define F(name) NET_FEATURE(VIRTIO_NET_F_##name)
#define ALL                                                                    \
	(F(CTRL_VQ) | F(CTRL_RX) | F(CTRL_RX_EXTRA) | F(CTRL_VLAN) |           \
	 F(CTRL_MAC_ADDR) | F(GUEST_ANNOUNCE) | F(MQ) | F(RSS) |               \
	 F(CTRL_GUEST_OFFLOADS) | F(GUEST_CSUM) | F(GUEST_TSO4))
#define PAIRS 4

static const uint8_t own[NET_MAC] = { 2, 0, 0, 0, 0, 1 };

/* What may follow a command: at most 13 bytes. */
struct command {
	const char *name;
	uint64_t features;
	size_t len;
	uint8_t bytes[15];
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
		{ "a VLAN",
		  ALL,
		  4,
		  { 2, 0, 0xff, 0x0f },
		  true,
		  NET_EFFECT_FILTER },
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
		{ "one queue by its hash",
		  ALL,
		  15,
		  { 4, 1, [12] = 4 },
		  true,
		  NET_EFFECT_PAIRS },
		{ "not as it was negotiated",
		  ALL & ~F(RSS),
		  15,
		  { 4, 1, [12] = 4 },
		  false,
		  0 },
		{ "without its end", ALL, 14, { 4, 1, [12] = 4 }, false, 0 },
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

static void what_a_header_says_without_need_is_cleared(void **state)
{
	struct virtio_net_hdr_v1 header, zeros = { 0 };

	(void)state;
	memset(&header, 0xff, sizeof(header));
	header.flags = VIRTIO_NET_HDR_F_DATA_VALID;
	header.gso_type = VIRTIO_NET_HDR_GSO_NONE;
	assert_true(net_header_check(&header, 0, 100));
	assert_memory_equal(&header, &zeros, sizeof(header));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_command_is_carried_out_or_refused),
	cmocka_unit_test(a_header_is_checked_against_what_was_negotiated),
	cmocka_unit_test(what_a_header_says_without_need_is_cleared),
};

UNIT_MAIN(tests)
