#include "unit.h"

#include "ring_driver.h"
#include "util/checked.h"

#include <errno.h>
#include <pthread.h>

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

static void bench_start(struct bench *bench, bool indirect, bool event_idx)
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

static struct bench *bench_create(void)
{
	struct bench *bench = test_calloc(1, sizeof(*bench));

	assert_int_equal(memory_create(&bench->memory, MEMORY_SIZE), 0);
	bench_start(bench, false, false);
	return bench;
}

static void bench_destroy(struct bench *bench)
{
	memory_destroy(&bench->memory);
	test_free(bench);
}

static int pop(struct bench *bench)
{
	return ring_pop(&bench->ring, &bench->chain);
}

static void chains_come_in_order_with_their_bytes(void **state)
{
	static const struct segment segments[] = {
		{ DATA_AT, 16, false },
		{ DATA_AT + 512, 512, true },
		{ DATA_AT + 2048, 1, true },
	};
	struct bench *bench = bench_create();
	struct ring_chain *chain = &bench->chain;
	uint16_t head;

	(void)state;
	assert_int_equal(pop(bench), 0);
	driver_add(&bench->driver, segments, 1);
	head = driver_add(&bench->driver, segments, 3);
	assert_int_equal(pop(bench), 1);
	assert_int_equal(chain->readable, 1);
	assert_int_equal(chain->writable, 0);
	assert_int_equal(pop(bench), 1);
	assert_int_equal(chain->head, head);
	assert_int_equal(chain->read_bytes, 16);
	assert_int_equal(chain->write_bytes, 513);
	assert_int_equal(chain->readable, 1);
	assert_int_equal(chain->writable, 2);
	assert_ptr_equal(chain->iov[2].iov_base,
			 memory_at(&bench->memory, DATA_AT + 2048, 1));
	assert_int_equal(pop(bench), 0);
	bench_destroy(bench);
}

static void the_ring_wraps_many_times(void **state)
{
	static const struct segment segment = { DATA_AT, 4, true };
	struct bench *bench = bench_create();
	struct vring_used_elem elem;

	(void)state;
	for (unsigned i = 0; i < 0x10000 + 3 * SIZE; i++) {
		uint16_t head = driver_add(&bench->driver, &segment, 1);

		assert_int_equal(pop(bench), 1);
		ring_push(&bench->ring, &bench->chain, i);
		assert_true(ring_publish(&bench->ring));
		assert_true(driver_take(&bench->driver, &elem));
		assert_int_equal(elem.id, head);
		assert_int_equal(elem.len, i);
	}
	bench_destroy(bench);
}

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

/* Those with INDIRECT negotiated. */
static void indirect_offer(struct bench *bench, uint64_t addr, uint32_t len,
			   uint16_t flags)
{
	*driver_desc(&bench->driver, 0) =
		(struct vring_desc){ addr, len, VRING_DESC_F_INDIRECT | flags,
				     1 };
	driver_offer(&bench->driver, 0);
}

static struct vring_desc *indirect_table(struct bench *bench)
{
	struct vring_desc *table = memory_at(&bench->memory, TABLE_AT, 4096);

	table[0] = (struct vring_desc){ DATA_AT, 4, 0, 0 };
	return table;
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
	}
	bench_destroy(bench);
}

static void an_indirect_table_is_followed_to_its_end(void **state)
{
	struct bench *bench = bench_create();
	struct vring_desc *table;

	(void)state;
	bench_start(bench, true, false);
	/* The table is at an odd address and its chain is not in order. */
	table = memory_at(&bench->memory, TABLE_AT + 8, 3 * 16);
	table[0] = (struct vring_desc){ DATA_AT, 16, VRING_DESC_F_NEXT, 2 };
	table[2] = (struct vring_desc){ DATA_AT + 16, 32,
					VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
					1 };
	table[1] =
		(struct vring_desc){ DATA_AT + 64, 1, VRING_DESC_F_WRITE, 0 };
	indirect_offer(bench, TABLE_AT + 8, 3 * 16, 0);
	assert_int_equal(pop(bench), 1);
	assert_int_equal(bench->chain.head, 0);
	assert_int_equal(bench->chain.read_bytes, 16);
	assert_int_equal(bench->chain.write_bytes, 33);
	bench_destroy(bench);
}

