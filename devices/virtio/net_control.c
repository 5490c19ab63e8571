#include "devices/virtio/net_control.h"

#include "devices/virtio/net_features.h"
#include "util/bytes.h"
#include "util/checked.h"

#include <linux/virtio_net.h>
#include <string.h>

#define COMMAND_HEADER 2 /* class, command */

void net_control_init(struct net_control *control, uint64_t features,
		      unsigned pairs_max, const uint8_t mac[NET_MAC])
{
	*control = (struct net_control){
		.features = features,
		.pairs_max = pairs_max,
		.pairs = 1,
		.offloads = features & NET_GUEST_OFFLOADS,
		/* A driver that sets no filter sees everything (5.1.6.5.1). */
		.filter.promisc = true,
		.filter.vlan_filter = features &
				      NET_FEATURE(VIRTIO_NET_F_CTRL_VLAN),
	};
	memcpy(control->filter.mac, mac, NET_MAC);
}

/* The argument of a command: @len bytes are there, @total in all. */
struct argument {
	const uint8_t *bytes;
	size_t len;
	uint64_t total;
};

static bool set_mode(struct net_control *control, uint8_t command,
		     const struct argument *arg)
{
	struct net_filter *filter = &control->filter;
	bool *const modes[] = {
		[VIRTIO_NET_CTRL_RX_PROMISC] = &filter->promisc,
		[VIRTIO_NET_CTRL_RX_ALLMULTI] = &filter->allmulti,
		[VIRTIO_NET_CTRL_RX_ALLUNI] = &filter->alluni,
		[VIRTIO_NET_CTRL_RX_NOMULTI] = &filter->nomulti,
		[VIRTIO_NET_CTRL_RX_NOUNI] = &filter->nouni,
		[VIRTIO_NET_CTRL_RX_NOBCAST] = &filter->nobcast,
	};

	*modes[command] = arg->bytes[0];
	return true;
}

/*
 * A list of le32 count and as many addresses, at *@at. Its end is in *@at
 * then. False when the command is too short for it.
 */
static bool read_addresses(struct net_addresses *list,
			   const struct argument *arg, uint64_t *at)
{
	uint64_t end;

	*list = (struct net_addresses){ 0 };
	if (!range_within(*at, 4, arg->total))
		return false;
	/* Behind a list too long to be copied: there is no telling. */
	list->all = !range_within(*at, 4, arg->len);
	if (list->all)
		return true;
	list->count = get_le32(arg->bytes + *at);
	*at += 4;
	end = *at + (uint64_t)list->count * NET_MAC;
	if (end > arg->total)
		return false;
	if (list->count > NET_TABLE_MAX || end > arg->len) {
		list->all = true;
		list->count = 0;
	}
	if (list->count)
		memcpy(list->mac, arg->bytes + *at, list->count * NET_MAC);
	*at = end;
	return true;
}

static bool set_table(struct net_control *control, uint8_t command,
		      const struct argument *arg)
{
	struct net_addresses unicast, multicast;
	uint64_t at = 0;

	(void)command;
	if (!read_addresses(&unicast, arg, &at) ||
	    !read_addresses(&multicast, arg, &at))
		return false;
	if (at != arg->total && !unicast.all && !multicast.all)
		return false;
	control->filter.unicast = unicast;
	control->filter.multicast = multicast;
	return true;
}

static bool set_mac(struct net_control *control, uint8_t command,
		    const struct argument *arg)
{
	(void)command;
	if (arg->bytes[0] & 1) /* no card's address is a multicast */
		return false;
	memcpy(control->filter.mac, arg->bytes, NET_MAC);
	return true;
}

static bool set_vlan(struct net_control *control, uint8_t command,
		     const struct argument *arg)
{
	uint16_t id = get_le16(arg->bytes);
	uint32_t *word = &control->filter.vlans[id % NET_VLANS / 32];

	if (id >= NET_VLANS)
		return false;
	if (command == VIRTIO_NET_CTRL_VLAN_ADD)
		*word |= 1u << id % 32;
	else
		*word &= ~(1u << id % 32);
	return true;
}

