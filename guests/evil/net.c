/*
 * What only a network card can be told wrong: headers of frames, lengths of
 * frames, and commands. The card is reset and proven after each.
 */
#include "guests/evil/evil.h"

#include <linux/virtio_net.h>

#define WRITE VRING_DESC_F_WRITE
#define NEXT  VRING_DESC_F_NEXT

#define TX 1

#define COMMAND SCRATCH
#define ACK     (SCRATCH + 0x20000)
#define FRAME   (SCRATCH + 0x30000)

#define UNSET 0x55

#define OFFLOADS                                                               \
	(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) |                \
	 BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN))
#define CONTROLS                                                               \
	(BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) |               \
	 BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |       \
	 BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) |        \
	 BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4))

static const struct virtio_net_hdr_v1 headers[] = {
	{ .flags = 0xff },
	{ .flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff },
	{ .flags = 1, .csum_start = 59, .csum_offset = 0 },
	{ .flags = 1, .csum_start = 0, .csum_offset = 59 },
	{ .gso_type = 1 },
	{ .gso_type = 1, .gso_size = 1448 },
	{ .flags = 1, .gso_type = 1, .gso_size = 0, .csum_start = 34 },
	{ .flags = 1,
	  .gso_type = 1,
	  .gso_size = 1,
	  .csum_start = 34,
	  .csum_offset = 16 },
	{ .flags = 1,
	  .gso_type = 1,
	  .gso_size = 0xffff,
	  .csum_start = 34,
	  .csum_offset = 16,
	  .hdr_len = 0xffff },
	{ .flags = 1,
	  .gso_type = 4,
	  .gso_size = 8,
	  .csum_start = 54,
	  .csum_offset = 4,
	  .hdr_len = 1 },
	{ .flags = 1,
	  .gso_type = 3,
	  .gso_size = 8,
	  .csum_start = 34,
	  .csum_offset = 6 },
	{ .flags = 1,
	  .gso_type = 5,
	  .gso_size = 8,
	  .csum_start = 34,
	  .csum_offset = 6 },
	{ .flags = 1, .gso_type = 0x80, .gso_size = 8 },
	{ .flags = 1, .gso_type = 0xff, .gso_size = 8 },
	{ .num_buffers = 0xffff },
};

/* A frame of @length bytes behind @header; the card takes it, whatever it then
 * does with it. */
static void send(struct target *t, const struct virtio_net_hdr_v1 *header,
		 uint32_t length)
{
	static struct virtio_net_hdr_v1 copy;

	copy = *header;
	set_desc(t, 0, (uint64_t)&copy, sizeof(copy), NEXT, 1);
	set_desc(t, 1, FRAME, length, 0, 0);
	vq_publish(&t->vq, 0);
	vq_notify(&t->vq);
	CHECK(vq_take(&t->vq, NULL, NULL), "a frame comes back");
}

static void bad_headers(struct target *t)
{
	static const uint32_t lengths[] = { 14, 60, 1514, 65000 };

	for (size_t i = 0; i < ARRAY_SIZE(headers); i++)
		for (size_t k = 0; k < ARRAY_SIZE(lengths); k++)
			send(t, &headers[i], lengths[k]);
	CHECK(!needs_reset(t), "a bad header is no reason to stop");
}

/* The same once more, with no offload negotiated. */
static void bad_headers_plain(struct target *t)
{
	bad_headers(t);
}

static void wrong_lengths(struct target *t)
{
	static const uint32_t lengths[] = { 0, 1, 13, 65558, 65559, 0x80000 };
	static const struct virtio_net_hdr_v1 plain;

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		send(t, &plain, lengths[i]);
	/* A header in pieces of one byte each, and then half a one. */
	for (int i = 0; i < 11; i++)
		set_desc(t, i, FRAME + (uint64_t)i, 1, i < 10 ? NEXT : 0,
			 i + 1);
	vq_publish(&t->vq, 0);
	vq_notify(&t->vq);
	CHECK(vq_take(&t->vq, NULL, NULL), "half a header comes back");
	CHECK(!needs_reset(t), "a wrong length is no reason to stop");
}

/* The header changes while the card looks at it. */
static void changing_header(struct target *t)
{
	static struct virtio_net_hdr_v1 header;
	volatile uint8_t *flags = &header.flags, *type = &header.gso_type;

	header.csum_start = 34;
	header.csum_offset = 16;
	for (int i = 0; i < 64; i++) {
		set_desc(t, 0, (uint64_t)&header, sizeof(header), NEXT, 1);
		set_desc(t, 1, FRAME, 1514, 0, 0);
		vq_publish(&t->vq, 0);
		vq_notify(&t->vq);
		for (int k = 0; k < 200 && !vq_pending(&t->vq); k++) {
			*flags ^= 1;
			*type ^= 1;
			header.gso_size = (uint16_t)k;
		}
		CHECK(vq_take(&t->vq, NULL, NULL), "a frame comes back");
	}
}

