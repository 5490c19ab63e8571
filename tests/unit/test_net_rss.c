/*
 * Receive-side scaling (devices/virtio/net_rss.h): which queue a frame goes to,
 * by an interpreter of our own and, where it may be asked, by the kernel.
 */
#include "unit.h"

#include "devices/virtio/net_rss.h"
#include "util/bytes.h"
#include "util/checked.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FRAME       128
#define TYPE(names) VIRTIO_NET_RSS_HASH_TYPE_##names

/* The key and the answers of the suite that cards are verified with. */
static const uint8_t key[NET_RSS_KEY] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
	0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
	0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
	0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

static const struct {
	const char *from, *to;
	uint16_t from_port, to_port;
	uint32_t ip, tcp; /* the hash without the ports, and with them */
} known[] = {
	{ "66.9.149.187", "161.142.100.80", 2794, 1766, 0x323e8fc2,
	  0x51ccc178 },
	{ "199.92.111.2", "65.69.140.83", 14230, 4739, 0xd718262a, 0xc626b0ea },
	{ "24.19.198.95", "12.22.207.184", 12898, 38024, 0xd2d0a5de,
	  0x5c2b394a },
	{ "3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", 2794, 1766, 0x2cc18cd5,
	  0x40207d3d },
	{ "3ffe:501:8::260:97ff:fe40:efab", "ff02::1", 14230, 4739, 0x0f0c461c,
	  0xdde51bbf },
};

static size_t make_frame(uint8_t frame[FRAME], size_t i, uint8_t protocol)
{
	bool v6 = strchr(known[i].from, ':');
	int family = v6 ? AF_INET6 : AF_INET;
	size_t size = v6 ? 16 : 4, at = ETH_HLEN + (v6 ? 8 : 12);

	memset(frame, 0, FRAME);
	put_be16(frame + 12, v6 ? ETH_P_IPV6 : ETH_P_IP);
	frame[ETH_HLEN] = v6 ? 0x60 : 0x45;
	frame[ETH_HLEN + (v6 ? 6 : 9)] = protocol;
	inet_pton(family, known[i].from, frame + at);
	inet_pton(family, known[i].to, frame + at + size);
	put_be16(frame + at + 2 * size, known[i].from_port);
	put_be16(frame + at + 2 * size + 2, known[i].to_port);
	return at + 2 * size + 4;
}

/* As much of BPF as programs here need. */
static uint32_t interpret(const struct bpf_insn *code, const uint8_t *frame,
			  size_t len)
{
	static const size_t sizes[] = { [BPF_W >> 3] = 4,
					[BPF_H >> 3] = 2,
					[BPF_B >> 3] = 1,
					[BPF_DW >> 3] = 0 };
	uint64_t r[11] = { 0 };

	for (const struct bpf_insn *at = code;; at++) {
		uint64_t from = at->code & BPF_X ? r[at->src_reg]
						 : (uint64_t)(int64_t)at->imm;
		uint64_t *to = &r[at->dst_reg], value = 0;
		size_t size = sizes[BPF_SIZE(at->code) >> 3], start;

		switch (at->code & ~BPF_X) {
		case BPF_ALU64 | BPF_MOV:
			*to = from;
			continue;
		case BPF_ALU64 | BPF_AND:
			*to &= from;
			continue;
		case BPF_ALU64 | BPF_XOR:
			*to ^= from;
			continue;
		case BPF_ALU64 | BPF_LSH:
			*to <<= from;
			continue;
		case BPF_ALU64 | BPF_RSH:
			*to >>= from;
			continue;
		case BPF_ALU64 | BPF_MUL:
			*to *= from;
			continue;
		case BPF_JMP | BPF_JA:
			at += at->off;
			continue;
		case BPF_JMP | BPF_JEQ:
			at += *to == from ? at->off : 0;
			continue;
		case BPF_JMP | BPF_JNE:
			at += *to != from ? at->off : 0;
			continue;
		case BPF_JMP | BPF_JSET:
			at += *to & from ? at->off : 0;
			continue;
		case BPF_JMP | BPF_EXIT:
			return (uint32_t)r[0];
		}
		assert_int_equal(BPF_CLASS(at->code), BPF_LD);
		if (BPF_MODE(at->code) == BPF_IMM) {
			*to = (uint32_t)at->imm | (uint64_t)at[1].imm << 32;
			at++;
			continue;
		}
		start = at->imm +
			(BPF_MODE(at->code) == BPF_IND ? r[at->src_reg] : 0);
		if (start + size > len)
			return 0;
		for (size_t i = 0; i < size; i++)
			value = value << 8 | frame[start + i];
		memset(r, 0xee, 6 * sizeof(*r));
		r[0] = value;
	}
}

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/* The queue of a frame; whoever may ask the kernel, does so, too. */
static uint32_t queue_of(const struct net_rss *rss, const uint8_t *frame,
			 size_t len)
{
	static struct bpf_insn code[NET_RSS_PROGRAM_MAX];
	unsigned n = net_rss_program(rss, code);
	uint32_t queue = interpret(code, frame, len);
	/* A type whose test run begins with the Ethernet header. */
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_SCHED_CLS,
		.insns = (uintptr_t)code,
		.insn_cnt = n,
		.license = (uintptr_t) "",
	};
	union bpf_attr run = {
		.test.data_in = (uintptr_t)frame,
		.test.data_size_in = (uint32_t)len,
	};
	int fd = (int)bpf(BPF_PROG_LOAD, &load);

	assert_in_range(n, 1, NET_RSS_PROGRAM_MAX);
	if (fd < 0) {
		assert_true(errno == EPERM || errno == ENOSYS);
		return queue;
	}
	run.test.prog_fd = (uint32_t)fd;
	assert_int_equal(bpf(BPF_PROG_TEST_RUN, &run), 0);
	close(fd);
	assert_int_equal(run.test.retval, queue);
	return queue;
}

