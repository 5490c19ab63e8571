/*
 * virtio-net as a driver uses it. Options: nics=N how many there are, nic=N
 * which one (0), mac=48-bit number it must have; role=ping sends frames until
 * a peer has answered count=N of them (10), role=pong is that peer; role=mesh
 * goes on until count=N others have answered it, and it them; role=dry gives no
 * buffers for ms=N once all are used, and then again; role=arp asks who has the
 * address ip=A; ip=A without a role (0xc0000202) answers ARP and echo requests
 * until it has answered count=N; merge negotiates mergeable buffers.
 */
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"
#include "guests/lib/nic.h"

#define BIT(n)     (1ul << (n))
#define ETH_TEST   0x88b5 /* for local experiments */
#define ETH_ARP    0x0806
#define ETH_IP     0x0800
#define PATIENCE_S 8

#define STATIONS_MAX 64

struct ethernet {
	uint8_t to[6], from[6];
	uint16_t type;
} __attribute__((packed));

struct ping {
	struct ethernet eth;
	uint8_t answer;
	uint32_t number;
} __attribute__((packed));

struct arp {
	struct ethernet eth;
	uint16_t hardware, protocol;
	uint8_t hardware_size, protocol_size;
	uint16_t operation;
	uint8_t from_mac[6];
	uint32_t from_ip;
	uint8_t to_mac[6];
	uint32_t to_ip;
} __attribute__((packed));

struct icmp {
	struct ethernet eth;
	uint8_t version, service;
	uint16_t length, id, fragment;
	uint8_t ttl, protocol;
	uint16_t ip_sum;
	uint32_t from, to;
	uint8_t type, code;
	uint16_t sum;
} __attribute__((packed));

static struct nic nic;
static uint8_t frame[NIC_FRAME_MAX];

static uint16_t swap16(uint16_t value)
{
	return (uint16_t)(value << 8 | value >> 8);
}

static uint64_t patience(void)
{
	return clock_now() + PATIENCE_S * (uint64_t)CLOCK_HZ;
}

static void ping_init(struct ping *ping, uint8_t answer, uint32_t number)
{
	memset(ping, 0, sizeof(*ping));
	memset(ping->eth.to, 0xff, 6);
	memcpy(ping->eth.from, nic.mac, 6);
	ping->eth.type = swap16(ETH_TEST);
	ping->answer = answer;
	ping->number = number;
}

static bool is_ping(const struct ping *ping, uint8_t answer)
{
	return ping->eth.type == swap16(ETH_TEST) && ping->answer == answer;
}

/* Sends each number until it is answered. */
static void role_ping(uint32_t count)
{
	struct ping *got = (void *)frame, ping;
	uint64_t end = patience();
	uint64_t again = 0;

	for (uint32_t number = 0; number < count;) {
		if (clock_now() > end)
			fail("%s:%d frame %u has no answer", __FILE__, __LINE__,
			     number);
		if (clock_now() >= again) {
			ping_init(&ping, 0, number);
			nic_send(&nic, NULL, &ping, sizeof(ping));
			again = clock_now() + clock_ms(100);
		}
		if (nic_receive(&nic, NULL, frame) && is_ping(got, 1) &&
		    got->number == number) {
			CHECK(memcmp(got->eth.from, nic.mac, 6),
			      "the answer's sender is someone else");
			number++;
			again = 0;
		}
	}
	print("%u answers\n", count);
}

/* Answers, and lingers a little: the last answer may be asked for again. */
static void role_pong(uint32_t count)
{
	struct ping *got = (void *)frame, ping;
	uint64_t end = patience();
	uint32_t seen = 0;

	while (clock_now() < end) {
		if (!nic_receive(&nic, NULL, frame) || !is_ping(got, 0))
			continue;
		ping_init(&ping, 1, got->number);
		memcpy(ping.eth.to, got->eth.from, 6);
		nic_send(&nic, NULL, &ping, sizeof(ping));
		if (got->number + 1 > seen)
			seen = got->number + 1;
		if (seen >= count)
			end = clock_now() + clock_ms(50);
	}
	CHECK_EQ(seen, count, "numbers asked for");
	print("%u answered\n", count);
}

