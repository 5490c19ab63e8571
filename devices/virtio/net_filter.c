#include "devices/virtio/net_filter.h"

#include "util/bytes.h"
#include "util/checked.h"

#include <linux/if_ether.h>
#include <string.h>

#define VLAN_ID_MASK 0x0fff

static const uint8_t broadcast[NET_MAC] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff
};

static bool listed(const struct net_addresses *list, const uint8_t mac[NET_MAC])
{
	if (list->all)
		return true;
	for (uint32_t i = 0; i < list->count; i++) {
		if (!memcmp(list->mac[i], mac, NET_MAC))
			return true;
	}
	return false;
}

static bool vlan_accepts(const struct net_filter *filter,
			 const uint8_t frame[NET_FILTER_BYTES])
{
	uint16_t id;

	if (!filter->vlan_filter ||
	    get_be16(frame + 2 * NET_MAC) != ETH_P_8021Q)
		return true;
	/* A tag of VLAN 0 is a priority, and belongs to none. */
	id = get_be16(frame + 2 * NET_MAC + 2) & VLAN_ID_MASK;
	return !id || filter->vlans[id / 32] >> id % 32 & 1;
}

bool net_filter_accepts(const struct net_filter *filter,
			const uint8_t frame[NET_FILTER_BYTES])
{
	if (filter->promisc)
		return true;
	if (!vlan_accepts(filter, frame))
		return false;
	if (!memcmp(frame, broadcast, NET_MAC))
		return !filter->nobcast;
	if (frame[0] & 1)
		return !filter->nomulti &&
		       (filter->allmulti || listed(&filter->multicast, frame));
	return !filter->nouni &&
	       (filter->alluni || !memcmp(frame, filter->mac, NET_MAC) ||
		listed(&filter->unicast, frame));
}

/* What a program returns: how many bytes of the frame are let in. */
#define DROP 0u
#define PASS UINT32_MAX

struct program {
	struct sock_filter *code;
	unsigned len;
};

static void emit(struct program *program, uint16_t op, uint32_t k)
{
	program->code[program->len++] =
		(struct sock_filter)BPF_STMT((uint16_t)op, k);
}

/* A conditional jump, over @yes or over @no instructions. */
static void emit_if(struct program *program, uint16_t op, uint32_t k,
		    uint8_t yes, uint8_t no)
{
	program->code[program->len++] =
		(struct sock_filter)BPF_JUMP(op, k, yes, no);
}

#define LOAD_BYTES(size) (BPF_LD | BPF_ABS | (size))
#define LOAD_META(field) LOAD_BYTES(BPF_W), SKF_AD_OFF + (field)
#define IF_EQUAL         (BPF_JMP | BPF_JEQ | BPF_K)
#define IF_BITS          (BPF_JMP | BPF_JSET | BPF_K)

/* A tag is in the frame, or beside it. */
static void emit_vlans(struct program *program, const uint32_t *vlans)
{
	unsigned none;

	emit(program, LOAD_META(SKF_AD_VLAN_TAG_PRESENT));
	emit_if(program, IF_EQUAL, 0, 4, 0);
	emit(program, LOAD_META(SKF_AD_VLAN_TPID));
	emit_if(program, IF_EQUAL, ETH_P_8021Q, 0, 7);
	emit(program, LOAD_META(SKF_AD_VLAN_TAG));
	emit(program, BPF_JMP | BPF_JA, 3);
	emit(program, LOAD_BYTES(BPF_H), 2 * NET_MAC);
	emit_if(program, IF_EQUAL, ETH_P_8021Q, 0, 3);
	emit(program, LOAD_BYTES(BPF_H), 2 * NET_MAC + 2);
	emit(program, BPF_ALU | BPF_AND | BPF_K, VLAN_ID_MASK);
	emit_if(program, IF_EQUAL, 0, 0, 1);
	none = program->len;
	emit(program, BPF_JMP | BPF_JA, 0);

	/* X = vlans[A / 32], without those that are 0. */
	emit(program, BPF_ST, 0);
	emit(program, BPF_ALU | BPF_RSH | BPF_K, 5);
	emit(program, BPF_LDX | BPF_IMM, 0);
	for (uint32_t i = 0; i < NET_VLANS / 32; i++) {
		if (!vlans[i])
			continue;
		emit_if(program, IF_EQUAL, i, 0, 1);
		emit(program, BPF_LDX | BPF_IMM, vlans[i]);
	}
	/* X >> A % 32 & 1 */
	emit(program, BPF_STX, 1);
	emit(program, BPF_LD | BPF_MEM, 0);
	emit(program, BPF_ALU | BPF_AND | BPF_K, 31);
	emit(program, BPF_MISC | BPF_TAX, 0);
	emit(program, BPF_LD | BPF_MEM, 1);
	emit(program, BPF_ALU | BPF_RSH | BPF_X, 0);
	emit_if(program, IF_BITS, 1, 1, 0);
	emit(program, BPF_RET | BPF_K, DROP);
	program->code[none].k = program->len - none - 1;
}

/* Returns @verdict for the destination @mac, whose halves are in X and in both
 * A and M[0]. */
static void emit_address(struct program *program, const uint8_t mac[NET_MAC],
			 uint32_t verdict)
{
	emit_if(program, IF_EQUAL, get_be32(mac + 2), 0, 4);
	emit(program, BPF_MISC | BPF_TXA, 0);
	emit_if(program, IF_EQUAL, get_be16(mac), 0, 1);
	emit(program, BPF_RET | BPF_K, verdict);
	emit(program, BPF_LD | BPF_MEM, 0);
}

/* Those of a list, without what a driver put into the wrong one. */
static void emit_list(struct program *program, const struct net_addresses *list,
		      uint8_t multicast)
{
	for (uint32_t i = 0; i < list->count; i++) {
		if ((list->mac[i][0] & 1) == multicast)
			emit_address(program, list->mac[i], PASS);
	}
}

unsigned net_filter_program(const struct net_filter *filter,
			    struct sock_filter code[NET_PROGRAM_MAX])
{
	struct program program = { code, 0 };
	bool multicasts = filter->allmulti || filter->multicast.all;
	bool unicasts = filter->alluni || filter->unicast.all;

	_Static_assert(12 + 3 + 2 * NET_VLANS / 32 + 8 + 4 +
				       5 * (2 + 2 * NET_TABLE_MAX) + 4 <=
			       NET_PROGRAM_MAX,
		       "the longest program fits");
	if (filter->promisc)
		return 0;
	if (filter->vlan_filter)
		emit_vlans(&program, filter->vlans);
	emit(&program, LOAD_BYTES(BPF_H), 0);
	emit(&program, BPF_MISC | BPF_TAX, 0);
	emit(&program, LOAD_BYTES(BPF_W), 2);
	emit(&program, BPF_ST, 0);
	emit_address(&program, broadcast, filter->nobcast ? DROP : PASS);
	if (!filter->nomulti && !multicasts)
		emit_list(&program, &filter->multicast, 1);
	if (!filter->nouni && !unicasts) {
		emit_address(&program, filter->mac, PASS);
		emit_list(&program, &filter->unicast, 0);
	}
	emit(&program, BPF_MISC | BPF_TXA, 0);
	emit_if(&program, IF_BITS, 0x100, 0, 1);
	emit(&program, BPF_RET | BPF_K,
	     multicasts && !filter->nomulti ? PASS : DROP);
	emit(&program, BPF_RET | BPF_K,
	     unicasts && !filter->nouni ? PASS : DROP);
	return program.len;
}