/* The queue for commands is the last the driver knows of. */
static void control_init(struct target *t, struct virtqueue *control)
{
	uint16_t pairs = 1;

	if (t->dev.features >> VIRTIO_NET_F_MQ & 1)
		virtio_config_read(&t->dev, 8, &pairs, sizeof(pairs));
	CHECK(t->dev.features >> VIRTIO_NET_F_CTRL_VQ & 1,
	      "there is a queue for commands");
	virtio_reset(&t->dev);
	vq_forget();
	CHECK(virtio_start(&t->dev, CONTROLS), "features are accepted");
	vq_init(&t->vq, &t->dev, t->queue, 64);
	vq_init(control, &t->dev, 2 * pairs, 64);
	virtio_driver_ok(&t->dev);
}

/* What the card answers to @length bytes of a command, given in pieces of
 * @piece bytes; UNSET: nothing. */
static uint8_t command(struct virtqueue *vq, uint32_t length, uint32_t piece)
{
	volatile uint8_t *ack = (void *)ACK;
	uint32_t n = 0;

	*ack = UNSET;
	for (uint32_t at = 0; at < length && n < 60; at += piece, n++)
		vq->desc[n] = (struct vring_desc){
			COMMAND + at,
			n == 59 || length - at < piece ? length - at : piece,
			NEXT, (uint16_t)(n + 1)
		};
	vq->desc[n] = (struct vring_desc){ ACK, 1, WRITE, 0 };
	vq_publish(vq, 0);
	vq_notify(vq);
	CHECK(vq_take(vq, NULL, NULL), "a command comes back");
	return *ack;
}

static uint8_t *const bytes = (void *)COMMAND;

static void control_nonsense(struct target *t)
{
	static const uint32_t lengths[] = {
		1, 2, 3, 4, 6, 8, 10, 14, 778, 1026, 0x1000, 0x10000
	};
	struct virtqueue control;

	control_init(t, &control);
	for (int class = 0; class < 8; class ++)
		for (int number = 0; number < 8; number++)
			for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
				memset(bytes, 0xff, lengths[i]);
				bytes[0] = (uint8_t) class;
				bytes[1] = (uint8_t)number;
				CHECK(command(&control, lengths[i],
					      lengths[i]) <= VIRTIO_NET_ERR,
				      "a command is answered");
			}
	CHECK(!needs_reset(t), "nonsense is no reason to stop");
	/* And one that makes sense, byte by byte. */
	memset(bytes, 0, 3);
	CHECK_EQ(command(&control, 3, 1), VIRTIO_NET_OK, "a command");
}

static void control_no_answer(struct target *t)
{
	struct virtqueue control;

	control_init(t, &control);
	memset(bytes, 0, 16);
	control.desc[0] = (struct vring_desc){ COMMAND, 3, 0, 0 };
	vq_publish(&control, 0);
	vq_notify(&control);
	CHECK(vq_take(&control, NULL, NULL), "a command without an answer");
	control.desc[0] = (struct vring_desc){ ACK, 1, WRITE, 0 };
	vq_publish(&control, 0);
	vq_notify(&control);
	CHECK(vq_take(&control, NULL, NULL), "an answer without a command");
	/* A table that claims four billion addresses. */
	memset(bytes, 0xff, 16);
	bytes[0] = VIRTIO_NET_CTRL_MAC;
	bytes[1] = VIRTIO_NET_CTRL_MAC_TABLE_SET;
	CHECK_EQ(command(&control, 16, 16), VIRTIO_NET_ERR, "a table");
}

static void control_loop(struct target *t)
{
	struct virtqueue control;

	control_init(t, &control);
	control.desc[0] = (struct vring_desc){ COMMAND, 1, NEXT, 1 };
	control.desc[1] = (struct vring_desc){ COMMAND, 1, NEXT, 0 };
	vq_publish(&control, 0);
	vq_notify(&control);
	CHECK(WAIT_FOR(needs_reset(t)), "a loop of commands is noticed");
}

/* Commands without an end, while buffers and frames are given and taken. */
static void control_flood(struct target *t)
{
	static const struct virtio_net_hdr_v1 plain;
	struct virtqueue control;

	control_init(t, &control);
	for (int i = 0; i < 300; i++) {
		bytes[0] = (uint8_t)(i % 6);
		bytes[1] = (uint8_t)(i / 6 % 3);
		bytes[2] = (uint8_t)i;
		command(&control, 2 + (uint32_t)i % 9, 3);
		if (t->queue == TX) {
			send(t, &plain, 60);
			continue;
		}
		if (i >= 32 && !vq_pending(&t->vq))
			continue;
		if (i >= 32)
			vq_take(&t->vq, NULL, NULL);
		set_desc(t, i % 32, FRAME, 4096, WRITE, 0);
		vq_publish(&t->vq, (uint16_t)(i % 32));
		vq_notify(&t->vq);
	}
}

const struct attack net_tx_attacks[] = {
	{ "bad headers", OFFLOADS, bad_headers },
	{ "bad headers, nothing negotiated", 0, bad_headers_plain },
	{ "wrong lengths of frames", OFFLOADS, wrong_lengths },
	{ "a header that changes", OFFLOADS, changing_header },
	{ "nonsense as commands", CONTROLS, control_nonsense },
	{ "commands without an answer", CONTROLS, control_no_answer },
	{ "commands in a loop", CONTROLS, control_loop },
	{ "a flood of commands, sending", CONTROLS, control_flood },
	{ NULL, 0, NULL },
};

const struct attack net_rx_attacks[] = {
	{ "a flood of commands, receiving", CONTROLS, control_flood },
	{ NULL, 0, NULL },
};
