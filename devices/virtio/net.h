/*
 * virtio-net (virtio 1.2, 5.1): frames between the queues of a backend and as
 * many pairs of virtqueues, and a control queue, on the device's one worker.
 * Mergeable receive buffers, receive filters, and the offloads that the backend
 * has.
 */
#ifndef KVIST_VIRTIO_NET_H
#define KVIST_VIRTIO_NET_H

#include "devices/net/net.h"
#include "devices/virtio/virtio.h"

/*
 * A network card named @name ("net0": also its thread) with address @mac over
 * @net and its further queues, which are the device's from now on if this
 * succeeds, and are closed by virtio_destroy(). 0 or -errno.
 */
int virtio_net_create(const char *name, struct net_backend *net,
		      const uint8_t mac[NET_MAC], const struct memory *memory,
		      struct virtio_device **virtio);

/*
 * Lets the kernel's vhost-net carry the frames, while the worker keeps the
 * control queue. Before the device has a transport. 0 or -errno, silent, and
 * everything is as it was (-EOPNOTSUPP: the backend is no tap).
 */
int virtio_net_vhost(struct virtio_device *virtio);

/* Pulls the cable, or puts it back (@up): the driver is told, and asked to
 * announce itself when the cable is back (5.1.6.5.4). The second asks the
 * backend which of the two. Any thread. */
void virtio_net_link(struct virtio_device *virtio, bool up);
void virtio_net_check_link(struct virtio_device *virtio);

#endif
