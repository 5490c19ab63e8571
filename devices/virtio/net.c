#include "devices/virtio/net.h"

#include "util/bytes.h"
#include "util/checked.h"
#include "util/iov.h"
#include "util/log.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE 256
enum { RX, TX, QUEUES };

#define NET_BUDGET 256 /* frames between two looks at `stop` */

/* The longest frame: a segment of 64 KiB to be cut by whoever needs it, with
 * its Ethernet header and two VLAN tags. */
#define FRAME_MAX (65536 + ETH_HLEN + 8)
#define FRAME_MIN ETH_HLEN

/* readv(2) takes UIO_MAXIOV pieces: those of the guest and our spill. */
#define RX_PIECES 1023

_Static_assert(RX_PIECES >= RING_CHAIN_IOV(QUEUE_SIZE),
	       "a chain must fit the receive window");

/*
 * Receive buffers taken from the ring before it is known how long the next
 * frame is: enough for the longest, if the driver gave that much. A frame is
 * read straight into them, and the buffers it did not reach stay for the next.
 * The spill, host memory behind them, takes what is too long: such a frame is
 * dropped, and nothing was written where the guest did not allow it.
 */
struct rx_window {
	struct iovec iov[RX_PIECES + 1]; /* in use: first .. end - 1 */
	int first, end;
	struct ring_chain chains[QUEUE_SIZE]; /* in use: head, count */
	unsigned head, count;
	uint64_t bytes; /* of all of them */
	uint64_t wanted;
	bool dry; /* the ring had no more to give */
	uint8_t spill[NET_HEADER + FRAME_MAX];
};

struct tx_state {
	struct iovec iov[RING_CHAIN_IOV(QUEUE_SIZE)];
	struct ring_chain chain;
	bool waiting; /* chain was popped, and the backend is full */
};

struct virtio_net {
	struct virtio_device virtio;
	struct net_backend *net; /* owned */
	bool mergeable;          /* a frame may span several buffers */
	bool dead;               /* the backend failed; already logged */
	struct rx_window *rx;
	struct tx_state *tx;
	struct guest_error rx_dropped, tx_dropped, bad_buffer;
};

static struct virtio_net *from_virtio(struct virtio_device *virtio)
{
	return container_of(virtio, struct virtio_net, virtio);
}

static struct ring *net_ring(struct virtio_net *net, unsigned queue)
{
	return &net->virtio.queues[queue].ring;
}

static bool has_feature(const struct virtio_net *net, unsigned bit)
{
	return net->virtio.features & 1ull << bit;
}

/* Room for one more chain at the end of the window's iov. */
static bool window_room(struct rx_window *rx, int pieces)
{
	if (RX_PIECES - rx->end >= pieces)
		return true;
	memmove(rx->iov, rx->iov + rx->first,
		(rx->end - rx->first) * sizeof(*rx->iov));
	rx->end -= rx->first;
	rx->first = 0;
	return RX_PIECES - rx->end >= pieces;
}

/* Only what the device may write counts. */
static void window_add(struct rx_window *rx, const struct ring_chain *chain)
{
	memmove(chain->iov, chain->iov + chain->readable,
		chain->writable * sizeof(*chain->iov));
	rx->end += chain->writable;
	rx->bytes += chain->write_bytes;
	rx->chains[(rx->head + rx->count) % QUEUE_SIZE] = *chain;
	rx->count++;
}

/* The oldest buffer leaves the window. */
static struct ring_chain window_take(struct rx_window *rx)
{
	struct ring_chain chain = rx->chains[rx->head];

	rx->head = (rx->head + 1) % QUEUE_SIZE;
	rx->count--;
	rx->first += chain.writable;
	rx->bytes -= chain.write_bytes;
	return chain;
}

/*
 * A buffer that cannot even hold a header goes back unused, so that it cannot
 * stop the queue; but in its turn, or ring_unpop() would lose the place.
 */
