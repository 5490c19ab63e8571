/*
 * A network card under test: on one side a driver (virtio_bench.h), on the
 * other a wire whose end the test holds.
 */
#ifndef KVIST_TESTS_WIRE_H
#define KVIST_TESTS_WIRE_H

#include "unit.h"

#include "devices/virtio/net.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "virtio_bench.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <sys/socket.h>
#include <unistd.h>

#define RX   0
#define TX   1
#define SIZE 8

#define FEATURES                                                               \
	(BENCH_FEATURES | 1ull << VIRTIO_NET_F_MAC |                           \
	 1ull << VIRTIO_NET_F_MRG_RXBUF)

/* A network of one socket: the test is the wire's other end. */
struct wire {
	struct net_backend net;
	int other;         /* the test's end */
	unsigned offloads; /* as set */
	int send_err;      /* atomic: what send() fails with */
	unsigned sends;    /* atomic */
	int receive_err;   /* atomic: what the next receive() fails with */
	unsigned most;     /* that were to be received by one call */
	unsigned deaths;   /* atomic: receives that found no one there */
	bool closed;
	int enable_err; /* that turning it on fails with */
	bool enabled;   /* as set; a second queue begins so */
	bool down;      /* atomic: the cable is out */
	pthread_mutex_t
		lock; /* tells the sanitizer that a frame orders both ends */
};

static inline ssize_t wire_send(struct net_backend *net,
				const struct iovec *iov, int iovcnt)
{
	struct wire *wire = container_of(net, struct wire, net);
	int err = __atomic_load_n(&wire->send_err, __ATOMIC_SEQ_CST);
	ssize_t n;

	__atomic_fetch_add(&wire->sends, 1, __ATOMIC_SEQ_CST);
	if (err)
		return err;
	n = writev(net->fd, iov, iovcnt);
	return n < 0 ? -errno : n;
}

static inline ssize_t wire_receive(struct net_backend *net,
				   const struct iovec *iov, int iovcnt)
{
	struct wire *wire = container_of(net, struct wire, net);
	ssize_t n;
	int err;

	err = __atomic_exchange_n(&wire->receive_err, 0, __ATOMIC_SEQ_CST);
	if (err)
		return err;
	pthread_mutex_lock(&wire->lock);
	n = readv(net->fd, iov, iovcnt);
	err = -errno;
	pthread_mutex_unlock(&wire->lock);
	if (n == 0 || (n < 0 && err != -EAGAIN))
		__atomic_fetch_add(&wire->deaths, 1, __ATOMIC_SEQ_CST);
	return n < 0 ? err : n;
}

static inline void wire_send_many(struct net_backend *net,
				  struct net_frame *frames, unsigned count)
{
	bool full = false;

	for (unsigned i = 0; i < count; i++) {
		frames[i].result =
			full ? -EAGAIN
			     : wire_send(net, frames[i].iov, frames[i].iovcnt);
		full = frames[i].result == -EAGAIN;
	}
}

static inline void wire_receive_many(struct net_backend *net,
				     struct net_frame *frames, unsigned count)
{
	struct wire *wire = container_of(net, struct wire, net);

	for (unsigned i = 0; i < count; i++)
		frames[i].result =
			wire_receive(net, frames[i].iov, frames[i].iovcnt);
	if (count > wire->most)
		wire->most = count;
}

static inline int wire_offloads(struct net_backend *net, unsigned flags)
{
	container_of(net, struct wire, net)->offloads = flags;
	return 0;
}

static inline int wire_enable(struct net_backend *net, bool on)
{
	int err = container_of(net, struct wire, net)->enable_err;

	if (on && err)
		return err;
	container_of(net, struct wire, net)->enabled = on;
	return 0;
}

static inline bool wire_link(struct net_backend *net)
{
	return !__atomic_load_n(&container_of(net, struct wire, net)->down,
				__ATOMIC_SEQ_CST);
}

static inline void wire_close(struct net_backend *net)
{
	struct wire *wire = container_of(net, struct wire, net);

	wire->closed = true;
	close(net->fd);
	close(wire->other);
}

static const struct net_ops wire_ops = {
	.send = wire_send,
	.receive = wire_receive,
	.send_many = wire_send_many,
	.receive_many = wire_receive_many,
	.set_offloads = wire_offloads,
	.enable = wire_enable,
	.link = wire_link,
	.close = wire_close,
};

static inline void wire_init(struct wire *wire)
{
	int fds[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
	*wire = (struct wire){
		.net = { .ops = &wire_ops,
			 .fd = fds[0],
			 .name = "wire",
			 .offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
			 .mtu = 1500 },
		.other = fds[1],
		.enabled = true,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
}

/* A card with as many pairs of queues as there are wires. */
static inline void wires_create(struct bench *bench, struct wire *wires,
				unsigned count)
{
	static const uint8_t mac[NET_MAC] = { 2, 0, 0, 0, 0, 1 };
	struct virtio_device *virtio;

	bench_memory(bench);
	for (unsigned i = 0; i < count; i++) {
		wire_init(&wires[i]);
		if (i)
			wires[i - 1].net.next = &wires[i].net;
	}
	assert_int_equal(virtio_net_create("net0", &wires[0].net, mac,
					   &bench->memory, &virtio),
			 0);
	bench_attach(bench, virtio);
}

static inline void wire_create(struct bench *bench, struct wire *wire)
{
	wires_create(bench, wire, 1);
}

/* A card that a driver has brought up, with queues of SIZE entries. */
static inline void wire_up(struct bench *bench, struct wire *wire,
			   uint64_t features)
{
	wire_create(bench, wire);
	bench_up(bench, features, SIZE);
}

static inline uint8_t *guest(struct bench *bench, gpa_t gpa)
{
	return memory_at(&bench->memory, gpa, 1);
}

/* A frame with its header, whose bytes count up from @seed. */
static inline void frame_fill(uint8_t *frame, size_t len, uint8_t seed)
{
	memset(frame, 0, NET_HEADER);
	for (size_t i = NET_HEADER; i < len; i++)
		frame[i] = seed + i;
}

/* The wire carries @frame of @len bytes, header included, to the device. */
static inline void wire_carry(struct wire *wire, const uint8_t *frame,
			      size_t len)
{
	pthread_mutex_lock(&wire->lock);
	assert_int_equal(write(wire->other, frame, len), len);
	pthread_mutex_unlock(&wire->lock);
}

/* The same of one that frame_fill() fills. */
static inline void wire_put(struct wire *wire, size_t len, uint8_t seed)
{
	static uint8_t frame[70000];

	frame_fill(frame, len, seed);
	wire_carry(wire, frame, len);
}

/* A receive buffer at @gpa, of which the device is not told yet. */
static inline void rx_add(struct bench *bench, gpa_t gpa, uint32_t len)
{
	driver_add(&bench->queues[RX], &(struct segment){ gpa, len, true }, 1);
}

/* The driver gives @n receive buffers of @len bytes each, at DATA + i * 4096.
 */
static inline void rx_give(struct bench *bench, int n, uint32_t len)
{
	for (int i = 0; i < n; i++)
		rx_add(bench, BENCH_DATA + i * 4096, len);
	virtio_notify(bench->virtio, RX);
}

static inline uint32_t rx_wait(struct bench *bench)
{
	struct vring_used_elem elem = { 0 };

	assert_true(driver_wait(&bench->queues[RX], &elem));
	return elem.len;
}

static inline bool rx_none(struct bench *bench)
{
	struct vring_used_elem elem;

	bench_fence(bench, TX);
	return !driver_take(&bench->queues[RX], &elem);
}

#endif
