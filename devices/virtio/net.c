#include "devices/virtio/net.h"

#include "devices/virtio/net_parts.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/clock.h"
#include "util/counter.h"
#include "util/iov.h"
#include "util/sparse.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONFIG_STATUS offsetof(struct virtio_net_config, status)

/* Commands carried out between two looks at `stop`. */
#define CONTROL_BUDGET 64

/* From the end of one change of the host's network to the next. */
#define HOST_CHANGE_NS 1000000

static struct virtio_net *from_virtio(struct virtio_device *virtio)
{
	return container_of(virtio, struct virtio_net, virtio);
}

static bool has_feature(const struct virtio_net *net, unsigned bit)
{
	return net->virtio.features & NET_FEATURE(bit);
}

static bool net_stopped(const struct virtio_net *net)
{
	return __atomic_load_n(&net->virtio.stop, __ATOMIC_ACQUIRE);
}

/* Which queue a frame reaches: as the driver says, or as the backend likes. */
static int steering_set(struct virtio_net *net)
{
	struct net_backend *backend = net->pairs[0].backend;
	struct bpf_insn code[NET_RSS_PROGRAM_MAX];
	unsigned len = 0;

	if (!backend->steers)
		return 0;
	if (net->control.steered)
		len = net_rss_program(&net->control.rss, code);
	return backend->ops->set_steering(backend, code, len);
}

/* The pairs in use receive; what reaches a queue of the backend that no one
 * serves would be lost, so the others get nothing. */
static int pairs_set(struct virtio_net *net)
{
	int err = 0;

	net_vhost_filter(net, NULL);
	for (unsigned i = 0; i < net->nr_pairs; i++) {
		struct net_pair *pair = &net->pairs[i];
		bool on = i < net->control.pairs && !pair->gone;
		short *events = net_events(net, i);

		/* Of those that stay on, the kernel keeps what it has. */
		if (on && net->virtio.queues[net_rx_queue(i)].in_kernel)
			continue;
		if (!on) {
			net_vhost_stop(net, net_rx_queue(i));
			net_vhost_stop(net, net_tx_queue(i));
			virtio_publish(&net->virtio, net_tx_queue(i));
		}
		if (pair->backend->ops->enable && !pair->gone && !err)
			err = pair->backend->ops->enable(pair->backend, on);
		*events = on ? POLLIN : 0;
		if (on && pair->tx->count)
			*events |= POLLOUT;
		net->virtio.queues[net_rx_queue(i)].again = on;
		net->virtio.queues[net_tx_queue(i)].again = on;
	}
	net_vhost_filter(net, &net->control.filter);
	return err ? err : steering_set(net);
}

/* The host has one lock for changes of all its networks, and waits for all its
 * processors under it. A guest that asks for changes without end waits here,
 * and nobody else does. */
static void host_pause(struct virtio_net *net)
{
	uint64_t since = clock_ns(CLOCK_MONOTONIC) - net->host_changed;
	struct timespec pause = { 0 };

	if (since < HOST_CHANGE_NS) {
		pause.tv_nsec = (long)(HOST_CHANGE_NS - since);
		nanosleep(&pause, NULL);
	}
}

/* A change may take long, and the host is to rest after it. */
static int host_changed(struct virtio_net *net, int err)
{
	net->host_changed = clock_ns(CLOCK_MONOTONIC);
	return err;
}

static void filter_changed(struct virtio_net *net)
{
	if (!net_vhost_filters(net))
		return;
	host_pause(net);
	net_vhost_filter(net, &net->control.filter);
	host_changed(net, 0);
}

/* What a command asked for, besides being remembered. */
static int control_effect(struct virtio_net *net, enum net_effect effect)
{
	switch (effect) {
	case NET_EFFECT_MAC:
		virtio_config_set(&net->virtio, 0, net->control.filter.mac,
				  NET_MAC);
		filter_changed(net);
		return 0;
	case NET_EFFECT_FILTER:
		filter_changed(net);
		return 0;
	case NET_EFFECT_PAIRS:
		host_pause(net);
		return host_changed(net, pairs_set(net));
	case NET_EFFECT_OFFLOADS:
		host_pause(net);
		return host_changed(net, net_offloads_set(net));
	case NET_EFFECT_ANNOUNCED:
		virtio_config_bits(&net->virtio, CONFIG_STATUS,
				   VIRTIO_NET_S_ANNOUNCE, 0);
		return 0;
	case NET_EFFECT_NONE:
		break;
	}
	return 0;
}

