/*
 * A tap: the host's end of a virtual cable, as a descriptor that gives and
 * takes Ethernet frames (Linux, Documentation/networking/tuntap.rst). One that
 * kvist made vanishes when its descriptor is closed, however the process ends.
 */
#ifndef KVIST_NET_TAP_H
#define KVIST_NET_TAP_H

#include "devices/net/net.h"

/*
 * Opens /dev/net/tun for the tap @name with @queues queues; "kvist%d" makes a
 * new one and numbers it. Offloads are off until set_offloads(). 0 or -errno,
 * silent: the caller knows what it was for.
 */
int tap_open(const char *name, unsigned queues, struct net_backend **net);

/* Whether the existing tap @name was made with several queues. */
bool tap_is_multi_queue(const char *name);

#endif
