/*
 * A tap: the host's end of a virtual cable, as a descriptor that gives and
 * takes Ethernet frames (Linux, Documentation/networking/tuntap.rst). One that
 * kvist made vanishes when its descriptor is closed, however the process ends.
 */
#ifndef KVIST_NET_TAP_H
#define KVIST_NET_TAP_H

#include "devices/net/hook.h"
#include "devices/net/net.h"

/*
 * Opens /dev/net/tun for the tap @name with @queues queues, chained by next;
 * "kvist%d" makes a new one and numbers it. Offloads are off until
 * set_offloads(). *net is the caller's. 0 or -errno, silent: -EPERM if the tap
 * is another user's, or a new one may not be made; -EBUSY if it is in use (of
 * two that open one of several queues at the same moment, both may get this);
 * -EINVAL if it was made with one queue; -ENOENT, -EACCES of /dev/net/tun.
 */
int tap_open(const char *name, unsigned queues, struct net_backend **net);

/*
 * The tap that the open descriptor @fd is; it belongs to the backend from now
 * on if this succeeds. 0 or -errno, silent: -ENOTTY if it is no tap, -EINVAL
 * if one without IFF_NO_PI or IFF_VNET_HDR.
 */
int tap_adopt(int fd, struct net_backend **net);

/* What runs when the tap @net is closed, just before: @hook is its own then. */
void tap_set_down(struct net_backend *net, struct hook *hook);

/* Of the tap @name, all 0 if it is none or the kernel does not tell (before
 * Linux 4.17). */
struct tap_queues {
	bool multi_queue; /* it was made for several */
	unsigned open;    /* and gets frames; of one with a single queue: 0 */
};
struct tap_queues tap_queues(const char *name);

#endif
