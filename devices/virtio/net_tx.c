/*
 * Frames on their way from the driver: checked, and sent several by one call.
 */
#include "devices/virtio/net_parts.h"

#include "util/bytes.h"
#include "util/checked.h"
#include "util/counter.h"
#include "util/iov.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

_Static_assert(sizeof(struct virtio_net_hdr_v1) == NET_HEADER,
	       "the header of virtio 1.2, 5.1.6");

/* Kinds of segments, and the feature that lets the driver send them. */
static const struct {
	uint8_t gso_type;
	unsigned feature;
} segments[] = {
	{ VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_F_HOST_TSO4 },
	{ VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_F_HOST_TSO6 },
	{ VIRTIO_NET_HDR_GSO_UDP_L4, VIRTIO_NET_F_HOST_USO },
};

static bool segments_valid(const struct virtio_net_hdr_v1 *header,
			   uint64_t features)
{
	uint8_t type = header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;

	if ((header->gso_type & VIRTIO_NET_HDR_GSO_ECN) &&
	    !(features & NET_FEATURE(VIRTIO_NET_F_HOST_ECN)))
		return false;
	/* Segments are cut, and each gets its checksum (5.1.6.2.1). */
	if (!header->gso_size || !(header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(segments); i++) {
		if (type == segments[i].gso_type)
			return features & NET_FEATURE(segments[i].feature);
	}
	return false;
}

bool net_header_check(struct virtio_net_hdr_v1 *header, uint64_t features,
		      uint32_t len)
{
	uint32_t sum_end = get_le16(&header->csum_start) +
			   get_le16(&header->csum_offset) + sizeof(uint16_t);

	header->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header->num_buffers = 0;
	if (!header->flags) {
		header->csum_start = 0;
		header->csum_offset = 0;
	} else if (!(features & NET_FEATURE(VIRTIO_NET_F_CSUM)) ||
		   sum_end > len) {
		return false;
	}
	if (header->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		/* Hints about segments, of which there are none. */
		header->gso_size = 0;
		header->hdr_len = 0;
		return true;
	}
	return get_le16(&header->hdr_len) <= len &&
	       segments_valid(header, features);
}

/*
 * Takes the header out of the chain and puts our copy of it in front of the
 * rest, into the place it had or the one that is free for this. False: the
 * frame is none that the driver may send.
 */
static bool tx_prepare(const struct virtio_net *net, struct tx_frame *frame,
		       struct net_frame *out)
{
	const struct ring_chain *chain = &frame->chain;

	if (chain->read_bytes < NET_HEADER + FRAME_MIN ||
	    chain->read_bytes > NET_HEADER + FRAME_MAX)
		return false;
	iov_copy_out(chain->iov, chain->readable, 0, &frame->header,
		     NET_HEADER);
	if (!net_header_check(&frame->header, net->virtio.features,
			      chain->read_bytes - NET_HEADER))
		return false;
	out->iov = chain->iov;
	out->iovcnt = chain->readable;
	iov_skip(&out->iov, &out->iovcnt, NET_HEADER);
	*--out->iov = (struct iovec){ &frame->header, NET_HEADER };
	out->iovcnt++;
	return true;
}

static void tx_done(struct virtio_net *net, unsigned pair,
		    const struct ring_chain *chain, ssize_t result)
{
	struct net_counters *counters = &net->pairs[pair].sent;
	uint32_t len = chain->read_bytes;

	if (result < 0) {
		counter_add(&counters->drops, 1);
		/* The cable was just pulled: the frame is lost, which is no
		 * news. */
		if (result != -EIO)
			log_guest(&net->tx_dropped,
				  "%s: a frame of the guest (%u bytes) was "
				  "dropped: %s",
				  net->virtio.name, len,
				  strerror((int)-result));
	} else {
		net_limit_take(net, NET_SENT, len);
		counter_add(&counters->packets, 1);
		counter_add(&counters->bytes, len - NET_HEADER);
		log_trace("sent a frame of %u bytes", len - NET_HEADER);
	}
	ring_push(net_ring(net, net_tx_queue(pair)), chain, 0);
}

/* Whether one more frame may join those in @tx. A few long ones are enough to
 * keep the backend busy, and the driver waits for their buffers. With a limit
 * each goes alone, as it is counted. */
static bool tx_joins(const struct virtio_net *net, unsigned pair)
{
	const struct tx_state *tx = net->pairs[pair].tx;

	if (!tx->count)
		return true;
	return net->pairs[pair].backend->ops->send_many && !net->limited &&
	       tx->count < NET_BATCH && tx->bytes < TX_LONG &&
	       TX_PIECES - tx->pieces >= 1 + RING_CHAIN_IOV(NET_QUEUE_SIZE);
}

/* Pops frames into the empty @tx; false if the queue had no more. A frame that
 * may not be sent goes back at once, but only in its turn, or ring_unpop()
 * would lose the place. */
static bool tx_fill(struct virtio_net *net, unsigned pair)
{
	struct ring *ring = net_ring(net, net_tx_queue(pair));
	struct tx_state *tx = net->pairs[pair].tx;

	tx->first = 0;
	tx->pieces = 0;
	tx->bytes = 0;
	while (tx_joins(net, pair)) {
		struct tx_frame *frame = &tx->frames[tx->count];
		int n;

		frame->chain.iov = tx->iov + tx->pieces + 1;
		frame->chain.max = RING_CHAIN_IOV(ring->size);
		n = ring_pop(ring, &frame->chain);
		if (n < 0)
			virtio_needs_reset(&net->virtio);
		if (n <= 0)
			return false;
		if (tx_prepare(net, frame, &tx->out[tx->count])) {
			tx->pieces += 1 + frame->chain.readable;
			tx->bytes += frame->chain.read_bytes;
			tx->count++;
		} else if (tx->count) {
			ring_unpop(ring, 1);
			break;
		} else {
			tx_done(net, pair, &frame->chain, -EINVAL);
			break;
		}
	}
	return true;
}

/* Sends what waits in @tx; false if the backend was full before the end. */
static bool tx_flush(struct virtio_net *net, unsigned pair)
{
	struct net_backend *backend = net->pairs[pair].backend;
	struct tx_state *tx = net->pairs[pair].tx;
	struct net_frame *out = tx->out + tx->first;

	if (tx->count > 1)
		backend->ops->send_many(backend, out, tx->count);
	else if (tx->count)
		out->result =
			backend->ops->send(backend, out->iov, out->iovcnt);
	for (; tx->count && out->result != -EAGAIN; out++) {
		tx_done(net, pair, &tx->frames[tx->first++].chain, out->result);
		tx->count--;
	}
	return !tx->count;
}

/*
 * True, to be called again, if the budget ran out or something was sent: what
 * the driver then adds, perhaps because of an answer, needs no notification.
 * Only a call that finds nothing asks for one, unless a pause is worth it. Then
 * the driver is shown the buffers it has back, with one interrupt for all.
 * While the backend is full the frames wait in their tx_state, and the worker
 * waits for POLLOUT: nothing is dropped.
 */
bool net_tx_serve(struct virtio_net *net, unsigned pair)
{
	struct ring *ring = net_ring(net, net_tx_queue(pair));
	struct tx_state *tx = net->pairs[pair].tx;
	bool more = true, sent = false;

	if (tx->count)
		return net_tx_resume(net, pair);
	tx->pause.until = 0;
	ring_notify_off(ring);
	for (int budget = NET_BUDGET; budget > 0 && more;) {
		bool last;

		/* What the guest sends meanwhile stays in its queue. */
		if (net_limit_waits(net, NET_SENT)) {
			more = false;
			break;
		}
		last = !tx_fill(net, pair);
		if (last && !tx->count) {
			more = !sent && !net_pause(net, pair) &&
			       ring_notify_on(ring);
			break;
		}
		sent = true;
		budget -= tx->count ? (int)tx->count : 1;
		if (!tx_flush(net, pair)) {
			*net_events(net, pair) |= POLLOUT;
			more = false;
		}
		/* The driver fills what is free, while we send the rest. */
		if (ring_unpublished(ring) >= ring->size / 2)
			virtio_publish(&net->virtio, net_tx_queue(pair));
	}
	more |= sent && !tx->count;
	if (!more && net_quiet(net, pair))
		virtio_publish_quietly(&net->virtio, net_tx_queue(pair));
	else if (!more)
		virtio_publish(&net->virtio, net_tx_queue(pair));
	return more;
}

bool net_tx_resume(struct virtio_net *net, unsigned pair)
{
	if (!tx_flush(net, pair))
		return false;
	*net_events(net, pair) &= ~POLLOUT;
	return net_tx_serve(net, pair);
}

void net_tx_drain(struct virtio_net *net, unsigned pair)
{
	struct tx_state *tx = net->pairs[pair].tx;

	ring_unpop(net_ring(net, net_tx_queue(pair)), tx->count);
	tx->count = 0;
	tx->pause.until = 0;
	virtio_publish(&net->virtio, net_tx_queue(pair));
}
