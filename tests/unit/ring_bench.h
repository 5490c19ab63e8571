/*
 * A ring with both its ends, for tests: the driver's, and a chain that the
 * device's pops into.
 */
#ifndef KVIST_TESTS_RING_BENCH_H
#define KVIST_TESTS_RING_BENCH_H

#include "unit.h"

#include "ring_driver.h"
#include "util/checked.h"

#include <errno.h>

#define MEMORY_SIZE (1u << 20)
#define RING_AT     0x10000
#define DATA_AT     0x40000
#define TABLE_AT    0x50000
#define SIZE        8

/* A ring with its two ends, and a chain to pop into. */
struct bench {
	struct memory memory;
	struct driver driver;
	struct ring ring;
	struct iovec iov[RING_CHAIN_IOV(RING_SIZE_MAX)];
	struct ring_chain chain;
};

static inline void bench_start(struct bench *bench, bool indirect,
			       bool event_idx)
{
	struct ring_config config;

	bench->driver = driver_init(&bench->memory, RING_AT, SIZE);
	config = driver_config(&bench->driver);
	config.indirect = indirect;
	config.event_idx = event_idx;
	bench->ring.memory = &bench->memory;
	bench->ring.name = "test";
	assert_int_equal(ring_start(&bench->ring, &config), 0);
	bench->chain.iov = bench->iov;
	bench->chain.max = RING_CHAIN_IOV(SIZE);
}

static inline struct bench *bench_create(void)
{
	struct bench *bench = test_calloc(1, sizeof(*bench));

	assert_int_equal(memory_create(&bench->memory, MEMORY_SIZE), 0);
	bench_start(bench, false, false);
	return bench;
}

static inline void bench_destroy(struct bench *bench)
{
	memory_destroy(&bench->memory);
	test_free(bench);
}

static inline int pop(struct bench *bench)
{
	return ring_pop(&bench->ring, &bench->chain);
}

/* Those with INDIRECT negotiated. */
static inline void indirect_offer(struct bench *bench, uint64_t addr,
				  uint32_t len, uint16_t flags)
{
	*driver_desc(&bench->driver, 0) =
		(struct vring_desc){ addr, len, VRING_DESC_F_INDIRECT | flags,
				     1 };
	driver_offer(&bench->driver, 0);
}

static inline struct vring_desc *indirect_table(struct bench *bench)
{
	struct vring_desc *table = memory_at(&bench->memory, TABLE_AT, 4096);

	table[0] = (struct vring_desc){ DATA_AT, 4, 0, 0 };
	return table;
}

#endif
