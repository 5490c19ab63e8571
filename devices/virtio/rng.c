#include "devices/virtio/rng.h"

#include "util/checked.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define QUEUE_SIZE 64

/* Bytes for one request, and requests between two looks at `stop`: a guest
 * that asks for gigabytes gets little at a time (5.4.6.2 allows it). */
#define RNG_REQUEST 4096u
#define RNG_BUDGET  16

struct virtio_rng {
	struct virtio_device virtio;
	struct iovec iov[RING_CHAIN_IOV(QUEUE_SIZE)];
};

static uint32_t rng_fill(const struct iovec *iov, int iovcnt)
{
	uint32_t done = 0;

	for (int i = 0; i < iovcnt && done < RNG_REQUEST; i++) {
		size_t len = iov[i].iov_len;
		ssize_t n;

		if (len > RNG_REQUEST - done)
			len = RNG_REQUEST - done;
		n = getrandom(iov[i].iov_base, len, 0);
		if (n <= 0)
			break;
		done += n;
		if ((size_t)n < len)
			break;
	}
	return done;
}

static bool rng_queue(struct virtio_device *virtio, unsigned queue)
{
	struct virtio_rng *rng =
		container_of(virtio, struct virtio_rng, virtio);
	struct ring *ring = &virtio->queues[queue].ring;
	struct ring_chain chain = { .iov = rng->iov,
				    .max = ARRAY_SIZE(rng->iov) };
	bool more = true;

	ring_notify_off(ring);
	for (int budget = RNG_BUDGET; budget && more; budget--) {
		int n = ring_pop(ring, &chain);

		if (n < 0)
			virtio_needs_reset(virtio);
		if (n > 0)
			ring_push(ring, &chain,
				  rng_fill(chain.iov + chain.readable,
					   chain.writable));
		else
			more = ring_notify_on(ring);
	}
	virtio_publish(virtio, queue);
	return more;
}

static void rng_destroy(struct virtio_device *virtio)
{
	virtio_fini(virtio);
	free(container_of(virtio, struct virtio_rng, virtio));
}

static const struct virtio_device_ops rng_ops = {
	.destroy = rng_destroy,
	.queue = rng_queue,
};

int virtio_rng_create(const char *name, const struct memory *memory,
		      struct virtio_device **virtio)
{
	struct virtio_rng *rng = calloc(1, sizeof(*rng));
	int err;

	if (!rng)
		return -ENOMEM;
	err = virtio_init(&rng->virtio, name, VIRTIO_ID_RNG, memory, 1,
			  QUEUE_SIZE);
	if (err) {
		free(rng);
		return err;
	}
	rng->virtio.ops = &rng_ops;
	*virtio = &rng->virtio;
	return 0;
}
