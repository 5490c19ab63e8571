/*
 * A network driver over virtio-net: one frame at a time out, and in what has
 * come.
 */
#ifndef GUESTS_LIB_NIC_H
#define GUESTS_LIB_NIC_H

#include "guests/lib/virtio.h"

#include <linux/virtio_net.h>

#define NIC_FRAME_MAX  65550 /* with segmentation offloads */
#define NIC_BUFFER     2048
#define NIC_RX_BUFFERS 64

struct nic {
	struct virtio dev;
	struct virtqueue rx, tx;
	uint8_t mac[6];
	bool mergeable;
};

/* The @index-th one. False when there is none. */
bool nic_find(struct nic *nic, int index);
/* Resets it and sets it up, with the features of @wanted that it offers, and
 * receive buffers at @buffers (NIC_RX_BUFFERS * NIC_BUFFER bytes). */
void nic_start(struct nic *nic, uint64_t wanted, uint64_t buffers);

/* Sends one and waits until it is taken; short ones are padded. @header may be
 * NULL: no offloads. */
void nic_send(struct nic *nic, const struct virtio_net_hdr_v1 *header,
	      const void *frame, uint32_t size);
/* The next frame to @frame, with its header to @header unless NULL; its size,
 * or 0 when there is none. */
uint32_t nic_receive(struct nic *nic, struct virtio_net_hdr_v1 *header,
		     void *frame);

#endif
