/*
 * How fast a network card is, driven from ring 3 by polling, so that the guest
 * itself costs as little as can be. Options: ms=N how long each case takes
 * (1000), repeat=N how often each is done (1), case=NAME only that one,
 * peer=48-bit number, the host's MAC, which has the address 192.0.2.1 and
 * knows that 192.0.2.2 is here.
 *
 * A line for each case: its name, frames sent a second, nanoseconds that each
 * took if they went one after another, and doorbells rung for a thousand. In
 * "send" cases the host drops the frames. In "echo" cases its kernel answers
 * each; the last number says how many are on their way at a time. In "drip"
 * cases the guest does something else between one frame and the next; the last
 * number says for how many microseconds.
 */
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"
#include "guests/lib/nic.h"
#include "guests/lib/user.h"

#define RING       256
#define RX_BUFFERS 256
#define ETH_IP     0x0800
#define ETH_TEST   0x88b5 /* for local experiments: no one listens */
#define OWN_IP     0xc0000202
#define PEER_IP    0xc0000201

/* How long the TSC is compared with the PM timer, and a lost answer waited
 * for. */
#define CALIBRATE_MS 50
#define LOST_MS      200

struct packet {
	struct virtio_net_hdr_v1 header;
	uint8_t to[6], from[6];
	uint16_t type;
	uint8_t version, service;
	uint16_t length, id, fragment;
	uint8_t ttl, protocol;
	uint16_t ip_sum;
	uint32_t from_ip, to_ip;
	uint8_t icmp_type, icmp_code;
	uint16_t icmp_sum;
} __attribute__((packed));

#define ETH_BYTES 14
#define IP_BYTES  20

static const struct {
	const char *name;
	uint32_t size;  /* of a frame */
	uint32_t depth; /* on their way at a time */
	bool echo;
	uint32_t gap; /* microseconds from one frame to the next */
} cases[] = {
	{ "send-64", 64, RING, false, 0 },
	{ "send-1500", 1500, RING, false, 0 },
	{ "drip-64-5", 64, RING, false, 5 },
	{ "drip-64-40", 64, RING, false, 40 },
	{ "echo-64-1", 64, 1, true, 0 },
	{ "echo-64-32", 64, 32, true, 0 },
	{ "echo-1500-32", 1500, 32, true, 0 },
};

static struct nic nic;
static struct packet *packet = (void *)BUFFERS;
static uint8_t *buffers = (void *)(BUFFERS + 0x10000);
static uint64_t tsc_hz;

static uint16_t swap16(uint16_t value)
{
	return (uint16_t)(value << 8 | value >> 8);
}

static uint16_t sum(const void *bytes, uint32_t length)
{
	const uint16_t *words = bytes;
	uint32_t total = 0;

	for (uint32_t i = 0; i < length / 2; i++)
		total += words[i];
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)~total;
}

static void make_packet(uint32_t size, bool echo)
{
	uint64_t peer = option_number("peer", 0xffffffffffff);

	memset(packet, 0, sizeof(packet->header) + size);
	for (int i = 0; i < 6; i++)
		packet->to[i] = (uint8_t)(peer >> 8 * (5 - i));
	memcpy(packet->from, nic.mac, 6);
	packet->type = swap16(echo ? ETH_IP : ETH_TEST);
	packet->version = 0x45;
	packet->length = swap16((uint16_t)(size - ETH_BYTES));
	packet->ttl = 64;
	packet->protocol = 1;
	packet->from_ip = __builtin_bswap32(OWN_IP);
	packet->to_ip = __builtin_bswap32(PEER_IP);
	packet->ip_sum = sum(&packet->version, IP_BYTES);
	packet->icmp_type = 8;
	packet->icmp_sum = sum(&packet->icmp_type, size - ETH_BYTES - IP_BYTES);
}

static void look_at_clock(void *arg)
{
	*(uint64_t *)arg = clock_now();
}

static uint64_t clock(void)
{
	uint64_t now;

	user_call(look_at_clock, &now);
	return now;
}

static void calibrate(void)
{
	uint64_t from = clock(), tsc = rdtsc(), now;

	do {
		now = clock();
	} while (now - from < clock_ms(CALIBRATE_MS));
	tsc_hz = (rdtsc() - tsc) * CLOCK_HZ / (now - from);
}

struct result {
	const char *name;
	uint64_t done, ticks, kicks, lost;
};

