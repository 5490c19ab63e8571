/*
 * A virtio device (virtio 1.2, 2), the same over PCI and over MMIO.
 *
 *   transport      virtio_pci.c, virtio_mmio.c: registers -> the calls below,
 *                  interrupts -> the guest
 *   this module    status, features, queues, the worker's life
 *   device         blk*.c, net*.c, rng.c: what the requests mean
 *
 * A device is created, attached to one transport (which it then owns) and
 * destroyed by the machine, on the main thread. The calls of the transport run
 * on vCPU threads under the lock of the transport's struct device. From
 * DRIVER_OK until reset a worker thread, named after the device, alone touches
 * the rings and the backend; it never takes that lock. Status and interrupt
 * bits are atomics.
 *
 * A reset waits for the worker: it stops popping, waits until the backend has
 * completed everything, and ends; only then is the state of the queues reset.
 * Besides a reset, only virtio_queue_disable() has a vCPU wait for the worker.
 */
#ifndef KVIST_VIRTIO_VIRTIO_H
#define KVIST_VIRTIO_VIRTIO_H

#include "devices/virtio/ring.h"
#include "kvm/bus.h"

#include <linux/virtio_config.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define VIRTIO_QUEUES_MAX   17
#define VIRTIO_WATCHED_MAX  25
#define VIRTIO_CONFIG_MAX   128
#define VIRTIO_COUNTERS_MAX 8
#define VIRTIO_NAME_MAX     16 /* with its end: also the name of the thread */

struct virtio_device;

struct virtio_counter {
	const char *name; /* constant */
	uint64_t value;
};

/* What a kind of device does. */
struct virtio_device_ops {
	/* The rings are started and the features final; no worker runs yet.
	 * Allocates what depends on the size of the queues. 0 or -errno. May
	 * be NULL. Under the transport's lock. */
	int (*start)(struct virtio_device *virtio);
	/* The worker has ended; gives back what start() took. May be NULL. */
	void (*stop)(struct virtio_device *virtio);
	void (*destroy)(struct virtio_device *virtio); /* frees @virtio */
	/* The driver's features are final (FEATURES_OK), or gone (a reset): the
	 * time to set what of the configuration depends on them. No worker
	 * runs. May be NULL. Under the transport's lock. */
	void (*negotiated)(struct virtio_device *virtio);
	/* The driver wrote @len bytes at @offset of the configuration. A worker
	 * may run. May be NULL: nothing is writable. Under the transport's
	 * lock. */
	void (*config_write)(struct virtio_device *virtio, uint64_t offset,
			     unsigned len, uint64_t value);

	/*
	 * On the worker. queue() serves a queue that was kicked, ready() a
	 * descriptor of the backend's; both do a bounded amount of work (a
	 * budget), after which the worker looks whether it must stop. queue()
	 * returns true when more is left: it is called again. ready() is, while
	 * its descriptor has the watched events. idle() comes before the worker
	 * sleeps: it may look for a while whether more comes, and returns true
	 * if the worker is not to sleep, or sets sleep_ns. drain() is the
	 * worker's last act: it returns when nothing is in flight any more and
	 * the rings hold all there is to know. ready(), idle() and drain() may
	 * be NULL.
	 */
	bool (*queue)(struct virtio_device *virtio, unsigned queue);
	void (*ready)(struct virtio_device *virtio, unsigned backend,
		      short events);
	bool (*idle)(struct virtio_device *virtio);
	void (*drain)(struct virtio_device *virtio);

	/* The transport's answer to call_fd() has changed. vCPU threads, under
	 * the transport's lock. May be NULL. */
	void (*call_changed)(struct virtio_device *virtio, unsigned queue);

	/* What the device itself has counted of @queue, at @out, which has
	 * room; how many. Any thread. May be NULL. */
	int (*counters)(struct virtio_device *virtio, unsigned queue,
			struct virtio_counter *out);
};

