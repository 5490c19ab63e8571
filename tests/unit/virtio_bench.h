/*
 * A virtio device under test: guest memory, a transport that only counts
 * interrupts, and a driver that brings the device up as a kernel does.
 */
#ifndef KVIST_TESTS_VIRTIO_BENCH_H
#define KVIST_TESTS_VIRTIO_BENCH_H

#include "devices/virtio/virtio.h"
#include "ring_driver.h"

#include <linux/virtio_config.h>
#include <time.h>

#define BENCH_MEMORY (4u << 20)
#define BENCH_RINGS  0x10000 /* one every DRIVER_RING_BYTES */
#define BENCH_DATA   0x100000

#define BENCH_FEATURES                                                         \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |        \
	 1ull << VIRTIO_RING_F_INDIRECT_DESC)

struct bench {
	struct memory memory;
	struct virtio_device *virtio;
	struct device dev; /* its lock */
	struct driver queues[VIRTIO_QUEUES_MAX];
	unsigned interrupts[VIRTIO_QUEUES_MAX]; /* atomic */
	unsigned config_interrupts;             /* atomic */
	int running;                            /* calls on less calls off */
};

static inline void bench_interrupt(struct virtio_device *virtio, int queue)
{
	struct bench *bench = virtio->transport;

	__atomic_fetch_add(queue == VIRTIO_CONFIG_INTERRUPT
				   ? &bench->config_interrupts
				   : &bench->interrupts[queue],
			   1, __ATOMIC_SEQ_CST);
}

static inline void bench_running(struct virtio_device *virtio, bool on)
{
	struct bench *bench = virtio->transport;

	bench->running += on ? 1 : -1;
}

static inline void bench_transport_destroy(void *transport)
{
	struct bench *bench = transport;

	device_fini(&bench->dev);
}

static const struct virtio_transport_ops bench_transport = {
	.interrupt = bench_interrupt,
	.running = bench_running,
	.destroy = bench_transport_destroy,
};

static inline void bench_memory(struct bench *bench)
{
	*bench = (struct bench){ 0 };
	assert_int_equal(memory_create(&bench->memory, BENCH_MEMORY), 0);
}

static inline void bench_attach(struct bench *bench,
				struct virtio_device *virtio)
{
	bench->virtio = virtio;
	virtio->transport_ops = &bench_transport;
	virtio->transport = bench;
	device_init(&bench->dev, virtio->name, NULL, 0);
	virtio->dev = &bench->dev;
}

static inline void bench_end(struct bench *bench)
{
	virtio_destroy(bench->virtio);
	memory_destroy(&bench->memory);
}

static inline void bench_status(struct bench *bench, uint8_t bit)
{
	virtio_status_write(bench->virtio,
			    virtio_status_read(bench->virtio) | bit);
}

/* Up to FEATURES_OK (virtio 1.2, 3.1.1). */
static inline void bench_negotiate(struct bench *bench, uint64_t features)
{
	virtio_status_write(bench->virtio, 0);
	bench_status(bench, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	bench_status(bench, VIRTIO_CONFIG_S_DRIVER);
	for (unsigned i = 0; i < 2; i++)
		virtio_features_write(bench->virtio, i, features >> (i * 32));
	bench_status(bench, VIRTIO_CONFIG_S_FEATURES_OK);
}

static inline void bench_queue_address(struct bench *bench, unsigned queue,
				       enum virtio_ring_part part, gpa_t gpa)
{
	for (unsigned half = 0; half < 2; half++)
		virtio_queue_set_address(bench->virtio, queue, part, half,
					 gpa >> (half * 32));
}

/* Queue @queue of @size entries. */
static inline void bench_queue(struct bench *bench, unsigned queue,
			       uint16_t size)
{
	struct driver *driver = &bench->queues[queue];

	*driver = driver_init(&bench->memory,
			      BENCH_RINGS + queue * DRIVER_RING_BYTES, size);
	virtio_queue_set_size(bench->virtio, queue, size);
	bench_queue_address(bench, queue, VIRTIO_DESC, driver->desc);
	bench_queue_address(bench, queue, VIRTIO_DRIVER, driver->avail);
	bench_queue_address(bench, queue, VIRTIO_DEVICE, driver->used);
	virtio_queue_enable(bench->virtio, queue);
}

/* All of it, with every queue of the device of @size entries. */
static inline void bench_up(struct bench *bench, uint64_t features,
			    uint16_t size)
{
	bench_negotiate(bench, features);
	for (unsigned i = 0; i < bench->virtio->nr_queues; i++)
		bench_queue(bench, i, size);
	bench_status(bench, VIRTIO_CONFIG_S_DRIVER_OK);
}

static inline bool bench_needs_reset(const struct bench *bench)
{
	return virtio_status_read(bench->virtio) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* Waits up to a second until *@counter is at least @n. */
static inline bool bench_reaches(const unsigned *counter, unsigned n)
{
	const struct timespec pause = { .tv_nsec = 100000 };

	for (int i = 0; i < 10000; i++) {
		if (__atomic_load_n(counter, __ATOMIC_SEQ_CST) >= n)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

/* A fence: returns when the worker has seen all that was there before, and done
 * of it what it can. It has counted one kick of @queue and come back for the
 * next, or been on its way with another and counted this one. */
static inline void bench_fence(struct bench *bench, unsigned queue)
{
	const struct timespec pause = { .tv_nsec = 10000 };
	uint64_t *kicks = &bench->virtio->queues[queue].kicks;

	for (int i = 0; i < 2; i++) {
		uint64_t before = __atomic_load_n(kicks, __ATOMIC_SEQ_CST);

		virtio_notify(bench->virtio, queue);
		for (int left = 1000000;
		     __atomic_load_n(kicks, __ATOMIC_SEQ_CST) == before;
		     left--) {
			if (!left)
				fail_msg("the worker does not come");
			nanosleep(&pause, NULL);
		}
	}
}

static inline bool bench_breaks(const struct bench *bench)
{
	const struct timespec pause = { .tv_nsec = 100000 };

	for (int i = 0; i < 10000 && !bench_needs_reset(bench); i++)
		nanosleep(&pause, NULL);
	return bench_needs_reset(bench);
}

#endif