/* The low bits of the hash, read from the program three at a time. */
static uint32_t hash_of(struct net_rss *rss, const uint8_t *frame, size_t len)
{
	uint32_t hash = 0;

	for (unsigned bit = 0; bit < 7; bit += 3) {
		for (unsigned i = 0; i < NET_RSS_TABLE; i++)
			rss->table[i] = i >> bit & 7;
		hash |= queue_of(rss, frame, len) << bit;
	}
	return hash;
}

static void the_hash_is_the_one_that_cards_are_verified_with(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		struct net_rss rss = { .types = NET_RSS_TYPES,
				       .mask = NET_RSS_TABLE - 1 };
		uint8_t frame[FRAME];
		size_t len = make_frame(frame, i, IPPROTO_TCP);

		memcpy(rss.key, key, sizeof(key));
		assert_int_equal(hash_of(&rss, frame, len), known[i].tcp & 127);
		make_frame(frame, i, IPPROTO_UDP);
		assert_int_equal(hash_of(&rss, frame, len), known[i].tcp & 127);
		make_frame(frame, i, IPPROTO_ICMP);
		assert_int_equal(hash_of(&rss, frame, len), known[i].ip & 127);
		rss.types = TYPE(IPv4) | TYPE(IPv6) | TYPE(UDPv4) | TYPE(UDPv6);
		make_frame(frame, i, IPPROTO_TCP);
		assert_int_equal(hash_of(&rss, frame, len), known[i].ip & 127);
	}
}

