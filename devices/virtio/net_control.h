/*
 * The control queue of a network card (virtio 1.2, 5.1.6.5): what a command
 * changes. Pure functions over a plain struct, which belongs to the card's
 * worker.
 */
#ifndef KVIST_VIRTIO_NET_CONTROL_H
#define KVIST_VIRTIO_NET_CONTROL_H

#include "devices/virtio/net_filter.h"
#include "devices/virtio/net_rss.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_COMMAND_MAX 1024 /* two full lists fit */

struct net_control {
	uint64_t features; /* the driver's */
	unsigned pairs_max;
	struct net_filter filter;
	unsigned pairs; /* in use: 1 .. pairs_max */
	bool steered;   /* by rss; else as the backend likes */
	struct net_rss rss;
	uint64_t offloads; /* VIRTIO_NET_F_GUEST_* bits in use */
};

/* What the card has to do about a command, besides remembering it. */
enum net_effect {
	NET_EFFECT_NONE,
	NET_EFFECT_MAC,      /* filter.mac has changed */
	NET_EFFECT_FILTER,   /* another part of the filter has changed */
	NET_EFFECT_PAIRS,    /* other pairs are in use, or chosen otherwise */
	NET_EFFECT_OFFLOADS, /* `offloads` has changed */
	NET_EFFECT_ANNOUNCED,
};

/* The state after a reset, once @features are negotiated. */
void net_control_init(struct net_control *control, uint64_t features,
		      unsigned pairs_max, const uint8_t mac[NET_MAC]);

/*
 * Carries out the command of @total bytes whose first @len, at most
 * NET_COMMAND_MAX, are at @bytes: all of them unless @total is larger. False,
 * and nothing changed, when it is unknown, is not negotiated, has a wrong
 * length or a value out of range: the answer is VIRTIO_NET_ERR.
 */
bool net_control_apply(struct net_control *control, const uint8_t *bytes,
		       size_t len, uint64_t total, enum net_effect *effect);

#endif
