/*
 * The receive window: buffers that the driver gave and that frames to come are
 * read into, before it is known how long they are (struct rx_window).
 */
#include "devices/virtio/net_parts.h"

#include "util/bytes.h"
#include "util/counter.h"
#include "util/iov.h"

#include <string.h>

_Static_assert(RX_PIECES >= RING_CHAIN_IOV(NET_QUEUE_SIZE),
	       "a chain must fit the receive window");

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
	rx->chains[(rx->head + rx->count) % NET_QUEUE_SIZE] = *chain;
	rx->count++;
	if (rx->count > rx->most)
		rx->most = rx->count;
}

/* The oldest buffer leaves the window. */
static struct ring_chain window_take(struct rx_window *rx)
{
	struct ring_chain chain = rx->chains[rx->head];

	rx->head = (rx->head + 1) % NET_QUEUE_SIZE;
	rx->count--;
	rx->first += chain.writable;
	rx->bytes -= chain.write_bytes;
	return chain;
}

/*
 * A buffer that cannot even hold a header goes back unused, so that it cannot
 * stop the queue; but in its turn, or ring_unpop() would lose the place.
 */
static bool window_refuse(struct virtio_net *net, unsigned pair,
			  const struct ring_chain *chain)
{
	struct ring *ring = net_ring(net, net_rx_queue(pair));

	if (net->pairs[pair].rx->count) {
		ring_unpop(ring, 1);
		return false;
	}
	log_guest(&net->bad_buffer,
		  "%s: receive buffer of %u bytes: too short for a header",
		  net->virtio.name, chain->write_bytes);
	ring_push(ring, chain, 0);
	return true;
}

void net_window_fill(struct virtio_net *net, unsigned pair)
{
	struct ring *ring = net_ring(net, net_rx_queue(pair));
	struct rx_window *rx = net->pairs[pair].rx;

	rx->dry = false;
	for (int tries = 0; tries < NET_QUEUE_SIZE; tries++) {
		struct ring_chain chain;
		int n;

		if ((rx->bytes >= rx->wanted && rx->count >= rx->batch) ||
		    rx->count == NET_QUEUE_SIZE ||
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
		else if (!window_refuse(net, pair, &chain))
			return;
	}
}

/* What a frame may take of the window: all of it, or one buffer. */
uint64_t net_window_holds(const struct virtio_net *net,
			  const struct rx_window *rx)
{
	if (net->mergeable || !rx->count)
		return rx->bytes;
	return rx->chains[rx->head].write_bytes;
}

/* Gives the first @n bytes of the window to the driver, as one frame. */
void net_window_push(struct virtio_net *net, unsigned pair, uint32_t n)
{
	struct net_counters *counters = &net->pairs[pair].received;
	struct rx_window *rx = net->pairs[pair].rx;
	const struct iovec *iov = rx->iov + rx->first;
	int pieces = rx->end - rx->first;
	uint16_t buffers = 0;
	uint8_t le[2];

	for (uint32_t left = n; left; buffers++) {
		struct ring_chain chain = window_take(rx);
		uint32_t used = left < chain.write_bytes ? left
							 : chain.write_bytes;

		left -= used;
		ring_push(net_ring(net, net_rx_queue(pair)), &chain, used);
	}
	/* The backend does not know it (5.1.6.4); the driver sees none of this
	 * before ring_publish(). */
	put_le16(le, buffers);
	iov_copy_in(iov, pieces,
		    offsetof(struct virtio_net_hdr_mrg_rxbuf, num_buffers), le,
		    sizeof(le));
	counter_add(&counters->packets, 1);
	counter_add(&counters->bytes, n - NET_HEADER);
	log_trace("received a frame of %u bytes", n - NET_HEADER);
}

/* Whether the driver may give buffers that join those in the window. */
static bool window_grows(struct virtio_net *net, unsigned pair)
{
	const struct rx_window *rx = net->pairs[pair].rx;

	return net->mergeable && rx->dry &&
	       rx->count < net_ring(net, net_rx_queue(pair))->size;
}

/* Whether to wait for more buffers: the window has had more of them before. A
 * driver with only a few buffers gets none back while we have them all. */
bool net_window_waits(struct virtio_net *net, unsigned pair)
{
	const struct rx_window *rx = net->pairs[pair].rx;

	return window_grows(net, pair) && rx->count < rx->most;
}

/*
 * A frame does not fit, and is dropped. If no further buffer can join the
 * window, its buffers go back unused, or they would be the first in line for
 * ever. If each frame has one buffer, only the first was too short and goes.
 */
void net_window_misfit(struct virtio_net *net, unsigned pair, ssize_t n)
{
	struct ring *ring = net_ring(net, net_rx_queue(pair));
	struct rx_window *rx = net->pairs[pair].rx;
	bool stay = window_grows(net, pair);

	counter_add(&net->pairs[pair].received.drops, 1);
	log_guest(&net->rx_dropped,
		  "%s: a frame of %zd bytes does not fit the guest's buffers",
		  net->virtio.name, n - NET_HEADER);
	while (rx->count && !stay) {
		struct ring_chain chain = window_take(rx);

		ring_push(ring, &chain, 0);
		stay = !net->mergeable;
	}
}

/* Whether the driver wants the frame that lies in the window. If not, the next
 * frame is written over it. */
bool net_window_wanted(const struct virtio_net *net, const struct rx_window *rx)
{
	uint8_t frame[NET_FILTER_BYTES] = { 0 };

	if (net->control.filter.promisc)
		return true;
	iov_copy_out(rx->iov + rx->first, rx->end - rx->first, NET_HEADER,
		     frame, sizeof(frame));
	return net_filter_accepts(&net->control.filter, frame);
}
