/*
 * The control queue of a network card (virtio 1.2, 5.1.6.5): what a command
 * changes, and which frames the card then receives. Pure functions over plain
 * structs, which belong to the card's worker.
 */
#ifndef KVIST_VIRTIO_NET_CONTROL_H
#define KVIST_VIRTIO_NET_CONTROL_H

#include "devices/net/net.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_TABLE_MAX   64   /* addresses of a list that are told apart */
#define NET_COMMAND_MAX 1024 /* two full lists fit */
#define NET_VLANS       4096

/* What of a frame the filter looks at: two addresses, a VLAN tag. */
#define NET_FILTER_BYTES 16

/* A list of addresses; one that is too long to be kept lets all of its kind
 * in, which the driver's own filter then sorts out. */
struct net_addresses {
	bool all;
	uint32_t count;
	uint8_t mac[NET_TABLE_MAX][NET_MAC];
};

struct net_filter {
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	uint8_t mac[NET_MAC];
	struct net_addresses unicast, multicast;
	bool vlan_filter; /* only those in vlans, and untagged frames */
	uint64_t vlans[NET_VLANS / 64];
};

struct net_control {
	uint64_t features; /* the driver's */
	unsigned pairs_max;
	struct net_filter filter;
	unsigned pairs;    /* in use: 1 .. pairs_max */
	uint64_t offloads; /* VIRTIO_NET_F_GUEST_* bits in use */
};

/* What the card has to do about a command, besides remembering it. */
enum net_effect {
	NET_EFFECT_NONE,
	NET_EFFECT_MAC,      /* filter.mac is another one */
	NET_EFFECT_FILTER,   /* another part of the filter is */
	NET_EFFECT_PAIRS,    /* as many are in use as `pairs` says */
	NET_EFFECT_OFFLOADS, /* `offloads` is another set */
	NET_EFFECT_ANNOUNCED,
};

/* The state after a reset, once @features are negotiated. */
void net_control_init(struct net_control *control, uint64_t features,
		      unsigned pairs_max, const uint8_t mac[NET_MAC]);

/*
 * Carries out the command of @total bytes whose first @len, at most
 * NET_COMMAND_MAX, are at @bytes: all of them unless @total is larger. False,
 * and nothing changed, when it is none, is not negotiated, has a wrong length
 * or a value out of range: the answer is VIRTIO_NET_ERR.
 */
bool net_control_apply(struct net_control *control, const uint8_t *bytes,
		       size_t len, uint64_t total, enum net_effect *effect);

/* Whether the card receives the frame that begins with @frame; what is beyond
 * a short frame's end is 0. */
bool net_filter_accepts(const struct net_filter *filter,
			const uint8_t frame[NET_FILTER_BYTES]);

/* The destinations of which net_filter_accepts() may accept a frame, for a
 * backend that knows of no more than these; it may accept none of some. */
void net_filter_wanted(const struct net_filter *filter,
		       struct net_wanted *wanted);

#endif
