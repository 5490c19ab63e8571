/*
 * Receive-side scaling as a driver asks for it: two queues, and a key by which
 * the hash of 192.0.2.1 to 192.0.2.2 is 0 and that of 192.0.2.3 has all bits
 * set. The host pings from both; each arrives where the table says, and where
 * it says then.
 */
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"
#include "guests/lib/nic.h"

#define BIT(n)     (1ul << (n))
#define PAIRS      2
#define CONTROL    (2 * PAIRS)
#define BUFFERS_OF 32     /* a queue */
#define ETH_IP     0x0008 /* as it lies there */
#define PATIENCE_S 8
#define COUNT      5

#ifndef VIRTIO_NET_F_RSS
#define VIRTIO_NET_F_RSS 60
#endif

struct packet {
	struct virtio_net_hdr_v1 header;
	uint8_t to[6], from[6];
	uint16_t type;
	uint8_t ip[12];
	uint8_t sender[4];
} __attribute__((packed));

struct command {
	uint8_t class, command;
	uint32_t types;
	uint16_t mask, unclassified, table[2], send_queues;
	uint8_t key_bytes, key[40];
} __attribute__((packed));

static struct virtio dev;
static struct virtqueue rx[PAIRS], control;

static void configure(uint16_t even, uint16_t odd)
{
	static struct command command;
	static volatile uint8_t ack;
	struct vq_buffer buffers[] = {
		{ (uint64_t)&command, sizeof(command), false },
		{ (uint64_t)&ack, 1, true },
	};

	command = (struct command){
		.class = VIRTIO_NET_CTRL_MQ,
		.command = VIRTIO_NET_CTRL_MQ_RSS_CONFIG,
		.types = VIRTIO_NET_RSS_HASH_TYPE_IPv4,
		.mask = 1,
		.table = { even, odd },
		.send_queues = PAIRS,
		.key_bytes = sizeof(command.key),
	};
	memset(command.key, 0xff, sizeof(command.key));
	ack = 0xff;
	vq_add(&control, buffers, 2);
	vq_kick(&control);
	CHECK(vq_take(&control, NULL, NULL), "a command is answered");
	CHECK_EQ(ack, VIRTIO_NET_OK, "answer to a configuration");
}

static void give(struct virtqueue *vq, uint64_t at)
{
	struct vq_buffer buffer = { at, NIC_BUFFER, true };

	vq_add(vq, &buffer, 1);
}

/* The last number of the sender's address, or 0 when no packet is there. */
static uint8_t sender(struct virtqueue *vq)
{
	const struct packet *got;
	uint32_t head;
	uint8_t from;

	if (!vq_pending(vq))
		return 0;
	CHECK(vq_take(vq, &head, NULL), "a used buffer");
	got = (void *)vq->desc[head].addr;
	from = got->type == ETH_IP ? got->sender[3] : 0;
	give(vq, (uint64_t)got);
	vq_kick(vq);
	return from;
}

/* What was on its way before the host knew counts for nothing. */
static void expect(uint16_t even, uint16_t odd)
{
	uint64_t begin = clock_now() + clock_ms(100);
	uint64_t end = clock_now() + PATIENCE_S * (uint64_t)CLOCK_HZ;
	int evens = 0, odds = 0;

	configure(even, odd);
	while (evens < COUNT || odds < COUNT) {
		CHECK(clock_now() < end, "pings from both addresses");
		for (uint16_t i = 0; i < PAIRS; i++) {
			uint8_t from = sender(&rx[i]);

			if (!from || clock_now() < begin)
				continue;
			CHECK_EQ(i, from == 1 ? even : odd, "the queue");
			evens += from == 1;
			odds += from == 3;
		}
	}
	print("from .1 in queue %u, from .3 in queue %u\n", even, odd);
}

int guest_main(void)
{
	uint64_t wanted = BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_MQ) |
			  BIT(VIRTIO_NET_F_RSS);

	CHECK(virtio_find(&dev, VIRTIO_NET, 0), "there is a NIC");
	CHECK(virtio_start(&dev, wanted), "features are accepted");
	CHECK_EQ(dev.features & wanted, wanted, "features");
	for (int i = 0; i < PAIRS; i++) {
		vq_init(&rx[i], &dev, 2 * i, BUFFERS_OF);
		for (int k = 0; k < BUFFERS_OF; k++)
			give(&rx[i], BUFFERS + (uint64_t)(i * BUFFERS_OF + k) *
						       NIC_BUFFER);
	}
	vq_init(&control, &dev, CONTROL, 0);
	virtio_driver_ok(&dev);
	print("ready\n");
	expect(0, 1);
	expect(1, 0);
	expect(1, 1);
	print("rss: ok\n");
	return 0;
}
