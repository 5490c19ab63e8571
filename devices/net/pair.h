/*
 * Two network backends joined by a cable: what one sends the other receives.
 * For tests, without any right.
 */
#ifndef KVIST_NET_PAIR_H
#define KVIST_NET_PAIR_H

#include "devices/net/net.h"

/* Both are the caller's. 0 or -errno, silent. */
int net_pair(struct net_backend *ends[2]);

#endif