static bool window_refuse(struct virtio_net *net,
			  const struct ring_chain *chain)
{
	if (net->rx->count) {
		ring_unpop(net_ring(net, RX), 1);
		return false;
	}
	log_guest(&net->bad_buffer,
		  "%s: receive buffer of %u bytes: too short for a header",
		  net->virtio.name, chain->write_bytes);
	ring_push(net_ring(net, RX), chain, 0);
	return true;
}

static void window_fill(struct virtio_net *net)
{
	struct ring *ring = net_ring(net, RX);
	struct rx_window *rx = net->rx;

	rx->dry = false;
	for (int tries = 0; tries < QUEUE_SIZE; tries++) {
		struct ring_chain chain;
		int n;

		if (rx->bytes >= rx->wanted || rx->count == QUEUE_SIZE ||
		    !window_room(rx, RING_CHAIN_IOV(ring->size)))
			return;
		chain.iov = rx->iov + rx->end;
		chain.max = RX_PIECES - rx->end;
		n = ring_pop(ring, &chain);
		if (n < 0)
			virtio_needs_reset(&net->virtio);
		rx->dry = n <= 0;
		if (rx->dry)
			return;
		if (chain.write_bytes >= NET_HEADER)
			window_add(rx, &chain);
		else if (!window_refuse(net, &chain))
			return;
	}
}

/* Gives the first @n bytes of the window to the driver, as one frame. */
static void window_push(struct virtio_net *net, uint32_t n)
{
	struct rx_window *rx = net->rx;
	const struct iovec *iov = rx->iov + rx->first;
	int pieces = rx->end - rx->first;
	uint16_t buffers = 0;
	uint8_t le[2];

	for (uint32_t left = n; left; buffers++) {
		struct ring_chain chain = window_take(rx);
		uint32_t used = left < chain.write_bytes ? left
							 : chain.write_bytes;

		left -= used;
		ring_push(net_ring(net, RX), &chain, used);
	}
	/* The backend does not know it (5.1.6.4); the driver sees none of this
	 * before ring_publish(). */
	put_le16(le, buffers);
	iov_copy_in(iov, pieces,
		    offsetof(struct virtio_net_hdr_mrg_rxbuf, num_buffers), le,
		    sizeof(le));
	log_trace("received a frame of %u bytes", n - NET_HEADER);
}

/*
 * A frame does not fit, and is dropped. If no buffer can join those in the
 * window, none that the driver adds ever will: so they go back unused, or they
 * would be the first in line for good.
 */
static void window_misfit(struct virtio_net *net, ssize_t n)
{
	struct ring *ring = net_ring(net, RX);
	struct rx_window *rx = net->rx;
	bool grows = rx->dry && rx->count < ring->size;

	log_guest(&net->rx_dropped,
		  "%s: a frame of %zd bytes does not fit the guest's buffers",
		  net->virtio.name, n - NET_HEADER);
	while (rx->count && !grows) {
		struct ring_chain chain = window_take(rx);

		ring_push(ring, &chain, 0);
	}
}

enum rx_result { RX_FRAME, RX_NO_FRAME, RX_NO_BUFFER, RX_FAILED };

static enum rx_result rx_one(struct virtio_net *net)
{
	struct rx_window *rx = net->rx;
	ssize_t n;

	window_fill(net);
	if (!rx->count)
		return RX_NO_BUFFER;
	rx->iov[rx->end] = (struct iovec){ rx->spill, sizeof(rx->spill) };
	n = net->net->ops->receive(net->net, rx->iov + rx->first,
				   rx->end - rx->first + 1);
	if (n == -EAGAIN)
		return RX_NO_FRAME;
	if (n == 0)
		n = -EPIPE; /* not even a header: the other end has gone */
	if (n < 0) {
		log_err("%s: cannot receive from %s: %s; nothing more will "
			"arrive",
			net->virtio.name, net->net->name, strerror(-n));
		return RX_FAILED;
	}
	if (n < NET_HEADER || (uint64_t)n > rx->bytes)
		window_misfit(net, n);
	else
		window_push(net, n);
	return RX_FRAME;
}

/*
 * True if the budget ran out first. Without a buffer the backend is not
 * watched, or it would be found readable for ever; the driver's next kick
 * brings us back here.
 */
