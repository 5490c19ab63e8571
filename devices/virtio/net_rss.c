#include "devices/virtio/net_rss.h"

#include "util/bytes.h"

#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <string.h>

/* Where le32 types, le16 mask, le16 unclassified end and the table begins; and
 * of what is behind that: le16 send queues, u8 length of the key. */
#define CONFIG_HEAD 8
#define CONFIG_TAIL 3

bool net_rss_parse(struct net_rss *rss, unsigned *pairs, unsigned pairs_max,
		   const uint8_t *bytes, size_t len)
{
	struct net_rss new = { 0 };
	size_t entries, tail;
	uint16_t queues;

	if (len < CONFIG_HEAD)
		return false;
	new.types = get_le32(bytes);
	new.mask = get_le16(bytes + 4);
	entries = new.mask + 1u;
	tail = CONFIG_HEAD + 2 * entries;
	if ((new.types & ~NET_RSS_TYPES) || (entries & new.mask) ||
	    entries > NET_RSS_TABLE || len < tail + CONFIG_TAIL)
		return false;
	queues = get_le16(bytes + tail);
	if (!queues || queues > pairs_max || bytes[tail + 2] > NET_RSS_KEY ||
	    len != tail + CONFIG_TAIL + bytes[tail + 2])
		return false;
	/* The queue for the unclassified stands before the others. */
	for (size_t i = 0; i <= entries; i++) {
		uint16_t queue = get_le16(bytes + CONFIG_HEAD - 2 + 2 * i);

		if (queue >= pairs_max)
			return false;
		*(i ? &new.table[i - 1] : &new.unclassified) = (uint8_t)queue;
	}
	memcpy(new.key, bytes + tail + CONFIG_TAIL, bytes[tail + 2]);
	*rss = new;
	*pairs = queues;
	return true;
}

/* R6 is where the kernel's packet loads expect the packet; they leave R0 as the
 * value, and nothing in R1 to R5. A frame too short for one ends the program
 * with queue 0. */
enum { R0, R1, R2, PACKET = 6, HASH };

struct program {
	struct bpf_insn *code;
	unsigned len;
};

/* With the number @imm, or, if @op says so, the register @src. */
static void emit(struct program *program, unsigned op, unsigned dst,
		 unsigned src, uint32_t imm)
{
	program->code[program->len++] = (struct bpf_insn){
		.code = (uint8_t)op,
		.dst_reg = dst & 0xf,
		.src_reg = src & 0xf,
		.imm = (int32_t)imm,
	};
}

#define ALU(op)   (BPF_ALU64 | (op))
#define JUMP(op)  (BPF_JMP | (op))
#define LOAD(how) (BPF_LD | (how))

/* A jump to where land() is called with what this returns. */
static unsigned emit_jump(struct program *program, unsigned op, uint32_t imm)
{
	emit(program, JUMP(op), R0, 0, imm);
	return program->len - 1;
}

static void land(struct program *program, unsigned jump)
{
	program->code[jump].off = (int16_t)(program->len - jump - 1);
}

/*
 * Toeplitz: for each bit of the input that is set, the hash is XORed with the
 * 32 bits of the key that begin at that bit. By multiplication: a processor
 * would guess every other jump wrong, and the kernel, which checks the program
 * before it takes it, would follow both ways of each.
 */
static void emit_hash(struct program *program, const uint8_t *key,
		      unsigned word)
{
	uint64_t window = get_be64(key + 4 * word);

	for (unsigned bit = 0; bit < 32; bit++) {
		emit(program, ALU(BPF_MOV) | BPF_X, R1, R0, 0);
		emit(program, ALU(BPF_RSH), R1, 0, 31 - bit);
		emit(program, ALU(BPF_AND), R1, 0, 1);
		emit(program, ALU(BPF_MUL), R1, 0, window << bit >> 32);
		emit(program, ALU(BPF_XOR) | BPF_X, HASH, R1, 0);
	}
}

/* The addresses of a packet, at @at. */
static void emit_addresses(struct program *program, const uint8_t *key,
			   unsigned at, unsigned words)
{
	emit(program, ALU(BPF_MOV), HASH, 0, 0);
	for (unsigned i = 0; i < words; i++) {
		emit(program, LOAD(BPF_ABS | BPF_W), 0, 0, at + 4 * i);
		emit_hash(program, key, i);
	}
}

struct family {
	uint32_t ip, tcp, udp; /* types of hashes */
	uint16_t ethertype;
	uint8_t protocol_at, addresses_at, words;
};

