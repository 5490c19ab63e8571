/*
 * What the files of virtio-blk share with each other, and with no one else:
 * blk.c is the device, blk_serve.c the way of its requests, blk_join.c makes
 * one of several, blk_config.c and blk_request.c are pure.
 */
#ifndef KVIST_VIRTIO_BLK_PARTS_H
#define KVIST_VIRTIO_BLK_PARTS_H

#include "devices/virtio/blk.h"
#include "devices/virtio/limit.h"
#include "devices/virtio/patience.h"

#include <linux/virtio_blk.h>

struct blk_request {
	struct block_request io;
	struct virtio_blk *blk;
	unsigned queue;
	struct ring_chain chain;
	uint8_t *status;          /* the last writable byte, in guest memory */
	uint32_t written;         /* bytes filled before it, on success */
	bool then_discard;        /* after a BLOCK_ZERO, to give space back */
	bool then_flush;          /* after a write, to make it durable */
	struct blk_request *next; /* free ones */
	/* In the first of a joined run: the one request that the host gets for
	 * all of it. Its pieces are those in this one's iov and behind them. */
	struct block_request joined;
	struct blk_request *with; /* the next in the run, or NULL */
};

/* The requests that may be in flight for one queue. */
struct blk_queue {
	struct blk_request *requests;
	struct iovec *iov; /* RING_CHAIN_IOV() for each request */
	struct blk_request *free;
	bool stalled; /* chains wait for what is in flight, or for the limit */
	bool owed;    /* an interrupt */
};

struct virtio_blk {
	struct virtio_device virtio;
	struct block *block; /* owned */
	uint8_t serial[VIRTIO_BLK_ID_BYTES];
	struct virtio_blk_options options; /* the serial is in the array */
	/* Atomic: the driver changes it while the worker runs. While it is
	 * false a write is safe when it completes (5.2.6.2). */
	bool writeback;
	unsigned in_flight;
	uint64_t bytes_in_flight;
	/* The requests that the host could not do. While there are any, nothing
	 * more is taken off the rings. */
	struct blk_request *held;
	bool holds; /* atomic: held, for the main thread */
	bool retry;
	/* For virtio_blk_resize(): the size that is wanted, and the result. */
	uint64_t new_size;
	int resized;
	/* Within blk_serve(): the first and the last request of the run that is
	 * being joined. */
	struct blk_request *first, *last;
	/* The last sleep was so short that spinning pays; the host has a CPU
	 * for it; and since when the worker sleeps (0: it does not). */
	bool spin, may_spin;
	uint64_t asleep_since;
	struct patience patience;
	bool owes; /* some queue is owed an interrupt */
	struct limit limit;
	int limit_fd; /* timerfd: a request may begin again; or -1 */
	struct blk_queue queues[VIRTIO_BLK_QUEUES_MAX];
};

/*
 * On the worker. Takes requests off a queue. True if the budget ran out first,
 * or if the worker is to end: it looks before each request, as one may be long.
 */
bool blk_serve(struct virtio_blk *blk, unsigned number);

/*
 * blk_join.c, on the worker. Starts a request, or has it wait for those that
 * follow it on the disk, at most until blk_join_end().
 */
void blk_join(struct blk_request *request);
void blk_join_end(struct virtio_blk *blk);

/* The timer of the limit has run out. */
void blk_limit_over(struct virtio_blk *blk);

#endif
