/*
 * The driver's side of a split virtqueue (virtio 1.2, 2.7.13), for tests: it
 * builds rings in a struct memory, well-formed by default, and lets a test
 * break any part of them. One thread.
 */
#ifndef KVIST_TESTS_RING_DRIVER_H
#define KVIST_TESTS_RING_DRIVER_H

#include "devices/virtio/ring.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

struct driver {
	const struct memory *memory;
	uint16_t size;
	gpa_t desc, avail, used; /* guest physical */
	uint16_t next_desc;      /* the next free one; nothing is kept of which
				  * are in use: tests stay below size */
	uint16_t next_used;      /* to be seen by the driver */
};

/* One buffer of a request. */
struct segment {
	gpa_t addr;
	uint32_t len;
	bool write; /* the device may write it */
};

#define DRIVER_RING_BYTES 0x3000 /* of memory, enough for 256 entries */

/* A ring of @size at @base, a multiple of 4096. */
static inline struct driver driver_init(const struct memory *memory, gpa_t base,
					uint16_t size)
{
	struct driver driver = { .memory = memory,
				 .size = size,
				 .desc = base,
				 .avail = base + 0x1000,
				 .used = base + 0x2000 };

	memset(memory_at(memory, base, DRIVER_RING_BYTES), 0,
	       DRIVER_RING_BYTES);
	return driver;
}

static inline struct ring_config driver_config(const struct driver *driver)
{
	return (struct ring_config){ .size = driver->size,
				     .desc = driver->desc,
				     .driver = driver->avail,
				     .device = driver->used };
}

static inline struct vring_desc *driver_desc(const struct driver *driver,
					     unsigned i)
{
	return (struct vring_desc *)memory_at(driver->memory, driver->desc,
					      driver->size * 16) +
	       i;
}

static inline struct vring_avail *driver_avail(const struct driver *driver)
{
	return memory_at(driver->memory, driver->avail, 6 + 2 * driver->size);
}

static inline struct vring_used *driver_ring_used(const struct driver *driver)
{
	return memory_at(driver->memory, driver->used, 6 + 8 * driver->size);
}

/* The two event indexes (2.7.10). */
static inline uint16_t *driver_used_event(const struct driver *driver)
{
	return &driver_avail(driver)->ring[driver->size];
}

static inline uint16_t *driver_avail_event(const struct driver *driver)
{
	return (uint16_t *)(void *)&driver_ring_used(driver)
		->ring[driver->size];
}

/* Makes chain @head available. */
static inline void driver_offer(struct driver *driver, uint16_t head)
{
	struct vring_avail *avail = driver_avail(driver);

	__atomic_store_n(&avail->ring[avail->idx % driver->size], head,
			 __ATOMIC_RELAXED);
	/* Pairs with the acquire of ring_pop(). */
	__atomic_store_n(&avail->idx, (uint16_t)(avail->idx + 1),
			 __ATOMIC_SEQ_CST);
}

/* A chain of @n segments in the next free descriptors; its head. */
static inline uint16_t driver_chain(struct driver *driver,
				    const struct segment *segments, int n)
{
	uint16_t head = driver->next_desc % driver->size;

	for (int i = 0; i < n; i++) {
		uint16_t at = driver->next_desc++ % driver->size;

		*driver_desc(driver, at) = (struct vring_desc){
			.addr = segments[i].addr,
			.len = segments[i].len,
			.flags = (i + 1 < n ? VRING_DESC_F_NEXT : 0) |
				 (segments[i].write ? VRING_DESC_F_WRITE : 0),
			.next = driver->next_desc % driver->size,
		};
	}
	return head;
}

/* Builds a chain and makes it available; its head. */
static inline uint16_t driver_add(struct driver *driver,
				  const struct segment *segments, int n)
{
	uint16_t head = driver_chain(driver, segments, n);

	driver_offer(driver, head);
	return head;
}

/* Waits up to a second until the device, by its event index, asks to be
 * notified of what the driver offers next. */
static inline bool driver_is_asked(const struct driver *driver)
{
	const struct timespec pause = { .tv_nsec = 100000 };

	for (int i = 0; i < 10000; i++) {
		if (__atomic_load_n(driver_avail_event(driver),
				    __ATOMIC_SEQ_CST) ==
		    driver_avail(driver)->idx)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

/* Takes the next element of the used ring; false if there is none. */
static inline bool driver_take(struct driver *driver,
			       struct vring_used_elem *elem)
{
	struct vring_used *used = driver_ring_used(driver);

	/* Pairs with the release of ring_publish(). */
	if (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == driver->next_used)
		return false;
	*elem = used->ring[driver->next_used++ % driver->size];
	return true;
}

/* As driver_take(), but waits for it up to a second. */
static inline bool driver_wait(struct driver *driver,
			       struct vring_used_elem *elem)
{
	const struct timespec pause = { .tv_nsec = 100000 };

	for (int i = 0; i < 10000; i++) {
		if (driver_take(driver, elem))
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

#endif
