/*
 * Checksum and segmentation offloads of virtio-net. role=send sends a datagram
 * whose checksum the device is to finish, and one large TCP segment that it is
 * to cut, until role=sink says that all has come. The sink wants whole
 * checksums and small frames, or with option offload takes them as they are.
 */
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"
#include "guests/lib/nic.h"

#define BIT(n)     (1ul << (n))
#define ETH_TEST   0xb588 /* 0x88b5 as it lies in memory */
#define ETH_IP     0x0008
#define UDP        17
#define TCP        6
#define SEGMENT    1448
#define DATA       (6 * SEGMENT + 100)
#define PIECES     7
#define PORT       0x3930
#define PATIENCE_S 8

struct packet {
	uint8_t to[6], from[6];
	uint16_t type;
	uint8_t version, service;
	uint16_t length, id, fragment;
	uint8_t ttl, protocol;
	uint16_t ip_sum;
	uint32_t source, target;
	union {
		struct {
			uint16_t from_port, to_port, length, sum;
			uint8_t data[DATA];
		} __attribute__((packed)) udp;
		struct {
			uint16_t from_port, to_port;
			uint32_t number, acknowledged;
			uint8_t offset, flags;
			uint16_t window, sum, urgent;
			uint8_t data[DATA];
		} __attribute__((packed)) tcp;
	};
} __attribute__((packed));

#define HEADERS     34 /* Ethernet and IP */
#define UDP_HEADERS (HEADERS + 8)
#define TCP_HEADERS (HEADERS + 20)

static struct nic nic;
static uint8_t frame[NIC_FRAME_MAX];

static uint16_t swap16(uint32_t value)
{
	return (uint16_t)((value & 0xff) << 8 | (value >> 8 & 0xff));
}

/* Of the bytes at @data, on top of @sum; not inverted. */
static uint32_t add_up(const void *data, uint32_t size, uint32_t sum)
{
	const uint8_t *bytes = data;
	uint32_t i;

	for (i = 0; i + 1 < size; i += 2)
		sum += *(const uint16_t *)(bytes + i);
	if (i < size)
		sum += bytes[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t pseudo_header(const struct packet *packet, uint32_t length)
{
	return add_up(&packet->source, 8,
		      swap16(packet->protocol) + (uint32_t)swap16(length));
}

static void fill(struct packet *packet, uint8_t protocol, uint32_t length)
{
	memset(packet, 0, TCP_HEADERS);
	memset(packet->to, 0xff, 6);
	memcpy(packet->from, nic.mac, 6);
	packet->type = ETH_IP;
	packet->version = 0x45;
	packet->length = swap16(20 + length);
	packet->ttl = 64;
	packet->protocol = protocol;
	packet->source = 0x010200c0; /* 192.0.2.1 */
	packet->target = 0x020200c0;
	packet->ip_sum = (uint16_t)~add_up(&packet->version, 20, 0);
}

static uint8_t content(uint32_t at)
{
	return (uint8_t)(at * 7 + at / 256);
}

static void send_both(struct packet *packet)
{
	struct virtio_net_hdr_v1 header = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = HEADERS,
		.csum_offset = 6,
	};
	uint32_t length = 8 + 101;

	fill(packet, UDP, length);
	packet->udp.to_port = PORT;
	packet->udp.length = swap16(length);
	packet->udp.sum = (uint16_t)pseudo_header(packet, length);
	for (uint32_t i = 0; i < 101; i++)
		packet->udp.data[i] = content(i);
	nic_send(&nic, &header, packet, HEADERS + length);

	length = 20 + DATA;
	fill(packet, TCP, length);
	packet->tcp.to_port = PORT;
	packet->tcp.offset = 0x50;
	packet->tcp.flags = 0x10; /* ACK */
	packet->tcp.sum = (uint16_t)pseudo_header(packet, length);
	for (uint32_t i = 0; i < DATA; i++)
		packet->tcp.data[i] = content(i);
	header.csum_offset = 16;
	header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	header.gso_size = SEGMENT;
	header.hdr_len = TCP_HEADERS;
	nic_send(&nic, &header, packet, HEADERS + length);
}

static void role_send(void)
{
	struct packet *packet = (void *)(BUFFERS + 0x100000);
	struct packet *got = (void *)frame;
	uint64_t end = clock_now() + PATIENCE_S * (uint64_t)CLOCK_HZ;
	uint64_t again = 0;

	CHECK(nic.dev.features & BIT(VIRTIO_NET_F_CSUM), "CSUM is offered");
	CHECK(nic.dev.features & BIT(VIRTIO_NET_F_HOST_TSO4),
	      "HOST_TSO4 is offered");
	while (clock_now() < end) {
		if (clock_now() > again) {
			send_both(packet);
			again = clock_now() + clock_ms(200);
		}
		if (nic_receive(&nic, NULL, frame) && got->type == ETH_TEST)
			return;
	}
	fail("%s:%d the sink does not answer", __FILE__, __LINE__);
}

/* The sum is right, or left to us in a header that says so. */
static void check_sum(const struct packet *packet, uint32_t length,
		      const struct virtio_net_hdr_v1 *header)
{
	uint32_t sum = pseudo_header(packet, length);

	if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		CHECK(option("offload"), "a partial checksum was negotiated");
		CHECK_EQ(header->csum_start, HEADERS, "csum_start");
		CHECK_EQ(header->csum_offset, packet->protocol == TCP ? 16 : 6,
			 "csum_offset");
		return;
	}
	if (header->flags & VIRTIO_NET_HDR_F_DATA_VALID)
		return;
	CHECK_EQ(add_up(&packet->udp, length, sum), 0xffff, "sum of a packet");
}

