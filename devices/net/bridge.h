/*
 * Linux bridges: making one, and joining a tap to one. Main thread. Each 0 or
 * -errno; logged unless said otherwise.
 */
#ifndef KVIST_NET_BRIDGE_H
#define KVIST_NET_BRIDGE_H

#include "devices/net/net.h"

#include <stdbool.h>
#include <stdint.h>

/* A new bridge, up, with this MTU (0: the kernel's default), that tells VLANs
 * apart or not; netif_name_is_valid() has seen its name. -EEXIST when there is
 * an interface of that name. Silent. */
int bridge_make(const char *bridge, uint32_t mtu, bool vlans);

/* Whether the bridge of @options is there, and can do what they ask of it;
 * makes it when they say so. Looking needs no right. */
int bridge_prepare(const struct net_options *options);

/*
 * Makes the tap @net a port of the bridge and brings it up: with the bridge's
 * MTU, with a MAC so high that a bridge prefers a card's to it, without
 * IPv6 addresses on it, and in the VLAN of @options alone if they name
 * one. Sets net->mtu.
 */
int bridge_attach(const struct net_options *options, struct net_backend *net);

#endif