static void an_indirect_table_may_end_a_direct_chain(void **state)
{
	struct bench *bench = bench_create();

	(void)state;
	bench_start(bench, true, false);
	indirect_table(bench);
	*driver_desc(&bench->driver, 1) =
		(struct vring_desc){ TABLE_AT, 16, VRING_DESC_F_INDIRECT, 0 };
	*driver_desc(&bench->driver, 0) =
		(struct vring_desc){ DATA_AT, 8, VRING_DESC_F_NEXT, 1 };
	driver_offer(&bench->driver, 0);
	assert_int_equal(pop(bench), 1);
	assert_int_equal(bench->chain.read_bytes, 12);
	bench_destroy(bench);
}

static void empty_descriptors_are_legal(void **state)
{
	static const struct segment segments[] = {
		{ 0, 0, false },
		{ DATA_AT, 4, false },
		{ UINT64_MAX, 0, true },
		{ DATA_AT, 4, true },
	};
	struct bench *bench = bench_create();

	(void)state;
	driver_add(&bench->driver, segments, 4);
	driver_add(&bench->driver, segments, 1);
	assert_int_equal(pop(bench), 1);
	assert_int_equal(bench->chain.readable, 1);
	assert_int_equal(bench->chain.writable, 1);
	assert_int_equal(pop(bench), 1);
	assert_int_equal(bench->chain.readable, 0);
	assert_int_equal(bench->chain.read_bytes, 0);
	bench_destroy(bench);
}

