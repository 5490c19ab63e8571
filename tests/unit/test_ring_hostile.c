/*
 * Rings that break a rule: nothing of them is served, and nothing of what they
 * name is read or written.
 */
#include "ring_bench.h"

#include <pthread.h>

/* Each breaks one rule of a ring that is otherwise right. */
static void avail_index_too_far(struct bench *bench)
{
	driver_avail(&bench->driver)->idx = SIZE + 1;
}

static void avail_index_backwards(struct bench *bench)
{
	driver_avail(&bench->driver)->idx = 0xffff;
}

static void head_beyond_table(struct bench *bench)
{
	driver_offer(&bench->driver, SIZE);
}

static void next_beyond_table(struct bench *bench)
{
	struct segment segments[2] = { { DATA_AT, 1, false },
				       { DATA_AT, 1, false } };

	driver_add(&bench->driver, segments, 2);
	driver_desc(&bench->driver, 0)->next = SIZE;
}

static void loop_of_descriptors(struct bench *bench)
{
	struct segment segments[2] = { { DATA_AT, 1, false },
				       { DATA_AT, 1, false } };

	driver_add(&bench->driver, segments, 2);
	driver_desc(&bench->driver, 1)->flags = VRING_DESC_F_NEXT;
	driver_desc(&bench->driver, 1)->next = 0;
}

static void readable_after_writable(struct bench *bench)
{
	struct segment segments[2] = { { DATA_AT, 1, true },
				       { DATA_AT, 1, false } };

	driver_add(&bench->driver, segments, 2);
}

static void outside_ram(struct bench *bench)
{
	driver_add(&bench->driver,
		   &(struct segment){ MEMORY_SIZE - 1, 2, true }, 1);
}

static void address_wraps(struct bench *bench)
{
	driver_add(&bench->driver, &(struct segment){ UINT64_MAX - 1, 4, true },
		   1);
}

static void device_register_as_buffer(struct bench *bench)
{
	driver_add(&bench->driver, &(struct segment){ 0xfea00000, 4, true }, 1);
}

static void indirect_not_negotiated(struct bench *bench)
{
	*driver_desc(&bench->driver, 0) =
		(struct vring_desc){ TABLE_AT, 16, VRING_DESC_F_INDIRECT, 0 };
	driver_offer(&bench->driver, 0);
}

static void indirect_empty(struct bench *bench)
{
	indirect_table(bench);
	indirect_offer(bench, TABLE_AT, 0, 0);
}

static void indirect_odd_length(struct bench *bench)
{
	indirect_table(bench);
	indirect_offer(bench, TABLE_AT, 24, 0);
}

static void indirect_with_next(struct bench *bench)
{
	indirect_table(bench);
	indirect_offer(bench, TABLE_AT, 16, VRING_DESC_F_NEXT);
}

static void indirect_nested(struct bench *bench)
{
	struct vring_desc *table = indirect_table(bench);

	table[0] = (struct vring_desc){ TABLE_AT + 16, 16,
					VRING_DESC_F_INDIRECT, 0 };
	table[1] = (struct vring_desc){ DATA_AT, 4, 0, 0 };
	indirect_offer(bench, TABLE_AT, 16, 0);
}

static void indirect_outside_ram(struct bench *bench)
{
	indirect_offer(bench, MEMORY_SIZE, 16, 0);
}

static void indirect_wraps(struct bench *bench)
{
	indirect_offer(bench, -16ull, 32, 0);
}

static void indirect_next_beyond_table(struct bench *bench)
{
	struct vring_desc *table = indirect_table(bench);

	table[0].flags = VRING_DESC_F_NEXT;
	table[0].next = 1;
	indirect_offer(bench, TABLE_AT, 16, 0);
}

static void indirect_longer_than_queue(struct bench *bench)
{
	struct vring_desc *table = indirect_table(bench);

	for (int i = 0; i <= SIZE; i++)
		table[i] = (struct vring_desc){
			DATA_AT, 1, i < SIZE ? VRING_DESC_F_NEXT : 0, i + 1
		};
	indirect_offer(bench, TABLE_AT, (SIZE + 1) * 16, 0);
}

