/* The relocations of a kernel: what is changed, and what is refused. */
#include "boot/relocate.h"

#include "unit.h"
#include "util/bytes.h"
#include "util/checked.h"

#include <errno.h>
#include <string.h>

#define LINKED   0xffffffff81000000ull
#define DISTANCE 0x600000ull
#define LEN      64

/* Of an address in the image, as the table has it. */
#define AT(offset) ((uint32_t)(0x81000000u + (offset)))

static int run(uint8_t image[LEN], const uint32_t *words, size_t count,
	       uint64_t len)
{
	uint8_t table[64];

	for (size_t i = 0; i < count; i++)
		put_le32(table + i * 4, words[i]);
	return relocate(image, len, table, count * 4, LINKED, DISTANCE);
}

static void every_list_changes_its_kind_of_place(void **state)
{
	static const uint32_t words[] = { 0,      AT(56), AT(0),  0,
					  AT(13), 0,      AT(20), AT(60) };
	uint8_t image[LEN] = { 0 };

	(void)state;
	put_le64(image, LINKED + 0x1234);
	put_le32(image + 13, 0x1000);
	put_le32(image + 20, AT(8));
	assert_int_equal(run(image, words, ARRAY_SIZE(words), LEN), 0);
	assert_true(get_le64(image) == LINKED + 0x1234 + DISTANCE);
	assert_int_equal(get_le32(image + 13), 0x1000 - (uint32_t)DISTANCE);
	assert_int_equal(get_le32(image + 20), AT(8) + DISTANCE);
	/* Both of two places that overlap. */
	assert_true(get_le64(image + 56) == DISTANCE + (DISTANCE << 32));
	assert_int_equal(get_le32(image + 8), 0);
}

static void newer_kernels_have_two_lists(void **state)
{
	static const uint32_t words[] = { 0, AT(0), 0, AT(16) };
	uint8_t image[LEN] = { 0 };

	(void)state;
	put_le32(image + 16, AT(8));
	assert_int_equal(run(image, words, ARRAY_SIZE(words), LEN), 0);
	assert_true(get_le64(image) == DISTANCE);
	assert_int_equal(get_le32(image + 16), AT(8) + DISTANCE);
}

static void empty_lists_change_nothing(void **state)
{
	static const uint32_t words[] = { 0, 0, 0 };
	uint8_t image[LEN] = { 0 }, zeros[LEN] = { 0 };

	(void)state;
	assert_int_equal(run(image, words, 3, LEN), 0);
	assert_int_equal(run(image, words, 2, LEN), 0);
	assert_int_equal(run(image, words, 2, 0), 0);
	assert_memory_equal(image, zeros, LEN);
}

static void a_malformed_table_is_refused(void **state)
{
	static const struct {
		const char *what;
		uint32_t words[8];
		size_t count;
		uint64_t len;
	} cases[] = {
		{ "nothing", { 0 }, 0, LEN },
		{ "one list", { 0, AT(0) }, 2, LEN },
		{ "four lists", { 0, 0, 0, 0 }, 4, LEN },
		{ "no zero at its start", { AT(0), 0, 0 }, 3, LEN },
		{ "64 bits past the end", { 0, AT(57), 0 }, 3, LEN },
		{ "64 bits before the start", { 0, AT(-1), 0 }, 3, LEN },
		{ "32 bits past the end", { 0, 0, AT(61) }, 3, LEN },
		{ "the second list's past the end",
		  { 0, 0, AT(61), 0 },
		  4,
		  LEN },
		{ "a low address", { 0, 0, 0x1000000 }, 3, LEN },
		{ "the highest address", { 0, 0, 0xffffffff }, 3, LEN },
		{ "64 bits in an image of 4 bytes", { 0, AT(0), 0 }, 3, 4 },
		{ "32 bits in an image of 3 bytes", { 0, 0, AT(0) }, 3, 3 },
	};
	uint8_t image[LEN], table[13] = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (run(image, cases[i].words, cases[i].count, cases[i].len) !=
		    -EINVAL)
			fail_msg("%s was taken", cases[i].what);
	}
	assert_int_equal(relocate(image, LEN, table, 13, LINKED, DISTANCE),
			 -EINVAL);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(every_list_changes_its_kind_of_place),
	cmocka_unit_test(newer_kernels_have_two_lists),
	cmocka_unit_test(empty_lists_change_nothing),
	cmocka_unit_test(a_malformed_table_is_refused),
};

UNIT_MAIN(tests)
