/*
 * ring_pop() and what follows it, on a ring whose every byte is the input's,
 * and which changes while it is read: what the device is given must be RAM, in
 * order and bounded (R3), and what it does afterwards must stay in the ring.
 */
#include "devices/virtio/ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_SIZE (1u << 20)
#define DESC_AT     0x0000
#define AVAIL_AT    0x1000
#define USED_AT     0x2000
#define TABLE_AT    0x3000
#define RINGS_SIZE  0x4000 /* what inputs fill */
#define CHAINS      64

struct input {
	const uint8_t *bytes;
	size_t len;
};

static uint32_t take(struct input *input, unsigned n)
{
	uint32_t value = 0;

	for (; n && input->len; n--, input->len--)
		value = value << 8 | *input->bytes++;
	return value;
}

/* Fills a part of the rings with up to @len bytes. */
static void fill(struct input *input, uint8_t *to, size_t len)
{
	if (len > input->len)
		len = input->len;
	memcpy(to, input->bytes, len);
	input->bytes += len;
	input->len -= len;
}

static void check(const struct memory *memory, const struct ring *ring,
		  const struct ring_chain *chain)
{
	uint64_t bytes[2] = { 0, 0 };

	assert(chain->head < ring->size);
	assert(chain->readable + chain->writable <= chain->max);
	for (int i = 0; i < chain->readable + chain->writable; i++) {
		const struct iovec *iov = &chain->iov[i];
		const uint8_t *at = iov->iov_base;

		assert(iov->iov_len);
		assert(at >= memory->host);
		assert(at + iov->iov_len <= memory->host + MEMORY_SIZE);
		bytes[i >= chain->readable] += iov->iov_len;
	}
	assert(bytes[0] == chain->read_bytes);
	assert(bytes[1] == chain->write_bytes);
	assert(bytes[0] + bytes[1] <= UINT32_MAX);
}

/* The guest writes a word of the rings at any moment. */
static void meddle(struct input *input, uint8_t *host)
{
	uint16_t value;

	for (uint32_t n = take(input, 1) % 4; n; n--) {
		uint32_t at = take(input, 2) % (RINGS_SIZE - 1);

		value = take(input, 2);
		memcpy(host + at, &value, sizeof(value));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct memory memory;
	static struct iovec iov[RING_CHAIN_IOV(RING_SIZE_MAX)];
	struct input input = { bytes, len };
	uint32_t flags = take(&input, 1);
	struct ring_config config = { .size = 1u << (flags & 7),
				      .desc = DESC_AT,
				      .driver = AVAIL_AT,
				      .device = USED_AT,
				      .indirect = flags & 8,
				      .event_idx = flags & 16 };
	struct ring ring = { .memory = &memory, .name = "fuzz" };
	struct ring_chain chain = { .iov = iov,
				    .max = RING_CHAIN_IOV(config.size) };

	if (!memory.host) {
		if (memory_create(&memory, MEMORY_SIZE))
			abort();
		log_set_level(LOG_ERR);
	}
	memset(memory.host, 0, RINGS_SIZE);
	fill(&input, memory.host + AVAIL_AT, 4 + 2 * config.size);
	fill(&input, memory.host + DESC_AT, 16 * config.size);
	fill(&input, memory.host + TABLE_AT, 16 * take(&input, 1));
	if (ring_start(&ring, &config))
		abort();
	for (int i = 0; i < CHAINS && ring_pop(&ring, &chain) == 1; i++) {
		check(&memory, &ring, &chain);
		meddle(&input, memory.host);
		if (take(&input, 1) & 1)
			ring_push(&ring, &chain, chain.write_bytes);
		ring_publish(&ring);
		ring_notify_on(&ring);
	}
	ring_stop(&ring);
	return 0;
}
