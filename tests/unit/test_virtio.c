#include "unit.h"

#include "util/checked.h"
#include "virtio_bench.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define QUEUES 2
#define SIZE   8

/* A device that gives every buffer back, with the number of its bytes. */
struct echo {
	struct virtio_device virtio;
	struct iovec iov[RING_CHAIN_IOV(RING_SIZE_MAX)];
	bool endless;      /* claims that work is left, for ever */
	bool hold;         /* atomic: keeps the worker in drain() */
	unsigned served;   /* atomic: calls of queue() */
	unsigned draining; /* atomic: calls of drain() */
	unsigned drained;  /* atomic: returns from it */
	int fail_start;
	char thread[16];
};

static bool echo_queue(struct virtio_device *virtio, unsigned queue)
{
	struct echo *echo = container_of(virtio, struct echo, virtio);
	struct ring *ring = &virtio->queues[queue].ring;
	struct ring_chain chain = { .iov = echo->iov,
				    .max = ARRAY_SIZE(echo->iov) };
	int n;

	pthread_getname_np(pthread_self(), echo->thread, sizeof(echo->thread));
	do {
		while ((n = ring_pop(ring, &chain)) > 0)
			ring_push(ring, &chain, chain.write_bytes);
		if (n < 0)
			virtio_needs_reset(virtio);
	} while (ring_notify_on(ring));
	virtio_publish(virtio, queue);
	__atomic_fetch_add(&echo->served, 1, __ATOMIC_SEQ_CST);
	return echo->endless;
}

static void echo_drain(struct virtio_device *virtio)
{
	struct echo *echo = container_of(virtio, struct echo, virtio);

	__atomic_fetch_add(&echo->draining, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&echo->hold, __ATOMIC_SEQ_CST))
		usleep(100);
	__atomic_fetch_add(&echo->drained, 1, __ATOMIC_SEQ_CST);
}

static int echo_start(struct virtio_device *virtio)
{
	return container_of(virtio, struct echo, virtio)->fail_start;
}

static void echo_destroy(struct virtio_device *virtio)
{
	virtio_fini(virtio);
}

static const struct virtio_device_ops echo_ops = {
	.start = echo_start,
	.destroy = echo_destroy,
	.queue = echo_queue,
	.drain = echo_drain,
};

static void echo_create(struct bench *bench, struct echo *echo)
{
	static const uint8_t config[] = { 1, 2, 3, 4, 5 };

	bench_memory(bench);
	*echo = (struct echo){ 0 };
	assert_int_equal(virtio_init(&echo->virtio, "echo0", 42, &bench->memory,
				     QUEUES, SIZE),
			 0);
	echo->virtio.ops = &echo_ops;
	memcpy(echo->virtio.config, config, sizeof(config));
	echo->virtio.config_len = sizeof(config);
	bench_attach(bench, &echo->virtio);
}

static const struct segment buffer = { BENCH_DATA, 100, true };

static void kick(struct bench *bench, unsigned queue)
{
	virtio_notify(bench->virtio, queue);
}

static void a_worker_named_after_the_device_serves_it(void **state)
{
	struct vring_used_elem elem;
	struct bench bench;
	struct echo echo;

	(void)state;
	echo_create(&bench, &echo);
	bench_up(&bench, BENCH_FEATURES, SIZE);
	assert_int_equal(bench.running, 1);
	driver_add(&bench.queues[1], &buffer, 1);
	kick(&bench, 1);
	assert_true(driver_wait(&bench.queues[1], &elem));
	assert_int_equal(elem.len, 100);
	assert_true(bench_reaches(&bench.interrupts[1], 1));
	assert_int_equal(bench.interrupts[0], 0);
	virtio_status_write(bench.virtio, 0);
	assert_string_equal(echo.thread, "echo0");
	assert_int_equal(bench.running, 0);
	bench_end(&bench);
}

static void what_came_before_driver_ok_needs_no_kick(void **state)
{
	struct vring_used_elem elem;
	struct bench bench;
	struct echo echo;

	(void)state;
	echo_create(&bench, &echo);
	bench_negotiate(&bench, BENCH_FEATURES);
	bench_queue(&bench, 0, SIZE);
	driver_add(&bench.queues[0], &buffer, 1);
	bench_status(&bench, VIRTIO_CONFIG_S_DRIVER_OK);
	assert_true(driver_wait(&bench.queues[0], &elem));
	bench_end(&bench);
}

