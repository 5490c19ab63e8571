/*
 * passt(1), which gives a guest the host's own way into the internet without
 * any right: frames over the unix stream socket on which it listens, each
 * behind its length, 4 bytes, big-endian. There are no offloads.
 */
#ifndef KVIST_NET_PASST_H
#define KVIST_NET_PASST_H

#include "devices/net/net.h"

#define PASST_MTU_MAX 65520

/*
 * Connects to the socket at @path; *net is the caller's. 0 or -errno, silent:
 * -ENOENT or -ECONNREFUSED if nobody listens there, -EACCES if it is another
 * user's, -ENAMETOOLONG.
 */
int passt_open(const char *path, struct net_backend **net);

#endif
