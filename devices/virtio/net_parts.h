/*
 * What the files of a network card share with each other, and with no one else:
 * net.c makes it, net_config.c says what it offers, net_rx.c and net_tx.c carry
 * frames, net_window.c keeps the buffers of those to come, net_control.c says
 * what commands mean and net_filter.c which frames are received, net_limit.c
 * slows them down, net_pause.c waits for more of them, and net_vhost.c leaves
 * them to the kernel. The worker's, from start() to its end.
 */
#ifndef KVIST_VIRTIO_NET_PARTS_H
#define KVIST_VIRTIO_NET_PARTS_H

#include "devices/virtio/limit.h"
#include "devices/virtio/net.h"
#include "devices/virtio/net_control.h"
#include "devices/virtio/net_features.h"
#include "devices/virtio/virtio.h"
#include "util/checked.h"

#include <linux/if_ether.h>

#define NET_QUEUE_SIZE 256
#define NET_PAIRS_MAX  NET_QUEUES_MAX
#define NET_PUBLISH    16  /* frames between two showings to the driver */
#define NET_BUDGET     256 /* frames between two looks at `stop` */

/* The longest frame: a segment of 64 KiB to be cut by whoever needs it, with
 * its Ethernet header and two VLAN tags. */
#define FRAME_MAX (65536 + ETH_HLEN + 8)
#define FRAME_MIN ETH_HLEN

/* readv(2) takes UIO_MAXIOV pieces: those of the guest and our spill. */
#define RX_PIECES 1023

/* Short frames received by one call, each into a buffer of its own; and how
 * many pieces of that buffer are used. A frame that is not short after all ends
 * in its spill. The struct is large, but the kernel backs only what is used. */
#define RX_BATCH       16
#define RX_MANY_PIECES 4
struct rx_many {
	struct net_frame frames[RX_BATCH];
	struct iovec iov[RX_BATCH][RX_MANY_PIECES + 1];
	uint8_t spill[RX_BATCH][NET_HEADER + FRAME_MAX];
};

/*
 * Receive buffers taken from the ring before it is known how long the next
 * frame is: enough for the longest, if the driver gave that much. A frame is
 * read straight into them, and the buffers it did not reach stay for the next.
 * The spill, host memory behind them, takes what is too long: such a frame
 * waits for more buffers or is dropped, and nothing was written where the guest
 * did not allow it.
 */
struct rx_window {
	struct iovec iov[RX_PIECES + 1]; /* in use: first .. end - 1 */
	int first, end;
	struct ring_chain chains[NET_QUEUE_SIZE]; /* in use: head, count */
	unsigned head, count;
	unsigned most;    /* the largest count so far */
	uint64_t bytes;   /* of all of them */
	uint64_t wanted;  /* bytes that fill() is to reach */
	bool dry;         /* the ring had no more to give */
	bool long_frames; /* the last one was */
	/* The bytes of a frame that waits for more buffers, or 0; and how many
	 * of them are in the window: the rest is in the spill. */
	uint64_t held, held_inside;
	unsigned batch;       /* frames to ask for by the next call */
	struct rx_many *many; /* or NULL: one at a time */
	uint8_t spill[NET_HEADER + FRAME_MAX];
};

/* A frame on its way out. */
struct tx_frame {
	struct ring_chain chain;
	struct virtio_net_hdr_v1 header; /* ours: the guest's may change */
};

/* Room for a batch of frames of a few pieces, or for any one. */
#define TX_PIECES (2 + 2 * RING_CHAIN_IOV(NET_QUEUE_SIZE))

/* A batch is full with this many bytes, however few its frames are. */
#define TX_LONG 65536

/* The driver sends, and nobody answers (net_pause.c). Times are in ns. */
struct tx_pause {
	uint64_t until;          /* the end of the pause, or 0: there is none */
	uint64_t looked;         /* when the queue was last found empty */
	uint64_t sent;           /* frames sent until then */
	uint64_t received;       /* frames, as last seen */
	uint64_t sent_at_answer; /* frames sent when the last answer was seen */
	uint64_t quiet;          /* since when an interrupt is owed, or 0 */
};

/* What kind of frames go by, both ways (net_pause.c). */
struct net_bulk {
	uint64_t packets, bytes; /* counted when that was last decided */
	bool on;                 /* they are long: SCHED_BATCH */
};

/* Frames that go by one call of the backend's, and what is left of them when it
 * is full: first .. first + count - 1, which were popped last. */
struct tx_state {
	struct iovec iov[TX_PIECES];
	int pieces; /* of iov, in use */
	struct tx_frame frames[NET_BATCH];
	struct net_frame out[NET_BATCH]; /* header, then the guest's bytes */
	unsigned first, count;
	uint64_t bytes;
	struct tx_pause pause;
};

/* Atomic, of one queue, written by the worker. */
struct net_counters {
	uint64_t packets, bytes, drops;
};

/* A receive queue and a send queue over one queue of the backend. */
struct net_pair {
	struct net_backend *backend; /* owned */
	bool gone;                   /* atomic: backend has gone; logged */
	unsigned failures;           /* of receives, one after another */
	struct rx_window *rx;
	struct tx_state *tx;
	struct net_counters received, sent;
	int vhost_fd; /* or -1 */
};

enum net_direction { NET_RECEIVED, NET_SENT, NET_DIRECTIONS };