static void what_has_no_hash_goes_where_the_unclassified_go(void **state)
{
	static const struct {
		const char *name;
		uint32_t types;
		size_t known;
		uint8_t protocol, fragment;
		bool classified;
	} cases[] = {
		{ "nothing is hashed", 0, 0, IPPROTO_TCP, 0, false },
		{ "TCP", TYPE(TCPv4), 0, IPPROTO_TCP, 0, true },
		{ "UDP, not wanted", TYPE(TCPv4), 0, IPPROTO_UDP, 0, false },
		{ "UDP", TYPE(UDPv4), 0, IPPROTO_UDP, 0, true },
		{ "a fragment of TCP", TYPE(TCPv4), 0, IPPROTO_TCP, 1, false },
		{ "the first one", TYPE(TCPv4), 0, IPPROTO_TCP, 0x20, false },
		{ "not to be cut", TYPE(TCPv4), 0, IPPROTO_TCP, 0x40, true },
		{ "IPv6, not wanted", TYPE(TCPv4), 3, IPPROTO_TCP, 0, false },
		{ "TCP over IPv6", TYPE(TCPv6), 3, IPPROTO_TCP, 0, true },
		{ "behind a header", TYPE(TCPv6), 3, 0, 0, false },
		{ "addresses alone", TYPE(IPv6), 3, 0, 0, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct net_rss rss = { .types = cases[i].types,
				       .unclassified = 5 };
		uint8_t frame[FRAME];
		size_t len =
			make_frame(frame, cases[i].known, cases[i].protocol);

		rss.table[0] = 2;
		if (cases[i].fragment)
			frame[ETH_HLEN + 6] = cases[i].fragment;
		if (queue_of(&rss, frame, len) != (cases[i].classified ? 2 : 5))
			fail_msg("%s", cases[i].name);
		put_be16(frame + 12, ETH_P_ARP);
		assert_int_equal(queue_of(&rss, frame, len), 5);
	}
}

static void the_ports_are_behind_the_options(void **state)
{
	struct net_rss rss = { .types = TYPE(TCPv4),
			       .mask = NET_RSS_TABLE - 1 };
	uint8_t frame[FRAME];
	size_t len = make_frame(frame, 0, IPPROTO_TCP);

	(void)state;
	memcpy(rss.key, key, sizeof(key));
	memmove(frame + ETH_HLEN + 28, frame + ETH_HLEN + 20, 4);
	memset(frame + ETH_HLEN + 20, 1, 8);
	frame[ETH_HLEN] = 0x47;
	assert_int_equal(hash_of(&rss, frame, len + 8), known[0].tcp & 127);
	/* Too short for its ports: the first queue. */
	assert_int_equal(hash_of(&rss, frame, len + 7), 0);
}

/* Of @len bytes and no more: the sanitizer sees what is read behind them. */
static bool parse(struct net_rss *rss, unsigned *pairs, const uint8_t *from,
		  size_t len)
{
	uint8_t *bytes = malloc(len);
	bool ok;

	assert_non_null(bytes);
	memcpy(bytes, from, len);
	ok = net_rss_parse(rss, pairs, 4, bytes, len);
	free(bytes);
	return ok;
}

static void a_table_and_a_key_fill_their_place_and_no_more(void **state)
{
	static const struct {
		unsigned entries, key;
		bool ok;
	} cases[] = {
		{ NET_RSS_TABLE, NET_RSS_KEY, true },
		{ 2 * NET_RSS_TABLE, NET_RSS_KEY, false },
		{ NET_RSS_TABLE, NET_RSS_KEY + 1, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t tail = 8 + 2 * cases[i].entries;
		uint8_t bytes[1024] = { 0 };
		struct net_rss rss;
		unsigned pairs;

		put_le16(bytes + 4, cases[i].entries - 1);
		bytes[tail] = 1;
		bytes[tail + 2] = cases[i].key;
		assert_int_equal(
			parse(&rss, &pairs, bytes, tail + 3 + cases[i].key),
			cases[i].ok);
	}
}

static void a_configuration_is_taken_or_refused(void **state)
{
	static const struct {
		const char *name;
		size_t len;
		uint8_t bytes[24];
		unsigned pairs; /* 0: refused */
	} cases[] = {
		{ "two queues, a key of two bytes",
		  17,
		  { 63, 0, 0, 0, 1, 0, 2, 0, 0, 0, 3, 0, 4, 0, 2, 0xaa, 0xbb },
		  4 },
		{ "no key", 13, { [10] = 1 }, 1 },
		{ "nothing", 0, { 0 }, 0 },
		{ "too short", 12, { [10] = 1 }, 0 },
		{ "a byte behind it", 14, { [10] = 1 }, 0 },
		{ "no such type", 13, { 64, [10] = 1 }, 0 },
		{ "no power of two", 17, { [4] = 2, [14] = 1 }, 0 },
		{ "a huge table", 13, { [4] = 255, 255, [10] = 1 }, 0 },
		{ "no such queue", 13, { [8] = 4, [10] = 1 }, 0 },
		{ "none for the unclassified", 13, { [7] = 1, [10] = 1 }, 0 },
		{ "no queue to send", 13, { 0 }, 0 },
		{ "too many", 13, { [10] = 5 }, 0 },
		{ "a longer key than there is", 13, { [10] = 1, 0, 2 }, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct net_rss rss = { .types = 99 };
		unsigned pairs = 0;
		bool ok = parse(&rss, &pairs, cases[i].bytes, cases[i].len);

		if (ok != (bool)cases[i].pairs || pairs != cases[i].pairs)
			fail_msg("%s: %d, %u", cases[i].name, ok, pairs);
		assert_int_equal(rss.types, ok ? cases[i].bytes[0] : 99);
		if (i)
			continue;
		assert_int_equal(rss.unclassified, 2);
		assert_int_equal(rss.mask, 1);
		assert_memory_equal(rss.table, "\0\3\0", 3);
		assert_memory_equal(rss.key, "\xaa\xbb\0", 3);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_hash_is_the_one_that_cards_are_verified_with),
	cmocka_unit_test(what_has_no_hash_goes_where_the_unclassified_go),
	cmocka_unit_test(the_ports_are_behind_the_options),
	cmocka_unit_test(a_table_and_a_key_fill_their_place_and_no_more),
	cmocka_unit_test(a_configuration_is_taken_or_refused),
};

UNIT_MAIN(tests)
