#include "unit.h"

#include "kvm/memory.h"

#include <errno.h>
#include <string.h>

#define GIB (1ull << 30)

static void ram_is_split_around_the_hole(void **state)
{
	struct memory mem;

	(void)state;
	assert_int_equal(memory_create(&mem, 5 * GIB), 0);
	assert_int_equal(mem.nr_regions, 2);
	assert_non_null(memory_at(&mem, MEMORY_HOLE_START - 1, 1));
	assert_null(memory_at(&mem, MEMORY_HOLE_START, 1));
	assert_null(memory_at(&mem, MEMORY_HIGH_START - 1, 1));
	assert_non_null(memory_at(&mem, MEMORY_HIGH_START, 2 * GIB));
	assert_null(memory_at(&mem, MEMORY_HIGH_START + 2 * GIB, 1));
	memory_destroy(&mem);
}

/* Else KVM maps nothing by huge pages. */
static void host_and_guest_addresses_are_aligned_alike(void **state)
{
	static const uint64_t sizes[] = { 1 << 20, 3 << 20, 256 << 20,
					  5 * GIB };
	struct memory mem;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(memory_create(&mem, sizes[i]), 0);
		for (int n = 0; n < mem.nr_regions; n++) {
			uintptr_t host = (uintptr_t)mem.regions[n].host;

			assert_int_equal(host % (2 << 20),
					 mem.regions[n].start % (2 << 20));
		}
		memory_destroy(&mem);
	}
}

static void a_range_must_lie_in_one_region_and_not_wrap(void **state)
{
	static const struct {
		gpa_t gpa;
		uint64_t len;
		bool valid;
	} cases[] = {
		{ 0, 1 << 20, true },       { 0, (1 << 20) + 1, false },
		{ (1 << 20) - 1, 1, true }, { (1 << 20) - 1, 2, false },
		{ 1 << 20, 0, false },      { 0, 0, true },
		{ UINT64_MAX, 1, false },   { 1, UINT64_MAX, false },
		{ 4096, -4096ull, false },
	};
	struct memory mem;

	(void)state;
	assert_int_equal(memory_create(&mem, 1 << 20), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(memory_at(&mem, cases[i].gpa, cases[i].len) !=
					 NULL,
				 cases[i].valid);
	memory_destroy(&mem);
}

static void a_range_over_the_hole_is_no_ram(void **state)
{
	struct iovec iov[MEMORY_REGIONS];
	uint8_t bytes[16] = { 0 };
	struct memory mem;

	(void)state;
	assert_int_equal(memory_create(&mem, 4 * GIB), 0);
	assert_int_equal(memory_iov(&mem, MEMORY_HOLE_START - 8, 16, iov,
				    MEMORY_REGIONS),
			 -EFAULT);
	assert_false(memory_write(&mem, MEMORY_HOLE_START - 8, bytes, 16));
	assert_true(memory_write(&mem, MEMORY_HOLE_START - 8, bytes, 8));
	memory_destroy(&mem);
}

/* Two regions that touch, as a layout without a hole would have. */
static void a_range_that_straddles_regions_comes_in_pieces(void **state)
{
	struct iovec iov[MEMORY_REGIONS];
	char text[8] = "straddl", back[8];
	struct memory mem;

	(void)state;
	assert_int_equal(memory_create(&mem, 2 << 20), 0);
	mem.nr_regions = 2;
	mem.regions[0].size = 1 << 20;
	mem.regions[1] = (struct memory_region){ 1 << 20, 1 << 20,
						 mem.host + (1 << 20) };
	assert_int_equal(memory_iov(&mem, (1 << 20) - 4, 8, iov, 2), 2);
	assert_int_equal(iov[0].iov_len, 4);
	assert_int_equal(iov[1].iov_len, 4);
	assert_int_equal(memory_iov(&mem, (1 << 20) - 4, 8, iov, 1), -E2BIG);
	assert_null(memory_at(&mem, (1 << 20) - 4, 8));
	assert_true(memory_write(&mem, (1 << 20) - 4, text, 8));
	assert_true(memory_read(&mem, (1 << 20) - 4, back, 8));
	assert_string_equal(back, text);
	memory_destroy(&mem);
}

static void an_absurd_size_is_refused(void **state)
{
	struct memory mem;

	(void)state;
	assert_int_equal(memory_create(&mem, 1ull << 60), -ENOMEM);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(ram_is_split_around_the_hole),
	cmocka_unit_test(host_and_guest_addresses_are_aligned_alike),
	cmocka_unit_test(a_range_must_lie_in_one_region_and_not_wrap),
	cmocka_unit_test(a_range_over_the_hole_is_no_ram),
	cmocka_unit_test(a_range_that_straddles_regions_comes_in_pieces),
	cmocka_unit_test(an_absurd_size_is_refused),
};

UNIT_MAIN(tests)