/* What a transport does for its device. */
struct virtio_transport_ops {
	/* Raises the interrupt of @queue, or of a change of configuration
	 * (VIRTIO_CONFIG_INTERRUPT). Any thread. */
	void (*interrupt)(struct virtio_device *virtio, int queue);
	/* The eventfd that raises the interrupt of @queue by itself, or -1: it
	 * has to come by interrupt(). Any thread. May be NULL: never. */
	int (*call_fd)(struct virtio_device *virtio, unsigned queue);
	/* The worker runs, or is about to end: the time to let the kernel
	 * signal kick_fd (ioeventfd), or no longer. May be NULL. */
	void (*running)(struct virtio_device *virtio, bool on);
	void (*destroy)(void *transport);
};

#define VIRTIO_CONFIG_INTERRUPT (-1)

struct virtio_queue {
	uint16_t size_max; /* what the device offers */
	struct ring_config config;
	bool enabled; /* freezes config */
	int kick_fd;  /* eventfd: the driver has notified */
	bool again;   /* worker: queue() left work */
	/* The kernel serves it, and watches kick_fd. Set by the worker; of a
	 * card, under its call_lock. */
	bool in_kernel;
	uint64_t kicks, interrupts; /* atomic, written by the worker */
	struct ring ring;
};

struct virtio_device {
	/* Set by the device when it is created, then constant. */
	char name[VIRTIO_NAME_MAX];
	uint32_t id; /* VIRTIO_ID_* */
	const struct virtio_device_ops *ops;
	const struct memory *memory; /* borrowed */
	uint64_t offered;            /* feature bits */
	unsigned nr_queues;
	unsigned config_len;
	/* What the worker watches besides the queues; the worker may change
	 * the events (POLLIN, POLLOUT, or 0: not watched). */
	struct {
		int fd; /* the device's, or -1 */
		short events;
	} watched[VIRTIO_WATCHED_MAX];
	unsigned nr_watched;
	/* Nanoseconds, less than a second, after which the worker looks again
	 * even if nothing happens; 0: never. idle() sets it. */
	uint64_t sleep_ns;

	/* Under the transport's lock. */
	uint64_t features; /* the driver's; frozen by FEATURES_OK */
	struct virtio_queue queues[VIRTIO_QUEUES_MAX];
	bool running;    /* between DRIVER_OK and reset, all went well */
	bool has_worker; /* there is a thread */

	/* Atomics: the worker and the vCPUs. */
	uint8_t status;
	uint32_t isr;        /* bit 0: queue, bit 1: configuration */
	uint32_t generation; /* of config */

	/* What the driver reads. Any thread changes it, by
	 * virtio_config_set(); what only the transport's calls change needs no
	 * such care. The lock is a leaf: taken for the bytes and the generation
	 * alone. */
	pthread_mutex_t config_lock;
	uint8_t config[VIRTIO_CONFIG_MAX];

	int stop_fd; /* eventfd: the worker must end */
	bool stop;   /* atomic: the same, for loops that do not poll */
	pthread_t thread;

	/* The transport's registers, borrowed: its lock guards the calls below,
	 * and its reset() is the machine's way to power this device off. */
	struct device *dev;
	const struct virtio_transport_ops *transport_ops;
	void *transport; /* owned */
	struct guest_error error;
};

/*
 * For devices: the common part of a new one, with @nr_queues queues of up to
 * @queue_size; ops, config and watched are the caller's to set. 0 or -errno.
 */
int virtio_init(struct virtio_device *virtio, const char *name, uint32_t id,
		const struct memory *memory, unsigned nr_queues,
		uint16_t queue_size);
void virtio_fini(struct virtio_device *virtio);

/* For devices, while no worker runs: adds a backend, readable when it has
 * something to say; and closes those from the number @from on. */
void virtio_watch(struct virtio_device *virtio, int fd);
void virtio_unwatch(struct virtio_device *virtio, unsigned from);

/* The worker's: publishes what was pushed, with an interrupt if the driver
 * wants one. */
