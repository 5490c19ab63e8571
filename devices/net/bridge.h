/*
 * Joining a tap to a Linux bridge. Main thread. Each 0 or -errno, logged.
 */
#ifndef KVIST_NET_BRIDGE_H
#define KVIST_NET_BRIDGE_H

#include <stdint.h>

/* Whether there is a bridge @bridge at all; needs no right. */
int bridge_check(const char *bridge);

/*
 * Makes the tap @tap a port of @bridge and brings it up: with the bridge's
 * MTU, which is returned in *mtu, with a MAC so high that the bridge never
 * takes it for its own, and without IPv6 of the host's on it.
 */
int bridge_attach(const char *bridge, const char *tap, uint32_t *mtu);

#endif
