/*
 * Frames on their way to the driver: one at a time or several by one call, into
 * the buffers of net_window.c.
 */
#include "devices/virtio/net_parts.h"

#include "util/counter.h"
#include "util/iov.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* The worker rests after this many failed receives in a row. */
#define RX_FAILURES_MAX 64
#define RX_REST_US      1000

/* A frame of this many bytes, with its header, is not long. */
#define RX_SHORT 4096

enum rx_result { RX_FRAME, RX_NO_FRAME, RX_NO_BUFFER, RX_FAILED, RX_GONE };

/* What an error of the backend means. Most concern one frame, for example one
 * that the kernel cannot describe to us; these say that no more will come. */
static enum rx_result rx_error(struct virtio_net *net, unsigned pair, int err)
{
	switch (err) {
	case -EAGAIN:
		return RX_NO_FRAME;
	case -EBADFD:
	case -EBADF:
	case -ENODEV:
	case -EPIPE:
	case -ENOTCONN:
	case -ECONNRESET:
		log_err("%s: cannot receive from %s: %s; nothing more will "
			"arrive",
			net->virtio.name, net->pairs[pair].backend->name,
			strerror(-err));
		return RX_GONE;
	default:
		counter_add(&net->pairs[pair].received.drops, 1);
		log_guest(&net->rx_failed, "%s: cannot receive from %s: %s",
			  net->virtio.name, net->pairs[pair].backend->name,
			  strerror(-err));
		return RX_FAILED;
	}
}

/*
 * One frame into the window. After a short one only the window's beginning is
 * offered, because the kernel looks at each piece of it. A longer frame ends in
 * the spill and is moved to where it belongs. Bytes, or -errno.
 */
static ssize_t window_receive(const struct virtio_net *net,
			      struct net_backend *backend, struct rx_window *rx)
{
	struct iovec *iov = rx->iov + rx->first, kept;
	int all = net->mergeable ? rx->end - rx->first
				 : rx->chains[rx->head].writable;
	int pieces = 0;
	uint64_t offered = 0;
	ssize_t n;

	while (pieces < all && (rx->long_frames || offered < RX_SHORT))
		offered += iov[pieces++].iov_len;
	kept = iov[pieces];
	iov[pieces] = (struct iovec){ rx->spill, sizeof(rx->spill) };
	n = backend->ops->receive(backend, iov, pieces + 1);
	iov[pieces] = kept;
	if (n <= 0)
		return n;
	rx->long_frames = n > RX_SHORT;
	if ((uint64_t)n > offered) {
		rx->held = n;
		rx->held_inside = offered;
	}
	return n;
}

/* How many frames to ask for the next time: twice as many if all came; else as
 * many as came, but at least half, because frames come in bunches. */
static void rx_adapt(struct rx_window *rx, unsigned asked, unsigned got)
{
	rx->batch = got > asked / 2 ? got : (asked + 1) / 2;
	if (got == asked)
		rx->batch = 2 * asked;
	if (rx->batch > RX_BATCH)
		rx->batch = RX_BATCH;
	if (rx->long_frames || !rx->many)
		rx->batch = 1;
}

/* The frame of @n bytes that lies in the window: to the driver, or not. */
static void rx_deliver(struct virtio_net *net, unsigned pair, ssize_t n)
{
	struct rx_window *rx = net->pairs[pair].rx;

	if (n < NET_HEADER || (uint64_t)n > net_window_holds(net, rx))
		net_window_misfit(net, pair, n);
	else if (net_window_wanted(net, rx))
		net_window_push(net, pair, n);
}

/*
 * A frame that was longer than the room it was offered continues in the rest of
 * the window. If that is too short, it waits until the driver has given more:
 * long frames come fast, and the driver gives buffers back a few at a time.
 * RX_FRAME unless it still waits.
 */
static enum rx_result rx_held(struct virtio_net *net, unsigned pair)
{
	struct rx_window *rx = net->pairs[pair].rx;
	uint64_t n = rx->held;

	net_window_fill(net, pair);
	if (n > net_window_holds(net, rx) && n <= rx->wanted &&
	    net_window_waits(net, pair))
		return RX_NO_BUFFER;
	rx->held = 0;
	if (n <= net_window_holds(net, rx))
		iov_copy_in(rx->iov + rx->first, rx->end - rx->first,
			    rx->held_inside, rx->spill, n - rx->held_inside);
	rx_deliver(net, pair, (ssize_t)n);
	return RX_FRAME;
}

static enum rx_result rx_one(struct virtio_net *net, unsigned pair)
{
	struct net_backend *backend = net->pairs[pair].backend;
	struct rx_window *rx = net->pairs[pair].rx;
	ssize_t n = window_receive(net, backend, rx);

	rx_adapt(rx, 1, n > 0);
	if (n <= 0) /* not even a header: the other end has gone */
		return rx_error(net, pair, n ? (int)n : -EPIPE);
	net_limit_take(net, NET_RECEIVED, n);
	if (rx->held)
		return rx_held(net, pair);
	rx_deliver(net, pair, n);
	return RX_FRAME;
}

/* The first buffers of the window, each for a frame of its own with a spill
 * behind it; how many. */
static unsigned many_prepare(struct rx_window *rx, struct rx_many *many)
{
	struct iovec *iov = rx->iov + rx->first;
	unsigned n = 0;

	for (; n < rx->batch && n < rx->count; n++) {
		const struct ring_chain *chain =
			&rx->chains[(rx->head + n) % NET_QUEUE_SIZE];
		uint8_t *spill = many->spill[n];
		size_t skip = sizeof(many->spill[n]);

		if (chain->writable > RX_MANY_PIECES)
			break;
		if (chain->write_bytes < skip)
			skip = chain->write_bytes;
		memcpy(many->iov[n], iov, chain->writable * sizeof(*iov));
		many->iov[n][chain->writable] = (struct iovec){
			spill + skip,
			sizeof(many->spill[n]) - skip,
		};
		many->frames[n].iov = many->iov[n];
		many->frames[n].iovcnt = chain->writable + 1;
		iov += chain->writable;
	}
	return n;
}

