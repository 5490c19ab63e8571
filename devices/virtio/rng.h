/*
 * virtio-rng (virtio 1.2, 5.4): the host's getrandom(2) for the guest.
 */
#ifndef KVIST_VIRTIO_RNG_H
#define KVIST_VIRTIO_RNG_H

#include "devices/virtio/virtio.h"

/* An entropy device named @name ("rng0": also its thread). 0 or -errno. */
int virtio_rng_create(const char *name, const struct memory *memory,
		      struct virtio_device **virtio);

#endif