static bool rx_serve(struct virtio_net *net)
{
	struct ring *ring = net_ring(net, RX);
	short *events = &net->virtio.backend_events;
	bool more = true;

	if (net->dead)
		return false;
	ring_notify_off(ring);
	for (int budget = NET_BUDGET; budget && more; budget--) {
		switch (rx_one(net)) {
		case RX_FRAME:
			break;
		case RX_NO_FRAME:
			*events |= POLLIN;
			more = false;
			break;
		case RX_NO_BUFFER:
			*events &= ~POLLIN;
			more = ring_notify_on(ring);
			break;
		case RX_FAILED:
			net->dead = true;
			*events = 0;
			more = false;
			break;
		}
	}
	virtio_publish(&net->virtio, RX);
	return more;
}

/* -EAGAIN, or the frame is done with: sent, or dropped and counted. */
static int tx_one(struct virtio_net *net)
{
	const struct ring_chain *chain = &net->tx->chain;
	ssize_t n = -EINVAL;

	if (chain->read_bytes >= NET_HEADER + FRAME_MIN &&
	    chain->read_bytes <= NET_HEADER + FRAME_MAX)
		n = net->net->ops->send(net->net, chain->iov, chain->readable);
	if (n == -EAGAIN)
		return n;
	if (n < 0)
		log_guest(&net->tx_dropped,
			  "%s: a frame of the guest (%u bytes) was dropped: %s",
			  net->virtio.name, chain->read_bytes, strerror(-n));
	else
		log_trace("sent a frame of %u bytes",
			  chain->read_bytes - NET_HEADER);
	ring_push(net_ring(net, TX), chain, 0);
	return 0;
}

/* True if the budget ran out first. While the backend is full the frame waits
 * in tx->chain and the worker for POLLOUT: nothing is dropped. */
static bool tx_serve(struct virtio_net *net)
{
	struct ring *ring = net_ring(net, TX);
	struct tx_state *tx = net->tx;
	bool more = true;

	if (tx->waiting)
		return false;
	ring_notify_off(ring);
	for (int budget = NET_BUDGET; budget && more; budget--) {
		int n = 1;

		tx->chain.iov = tx->iov;
		tx->chain.max = RING_CHAIN_IOV(ring->size);
		n = ring_pop(ring, &tx->chain);
		if (n < 0)
			virtio_needs_reset(&net->virtio);
		if (n <= 0) {
			more = ring_notify_on(ring);
		} else if (tx_one(net) == -EAGAIN) {
			tx->waiting = true;
			net->virtio.backend_events |= POLLOUT;
			more = false;
		}
	}
	virtio_publish(&net->virtio, TX);
	return more;
}

/* The backend has room again. */
static bool tx_resume(struct virtio_net *net)
{
	if (net->tx->waiting && tx_one(net) == -EAGAIN)
		return false;
	net->tx->waiting = false;
	net->virtio.backend_events &= ~POLLOUT;
	return tx_serve(net);
}

static bool net_queue(struct virtio_device *virtio, unsigned queue)
{
	struct virtio_net *net = from_virtio(virtio);

	return queue == RX ? rx_serve(net) : tx_serve(net);
}

static bool net_ready(struct virtio_device *virtio, short events)
{
	struct virtio_net *net = from_virtio(virtio);

	/* An error of the backend shows when it is read. */
	if (events & ~POLLOUT)
		virtio->queues[RX].again = rx_serve(net);
	if (events & POLLOUT)
		virtio->queues[TX].again = tx_resume(net);
	return false;
}

/* What was popped and not used goes back, so that the rings alone say what is
 * left to do. */
static void net_drain(struct virtio_device *virtio)
{
	struct virtio_net *net = from_virtio(virtio);
	struct rx_window *rx = net->rx;

	ring_unpop(net_ring(net, RX), rx->count);
	rx->first = 0;
	rx->end = 0;
	rx->count = 0;
	rx->bytes = 0;
	if (net->tx->waiting)
		ring_unpop(net_ring(net, TX), 1);
	net->tx->waiting = false;
	virtio->backend_events = net->dead ? 0 : POLLIN;
}

