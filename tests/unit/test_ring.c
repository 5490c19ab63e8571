/*
 * Rings that keep the rules: chains, elements, interrupts, notifications. Those
 * that do not are in test_ring_hostile.c.
 */
#include "ring_bench.h"

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
	assert_int_equal(ring_unpublished(&bench->ring), 0);
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
	assert_int_equal(ring_quiet(&bench->ring), 1);
	assert_false(ring_publish(&bench->ring));
	assert_int_equal(driver_ring_used(&bench->driver)->idx, 1);
	bench_destroy(bench);
}

static void what_needs_no_interrupt_can_be_shown_before_the_rest(void **state)
{
	static const struct segment segment = { DATA_AT, 4, true };
	/* With six elements pushed: how many before the interrupt. */
	static const struct {
		uint16_t event, quiet;
	} cases[] = { { 0, 0 }, { 4, 4 }, { 5, 5 }, { 6, 6 }, { 65535, 6 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bench *bench = bench_create();

		bench_start(bench, false, true);
		*driver_used_event(&bench->driver) = cases[i].event;
		for (int n = 0; n < 6; n++) {
			driver_add(&bench->driver, &segment, 1);
			assert_int_equal(pop(bench), 1);
			ring_push(&bench->ring, &bench->chain, 0);
		}
		assert_int_equal(ring_quiet(&bench->ring), cases[i].quiet);
		assert_false(ring_publish_to(&bench->ring,
					     ring_quiet(&bench->ring)));
		assert_int_equal(driver_ring_used(&bench->driver)->idx,
				 cases[i].quiet);
		assert_int_equal(ring_publish(&bench->ring),
				 cases[i].quiet < 6);
		assert_int_equal(driver_ring_used(&bench->driver)->idx, 6);
		bench_destroy(bench);
	}
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
	ring_notify_off(&bench->ring);
	assert_int_equal(used->flags, 0);
	assert_int_equal(*driver_avail_event(&bench->driver), 0);
	assert_false(ring_notify_on(&bench->ring));
	assert_int_equal(*driver_avail_event(&bench->driver), 3);
	bench_destroy(bench);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(chains_come_in_order_with_their_bytes),
	cmocka_unit_test(the_ring_wraps_many_times),
	cmocka_unit_test(an_indirect_table_is_followed_to_its_end),
	cmocka_unit_test(an_indirect_table_may_end_a_direct_chain),
	cmocka_unit_test(empty_descriptors_are_legal),
	cmocka_unit_test(a_chain_as_long_as_the_queue_fits),
	cmocka_unit_test(a_buffer_across_regions_comes_in_pieces),
	cmocka_unit_test(elements_show_only_when_published),
	cmocka_unit_test(a_chain_of_an_earlier_life_is_not_pushed),
	cmocka_unit_test(what_is_given_back_comes_again),
	cmocka_unit_test(
		a_ring_that_was_served_elsewhere_goes_on_where_it_stands),
	cmocka_unit_test(the_driver_may_do_without_interrupts),
	cmocka_unit_test(what_needs_no_interrupt_can_be_shown_before_the_rest),
	cmocka_unit_test(an_event_index_chooses_the_interrupt),
	cmocka_unit_test(the_device_asks_for_notifications_before_it_sleeps),
};

UNIT_MAIN(tests)
