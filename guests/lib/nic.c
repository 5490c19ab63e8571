#include "guests/lib/nic.h"
#include "guests/lib/lib.h"

#define FRAME_MIN 60

static void add_rx(struct nic *nic, uint64_t at)
{
	struct vq_buffer buffer = { at, NIC_BUFFER, true };

	vq_add(&nic->rx, &buffer, 1);
}

bool nic_find(struct nic *nic, int index)
{
	return virtio_find(&nic->dev, VIRTIO_NET, index);
}

void nic_start(struct nic *nic, uint64_t wanted, uint64_t buffers)
{
	wanted |= 1ul << VIRTIO_NET_F_MAC;
	CHECK(virtio_start(&nic->dev, wanted), "features are accepted");
	CHECK(nic->dev.features >> VIRTIO_NET_F_MAC & 1, "a MAC is offered");
	nic->mergeable = nic->dev.features >> VIRTIO_NET_F_MRG_RXBUF & 1;
	virtio_config_read(&nic->dev, 0, nic->mac, sizeof(nic->mac));
	vq_init(&nic->rx, &nic->dev, 0, 0);
	vq_init(&nic->tx, &nic->dev, 1, 0);
	for (uint64_t i = 0; i < NIC_RX_BUFFERS; i++)
		add_rx(nic, buffers + i * NIC_BUFFER);
	virtio_driver_ok(&nic->dev);
	vq_kick(&nic->rx);
}

/* Header and frame in separate buffers, as they may be. */
void nic_send(struct nic *nic, const struct virtio_net_hdr_v1 *header,
	      const void *frame, uint32_t size)
{
	static const struct virtio_net_hdr_v1 plain;
	static uint8_t padded[FRAME_MIN];
	struct vq_buffer buffers[] = {
		{ (uint64_t)(header ? header : &plain), sizeof(*header),
		  false },
		{ (uint64_t)frame, size, false },
	};

	if (size < FRAME_MIN) {
		memset(padded, 0, FRAME_MIN);
		memcpy(padded, frame, size);
		buffers[1] = (struct vq_buffer){ (uint64_t)padded, FRAME_MIN,
						 false };
	}
	vq_add(&nic->tx, buffers, 2);
	vq_kick(&nic->tx);
	CHECK(vq_take(&nic->tx, NULL, NULL), "a frame is sent");
}

uint32_t nic_receive(struct nic *nic, struct virtio_net_hdr_v1 *header,
		     void *frame)
{
	uint32_t head, length, skip = sizeof(*header), size = 0;
	uint8_t *to = frame;
	int count = 1;

	if (!vq_pending(&nic->rx))
		return 0;
	for (int i = 0; i < count; i++) {
		uint64_t at;

		CHECK(vq_take(&nic->rx, &head, &length), "a used buffer");
		CHECK(length > skip && length <= NIC_BUFFER,
		      "length of what is received");
		at = nic->rx.desc[head].addr;
		if (!i) {
			struct virtio_net_hdr_v1 *first = (void *)at;

			count = first->num_buffers;
			if (header)
				*header = *first;
			CHECK(count == 1 || nic->mergeable,
			      "num_buffers is 1 without mergeable buffers");
			CHECK(count >= 1 && count <= NIC_RX_BUFFERS,
			      "num_buffers of a received frame");
		}
		CHECK(size + length <= NIC_FRAME_MAX, "size of a frame");
		memcpy(to + size, (void *)(at + skip), length - skip);
		size += length - skip;
		skip = 0;
		add_rx(nic, at);
	}
	vq_kick(&nic->rx);
	return size;
}
