/*
 * Two network backends joined by a cable: what one sends the other receives.
 * Needs no privilege.
 */
#ifndef KVIST_NET_PAIR_H
#define KVIST_NET_PAIR_H

#include "devices/net/net.h"

/* Both are the caller's; for tests. 0 or -errno, silent. */
int net_pair(struct net_backend *ends[2]);

/*
 * One end of the cable @name: the other is that of another process of this
 * user in this network namespace. They may come and go in any order: while
 * there is no other, what is sent is lost. A third one waits until one of the
 * two has gone. 0 or -errno, silent: -ENAMETOOLONG, -EPERM if the other end is
 * another user's, -EAGAIN if too many wait already. If that happens later,
 * after the other end has gone, this end receives no more (-ENOTCONN).
 */
int net_pair_open(const char *name, struct net_backend **net);

#endif