/* What cannot be done leaves nothing behind. */
static bool control_apply(struct virtio_net *net,
			  const struct ring_chain *chain,
			  const uint8_t *command, size_t len)
{
	struct net_control before = net->control;
	enum net_effect effect = NET_EFFECT_NONE;

	if (!chain->write_bytes ||
	    !net_control_apply(&net->control, command, len, chain->read_bytes,
			       &effect))
		return false;
	if (!control_effect(net, effect))
		return true;
	net->control = before;
	control_effect(net, effect);
	return false;
}

static void control_one(struct virtio_net *net, const struct ring_chain *chain)
{
	uint8_t command[NET_COMMAND_MAX];
	uint8_t ack = VIRTIO_NET_OK;
	uint64_t len;

	len = iov_copy_out(chain->iov, chain->readable, 0, command,
			   sizeof(command));
	if (!control_apply(net, chain, command, len)) {
		ack = VIRTIO_NET_ERR;
		log_guest(&net->bad_command,
			  "%s: command %u.%u of %u bytes is refused",
			  net->virtio.name, len > 0 ? command[0] : 0,
			  len > 1 ? command[1] : 0, chain->read_bytes);
	}
	iov_copy_in(chain->iov + chain->readable, chain->writable, 0, &ack,
		    sizeof(ack));
	ring_push(net_ring(net, net->control_queue), chain,
		  chain->write_bytes ? sizeof(ack) : 0);
}

static bool control_serve(struct virtio_net *net)
{
	struct iovec iov[RING_CHAIN_IOV(NET_QUEUE_SIZE)];
	struct ring *ring = net_ring(net, net->control_queue);
	bool more = true;

	ring_notify_off(ring);
	for (int budget = CONTROL_BUDGET; budget && more && !net_stopped(net);
	     budget--) {
		struct ring_chain chain = { .iov = iov,
					    .max = ARRAY_SIZE(iov) };
		int n = ring_pop(ring, &chain);

		if (n < 0)
			virtio_needs_reset(&net->virtio);
		if (n > 0)
			control_one(net, &chain);
		else
			more = ring_notify_on(ring);
	}
	virtio_publish(&net->virtio, net->control_queue);
	return more;
}

static bool net_queue(struct virtio_device *virtio, unsigned queue)
{
	struct virtio_net *net = from_virtio(virtio);
	unsigned pair = queue / 2;

	/* While a queue is busy the worker does not call it, but a pause of
	 * another one is to end all the same. */
	net_idle(virtio);
	if ((int)queue == net->control_queue)
		return control_serve(net);
	/* A doorbell of a queue that the driver has not turned on. */
	if (pair >= net->control.pairs)
		return false;
	if (net->vhost && net_vhost_start(net, queue))
		return false;
	return queue % 2 ? net_tx_serve(net, pair) : net_rx_serve(net, pair);
}

/* Each pair has the backend of its own number; behind them come those of a
 * limit and of vhost. */
static void net_ready(struct virtio_device *virtio, unsigned backend,
		      short events)
{
	struct virtio_net *net = from_virtio(virtio);

	if (net_limit_over(net, backend) || net_vhost_ready(net, backend))
		return;
	/* The kernel is to have the ring first: it would not know of buffers
	 * that we hold, and the driver would not get them back. */
	if (net->vhost) {
		*net_events(net, backend) &= ~POLLIN;
		virtio->queues[net_rx_queue(backend)].again = true;
		return;
	}
	/* An error of the backend shows when it is read; and what waited for
	 * its room waits no longer. */
	if (events & ~POLLOUT)
		virtio->queues[net_rx_queue(backend)].again =
			net_rx_serve(net, backend);
	if (events & ~POLLIN)
		virtio->queues[net_tx_queue(backend)].again =
			net_tx_resume(net, backend);
}

