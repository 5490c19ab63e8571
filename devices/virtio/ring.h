/*
 * A split virtqueue, seen from the device (virtio 1.2, 2.7).
 *
 * Owned by its virtio device. ring_start() and ring_stop() run under the
 * device's lock while no worker runs; everything else is called by the worker
 * alone. All that the driver writes is hostile and may change at any time.
 *
 * R1: a chain is pushed at most once, and only into the life of the ring it
 *     was popped from (generation).
 * R2: a descriptor is read once, after the acquire of avail.idx, and decided
 *     on from the copy.
 * R3: a chain has at most `size` descriptors and less than 4 GiB of bytes,
 *     all of them RAM, readable before writable.
 * R4: an element of the used ring is written before the index that covers it.
 * R5: once a ring is broken it gives no chain and changes no guest byte.
 */
#ifndef KVIST_VIRTIO_RING_H
#define KVIST_VIRTIO_RING_H

#include "kvm/memory.h"
#include "util/log.h"

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define RING_SIZE_MAX 256

/* iov entries that always hold one chain of a ring of @size. */
#define RING_CHAIN_IOV(size) ((size)*MEMORY_REGIONS)

struct ring {
	const struct memory *memory; /* borrowed */
	const char *name;            /* of the device, borrowed: messages */
	unsigned index;              /* of the queue: messages */
	uint16_t size;
	bool indirect, event_idx; /* negotiated */
	bool broken;              /* R5 */
	/* The whole of each part, resolved at start; host addresses. */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_avail; /* to pop */
	uint16_t next_used;  /* to push */
	uint16_t published;  /* used.idx as the driver sees it */
	uint32_t generation; /* one more with every start and stop */
	struct guest_error error;
};

/* One request of the driver: host memory, in the order of the chain. */
struct ring_chain {
	struct iovec *iov; /* caller's: readable pieces, then writable */
	int max;           /* entries of iov; RING_CHAIN_IOV(size) suffice */
	int readable, writable; /* pieces; none is empty */
	uint32_t read_bytes, write_bytes;
	uint16_t head;
	uint32_t generation;
};

/* Where the driver put a ring, as it wrote the registers. */
struct ring_config {
	uint16_t size;
	uint64_t desc, driver, device; /* guest physical */
	bool indirect, event_idx;
};

/*
 * Starts a life of the ring at index 0. 0; -EINVAL (size not a power of two or
 * above RING_SIZE_MAX, an address not aligned); -EFAULT (part of it is not
 * RAM). memory, name and index are set by the owner before.
 */
int ring_start(struct ring *ring, const struct ring_config *config);
void ring_stop(struct ring *ring);

/*
 * Takes the next chain. 1 with @chain filled; 0 when there is none; -EPROTO
 * when the driver broke the rules: the ring is broken then, logged, and the
 * device needs a reset. @chain->iov and max are the caller's.
 */
int ring_pop(struct ring *ring, struct ring_chain *chain);

/* Somebody else served the ring meanwhile, up to avail index @next_avail. */
void ring_moved(struct ring *ring, uint16_t next_avail);

/* Gives back the last @count chains popped, which were not pushed, so that
 * they will be popped again. */
void ring_unpop(struct ring *ring, unsigned count);

/* Puts a chain into the used ring, @written bytes of it filled from its first
 * writable byte on; the driver sees it after ring_publish(). */
void ring_push(struct ring *ring, const struct ring_chain *chain,
	       uint32_t written);

/* Shows the driver what was pushed, all or up to the used index @next_used.
 * True if it wants an interrupt. */
bool ring_publish_to(struct ring *ring, uint16_t next_used);
static inline bool ring_publish(struct ring *ring)
{
	return ring_publish_to(ring, ring->next_used);
}

/* How far used.idx may move without an interrupt: with event indexes, up to the
 * one the driver has set; without, over all that was pushed. */
uint16_t ring_quiet(const struct ring *ring);

/* How many chains were pushed and not published yet. */
static inline uint16_t ring_unpublished(const struct ring *ring)
{
	return ring->next_used - ring->published;
}

/* Whether ring_pop() would find something. */
bool ring_waiting(const struct ring *ring);

/* off: the driver need not notify, because the worker looks anyway. on: it
 * must, because the worker is about to sleep; true if chains came before that:
 * look again. */
void ring_notify_off(struct ring *ring);
bool ring_notify_on(struct ring *ring);

#endif
