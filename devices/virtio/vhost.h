/*
 * vhost-net: the kernel carries the frames between two virtqueues and a tap,
 * on a thread of its own (Linux, include/uapi/linux/vhost.h). Each descriptor
 * is one receive ring (0) and one send ring (1). 0 or -errno, silent. Any
 * thread: the kernel orders the calls.
 */
#ifndef KVIST_VIRTIO_VHOST_H
#define KVIST_VIRTIO_VHOST_H

#include "devices/virtio/ring.h"

/* Opens /dev/vhost-net and shows it the guest's memory; the descriptor, or
 * -errno. It belongs to this process from then on, not to its children. */
int vhost_open(const struct memory *memory);

/* What of the driver's @features concerns the rings. No ring runs. */
int vhost_features(int fd, uint64_t features);

/*
 * The kernel serves @ring, which is started, as ring @index, from where it
 * stands. The driver notifies by @kick_fd, is told by the call descriptor, and
 * makes @err_fd ready if it breaks the rules. Frames are those of @tap_fd.
 */
int vhost_ring_start(int fd, unsigned index, const struct ring *ring,
		     int kick_fd, int err_fd, int tap_fd);

/* Waits until the kernel has let go of the ring, and makes @ring stand where
 * the kernel left it. */
int vhost_ring_stop(int fd, unsigned index, struct ring *ring);

/* The eventfd that the kernel signals for what it has used; -1: none. */
int vhost_ring_call(int fd, unsigned index, int call_fd);

#endif