static void net_drain(struct virtio_device *virtio)
{
	struct virtio_net *net = from_virtio(virtio);

	for (unsigned i = 0; i < net->nr_pairs; i++) {
		bool on = i < net->control.pairs && !net->pairs[i].gone;

		net_vhost_stop(net, net_rx_queue(i));
		net_vhost_stop(net, net_tx_queue(i));
		net_rx_drain(net, i);
		net_tx_drain(net, i);
		*net_events(net, i) = on ? POLLIN : 0;
	}
	/* The next worker begins in a hurry. */
	net->bulk.on = false;
}

static void net_stop(struct virtio_device *virtio)
{
	struct virtio_net *net = from_virtio(virtio);

	for (unsigned i = 0; i < net->nr_pairs; i++) {
		if (net->pairs[i].rx)
			free(net->pairs[i].rx->many);
		free(net->pairs[i].rx);
		free(net->pairs[i].tx);
		net->pairs[i].rx = NULL;
		net->pairs[i].tx = NULL;
	}
	__atomic_store_n(&net->announces, false, __ATOMIC_SEQ_CST);
	/* The next driver finds the card as it was. */
	virtio_config_set(virtio, 0, net->mac, NET_MAC);
	virtio_config_bits(virtio, CONFIG_STATUS, VIRTIO_NET_S_ANNOUNCE, 0);
}

/* Large, but the kernel backs only what is used. */
static int pair_start(const struct virtio_net *net, struct net_pair *pair)
{
	pair->rx = calloc(1, sizeof(*pair->rx));
	pair->tx = calloc(1, sizeof(*pair->tx));
	if (!pair->rx || !pair->tx)
		return -ENOMEM;
	/* Any one buffer, or as many as the longest frame needs. */
	pair->rx->wanted = net->mergeable ? NET_HEADER + FRAME_MAX : 1;
	pair->rx->batch = 1;
	/* A limit counts each frame. */
	if (!pair->backend->ops->receive_many || net->limited)
		return 0;
	pair->rx->many = sparse_calloc(1, sizeof(*pair->rx->many));
	return pair->rx->many ? 0 : -ENOMEM;
}

static int net_start(struct virtio_device *virtio)
{
	struct virtio_net *net = from_virtio(virtio);
	bool multi_queue = has_feature(net, VIRTIO_NET_F_MQ) ||
			   has_feature(net, VIRTIO_NET_F_RSS);
	int err = 0;

	net->mergeable = has_feature(net, VIRTIO_NET_F_MRG_RXBUF);
	net_control_init(&net->control, virtio->features, net->nr_pairs,
			 net->mac);
	/* Behind all queues that the driver knows of (5.1.2). */
	net->control_queue = multi_queue ? 2 * (int)net->nr_pairs : 2;
	if (!has_feature(net, VIRTIO_NET_F_CTRL_VQ))
		net->control_queue = -1;
	for (unsigned i = 0; i < net->nr_pairs && !err; i++)
		err = pair_start(net, &net->pairs[i]);
	__atomic_store_n(&net->announces,
			 has_feature(net, VIRTIO_NET_F_GUEST_ANNOUNCE),
			 __ATOMIC_SEQ_CST);
	if (!err) {
		host_pause(net);
		err = net_offloads_set(net);
		if (!err)
			err = pairs_set(net);
		host_changed(net, err);
	}
	if (err)
		net_stop(virtio);
	return err;
}

static void net_destroy(struct virtio_device *virtio)
{
	struct virtio_net *net = from_virtio(virtio);

	virtio_unwatch(virtio, net->nr_pairs);
	net_vhost_fini(net);
	pthread_mutex_destroy(&net->call_lock);
	for (unsigned i = 0; i < net->nr_pairs; i++)
		net->pairs[i].backend->ops->close(net->pairs[i].backend);
	virtio_fini(virtio);
	free(net);
}

