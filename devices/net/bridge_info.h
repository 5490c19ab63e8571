/*
 * What the kernel says of the bridges of the caller's network namespace, their
 * ports and their forwarding tables: as brctl show, brctl showmacs and bridge
 * vlan tell it. Main thread; needs no right.
 */
#ifndef KVIST_NET_BRIDGE_INFO_H
#define KVIST_NET_BRIDGE_INFO_H

#include "devices/net/net.h"

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

/* What a link is to a VLAN. */
#define BRIDGE_VLAN_MEMBER   0x01
#define BRIDGE_VLAN_PVID     0x02 /* untagged frames that come belong to it */
#define BRIDGE_VLAN_UNTAGGED 0x04 /* its frames leave untagged */

/* A bridge, a port of one, or what is on another link: a macvlan, a VLAN. */
struct bridge_link {
	int index;
	int master; /* the bridge it is a port of; 0: none */
	int on;     /* the link here that it goes with; 0: none */
	char name[IFNAMSIZ];
	char alias[IFNAMSIZ + 1]; /* cut, but past any name's length */
	bool is_bridge;
	bool up;
	bool stp;       /* of a bridge */
	bool filtering; /* it tells VLANs apart */
	uint8_t state;  /* of a port: BR_STATE_* of linux/if_bridge.h */
	uint32_t mtu;
	uint8_t mac[NET_MAC];
	uint8_t vlans[NET_VLAN_MAX + 1]; /* by number: BRIDGE_VLAN_* */
};

/* One line of a forwarding table. */
struct bridge_address {
	int bridge, port; /* a bridge's own address: both the bridge */
	uint8_t mac[NET_MAC];
	uint16_t vlan;   /* 0: of none */
	bool local;      /* the host's own: the port's, or the bridge's */
	bool permanent;  /* someone put it there: it does not age */
	uint64_t age_ms; /* since a frame came from it */
};

struct bridge_info {
	struct bridge_link *links; /* in the order of their indices */
	size_t nr_links;
	struct bridge_address *addresses;
	size_t nr_addresses;
};

/* 0 or -errno, silent. On success the caller frees it. */
int bridge_info_read(struct bridge_info *info);
void bridge_info_free(struct bridge_info *info);

/* NULL when there is none. */
const struct bridge_link *bridge_info_find(const struct bridge_info *info,
					   int index);
/* The port's state as brctl calls it: "forwarding". */
const char *bridge_state_name(uint8_t state);

#endif