/* R3, R5. */
static void a_ring_that_breaks_a_rule_is_broken_for_good(void **state)
{
	static const struct {
		const char *name;
		void (*spoil)(struct bench *bench);
		bool indirect;
	} cases[] = {
#define CASE(f, indirect) { #f, f, indirect }
		CASE(avail_index_too_far, false),
		CASE(avail_index_backwards, false),
		CASE(head_beyond_table, false),
		CASE(next_beyond_table, false),
		CASE(loop_of_descriptors, false),
		CASE(readable_after_writable, false),
		CASE(outside_ram, false),
		CASE(address_wraps, false),
		CASE(device_register_as_buffer, false),
		CASE(indirect_not_negotiated, false),
		CASE(indirect_empty, true),
		CASE(indirect_odd_length, true),
		CASE(indirect_with_next, true),
		CASE(indirect_nested, true),
		CASE(indirect_outside_ram, true),
		CASE(indirect_wraps, true),
		CASE(indirect_next_beyond_table, true),
		CASE(indirect_longer_than_queue, true),
#undef CASE
	};
	struct bench *bench = bench_create();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bench_start(bench, cases[i].indirect, false);
		cases[i].spoil(bench);
		if (pop(bench) != -EPROTO)
			fail_msg("%s was accepted", cases[i].name);
		/* R5: also nothing that would be right. */
		driver_avail(&bench->driver)->idx = 0;
		driver_add(&bench->driver, &(struct segment){ DATA_AT, 1, 0 },
			   1);
		assert_int_equal(pop(bench), 0);
		ring_push(&bench->ring, &bench->chain, 1);
		assert_false(ring_publish(&bench->ring));
		assert_int_equal(driver_ring_used(&bench->driver)->idx, 0);
		assert_int_equal(driver_ring_used(&bench->driver)->ring[0].len,
				 0);
	}
	bench_destroy(bench);
}

/* R5 holds for one that was stopped as well. */
static void a_stopped_ring_gives_and_shows_nothing(void **state)
{
	static const struct segment segment = { DATA_AT, 4, true };
	struct bench *bench = bench_create();

	(void)state;
	for (int i = 0; i < 2; i++)
		driver_add(&bench->driver, &segment, 1);
	assert_int_equal(pop(bench), 1);
	ring_push(&bench->ring, &bench->chain, 4);
	ring_stop(&bench->ring);
	assert_int_equal(pop(bench), 0);
	assert_false(ring_waiting(&bench->ring));
	assert_false(ring_notify_on(&bench->ring));
	assert_false(ring_publish(&bench->ring));
	assert_int_equal(driver_ring_used(&bench->driver)->idx, 0);
	bench_destroy(bench);
}

static void
a_chain_of_more_pieces_than_there_is_room_for_is_refused(void **state)
{
	static const struct segment segments[] = { { DATA_AT, 4, false },
						   { DATA_AT, 4, true },
						   { DATA_AT, 4, true } };
	struct bench *bench = bench_create();

	(void)state;
	bench->chain.max = 2;
	driver_add(&bench->driver, segments, 2);
	assert_int_equal(pop(bench), 1);
	driver_add(&bench->driver, segments, 3);
	assert_int_equal(pop(bench), -EPROTO);
	assert_null(bench->iov[2].iov_base);
	bench_destroy(bench);
}

static void a_chain_of_4_gib_is_refused(void **state)
{
	struct bench *bench = bench_create();
	struct memory large;
	struct segment segments[2] = { { 0, 0x80000000, true },
				       { 0, 0x80000000, true } };
	struct ring_config config;

	(void)state;
	assert_int_equal(memory_create(&large, 0x80000000), 0);
	bench->driver = driver_init(&large, RING_AT, SIZE);
	config = driver_config(&bench->driver);
	bench->ring.memory = &large;
	assert_int_equal(ring_start(&bench->ring, &config), 0);
	segments[1].len--;
	driver_add(&bench->driver, segments, 2);
	assert_int_equal(pop(bench), 1);
	assert_int_equal(bench->chain.write_bytes, UINT32_MAX);
	segments[1].len++;
	driver_add(&bench->driver, segments, 2);
	assert_int_equal(pop(bench), -EPROTO);
	memory_destroy(&large);
	bench_destroy(bench);
}

