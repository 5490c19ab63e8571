#include "unit.h"

#include "devices/virtio/rng.h"
#include "virtio_bench.h"

static void rng_create(struct bench *bench)
{
	struct virtio_device *virtio;

	bench_memory(bench);
	assert_int_equal(virtio_rng_create("rng0", &bench->memory, &virtio), 0);
	bench_attach(bench, virtio);
	bench_up(bench, BENCH_FEATURES, 8);
}

static uint32_t rng_request(struct bench *bench, const struct segment *segments,
			    int n)
{
	struct vring_used_elem elem = { 0 };

	driver_add(&bench->queues[0], segments, n);
	virtio_notify(bench->virtio, 0);
	assert_true(driver_wait(&bench->queues[0], &elem));
	return elem.len;
}

static void buffers_are_filled_with_entropy(void **state)
{
	static const struct segment segments[] = {
		{ BENCH_DATA, 16, true },
		{ BENCH_DATA + 32, 64, true },
	};
	static const uint8_t zeros[64];
	struct bench bench;
	uint8_t *bytes;

	(void)state;
	rng_create(&bench);
	bytes = memory_at(&bench.memory, BENCH_DATA, 128);
	assert_int_equal(rng_request(&bench, segments, 2), 80);
	assert_memory_not_equal(bytes, zeros, 16);
	assert_memory_equal(bytes + 16, zeros, 16);
	assert_memory_not_equal(bytes + 32, zeros, 64);
	bench_end(&bench);
}

static void a_huge_request_gets_little(void **state)
{
	static const struct segment huge = { BENCH_DATA, 0x200000, true };
	static const uint8_t zeros[4096];
	struct bench bench;

	(void)state;
	rng_create(&bench);
	assert_int_equal(rng_request(&bench, &huge, 1), 4096);
	assert_memory_equal(memory_at(&bench.memory, BENCH_DATA + 4096, 4096),
			    zeros, 4096);
	bench_end(&bench);
}

static void readable_and_empty_buffers_get_nothing(void **state)
{
	static const struct segment segments[] = {
		{ BENCH_DATA, 64, false },
		{ BENCH_DATA, 0, true },
	};
	struct bench bench;

	(void)state;
	rng_create(&bench);
	assert_int_equal(rng_request(&bench, segments, 1), 0);
	assert_int_equal(rng_request(&bench, segments, 2), 0);
	assert_false(bench_needs_reset(&bench));
	bench_end(&bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(buffers_are_filled_with_entropy),
	cmocka_unit_test(a_huge_request_gets_little),
	cmocka_unit_test(readable_and_empty_buffers_get_nothing),
};

UNIT_MAIN(tests)
