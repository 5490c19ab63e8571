/*
 * The offload features of virtio-net (virtio 1.2, 5.1.3), with names that older
 * headers lack.
 */
#ifndef KVIST_VIRTIO_NET_FEATURES_H
#define KVIST_VIRTIO_NET_FEATURES_H

#include <linux/virtio_net.h>

/* UDP segmentation: virtio 1.3. */
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO   56
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#ifndef VIRTIO_NET_F_RSS
#define VIRTIO_NET_F_RSS 60
#endif

#define NET_FEATURE(bit) (1ull << (bit))

#define NET_GUEST_OFFLOADS                                                     \
	(NET_FEATURE(VIRTIO_NET_F_GUEST_CSUM) |                                \
	 NET_FEATURE(VIRTIO_NET_F_GUEST_TSO4) |                                \
	 NET_FEATURE(VIRTIO_NET_F_GUEST_TSO6) |                                \
	 NET_FEATURE(VIRTIO_NET_F_GUEST_ECN) |                                 \
	 NET_FEATURE(VIRTIO_NET_F_GUEST_USO4) |                                \
	 NET_FEATURE(VIRTIO_NET_F_GUEST_USO6))

#endif