static int net_counters(struct virtio_device *virtio, unsigned queue,
			struct virtio_counter *out)
{
	const struct virtio_net *net = from_virtio(virtio);
	const struct net_pair *pair = &net->pairs[queue / 2];
	const struct net_counters *from = queue % 2 ? &pair->sent
						    : &pair->received;

	if (queue == virtio->nr_queues - 1)
		return 0; /* the control queue */
	out[0] = (struct virtio_counter){ "packets",
					  counter_read(&from->packets) };
	out[1] = (struct virtio_counter){ "bytes", counter_read(&from->bytes) };
	out[2] = (struct virtio_counter){ "drops", counter_read(&from->drops) };
	return 3;
}

static void net_call_changed(struct virtio_device *virtio, unsigned queue)
{
	struct virtio_net *net = from_virtio(virtio);

	if (queue / 2 < net->nr_pairs)
		net_vhost_call(net, queue);
}

static const struct virtio_device_ops net_ops = {
	.start = net_start,
	.stop = net_stop,
	.destroy = net_destroy,
	.queue = net_queue,
	.ready = net_ready,
	.idle = net_idle,
	.drain = net_drain,
	.call_changed = net_call_changed,
	.counters = net_counters,
};

void virtio_net_link(struct virtio_device *virtio, bool up)
{
	struct virtio_net *net = from_virtio(virtio);
	uint16_t old = virtio_config_bits(virtio, CONFIG_STATUS,
					  VIRTIO_NET_S_LINK_UP,
					  up ? VIRTIO_NET_S_LINK_UP : 0);

	if (!(old & VIRTIO_NET_S_LINK_UP) == !up)
		return;
	/* What knew where the guest is may have forgotten it meanwhile. */
	if (up && __atomic_load_n(&net->announces, __ATOMIC_SEQ_CST))
		virtio_config_bits(virtio, CONFIG_STATUS, 0,
				   VIRTIO_NET_S_ANNOUNCE);
	virtio_config_changed(virtio);
}

static bool has_gone(const struct net_pair *pair)
{
	return __atomic_load_n(&pair->gone, __ATOMIC_SEQ_CST);
}

static bool link_up(struct net_backend *backend)
{
	return !backend->ops->link || backend->ops->link(backend);
}

void virtio_net_check_link(struct virtio_device *virtio)
{
	const struct net_pair *pair = &from_virtio(virtio)->pairs[0];

	virtio_net_link(virtio, !has_gone(pair) && link_up(pair->backend));
	/* The worker may have found that meanwhile. */
	if (has_gone(pair))
		virtio_net_link(virtio, false);
}

int virtio_net_create(const char *name, struct net_backend *backend,
		      const uint8_t mac[NET_MAC], const struct memory *memory,
		      struct virtio_device **virtio)
{
	struct virtio_net *net = calloc(1, sizeof(*net));
	struct virtio_device *dev;
	int err;

	if (!net)
		return -ENOMEM;
	dev = &net->virtio;
	for (; backend && net->nr_pairs < NET_PAIRS_MAX;
	     backend = backend->next)
		net->pairs[net->nr_pairs++] = (struct net_pair){
			.backend = backend,
			.vhost_fd = -1,
		};
	err = virtio_init(dev, name, VIRTIO_ID_NET, memory,
			  2 * net->nr_pairs + 1, NET_QUEUE_SIZE);
	if (err) {
		free(net);
		return err;
	}
	pthread_mutex_init(&net->call_lock, NULL);
	dev->ops = &net_ops;
	dev->nr_watched = net->nr_pairs;
	for (unsigned i = 0; i < net->nr_pairs; i++)
		dev->watched[i].fd = net->pairs[i].backend->fd;
	err = net_limit_init(net, net->pairs[0].backend->rate,
			     net->pairs[0].backend->burst);
	if (err) {
		virtio_unwatch(dev, net->nr_pairs);
		pthread_mutex_destroy(&net->call_lock);
		virtio_fini(dev);
		free(net);
		return err;
	}
	memcpy(net->mac, mac, NET_MAC);
	net_config_init(net);
	virtio_net_check_link(dev);
	*virtio = dev;
	return 0;
}