static const struct family families[] = {
	{ VIRTIO_NET_RSS_HASH_TYPE_IPv4, VIRTIO_NET_RSS_HASH_TYPE_TCPv4,
	  VIRTIO_NET_RSS_HASH_TYPE_UDPv4, ETH_P_IP, ETH_HLEN + 9, ETH_HLEN + 12,
	  2 },
	{ VIRTIO_NET_RSS_HASH_TYPE_IPv6, VIRTIO_NET_RSS_HASH_TYPE_TCPv6,
	  VIRTIO_NET_RSS_HASH_TYPE_UDPv6, ETH_P_IPV6, ETH_HLEN + 6,
	  ETH_HLEN + 8, 8 },
};

/*
 * A packet of @family, from its hash over the addresses on, to which the ports
 * are added if the driver wants them and there are some: not in a fragment, nor
 * behind extension headers. The jump of those that are unclassified, or 0.
 */
static unsigned emit_ports(struct program *program, const struct net_rss *rss,
			   const struct family *family)
{
	bool v4 = family->ethertype == ETH_P_IP;
	unsigned fragment = 0, tcp = 0, udp = 0, other, hashed, stranger = 0;

	if (!(rss->types & (family->tcp | family->udp)))
		return 0;
	if (v4) {
		emit(program, LOAD(BPF_ABS | BPF_H), 0, 0, ETH_HLEN + 6);
		fragment = emit_jump(program, BPF_JSET, 0x3fff);
	}
	emit(program, LOAD(BPF_ABS | BPF_B), 0, 0, family->protocol_at);
	if (rss->types & family->tcp)
		tcp = emit_jump(program, BPF_JEQ, IPPROTO_TCP);
	if (rss->types & family->udp)
		udp = emit_jump(program, BPF_JEQ, IPPROTO_UDP);
	other = emit_jump(program, BPF_JA, 0);
	if (tcp)
		land(program, tcp);
	if (udp)
		land(program, udp);
	if (v4) {
		emit(program, LOAD(BPF_ABS | BPF_B), 0, 0, ETH_HLEN);
		emit(program, ALU(BPF_AND), R0, 0, 0xf);
		emit(program, ALU(BPF_LSH), R0, 0, 2);
		emit(program, LOAD(BPF_IND | BPF_W), 0, R0, ETH_HLEN);
	} else {
		emit(program, LOAD(BPF_ABS | BPF_W), 0, 0, ETH_HLEN + 40);
	}
	emit_hash(program, rss->key, family->words);
	hashed = emit_jump(program, BPF_JA, 0);
	land(program, other);
	if (fragment)
		land(program, fragment);
	if (!(rss->types & family->ip))
		stranger = emit_jump(program, BPF_JA, 0);
	land(program, hashed);
	return stranger;
}

/* The queue at the place in HASH: 16 of them, of 4 bits each, in a word. */
static void emit_table(struct program *program, const struct net_rss *rss)
{
	unsigned words = rss->mask / 16 + 1;

	emit(program, ALU(BPF_AND), HASH, 0, rss->mask);
	emit(program, ALU(BPF_MOV) | BPF_X, R1, HASH, 0);
	emit(program, ALU(BPF_RSH), R1, 0, 4);
	for (unsigned i = 0; i < words; i++) {
		uint64_t word = 0;

		for (unsigned k = 0; k < 16; k++)
			word |= (uint64_t)rss->table[16 * i + k] << 4 * k;
		emit(program, LOAD(BPF_IMM | BPF_DW), R0, 0, word);
		emit(program, 0, 0, 0, word >> 32);
		emit(program, JUMP(BPF_JEQ), R1, 0, i);
		program->code[program->len - 1].off =
			(int16_t)(3 * (words - 1 - i));
	}
	emit(program, ALU(BPF_AND), HASH, 0, 15);
	emit(program, ALU(BPF_LSH), HASH, 0, 2);
	emit(program, ALU(BPF_RSH) | BPF_X, R0, HASH, 0);
	emit(program, ALU(BPF_AND), R0, 0, 15);
	emit(program, JUMP(BPF_EXIT), 0, 0, 0);
}

unsigned net_rss_program(const struct net_rss *rss,
			 struct bpf_insn code[NET_RSS_PROGRAM_MAX])
{
	struct program program = { code, 0 };

	emit(&program, ALU(BPF_MOV) | BPF_X, PACKET, R1, 0);
	for (size_t i = 0; i < 2; i++) {
		const struct family *family = &families[i];
		unsigned next, stranger;

		if (!(rss->types & (family->ip | family->tcp | family->udp)))
			continue;
		emit(&program, LOAD(BPF_ABS | BPF_H), 0, 0, 2 * ETH_ALEN);
		next = emit_jump(&program, BPF_JNE, family->ethertype);
		emit_addresses(&program, rss->key, family->addresses_at,
			       family->words);
		stranger = emit_ports(&program, rss, family);
		emit_table(&program, rss);
		if (stranger)
			land(&program, stranger);
		land(&program, next);
	}
	emit(&program, ALU(BPF_MOV), R0, 0, rss->unclassified);
	emit(&program, JUMP(BPF_EXIT), 0, 0, 0);
	return program.len;
}
