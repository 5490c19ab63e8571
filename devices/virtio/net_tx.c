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
static bool tx_prepare(const struct virtio_net *net, struct tx_state *tx)
{
	const struct ring_chain *chain = &tx->chain;

	if (chain->read_bytes < NET_HEADER + FRAME_MIN ||
	    chain->read_bytes > NET_HEADER + FRAME_MAX)
		return false;
	iov_copy_out(chain->iov, chain->readable, 0, &tx->header, NET_HEADER);
	if (!net_header_check(&tx->header, net->virtio.features,
			      chain->read_bytes - NET_HEADER))
		return false;
	tx->out = chain->iov;
	tx->pieces = chain->readable;
	iov_skip(&tx->out, &tx->pieces, NET_HEADER);
	*--tx->out = (struct iovec){ &tx->header, NET_HEADER };
	tx->pieces++;
	return true;
}

static void tx_done(struct virtio_net *net, unsigned pair, int err)
{
	struct net_counters *counters = &net->pairs[pair].sent;
	struct tx_state *tx = net->pairs[pair].tx;
	uint32_t len = tx->chain.read_bytes;

	if (err) {
		counter_add(&counters->drops, 1);
		log_guest(&net->tx_dropped,
			  "%s: a frame of the guest (%u bytes) was dropped: %s",
			  net->virtio.name, len, strerror(-err));
	} else {
		counter_add(&counters->packets, 1);
		counter_add(&counters->bytes, len - NET_HEADER);
		log_trace("sent a frame of %u bytes", len - NET_HEADER);
	}
	ring_push(net_ring(net, net_tx_queue(pair)), &tx->chain, 0);
}

/* Sends what tx_prepare() made: -EAGAIN, or 0, and the frame is done with. */
static int tx_send(struct virtio_net *net, unsigned pair)
{
	struct net_backend *backend = net->pairs[pair].backend;
	struct tx_state *tx = net->pairs[pair].tx;
	ssize_t n = backend->ops->send(backend, tx->out, tx->pieces);

	if (n == -EAGAIN)
		return n;
	if (n > 0)
		net_limit_take(net, NET_SENT, n);
	tx_done(net, pair, n < 0 ? n : 0);
	return 0;
}

/*
 * True if the budget ran out first, or if something was sent: what the driver
 * then adds, perhaps because of an answer, needs no notification; only a look
 * that finds nothing asks for one. While the backend is full the frame waits in
 * its tx_state and the worker for POLLOUT: nothing is dropped.
 */
bool net_tx_serve(struct virtio_net *net, unsigned pair)
{
	struct ring *ring = net_ring(net, net_tx_queue(pair));
	struct tx_state *tx = net->pairs[pair].tx;
	bool more = true, idle = true;

	if (tx->waiting)
		return false;
	ring_notify_off(ring);
	for (int budget = NET_BUDGET; budget && more; budget--) {
		int n;

		/* What the guest sends meanwhile stays in its queue. */
		if (net_limit_waits(net, NET_SENT)) {
			more = false;
			break;
		}
		tx->chain.iov = tx->iov + 1;
		tx->chain.max = RING_CHAIN_IOV(ring->size);
		n = ring_pop(ring, &tx->chain);
		if (n < 0)
			virtio_needs_reset(&net->virtio);
		if (n <= 0) {
			more = idle && ring_notify_on(ring);
			break;
		}
		idle = false;
		if (!tx_prepare(net, tx)) {
			tx_done(net, pair, -EINVAL);
		} else if (tx_send(net, pair) == -EAGAIN) {
			tx->waiting = true;
			*net_events(net, pair) |= POLLOUT;
			more = false;
		}
		/* The driver fills what is free, while we send the rest. */
		if (budget % NET_PUBLISH == 0)
			virtio_publish(&net->virtio, net_tx_queue(pair));
	}
	virtio_publish(&net->virtio, net_tx_queue(pair));
	return more || (!idle && !tx->waiting);
}

bool net_tx_resume(struct virtio_net *net, unsigned pair)
{
	struct tx_state *tx = net->pairs[pair].tx;

	if (tx->waiting && tx_send(net, pair) == -EAGAIN)
		return false;
	tx->waiting = false;
	*net_events(net, pair) &= ~POLLOUT;
	return net_tx_serve(net, pair);
}

void net_tx_drain(struct virtio_net *net, unsigned pair)
{
	struct tx_state *tx = net->pairs[pair].tx;

	if (tx->waiting)
		ring_unpop(net_ring(net, net_tx_queue(pair)), 1);
	tx->waiting = false;
}
