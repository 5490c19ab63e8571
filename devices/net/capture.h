/*
 * A network whose frames are written to a file as they pass (--net pcap=). It
 * lies between a card and its backend, and is one itself. Worker only.
 *
 * The file has the frames without the header of virtio, as they were handed
 * over: one that is to be cut into segments stands there whole, longer than
 * the MTU, and one whose checksum is left to others has none yet. A comment
 * at the frame says so.
 */
#ifndef KVIST_NET_CAPTURE_H
#define KVIST_NET_CAPTURE_H

#include "devices/net/net.h"

/*
 * Puts a capture to the file @path, which is made anew, between the caller and
 * *net with its further queues: they belong to the new *net. 0; or -errno,
 * logged, with *net as it was (-EBUSY: another capture writes that file).
 */
int capture_open(const char *path, struct net_backend **net);

#endif