static void a_chain_as_long_as_the_queue_fits(void **state)
{
	struct segment segments[SIZE];
	struct bench *bench = bench_create();

	(void)state;
	for (int i = 0; i < SIZE; i++)
		segments[i] = (struct segment){ DATA_AT + i, 1, true };
	driver_add(&bench->driver, segments, SIZE);
	assert_int_equal(pop(bench), 1);
	assert_int_equal(bench->chain.writable, SIZE);
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

/* Two regions that touch, as no machine has them today. */
static void a_buffer_across_regions_comes_in_pieces(void **state)
{
	struct bench *bench = bench_create();
	struct memory split = bench->memory;

	(void)state;
	split.nr_regions = 2;
	split.regions[0] =
		(struct memory_region){ 0, DATA_AT, bench->memory.host };
	/* The bytes behind lie elsewhere: after a gap of a page. */
	split.regions[1] =
		(struct memory_region){ DATA_AT, MEMORY_SIZE - DATA_AT - 4096,
					bench->memory.host + DATA_AT + 4096 };
	bench->ring.memory = &split;
	driver_add(&bench->driver, &(struct segment){ DATA_AT - 3, 8, true },
		   1);
	assert_int_equal(pop(bench), 1);
	assert_int_equal(bench->chain.writable, 2);
	assert_int_equal(bench->iov[0].iov_len, 3);
	assert_int_equal(bench->iov[1].iov_len, 5);
	assert_ptr_equal(bench->iov[1].iov_base,
			 bench->memory.host + DATA_AT + 4096);
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

/* R4. */
static void elements_show_only_when_published(void **state)
{
	static const struct segment segment = { DATA_AT, 4, true };
	struct bench *bench = bench_create();
	struct vring_used_elem elem;

	(void)state;
	driver_add(&bench->driver, &segment, 1);
	driver_add(&bench->driver, &segment, 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pop(bench), 1);
		ring_push(&bench->ring, &bench->chain, 4);
		assert_false(driver_take(&bench->driver, &elem));
	}
	assert_true(ring_publish(&bench->ring));
	assert_true(driver_take(&bench->driver, &elem));
	assert_true(driver_take(&bench->driver, &elem));
	/* One interrupt for all of them, and none for nothing. */
	assert_false(ring_publish(&bench->ring));
	bench_destroy(bench);
}

/* That this is a race is the point: not for the thread sanitizer. */
#ifndef __SANITIZE_THREAD__
struct flipper {
	volatile uint32_t *len;
	bool stop; /* atomic */
};

/* A hostile driver: the length is fine whenever it is checked. */
static void *flip(void *arg)
{
	struct flipper *flipper = arg;

	while (!__atomic_load_n(&flipper->stop, __ATOMIC_RELAXED)) {
		*flipper->len = MEMORY_SIZE * 2;
		*flipper->len = 4;
	}
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
	pthread_t thread;

	(void)state;
	driver_chain(&bench->driver, &segment, 1);
	pthread_create(&thread, NULL, flip, &flipper);
	for (int i = 0; i < 20000; i++) {
		struct ring_config config = driver_config(&bench->driver);

		driver_avail(&bench->driver)->idx = 0;
		assert_int_equal(ring_start(&bench->ring, &config), 0);
		driver_offer(&bench->driver, 0);
		if (pop(bench) == -EPROTO)
			continue;
		assert_int_equal(bench->chain.write_bytes, 4);
		assert_int_equal(bench->iov[0].iov_len, 4);
	}
	__atomic_store_n(&flipper.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	bench_destroy(bench);
}
#endif

/* R1. */
static void a_chain_of_an_earlier_life_is_not_pushed(void **state)
{
	static const struct segment segment = { DATA_AT, 4, true };
	struct bench *bench = bench_create();
	struct ring_chain old;

	(void)state;
	driver_add(&bench->driver, &segment, 1);
	assert_int_equal(pop(bench), 1);
	old = bench->chain;
	ring_stop(&bench->ring);
	ring_push(&bench->ring, &old, 4);
	assert_false(ring_publish(&bench->ring));
	bench_start(bench, false, false);
	ring_push(&bench->ring, &old, 4);
	assert_false(ring_publish(&bench->ring));
	assert_int_equal(driver_ring_used(&bench->driver)->idx, 0);
	bench_destroy(bench);
}

static void what_is_given_back_comes_again(void **state)
{
	static const struct segment segment = { DATA_AT, 4, true };
	struct bench *bench = bench_create();
	uint16_t heads[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		heads[i] = driver_add(&bench->driver, &segment, 1);
		assert_int_equal(pop(bench), 1);
	}
	ring_unpop(&bench->ring, 2);
	for (int i = 1; i < 3; i++) {
		assert_int_equal(pop(bench), 1);
		assert_int_equal(bench->chain.head, heads[i]);
	}
	assert_int_equal(pop(bench), 0);
	bench_destroy(bench);
}

static void
a_ring_that_was_served_elsewhere_goes_on_where_it_stands(void **state)
{
	static const struct segment segment = { DATA_AT, 4, true };
	struct bench *bench = bench_create();
	uint16_t third = 0;

	(void)state;
	for (int i = 0; i < 3; i++)
		third = driver_add(&bench->driver, &segment, 1);
	/* Two of them are done, and one of these has been pushed. */
	driver_ring_used(&bench->driver)->idx = 1;
	ring_moved(&bench->ring, 2);
	assert_int_equal(pop(bench), 1);
	assert_int_equal(bench->chain.head, third);
	ring_push(&bench->ring, &bench->chain, 4);
	assert_true(ring_publish(&bench->ring));
	assert_int_equal(driver_ring_used(&bench->driver)->idx, 2);
	assert_int_equal(driver_ring_used(&bench->driver)->ring[1].id, third);
	bench_destroy(bench);
}

static void the_driver_may_do_without_interrupts(void **state)
{
	static const struct segment segment = { DATA_AT, 4, true };
	struct bench *bench = bench_create();

	(void)state;
	driver_avail(&bench->driver)->flags = VRING_AVAIL_F_NO_INTERRUPT;
	driver_add(&bench->driver, &segment, 1);
	assert_int_equal(pop(bench), 1);
	ring_push(&bench->ring, &bench->chain, 4);
	assert_false(ring_publish(&bench->ring));
	assert_int_equal(driver_ring_used(&bench->driver)->idx, 1);
	bench_destroy(bench);
}

static void an_event_index_chooses_the_interrupt(void **state)
{
	static const struct segment segment = { DATA_AT, 4, true };
	/* Interrupt when the used index passes this: in which publish of
	 * batches of 2. */
	static const struct {
		uint16_t event;
		int publish;
	} cases[] = { { 0, 0 }, { 1, 0 },  { 2, 1 },      { 3, 1 },
		      { 5, 2 }, { 6, -1 }, { 0xffff, -1 } };
	struct bench *bench = bench_create();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bench_start(bench, false, true);
		*driver_used_event(&bench->driver) = cases[i].event;
		for (int publish = 0; publish < 3; publish++) {
			for (int j = 0; j < 2; j++) {
				driver_add(&bench->driver, &segment, 1);
				assert_int_equal(pop(bench), 1);
				ring_push(&bench->ring, &bench->chain, 4);
			}
			assert_int_equal(ring_publish(&bench->ring),
					 publish == cases[i].publish);
		}
	}
	bench_destroy(bench);
}

static void the_device_asks_for_notifications_before_it_sleeps(void **state)
{
	static const struct segment segment = { DATA_AT, 4, true };
	struct bench *bench = bench_create();
	struct vring_used *used = driver_ring_used(&bench->driver);

	(void)state;
	ring_notify_off(&bench->ring);
	assert_int_equal(used->flags, VRING_USED_F_NO_NOTIFY);
	assert_false(ring_notify_on(&bench->ring));
	assert_int_equal(used->flags, 0);
	driver_add(&bench->driver, &segment, 1);
	/* It came without a notification: look again. */
	assert_true(ring_notify_on(&bench->ring));

	bench_start(bench, false, true);
	for (int i = 0; i < 3; i++) {
		driver_add(&bench->driver, &segment, 1);
		assert_int_equal(pop(bench), 1);
	}
	assert_int_equal(*driver_avail_event(&bench->driver), 0);
	assert_false(ring_notify_on(&bench->ring));
	assert_int_equal(*driver_avail_event(&bench->driver), 3);
	bench_destroy(bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(chains_come_in_order_with_their_bytes),
	cmocka_unit_test(the_ring_wraps_many_times),
	cmocka_unit_test(a_ring_that_breaks_a_rule_is_broken_for_good),
	cmocka_unit_test(an_indirect_table_is_followed_to_its_end),
	cmocka_unit_test(an_indirect_table_may_end_a_direct_chain),
	cmocka_unit_test(empty_descriptors_are_legal),
	cmocka_unit_test(a_chain_as_long_as_the_queue_fits),
	cmocka_unit_test(a_chain_of_4_gib_is_refused),
	cmocka_unit_test(a_buffer_across_regions_comes_in_pieces),
	cmocka_unit_test(a_ring_must_be_aligned_sized_and_in_ram),
	cmocka_unit_test(elements_show_only_when_published),
#ifndef __SANITIZE_THREAD__
	cmocka_unit_test(a_descriptor_that_changes_is_decided_on_from_one_copy),
#endif
	cmocka_unit_test(a_chain_of_an_earlier_life_is_not_pushed),
	cmocka_unit_test(what_is_given_back_comes_again),
	cmocka_unit_test(
		a_ring_that_was_served_elsewhere_goes_on_where_it_stands),
	cmocka_unit_test(the_driver_may_do_without_interrupts),
	cmocka_unit_test(an_event_index_chooses_the_interrupt),
	cmocka_unit_test(the_device_asks_for_notifications_before_it_sleeps),
};

UNIT_MAIN(tests)
