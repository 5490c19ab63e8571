/*
 * virtio-net (virtio 1.2, 5.1): frames between a backend and two queues, on
 * the device's worker. Mergeable receive buffers, and the offloads that the
 * backend has.
 */
#ifndef KVIST_VIRTIO_NET_H
#define KVIST_VIRTIO_NET_H

#include "devices/net/net.h"
#include "devices/virtio/virtio.h"

/*
 * A network card named @name ("net0": also its thread) with address @mac over
 * @net, which is the device's from now on if this succeeds, and is closed by
 * virtio_destroy(). 0 or -errno.
 */
int virtio_net_create(const char *name, struct net_backend *net,
		      const uint8_t mac[NET_MAC], const struct memory *memory,
		      struct virtio_device **virtio);

#endif