/* Frames from @i on cannot stay where they are: those before them took other
 * buffers than their own. */
static void many_rescue(struct rx_many *many, unsigned i, unsigned n)
{
	for (; i < n; i++) {
		struct net_frame *frame = &many->frames[i];

		if (frame->result > 0)
			iov_copy_out(frame->iov, frame->iovcnt - 1, 0,
				     many->spill[i], frame->result);
	}
}

/* A frame that was copied aside, into the buffers that come next. */
static void many_place(struct virtio_net *net, unsigned pair, unsigned i)
{
	struct rx_window *rx = net->pairs[pair].rx;
	ssize_t n = rx->many->frames[i].result;

	net_window_fill(net, pair);
	if ((uint64_t)n <= net_window_holds(net, rx))
		iov_copy_in(rx->iov + rx->first, rx->end - rx->first, 0,
			    rx->many->spill[i], n);
	rx_deliver(net, pair, n);
}

/*
 * Several frames by one call, each into a buffer of its own, where it stays if
 * it fits and the driver wants it, as with most short ones. If one does not
 * stay, it and all after it are copied.
 */
static enum rx_result rx_many(struct virtio_net *net, unsigned pair, unsigned n)
{
	struct net_backend *backend = net->pairs[pair].backend;
	struct rx_window *rx = net->pairs[pair].rx;
	struct rx_many *many = rx->many;
	enum rx_result result = RX_FRAME;
	bool rescued = false;
	unsigned got = 0;

	backend->ops->receive_many(backend, many->frames, n);
	rx->long_frames = false;
	for (unsigned i = 0; i < n && result != RX_GONE; i++) {
		ssize_t len = many->frames[i].result;
		unsigned before = rx->count;

		if (len <= 0) {
			result = rx_error(net, pair, len ? (int)len : -EPIPE);
		} else {
			result = RX_FRAME;
			got++;
			rx->long_frames |= len > RX_SHORT;
			if (!rescued &&
			    len > rx->chains[rx->head].write_bytes) {
				many_rescue(many, i, n);
				rescued = true;
			}
			if (rescued)
				many_place(net, pair, i);
			else
				rx_deliver(net, pair, len);
		}
		if (!rescued && rx->count != before - 1) {
			many_rescue(many, i + 1, n);
			rescued = true;
		}
	}
	rx_adapt(rx, n, got);
	return result;
}

/* What comes next: one frame, or as many as came together the last time. */
static enum rx_result rx_some(struct virtio_net *net, unsigned pair)
{
	struct rx_window *rx = net->pairs[pair].rx;
	unsigned n = 1;

	net_window_fill(net, pair);
	if (rx->held)
		return rx_held(net, pair);
	if (!rx->count)
		return RX_NO_BUFFER;
	if (rx->batch > 1)
		n = many_prepare(rx, rx->many);
	return n > 1 ? rx_many(net, pair, n) : rx_one(net, pair);
}

/* After rx_some(): true if there may be more. Without a buffer the backend is
 * not watched, or it would be readable all the time; the driver's next kick
 * brings us back here. */
static bool rx_goes_on(struct virtio_net *net, unsigned p,
		       enum rx_result result)
{
	struct net_pair *pair = &net->pairs[p];
	short *events = net_events(net, p);

	if (result != RX_FAILED)
		pair->failures = 0;
	switch (result) {
	case RX_FRAME:
		return true;
	case RX_NO_FRAME:
		*events |= POLLIN;
		return false;
	case RX_NO_BUFFER:
		*events &= ~POLLIN;
		return ring_notify_on(net_ring(net, net_rx_queue(p)));
	case RX_FAILED:
		if (++pair->failures % RX_FAILURES_MAX == 0)
			usleep(RX_REST_US);
		return true;
	default:
		__atomic_store_n(&pair->gone, true, __ATOMIC_SEQ_CST);
		*events &= ~POLLIN;
		virtio_net_link(&net->virtio, false);
		return false;
	}
}

bool net_rx_serve(struct virtio_net *net, unsigned pair)
{
	bool more = true;

	if (net->pairs[pair].gone)
		return false;
	ring_notify_off(net_ring(net, net_rx_queue(pair)));
	for (int budget = NET_BUDGET; budget > 0 && more;) {
		int batch = (int)net->pairs[pair].rx->batch;

		budget -= batch;
		/* What comes meanwhile stays in the backend. */
		if (net_limit_waits(net, NET_RECEIVED)) {
			*net_events(net, pair) &= ~POLLIN;
			more = false;
		} else {
			more = rx_goes_on(net, pair, rx_some(net, pair));
		}
		/* The driver has something to do, while we have. */
		if (budget / NET_PUBLISH != (budget + batch) / NET_PUBLISH)
			virtio_publish(&net->virtio, net_rx_queue(pair));
	}
	virtio_publish(&net->virtio, net_rx_queue(pair));
	/* Of an end that has just gone no POLLOUT tells. */
	if (net->pairs[pair].tx->count)
		net->virtio.queues[net_tx_queue(pair)].again = true;
	return more;
}

void net_rx_drain(struct virtio_net *net, unsigned pair)
{
	struct rx_window *rx = net->pairs[pair].rx;

	ring_unpop(net_ring(net, net_rx_queue(pair)), rx->count);
	rx->held = 0;
	rx->first = 0;
	rx->end = 0;
	rx->count = 0;
	rx->bytes = 0;
}