static bool acknowledge(struct net_control *control, uint8_t command,
			const struct argument *arg)
{
	(void)control, (void)command, (void)arg;
	return true;
}

static bool set_pairs(struct net_control *control, uint8_t command,
		      const struct argument *arg)
{
	uint16_t pairs = get_le16(arg->bytes);

	(void)command;
	if (!pairs || pairs > control->pairs_max)
		return false;
	control->pairs = pairs;
	control->steered = false;
	return true;
}

static bool set_rss(struct net_control *control, uint8_t command,
		    const struct argument *arg)
{
	(void)command;
	if (arg->len != arg->total ||
	    !net_rss_parse(&control->rss, &control->pairs, control->pairs_max,
			   arg->bytes, arg->len))
		return false;
	control->steered = true;
	return true;
}

static bool set_offloads(struct net_control *control, uint8_t command,
			 const struct argument *arg)
{
	uint64_t offloads = get_le64(arg->bytes);

	(void)command;
	/* Only what was negotiated may be turned on again (5.1.6.5.6.2). */
	if (offloads & ~(control->features & NET_GUEST_OFFLOADS))
		return false;
	control->offloads = offloads;
	return true;
}

#define LENGTH_ANY (-1)

static const struct {
	uint8_t class, command;
	int length;       /* of the argument */
	unsigned feature; /* that allows it */
	bool (*set)(struct net_control *control, uint8_t command,
		    const struct argument *arg);
	enum net_effect effect;
} commands[] = {
#define RX(name, feature)                                                      \
	{                                                                      \
		VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_##name, 1,              \
			VIRTIO_NET_F_##feature, set_mode, NET_EFFECT_FILTER    \
	}
	RX(PROMISC, CTRL_RX),
	RX(ALLMULTI, CTRL_RX),
	RX(ALLUNI, CTRL_RX_EXTRA),
	RX(NOMULTI, CTRL_RX_EXTRA),
	RX(NOUNI, CTRL_RX_EXTRA),
	RX(NOBCAST, CTRL_RX_EXTRA),
#undef RX
	{ VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, LENGTH_ANY,
	  VIRTIO_NET_F_CTRL_RX, set_table, NET_EFFECT_FILTER },
	{ VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, NET_MAC,
	  VIRTIO_NET_F_CTRL_MAC_ADDR, set_mac, NET_EFFECT_MAC },
	{ VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 2,
	  VIRTIO_NET_F_CTRL_VLAN, set_vlan, NET_EFFECT_FILTER },
	{ VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, 2,
	  VIRTIO_NET_F_CTRL_VLAN, set_vlan, NET_EFFECT_FILTER },
	{ VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, 0,
	  VIRTIO_NET_F_GUEST_ANNOUNCE, acknowledge, NET_EFFECT_ANNOUNCED },
	{ VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2,
	  VIRTIO_NET_F_MQ, set_pairs, NET_EFFECT_PAIRS },
	{ VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, LENGTH_ANY,
	  VIRTIO_NET_F_RSS, set_rss, NET_EFFECT_PAIRS },
	{ VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, 8,
	  VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, set_offloads, NET_EFFECT_OFFLOADS },
};

bool net_control_apply(struct net_control *control, const uint8_t *bytes,
		       size_t len, uint64_t total, enum net_effect *effect)
{
	struct argument arg;

	if (len < COMMAND_HEADER)
		return false;
	arg = (struct argument){ bytes + COMMAND_HEADER, len - COMMAND_HEADER,
				 total - COMMAND_HEADER };
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (bytes[0] != commands[i].class ||
		    bytes[1] != commands[i].command)
			continue;
		if (!(control->features & NET_FEATURE(commands[i].feature)))
			return false;
		if (commands[i].length != LENGTH_ANY &&
		    arg.total != (uint64_t)commands[i].length)
			return false;
		*effect = commands[i].effect;
		return commands[i].set(control, bytes[1], &arg);
	}
	return false;
}