/* The pieces of the TCP segment, as bits, that @packet has. */
static uint32_t check_tcp(const struct packet *packet, uint32_t length,
			  const struct virtio_net_hdr_v1 *header)
{
	uint32_t at = __builtin_bswap32(packet->tcp.number), pieces = 0;
	uint32_t size = length - 20;

	CHECK(at % SEGMENT == 0 && at + size <= DATA, "place of a segment");
	if (!option("offload"))
		CHECK(size <= SEGMENT, "a segment is cut small");
	else if (size > SEGMENT)
		CHECK_EQ(header->gso_size, SEGMENT, "gso_size");
	for (uint32_t i = 0; i < size; i++)
		if (packet->tcp.data[i] != content(at + i))
			fail("%s:%d byte %u of the segment differs", __FILE__,
			     __LINE__, at + i);
	for (uint32_t i = 0; i < size; i += SEGMENT)
		pieces |= 1u << (at + i) / SEGMENT;
	return pieces;
}

static void answer(void)
{
	static struct packet packet;

	memset(packet.to, 0xff, 6);
	memcpy(packet.from, nic.mac, 6);
	packet.type = ETH_TEST;
	nic_send(&nic, NULL, &packet, 60);
}

static void role_sink(void)
{
	struct virtio_net_hdr_v1 header;
	struct packet *packet = (void *)frame;
	uint64_t end = clock_now() + PATIENCE_S * (uint64_t)CLOCK_HZ;
	uint32_t pieces = 0, large = 0;
	bool datagram = false;

	/* What came before this driver did was cut for no one in particular. */
	while (!datagram || pieces != (1u << PIECES) - 1 ||
	       (option("offload") && !large)) {
		uint32_t size = nic_receive(&nic, &header, frame), length;

		if (clock_now() > end)
			fail("%s:%d datagram %d, pieces 0x%x", __FILE__,
			     __LINE__, datagram, pieces);
		if (size < UDP_HEADERS || packet->type != ETH_IP ||
		    packet->version != 0x45)
			continue;
		CHECK_EQ(add_up(&packet->version, 20, 0), 0xffff,
			 "sum of an IP header");
		length = swap16(packet->length) - 20u;
		CHECK(HEADERS + length <= size, "length of an IP packet");
		if (packet->udp.to_port != PORT)
			continue;
		check_sum(packet, length, &header);
		if (packet->protocol == UDP)
			datagram = true;
		else
			pieces |= check_tcp(packet, length, &header);
		large += size > TCP_HEADERS + SEGMENT;
	}
	print("%u large frames\n", large);
	for (int i = 0; i < 3; i++)
		answer();
}

int guest_main(void)
{
	uint64_t wanted = BIT(VIRTIO_NET_F_MRG_RXBUF);

	CHECK(nic_find(&nic, 0), "there is a NIC");
	if (option_is("role", "send"))
		wanted |= BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4);
	else if (option("offload"))
		wanted |= BIT(VIRTIO_NET_F_GUEST_CSUM) |
			  BIT(VIRTIO_NET_F_GUEST_TSO4);
	nic_start(&nic, wanted, BUFFERS);
	print("ready\n");
	if (option_is("role", "send"))
		role_send();
	else
		role_sink();
	print("offload: ok\n");
	return 0;
}