void virtio_publish(struct virtio_device *virtio, unsigned queue);
/* An interrupt in any case: for what somebody else has pushed. */
void virtio_interrupt(struct virtio_device *virtio, unsigned queue);
/* Publishes only as much as the driver wants no interrupt for. */
void virtio_publish_quietly(struct virtio_device *virtio, unsigned queue);
/* The driver broke the rules: nothing more is done until it resets the device
 * (virtio 1.2, 2.1.2). Any thread. */
void virtio_needs_reset(struct virtio_device *virtio);

/* Change the configuration, as one change in the driver's eyes: bytes of it, or
 * bits of a 16-bit field, whose old value is returned. Tell the driver with
 * virtio_config_changed(). Any thread. */
void virtio_config_set(struct virtio_device *virtio, unsigned offset,
		       const void *bytes, unsigned len);
uint16_t virtio_config_bits(struct virtio_device *virtio, unsigned offset,
			    uint16_t clear, uint16_t set);
/* An interrupt for it, if the driver runs (virtio 1.2, 2.5.1). Any thread. */
void virtio_config_changed(struct virtio_device *virtio);

/*
 * What was counted of @queue: kicks and interrupts, and what the device adds.
 * The number of counters at @out. Any thread; each by itself is exact, but
 * they are not of one moment.
 */
int virtio_counters(struct virtio_device *virtio, unsigned queue,
		    struct virtio_counter out[VIRTIO_COUNTERS_MAX]);

/*
 * For the machine. Stops the worker, flushes and closes the backend, frees the
 * device and its transport. After the vCPUs have ended, before the vm is
 * destroyed; the registers vanish with it.
 */
void virtio_destroy(struct virtio_device *virtio);

/*
 * For the machine, on the main thread: calls @change while no worker runs and
 * nothing is in flight; a worker that did run then goes on where it was.
 */
void virtio_still(struct virtio_device *virtio,
		  void (*change)(struct virtio_device *virtio));

/*
 * For transports: the driver's accesses, under the transport's lock. None
 * fails: what the driver may not do is ignored and counted.
 */
uint32_t virtio_features_read(const struct virtio_device *virtio,
			      uint32_t select);
void virtio_features_write(struct virtio_device *virtio, uint32_t select,
			   uint32_t value);
uint32_t virtio_features_driver(const struct virtio_device *virtio,
				uint32_t select);
uint8_t virtio_status_read(const struct virtio_device *virtio);
/* 0 is a reset, and waits for the worker. */
void virtio_status_write(struct virtio_device *virtio, uint8_t status);
/* Bytes of the device's configuration, zeros beyond its end. */
uint64_t virtio_config_read(struct virtio_device *virtio, uint64_t offset,
			    unsigned len);
void virtio_config_write(struct virtio_device *virtio, uint64_t offset,
			 unsigned len, uint64_t value);
/* The queue @select, or NULL beyond the last. */
struct virtio_queue *virtio_queue(struct virtio_device *virtio,
				  uint32_t select);
void virtio_queue_set_size(struct virtio_device *virtio, uint32_t select,
			   uint32_t size);
enum virtio_ring_part { VIRTIO_DESC, VIRTIO_DRIVER, VIRTIO_DEVICE };
/* Half (0: low, 1: high) of an address. */
void virtio_queue_set_address(struct virtio_device *virtio, uint32_t select,
			      enum virtio_ring_part part, unsigned half,
			      uint32_t value);
uint32_t virtio_queue_address(struct virtio_device *virtio, uint32_t select,
			      enum virtio_ring_part part, unsigned half);
void virtio_queue_enable(struct virtio_device *virtio, uint32_t select);
/* The driver takes one queue back: waits for the worker as a reset does. */
void virtio_queue_disable(struct virtio_device *virtio, uint32_t select);
/* A notification that came as an exit: what the ioeventfd does otherwise. */
void virtio_notify(struct virtio_device *virtio, uint32_t queue);
void virtio_reset(struct virtio_device *virtio);

/*
 * worker.c, for virtio.c: starts the worker, 0 or -errno; ends it, and waits
 * until everything in flight has completed and the rings stand still.
 */
int virtio_worker_start(struct virtio_device *virtio);
void virtio_worker_stop(struct virtio_device *virtio);

#endif