static uint16_t checksum(const void *data, uint32_t size)
{
	const uint8_t *bytes = data;
	uint32_t sum = 0;

	for (uint32_t i = 0; i < size; i += 2)
		sum += bytes[i] | (uint32_t)(i + 1 < size ? bytes[i + 1] : 0)
					  << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void answer_arp(struct arp *arp, uint32_t ip)
{
	if (arp->operation != swap16(1) || arp->to_ip != ip)
		return;
	memcpy(arp->eth.to, arp->eth.from, 6);
	memcpy(arp->eth.from, nic.mac, 6);
	arp->operation = swap16(2);
	memcpy(arp->to_mac, arp->from_mac, 6);
	arp->to_ip = arp->from_ip;
	memcpy(arp->from_mac, nic.mac, 6);
	arp->from_ip = ip;
	nic_send(&nic, NULL, arp, sizeof(*arp));
}

static bool answer_echo(struct icmp *icmp, uint32_t size, uint32_t ip)
{
	uint32_t length = swap16(icmp->length);

	if (size < sizeof(*icmp) || icmp->version != 0x45 ||
	    icmp->protocol != 1 || icmp->to != ip || icmp->type != 8 ||
	    length + sizeof(struct ethernet) > size || length < 28)
		return false;
	CHECK_EQ(checksum(&icmp->version, 20), 0, "sum of an IP header");
	CHECK_EQ(checksum(&icmp->type, length - 20), 0, "sum of a request");
	memcpy(icmp->eth.to, icmp->eth.from, 6);
	memcpy(icmp->eth.from, nic.mac, 6);
	icmp->to = icmp->from;
	icmp->from = ip;
	icmp->type = 0;
	icmp->sum = 0;
	icmp->sum = checksum(&icmp->type, length - 20);
	nic_send(&nic, NULL, icmp, length + (uint32_t)sizeof(struct ethernet));
	return true;
}

static void role_host(uint32_t address, uint32_t count)
{
	uint32_t ip = __builtin_bswap32(address), answered = 0, size;
	uint64_t end = patience();

	while (answered < count && clock_now() < end) {
		struct ethernet *eth = (void *)frame;

		size = nic_receive(&nic, NULL, frame);
		if (!size)
			continue;
		if (eth->type == swap16(ETH_ARP))
			answer_arp((void *)frame, ip);
		else if (eth->type == swap16(ETH_IP))
			answered += answer_echo((void *)frame, size, ip);
	}
	CHECK_EQ(answered, count, "echo requests answered");
	print("%u echo requests answered\n", answered);
}

/* The place of @mac among those that were seen. */
static uint32_t station(uint8_t (*seen)[6], uint32_t *count, const uint8_t *mac)
{
	uint32_t i = 0;

	while (i < *count && memcmp(seen[i], mac, 6))
		i++;
	if (i == *count && i < STATIONS_MAX)
		memcpy(seen[(*count)++], mac, 6);
	return i;
}

/*
 * One of a crowd: asks all, answers who asks, until @count others have
 * answered, and all of those are as far, which they say with what they ask.
 */
static void role_mesh(uint32_t count)
{
	static uint8_t answered[STATIONS_MAX][6], done[STATIONS_MAX][6];
	uint32_t nr_answered = 0, nr_done = 0;
	struct ping *got = (void *)frame, ping;
	uint64_t end = clock_now() + 3 * PATIENCE_S * (uint64_t)CLOCK_HZ;
	uint64_t again = 0;

	while (nr_done < count && clock_now() < end) {
		if (clock_now() >= again) {
			ping_init(&ping, 0, nr_answered >= count);
			nic_send(&nic, NULL, &ping, sizeof(ping));
			again = clock_now() + clock_ms(100);
		}
		if (!nic_receive(&nic, NULL, frame))
			continue;
		if (is_ping(got, 1)) {
			station(answered, &nr_answered, got->eth.from);
		} else if (is_ping(got, 0)) {
			if (got->number)
				station(done, &nr_done, got->eth.from);
			ping_init(&ping, 1, 0);
			memcpy(ping.eth.to, got->eth.from, 6);
			nic_send(&nic, NULL, &ping, sizeof(ping));
		}
	}
	CHECK_EQ(nr_answered, count, "others that answer");
	/* Whoever waits for this one hears that it is done. */
	ping_init(&ping, 0, 1);
	nic_send(&nic, NULL, &ping, sizeof(ping));
	print("%u others\n", nr_answered);
}

/* Asks who has the address @ip until someone answers. */
static void role_arp(uint32_t address)
{
	uint32_t ip = __builtin_bswap32(address);
	uint64_t end = patience(), again = 0;
	struct arp ask, *got = (void *)frame;

	memset(&ask, 0, sizeof(ask));
	memset(ask.eth.to, 0xff, 6);
	memcpy(ask.eth.from, nic.mac, 6);
	ask.eth.type = swap16(ETH_ARP);
	ask.hardware = swap16(1);
	ask.protocol = swap16(ETH_IP);
	ask.hardware_size = 6;
	ask.protocol_size = 4;
	ask.operation = swap16(1);
	memcpy(ask.from_mac, nic.mac, 6);
	ask.from_ip = __builtin_bswap32((address & 0xffffff00) | 77);
	ask.to_ip = ip;
	while (clock_now() < end) {
		if (clock_now() >= again) {
			nic_send(&nic, NULL, &ask, sizeof(ask));
			again = clock_now() + clock_ms(200);
		}
		if (nic_receive(&nic, NULL, frame) &&
		    got->eth.type == swap16(ETH_ARP) &&
		    got->operation == swap16(2) && got->from_ip == ip) {
			print("someone has it\n");
			return;
		}
	}
	CHECK(false, "someone has the address");
}

static void role_dry(void)
{
	volatile uint16_t *used = &nic.rx.used->idx;
	uint64_t end = patience();
	int got = 0;

	CHECK(WAIT_FOR((uint16_t)(*used - nic.rx.last_used) == NIC_RX_BUFFERS),
	      "all buffers are used");
	print("dry\n");
	for (uint64_t again = clock_now() + clock_ms(option_number("ms", 1000));
	     clock_now() < again;)
		CHECK_EQ((uint16_t)(*used - nic.rx.last_used), NIC_RX_BUFFERS,
			 "used buffers while none is given");
	/* Those that are here, and as many again. */
	while (got < 2 * NIC_RX_BUFFERS) {
		got += nic_receive(&nic, NULL, frame) > 0;
		CHECK(clock_now() < end, "frames come again");
	}
	print("resumed\n");
}

int guest_main(void)
{
	uint32_t count = (uint32_t)option_number("count", 10);
	uint64_t want = option_number("mac", 0), is = 0;
	const uint8_t *mac = nic.mac;
	int nics = 0;

	while (nic_find(&nic, nics))
		nics++;
	CHECK_EQ(nics, option_number("nics", (uint64_t)nics),
		 "how many NICs there are");
	CHECK(nic_find(&nic, (int)option_number("nic", 0)), "the NIC is there");
	nic_start(&nic, option("merge") ? BIT(VIRTIO_NET_F_MRG_RXBUF) : 0,
		  BUFFERS);
	print("mac %02x:%02x:%02x:%02x:%02x:%02x\n", mac[0], mac[1], mac[2],
	      mac[3], mac[4], mac[5]);
	for (int i = 0; i < 6; i++)
		is = is << 8 | mac[i];
	if (want)
		CHECK_EQ(is, want, "MAC of the NIC");
	CHECK(!(mac[0] & 1) && is, "the MAC is one station's");
	if (option_is("role", "ping"))
		role_ping(count);
	else if (option_is("role", "pong"))
		role_pong(count);
	else if (option_is("role", "mesh"))
		role_mesh(count);
	else if (option_is("role", "dry"))
		role_dry();
	else if (option_is("role", "arp"))
		role_arp((uint32_t)option_number("ip", 0));
	else if (option("ip"))
		role_host((uint32_t)option_number("ip", 0), count);
	print("net: ok\n");
	return 0;
}
