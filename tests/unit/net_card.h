/*
 * A network card that runs, but without a worker: the test is that.
 */
#ifndef KVIST_TESTS_NET_CARD_H
#define KVIST_TESTS_NET_CARD_H

#include "devices/virtio/net_parts.h"
#include "wire.h"

#include <poll.h>

/* With queues of @size entries; after wire_create(). */
static inline struct virtio_net *card_start(struct bench *bench, uint16_t size,
					    uint64_t features)
{
	struct virtio_net *net =
		container_of(bench->virtio, struct virtio_net, virtio);

	bench_negotiate(bench, features);
	for (unsigned i = RX; i <= TX; i++) {
		struct ring_config config;

		bench_queue(bench, i, size);
		config = driver_config(&bench->queues[i]);
		config.indirect = true;
		net_ring(net, i)->memory = &bench->memory;
		assert_int_equal(ring_start(net_ring(net, i), &config), 0);
	}
	assert_int_equal(bench->virtio->ops->start(bench->virtio), 0);
	return net;
}

static inline struct virtio_net *card_up(struct bench *bench, struct wire *wire,
					 uint16_t size)
{
	wire_create(bench, wire);
	return card_start(bench, size, FEATURES);
}

static inline void card_down(struct bench *bench)
{
	bench->virtio->ops->stop(bench->virtio);
	bench_end(bench);
}

/* The length of the next element, which is there. */
static inline uint32_t card_took(struct bench *bench, unsigned queue)
{
	struct vring_used_elem elem = { 0 };

	assert_true(driver_take(&bench->queues[queue], &elem));
	return elem.len;
}

#endif