/* Which feature of the driver lets the backend leave what undone. */
static const struct {
	unsigned host, guest, offload;
} offloads[] = {
	{ VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM },
	{ VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4 },
	{ VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6 },
	{ VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN },
};

static unsigned guest_offloads(const struct virtio_net *net)
{
	unsigned flags = 0;

	for (size_t i = 0; i < ARRAY_SIZE(offloads); i++) {
		if (has_feature(net, offloads[i].guest))
			flags |= offloads[i].offload;
	}
	/* What depends on what: 5.1.3.1. */
	if (!(flags & (TUN_F_TSO4 | TUN_F_TSO6)))
		flags &= ~TUN_F_TSO_ECN;
	return flags & TUN_F_CSUM ? flags : 0;
}

static void net_stop(struct virtio_device *virtio)
{
	struct virtio_net *net = from_virtio(virtio);

	free(net->rx);
	free(net->tx);
	net->rx = NULL;
	net->tx = NULL;
}

static int net_start(struct virtio_device *virtio)
{
	struct virtio_net *net = from_virtio(virtio);
	unsigned flags = guest_offloads(net);
	int err = -ENOMEM;

	/* Large, but the kernel backs only what is used. */
	net->rx = calloc(1, sizeof(*net->rx));
	net->tx = calloc(1, sizeof(*net->tx));
	if (net->rx && net->tx)
		err = net->net->ops->set_offloads(net->net, flags);
	if (err) {
		net_stop(virtio);
		return err;
	}
	net->mergeable = has_feature(net, VIRTIO_NET_F_MRG_RXBUF);
	/* Any one buffer, or as many as the longest frame needs. */
	net->rx->wanted = net->mergeable ? NET_HEADER + FRAME_MAX : 1;
	virtio->backend_events = net->dead ? 0 : POLLIN;
	return 0;
}

static void net_destroy(struct virtio_device *virtio)
{
	struct virtio_net *net = from_virtio(virtio);

	net->net->ops->close(net->net);
	virtio_fini(virtio);
	free(net);
}

static const struct virtio_device_ops net_ops = {
	.start = net_start,
	.stop = net_stop,
	.destroy = net_destroy,
	.queue = net_queue,
	.ready = net_ready,
	.drain = net_drain,
};

static void config_init(struct virtio_net *net, const uint8_t mac[NET_MAC])
{
	struct virtio_device *virtio = &net->virtio;
	struct virtio_net_config config = {
		.status = htole16(VIRTIO_NET_S_LINK_UP),
		.mtu = htole16(net->net->mtu > UINT16_MAX ? UINT16_MAX
							  : net->net->mtu),
	};

	memcpy(config.mac, mac, NET_MAC);
	virtio->config_len = offsetof(struct virtio_net_config, speed);
	memcpy(virtio->config, &config, virtio->config_len);
	virtio->offered |=
		1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS |
		1ull << VIRTIO_NET_F_MTU | 1ull << VIRTIO_NET_F_MRG_RXBUF;
	for (size_t i = 0; i < ARRAY_SIZE(offloads); i++) {
		if (net->net->offloads & offloads[i].offload)
			virtio->offered |= 1ull << offloads[i].host |
					   1ull << offloads[i].guest;
	}
}

int virtio_net_create(const char *name, struct net_backend *backend,
		      const uint8_t mac[NET_MAC], const struct memory *memory,
		      struct virtio_device **virtio)
{
	struct virtio_net *net = calloc(1, sizeof(*net));
	int err;

	if (!net)
		return -ENOMEM;
	err = virtio_init(&net->virtio, name, VIRTIO_ID_NET, memory, QUEUES,
			  QUEUE_SIZE);
	if (err) {
		free(net);
		return err;
	}
	net->virtio.ops = &net_ops;
	net->net = backend;
	net->virtio.backend_fd = backend->fd;
	config_init(net, mac);
	*virtio = &net->virtio;
	return 0;
}