static void a_ring_must_be_aligned_sized_and_in_ram(void **state)
{
	static const struct {
		struct ring_config config;
		int err;
	} cases[] = {
		{ { 8, 0x1000, 0x2000, 0x3000, 0, 0 }, 0 },
		{ { 256, 0x1000, 0x2000, 0x3000, 0, 0 }, 0 },
		{ { 1, 0x1010, 0x2002, 0x3004, 0, 0 }, 0 },
		{ { 0, 0x1000, 0x2000, 0x3000, 0, 0 }, -EINVAL },
		{ { 6, 0x1000, 0x2000, 0x3000, 0, 0 }, -EINVAL },
		{ { 512, 0x1000, 0x2000, 0x3000, 0, 0 }, -EINVAL },
		{ { 8, 0x1008, 0x2000, 0x3000, 0, 0 }, -EINVAL },
		{ { 8, 0x1000, 0x2001, 0x3000, 0, 0 }, -EINVAL },
		{ { 8, 0x1000, 0x2000, 0x3002, 0, 0 }, -EINVAL },
		{ { 8, MEMORY_SIZE - 112, 0x2000, 0x3000, 0, 0 }, -EFAULT },
		{ { 8, 0x1000, MEMORY_SIZE - 20, 0x3000, 0, 0 }, -EFAULT },
		{ { 8, 0x1000, 0x2000, MEMORY_SIZE - 68, 0, 0 }, -EFAULT },
		{ { 8, -16ull, 0x2000, 0x3000, 0, 0 }, -EFAULT },
	};
	struct bench *bench = bench_create();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(ring_start(&bench->ring, &cases[i].config),
				 cases[i].err);
	bench_destroy(bench);
}

/* That this is a race is the point: not for the thread sanitizer. */
#ifndef __SANITIZE_THREAD__
struct flipper {
	volatile uint32_t *len;
	bool stop; /* atomic */
};

/* A hostile driver: the length is fine whenever it is checked. It stays what it
 * is for a while, or the device's processor would hardly ever see it change
 * between two looks. */
static void *flip(void *arg)
{
	struct flipper *flipper = arg;

	for (unsigned i = 0; !__atomic_load_n(&flipper->stop, __ATOMIC_RELAXED);
	     i++)
		*flipper->len = i & 64 ? MEMORY_SIZE * 2 : 4;
	return NULL;
}

/* R2. */
static void a_descriptor_that_changes_is_decided_on_from_one_copy(void **state)
{
	static const struct segment segment = { DATA_AT, 4, true };
	struct bench *bench = bench_create();
	struct flipper flipper = {
		.len = &driver_desc(&bench->driver, 0)->len
	};
	int fine = 0, refused = 0;
	pthread_t thread;

	(void)state;
	driver_chain(&bench->driver, &segment, 1);
	pthread_create(&thread, NULL, flip, &flipper);
	/* Until both have been seen often: the driver is at it. */
	for (int i = 0; i < 500000 && (fine < 2000 || refused < 2000); i++) {
		struct ring_config config = driver_config(&bench->driver);

		driver_avail(&bench->driver)->idx = 0;
		assert_int_equal(ring_start(&bench->ring, &config), 0);
		driver_offer(&bench->driver, 0);
		if (pop(bench) == -EPROTO) {
			refused++;
			continue;
		}
		fine++;
		assert_int_equal(bench->chain.write_bytes, 4);
		assert_int_equal(bench->iov[0].iov_len, 4);
	}
	__atomic_store_n(&flipper.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	bench_destroy(bench);
}
#endif

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_ring_that_breaks_a_rule_is_broken_for_good),
	cmocka_unit_test(a_stopped_ring_gives_and_shows_nothing),
	cmocka_unit_test(
		a_chain_of_more_pieces_than_there_is_room_for_is_refused),
	cmocka_unit_test(a_chain_of_4_gib_is_refused),
	cmocka_unit_test(a_ring_must_be_aligned_sized_and_in_ram),
#ifndef __SANITIZE_THREAD__
	cmocka_unit_test(a_descriptor_that_changes_is_decided_on_from_one_copy),
#endif
};

UNIT_MAIN(tests)