static void report(void *arg)
{
	struct result *result = arg;

	CHECK(result->done, "a frame is carried");
	print("%s %lu frames/s %lu ns %lu kicks/1000 %lu lost\n", result->name,
	      result->done * 1000 / (result->ticks * 1000 / tsc_hz),
	      result->ticks / result->done * 1000 / (tsc_hz / 1000000),
	      result->kicks * 1000 / result->done, result->lost);
}

/* Gives every receive buffer back; the number of echo answers among them. */
static uint32_t receive(uint32_t size)
{
	uint32_t answers = 0, head, length;

	while (vq_pending(&nic.rx)) {
		const struct packet *got;

		vq_take(&nic.rx, &head, &length);
		got = (void *)nic.rx.desc[head].addr;
		answers += got->type == swap16(ETH_IP) && !got->icmp_type &&
			   length == sizeof(got->header) + size;
		vq_publish(&nic.rx, (uint16_t)head);
	}
	return answers;
}

/* Every descriptor of the send ring is the same packet. */
static void prepare(uint32_t size)
{
	for (uint32_t i = 0; i < nic.tx.size; i++)
		nic.tx.desc[i] = (struct vring_desc){
			.addr = (uint64_t)packet,
			.len = (uint32_t)sizeof(packet->header) + size,
		};
}

static void measure(int which, uint64_t ticks)
{
	uint32_t size = cases[which].size, depth = cases[which].depth;
	uint32_t room = nic.tx.size, waiting = 0;
	uint64_t gap = cases[which].gap * (tsc_hz / 1000000);
	uint64_t start, now, heard, due;
	bool echo = cases[which].echo;
	struct result result = { .name = cases[which].name };
	uint16_t next = 0;

	prepare(size);
	receive(0);
	start = now = heard = due = rdtsc();
	while (now - start < ticks || waiting || room < nic.tx.size) {
		uint32_t more = 0, head;

		while (vq_pending(&nic.tx)) {
			vq_take(&nic.tx, &head, NULL);
			room++;
			result.done += !echo;
		}
		if (echo && vq_pending(&nic.rx)) {
			uint32_t answers = receive(size);

			result.done += answers;
			waiting -= answers < waiting ? answers : waiting;
			heard = rdtsc();
			result.kicks += vq_kick(&nic.rx);
		}
		now = rdtsc();
		if (waiting && now - heard > LOST_MS * (tsc_hz / 1000)) {
			result.lost += waiting;
			waiting = 0;
			heard = now;
		}
		while (now - start < ticks && room && waiting < depth &&
		       now >= due) {
			due = now + gap;
			vq_publish(&nic.tx, next++ & (nic.tx.size - 1));
			room--;
			more++;
			waiting += echo;
		}
		if (more)
			result.kicks += vq_kick(&nic.tx);
	}
	result.ticks = now - start;
	user_call(report, &result);
}

static void start_nic(void)
{
	CHECK(nic_find(&nic, 0), "there is a NIC");
	CHECK(virtio_start(&nic.dev, 1ul << VIRTIO_NET_F_MAC |
					     1ul << VIRTIO_NET_F_MRG_RXBUF),
	      "features are accepted");
	virtio_config_read(&nic.dev, 0, nic.mac, sizeof(nic.mac));
	vq_init(&nic.rx, &nic.dev, 0, RING);
	vq_init(&nic.tx, &nic.dev, 1, RING);
	for (uint64_t i = 0; i < RX_BUFFERS; i++) {
		struct vq_buffer buffer = { (uint64_t)buffers + i * NIC_BUFFER,
					    NIC_BUFFER, true };

		vq_add(&nic.rx, &buffer, 1);
	}
	nic.rx.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	nic.tx.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	virtio_driver_ok(&nic.dev);
	vq_kick(&nic.rx);
}

static void end(void *arg)
{
	(void)arg;
	guest_exit(0);
}

int guest_main(void)
{
	uint64_t repeat = option_number("repeat", 1);
	uint64_t ms = option_number("ms", 1000);

	start_nic();
	user_enter();
	calibrate();
	for (uint64_t i = 0; i < repeat; i++)
		for (int k = 0; k < (int)ARRAY_SIZE(cases); k++) {
			if (option("case") && !option_is("case", cases[k].name))
				continue;
			make_packet(cases[k].size, cases[k].echo);
			measure(k, ms * (tsc_hz / 1000));
		}
	user_call(end, NULL);
	return 0;
}
