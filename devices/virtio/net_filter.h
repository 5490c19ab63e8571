/*
 * Which frames a network card receives (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3):
 * said once for the worker, and once as a program for the kernel, which keeps
 * back what the card would drop. Pure functions.
 */
#ifndef KVIST_VIRTIO_NET_FILTER_H
#define KVIST_VIRTIO_NET_FILTER_H

#include "devices/net/net.h"

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

#define NET_TABLE_MAX 64 /* addresses of a list that are told apart */
#define NET_VLANS     4096

/* What of a frame the filter looks at: two addresses, a VLAN tag. */
#define NET_FILTER_BYTES 16

/* A list of addresses. */
struct net_addresses {
	bool all; /* it was too long: the driver sorts frames out itself */
	uint32_t count;
	uint8_t mac[NET_TABLE_MAX][NET_MAC];
};

struct net_filter {
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	uint8_t mac[NET_MAC];
	struct net_addresses unicast, multicast;
	bool vlan_filter; /* only frames in these vlans, and untagged ones */
	uint32_t vlans[NET_VLANS / 32];
};

/* Whether the card receives the frame that begins with @frame; what is beyond
 * a short frame's end is 0. */
bool net_filter_accepts(const struct net_filter *filter,
			const uint8_t frame[NET_FILTER_BYTES]);

#define NET_PROGRAM_MAX 1024 /* instructions */

/*
 * The same in classic BPF (Linux, Documentation/networking/filter.rst), to be
 * attached to a tap. The number of instructions: 0 if all frames are accepted.
 */
unsigned net_filter_program(const struct net_filter *filter,
			    struct sock_filter program[NET_PROGRAM_MAX]);

#endif