static void features_freeze_and_only_offered_ones_are_accepted(void **state)
{
	static const struct {
		uint64_t features;
		bool accepted;
	} cases[] = {
		{ BENCH_FEATURES, true },
		{ 1ull << VIRTIO_F_VERSION_1, true },
		{ 0, false },
		{ 1ull << VIRTIO_RING_F_EVENT_IDX, false },
		{ BENCH_FEATURES | 1, false },
		{ BENCH_FEATURES | 1ull << 63, false },
	};
	struct bench bench;
	struct echo echo;

	(void)state;
	echo_create(&bench, &echo);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bench_negotiate(&bench, cases[i].features);
		assert_int_equal(!!(virtio_status_read(bench.virtio) &
				    VIRTIO_CONFIG_S_FEATURES_OK),
				 cases[i].accepted);
	}
	bench_negotiate(&bench, BENCH_FEATURES);
	virtio_features_write(bench.virtio, 0, 0);
	virtio_features_write(bench.virtio, 7, ~0u);
	assert_int_equal(virtio_features_driver(bench.virtio, 0),
			 (uint32_t)BENCH_FEATURES);
	assert_int_equal(virtio_features_read(bench.virtio, 2), 0);
	bench_end(&bench);
}

static void driver_ok_without_features_ok_starts_nothing(void **state)
{
	struct bench bench;
	struct echo echo;

	(void)state;
	echo_create(&bench, &echo);
	bench_status(&bench, VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(virtio_status_read(bench.virtio), 0);
	assert_false(bench.virtio->running);
	bench_end(&bench);
}

static void status_bits_go_only_by_a_reset(void **state)
{
	struct bench bench;
	struct echo echo;
	uint8_t up = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
		     VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;

	(void)state;
	echo_create(&bench, &echo);
	bench_up(&bench, BENCH_FEATURES, SIZE);
	virtio_status_write(bench.virtio, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(virtio_status_read(bench.virtio), up);
	/* NEEDS_RESET is not the driver's to set. */
	virtio_status_write(bench.virtio, up | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(virtio_status_read(bench.virtio), up);
	virtio_status_write(bench.virtio, 0);
	assert_int_equal(virtio_status_read(bench.virtio), 0);
	assert_false(bench.virtio->running);
	bench_end(&bench);
}

static void a_queue_freezes_when_it_is_enabled(void **state)
{
	struct bench bench;
	struct echo echo;

	(void)state;
	echo_create(&bench, &echo);
	bench_negotiate(&bench, BENCH_FEATURES);
	bench_queue(&bench, 0, SIZE / 2);
	virtio_queue_set_size(bench.virtio, 0, SIZE);
	virtio_queue_set_address(bench.virtio, 0, VIRTIO_DESC, 1, 1);
	assert_int_equal(virtio_queue(bench.virtio, 0)->config.size, SIZE / 2);
	assert_int_equal(virtio_queue_address(bench.virtio, 0, VIRTIO_DESC, 1),
			 0);
	bench_status(&bench, VIRTIO_CONFIG_S_DRIVER_OK);
	/* One that was not enabled stays out until the next reset. */
	virtio_queue_enable(bench.virtio, 1);
	assert_false(virtio_queue(bench.virtio, 1)->enabled);
	bench_end(&bench);
}

static void queue_sizes_are_powers_of_two_within_the_offer(void **state)
{
	static const struct {
		uint32_t wanted, got;
	} cases[] = { { 1, 1 },    { 4, 4 },     { SIZE, SIZE },   { 0, SIZE },
		      { 3, SIZE }, { 16, SIZE }, { 0x10004, SIZE } };
	struct bench bench;
	struct echo echo;

	(void)state;
	echo_create(&bench, &echo);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bench_negotiate(&bench, BENCH_FEATURES);
		virtio_queue_set_size(bench.virtio, 0, cases[i].wanted);
		assert_int_equal(virtio_queue(bench.virtio, 0)->config.size,
				 cases[i].got);
	}
	bench_end(&bench);
}

static void selectors_beyond_the_last_queue_do_nothing(void **state)
{
	static const uint32_t selects[] = { QUEUES, VIRTIO_QUEUES_MAX, 0xffff,
					    0xffffffff };
	struct bench bench;
	struct echo echo;

	(void)state;
	echo_create(&bench, &echo);
	bench_up(&bench, BENCH_FEATURES, SIZE);
	for (size_t i = 0; i < ARRAY_SIZE(selects); i++) {
		assert_null(virtio_queue(bench.virtio, selects[i]));
		virtio_queue_set_size(bench.virtio, selects[i], 2);
		virtio_queue_set_address(bench.virtio, selects[i], VIRTIO_DESC,
					 0, 1);
		assert_int_equal(virtio_queue_address(bench.virtio, selects[i],
						      VIRTIO_DESC, 0),
				 0);
		virtio_queue_enable(bench.virtio, selects[i]);
		virtio_queue_disable(bench.virtio, selects[i]);
		virtio_notify(bench.virtio, selects[i]);
	}
	bench_end(&bench);
}

static void a_bad_ring_address_needs_a_reset_and_says_so(void **state)
{
	static const gpa_t bad[] = { BENCH_MEMORY, BENCH_MEMORY - 16, 8,
				     0xfea00000, UINT64_MAX & ~0xfull };
	struct bench bench;
	struct echo echo;

	(void)state;
	echo_create(&bench, &echo);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		bench_negotiate(&bench, BENCH_FEATURES);
		bench_queue_address(&bench, 0, VIRTIO_DESC, bad[i]);
		virtio_queue_enable(bench.virtio, 0);
		bench_status(&bench, VIRTIO_CONFIG_S_DRIVER_OK);
		assert_true(bench_needs_reset(&bench));
		assert_int_equal(bench.config_interrupts, i + 1);
		assert_false(bench.virtio->running);
	}
	bench_up(&bench, BENCH_FEATURES, SIZE);
	assert_false(bench_needs_reset(&bench));
	assert_true(bench.virtio->running);
	bench_end(&bench);
}

static void a_device_that_cannot_start_needs_a_reset(void **state)
{
	struct bench bench;
	struct echo echo;

	(void)state;
	echo_create(&bench, &echo);
	echo.fail_start = -ENOMEM;
	bench_up(&bench, BENCH_FEATURES, SIZE);
	assert_true(bench_needs_reset(&bench));
	assert_false(bench.virtio->running);
	echo.fail_start = 0;
	bench_up(&bench, BENCH_FEATURES, SIZE);
	assert_false(bench_needs_reset(&bench));
	bench_end(&bench);
}

static void a_broken_ring_stops_the_device_until_reset(void **state)
{
	struct vring_used_elem elem;
	struct bench bench;
	struct echo echo;

	(void)state;
	echo_create(&bench, &echo);
	bench_up(&bench, BENCH_FEATURES, SIZE);
	driver_offer(&bench.queues[0], SIZE);
	kick(&bench, 0);
	assert_true(bench_breaks(&bench));
	assert_true(bench_reaches(&bench.config_interrupts, 1));
	/* Also for the other queue, which did nothing wrong. */
	driver_add(&bench.queues[1], &buffer, 1);
	kick(&bench, 1);
	usleep(2000);
	assert_false(driver_take(&bench.queues[1], &elem));
	assert_int_equal(bench.config_interrupts, 1);
	bench_up(&bench, BENCH_FEATURES, SIZE);
	driver_add(&bench.queues[0], &buffer, 1);
	kick(&bench, 0);
	assert_true(driver_wait(&bench.queues[0], &elem));
	bench_end(&bench);
}

static void *release_later(void *arg)
{
	struct echo *echo = arg;

	assert_true(bench_reaches(&echo->draining, 1));
	usleep(2000);
	__atomic_store_n(&echo->hold, false, __ATOMIC_SEQ_CST);
	return NULL;
}

static void a_reset_waits_for_what_is_in_flight(void **state)
{
	struct bench bench;
	struct echo echo;
	pthread_t thread;

	(void)state;
	echo_create(&bench, &echo);
	echo.hold = true;
	bench_up(&bench, BENCH_FEATURES, SIZE);
	pthread_create(&thread, NULL, release_later, &echo);
	virtio_status_write(bench.virtio, 0);
	assert_int_equal(echo.drained, 1);
	pthread_join(thread, NULL);
	bench_end(&bench);
}

static void a_reset_ends_a_worker_that_always_has_work(void **state)
{
	struct bench bench;
	struct echo echo;

	(void)state;
	echo_create(&bench, &echo);
	echo.endless = true;
	for (int i = 0; i < 20; i++) {
		bench_up(&bench, BENCH_FEATURES, SIZE);
		virtio_status_write(bench.virtio, 0);
	}
	bench_up(&bench, BENCH_FEATURES, SIZE);
	assert_true(bench_reaches(&echo.served, 100));
	bench_end(&bench);
}

static void after_a_reset_nothing_of_before_is_left(void **state)
{
	struct vring_used_elem elem;
	struct bench bench;
	struct echo echo;

	(void)state;
	echo_create(&bench, &echo);
	bench_up(&bench, BENCH_FEATURES, SIZE / 2);
	virtio_status_write(bench.virtio, 0);
	driver_add(&bench.queues[0], &buffer, 1);
	kick(&bench, 0);
	assert_false(bench.virtio->has_worker);
	assert_false(driver_take(&bench.queues[0], &elem));
	assert_int_equal(virtio_features_driver(bench.virtio, 0), 0);
	assert_int_equal(virtio_queue(bench.virtio, 0)->config.size, SIZE);
	assert_int_equal(virtio_queue_address(bench.virtio, 0, VIRTIO_DESC, 0),
			 0);
	assert_false(virtio_queue(bench.virtio, 0)->enabled);
	bench_end(&bench);
}

static void one_queue_can_be_taken_back_alone(void **state)
{
	struct vring_used_elem elem;
	struct bench bench;
	struct echo echo;

	(void)state;
	echo_create(&bench, &echo);
	bench_up(&bench, BENCH_FEATURES, SIZE);
	driver_add(&bench.queues[0], &buffer, 1);
	kick(&bench, 0);
	assert_true(driver_wait(&bench.queues[0], &elem));
	virtio_queue_disable(bench.virtio, 1);
	driver_add(&bench.queues[1], &buffer, 1);
	kick(&bench, 1);
	/* Queue 0 goes on where it was. */
	driver_add(&bench.queues[0], &buffer, 1);
	kick(&bench, 0);
	assert_true(driver_wait(&bench.queues[0], &elem));
	assert_false(driver_take(&bench.queues[1], &elem));
	bench_end(&bench);
}

static void configuration_reads_as_zeros_beyond_its_end(void **state)
{
	static const struct {
		uint64_t offset;
		unsigned len;
		uint64_t value;
	} cases[] = {
		{ 0, 1, 1 },          { 1, 1, 2 },  { 0, 2, 0x0201 },
		{ 0, 4, 0x04030201 }, { 4, 4, 5 },  { 0, 8, 0x0504030201 },
		{ 5, 1, 0 },          { 64, 4, 0 }, { UINT64_MAX, 8, 0 },
	};
	struct bench bench;
	struct echo echo;

	(void)state;
	echo_create(&bench, &echo);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(virtio_config_read(bench.virtio,
						    cases[i].offset,
						    cases[i].len),
				 cases[i].value);
	bench_end(&bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_worker_named_after_the_device_serves_it),
	cmocka_unit_test(what_came_before_driver_ok_needs_no_kick),
	cmocka_unit_test(features_freeze_and_only_offered_ones_are_accepted),
	cmocka_unit_test(driver_ok_without_features_ok_starts_nothing),
	cmocka_unit_test(status_bits_go_only_by_a_reset),
	cmocka_unit_test(a_queue_freezes_when_it_is_enabled),
	cmocka_unit_test(queue_sizes_are_powers_of_two_within_the_offer),
	cmocka_unit_test(selectors_beyond_the_last_queue_do_nothing),
	cmocka_unit_test(a_bad_ring_address_needs_a_reset_and_says_so),
	cmocka_unit_test(a_device_that_cannot_start_needs_a_reset),
	cmocka_unit_test(a_broken_ring_stops_the_device_until_reset),
	cmocka_unit_test(a_reset_waits_for_what_is_in_flight),
	cmocka_unit_test(a_reset_ends_a_worker_that_always_has_work),
	cmocka_unit_test(after_a_reset_nothing_of_before_is_left),
	cmocka_unit_test(one_queue_can_be_taken_back_alone),
	cmocka_unit_test(configuration_reads_as_zeros_beyond_its_end),
};

UNIT_MAIN(tests)