struct virtio_net {
	struct virtio_device virtio;
	uint8_t mac[NET_MAC]; /* after a reset */
	unsigned nr_pairs;
	struct net_pair pairs[NET_PAIRS_MAX];
	bool mergeable; /* a frame may span several buffers */
	struct net_control control;
	int control_queue;         /* its number, or -1: not negotiated */
	uint64_t host_changed;     /* ns: when the driver last had it changed */
	bool vhost;                /* the kernel carries the frames */
	pthread_mutex_t call_lock; /* of net_vhost_call(); a leaf */
	bool announces;            /* atomic: GUEST_ANNOUNCE is negotiated */
	struct limit limits[NET_DIRECTIONS]; /* of all pairs together */
	bool limited;
	struct net_bulk bulk;
	struct guest_error rx_dropped, rx_failed, tx_dropped, bad_buffer,
		bad_command, bad_ring;
};

static inline unsigned net_rx_queue(unsigned pair)
{
	return 2 * pair;
}

static inline unsigned net_tx_queue(unsigned pair)
{
	return 2 * pair + 1;
}

static inline struct ring *net_ring(struct virtio_net *net, unsigned queue)
{
	return &net->virtio.queues[queue].ring;
}

/* What the worker watches the backend of @pair for. */
static inline short *net_events(struct virtio_net *net, unsigned pair)
{
	return &net->virtio.watched[pair].events;
}

/*
 * net_config.c: sets what the card offers and what its configuration says at
 * first; and tells the whole network, by its first queue, which offloads the
 * driver has chosen (0 or -errno).
 */
void net_config_init(struct virtio_net *net);
int net_offloads_set(struct virtio_net *net);

/* Carry frames until there is none, no buffer, or the budget has run out. True:
 * to be called again. */
bool net_rx_serve(struct virtio_net *net, unsigned pair);
bool net_tx_serve(struct virtio_net *net, unsigned pair);
/* The backend has room again. */
bool net_tx_resume(struct virtio_net *net, unsigned pair);

/* What was popped and not used goes back, so that the rings alone say what is
 * left to do. */
void net_rx_drain(struct virtio_net *net, unsigned pair);
void net_tx_drain(struct virtio_net *net, unsigned pair);

/*
 * net_window.c: the receive window of a pair. fill() pops buffers until the
 * longest frame would fit; holds() says how many bytes the next one may have;
 * wanted() whether the driver wants the one that lies there, and push() gives
 * its @n bytes to the driver. For one that is too long waits() says whether
 * the driver will give more buffers; else misfit() drops it.
 */
void net_window_fill(struct virtio_net *net, unsigned pair);
uint64_t net_window_holds(const struct virtio_net *net,
			  const struct rx_window *rx);
bool net_window_wanted(const struct virtio_net *net,
		       const struct rx_window *rx);
void net_window_push(struct virtio_net *net, unsigned pair, uint32_t n);
bool net_window_waits(struct virtio_net *net, unsigned pair);
void net_window_misfit(struct virtio_net *net, unsigned pair, ssize_t n);

/*
 * net_limit.c: at most @rate bytes a second, in each direction, over all pairs;
 * 0: no limit. On the worker: waits() says whether the next frame has to wait.
 * If so, over() is called when the wait is over, and has the queues served
 * again (false: @backend is not a limit's). take() is told of a frame of @bytes
 * with its header, which does not count.
 */
int net_limit_init(struct virtio_net *net, uint64_t rate, uint64_t burst);
bool net_limit_waits(struct virtio_net *net, enum net_direction way);
void net_limit_take(struct virtio_net *net, enum net_direction way,
		    uint32_t bytes);
bool net_limit_over(struct virtio_net *net, unsigned backend);

/*
 * net_pause.c: the queue of @pair is empty; true if the worker shall not ask
 * for a notification yet, but sleep and look again, because many frames will
 * have come then. The card's idle() sees to that; the pause ends as well when
 * a frame comes in. While long frames move, idle() also has the worker preempt
 * nobody when it wakes up.
 */
bool net_pause(struct virtio_net *net, unsigned pair);
/* True if the interrupt for frames that are sent may wait until that end. */
bool net_quiet(struct virtio_net *net, unsigned pair);
bool net_idle(struct virtio_device *virtio);

/*
 * net_vhost.c, for a card with vhost. On the worker: start() has the kernel
 * serve @queue (false: it does not; logged), stop() ends that, and ready()
 * takes what it has to tell (false: @backend is not vhost's). On any thread:
 * call() if the way of the queue's interrupts may have changed.
 */
bool net_vhost_start(struct virtio_net *net, unsigned queue);
void net_vhost_stop(struct virtio_net *net, unsigned queue);
bool net_vhost_ready(struct virtio_net *net, unsigned backend);
void net_vhost_call(struct virtio_net *net, unsigned queue);
void net_vhost_fini(struct virtio_net *net);

/*
 * Whether the kernel drops frames in the card's place; and has it do so by
 * @filter from now on, or no longer (NULL). A queue may be the kernel's now and
 * ours later, so what the kernel was told must be kept true.
 */
bool net_vhost_filters(const struct virtio_net *net);
void net_vhost_filter(struct virtio_net *net, const struct net_filter *filter);

/*
 * The header of a frame of @len bytes, as the driver wrote it (5.1.6.2): true
 * if a driver with these features may send it. What the device has to ignore
 * is cleared. Pure.
 */
bool net_header_check(struct virtio_net_hdr_v1 *header, uint64_t features,
		      uint32_t len);

#endif
