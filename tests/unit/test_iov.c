#include "unit.h"

#include "util/checked.h"
#include "util/iov.h"

#include <string.h>

/* "abcdefghij" in pieces of 3, 0, 1 and 6 bytes. */
struct pieces {
	char text[11];
	struct iovec iov[4];
	struct iovec *at;
	int count;
};

static struct pieces *pieces(struct pieces *p)
{
	memcpy(p->text, "abcdefghij", sizeof(p->text));
	p->iov[0] = (struct iovec){ p->text, 3 };
	p->iov[1] = (struct iovec){ p->text + 3, 0 };
	p->iov[2] = (struct iovec){ p->text + 3, 1 };
	p->iov[3] = (struct iovec){ p->text + 4, 6 };
	p->at = p->iov;
	p->count = 4;
	return p;
}

static const struct {
	uint64_t skip, length;
	const char *text; /* what is there */
} cases[] = {
	{ 0, 10, "abcdefghij" }, { 0, 0, "" },  { 2, 3, "cde" },
	{ 3, 1, "d" },           { 9, 5, "j" }, { 10, 1, "" },
	{ UINT64_MAX, 1, "" },
};

static void pieces_are_copied_out(void **state)
{
	struct pieces p;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[11] = { 0 };

		pieces(&p);
		assert_int_equal(iov_copy_out(p.iov, 4, cases[i].skip, text,
					      cases[i].length),
				 strlen(cases[i].text));
		assert_string_equal(text, cases[i].text);
	}
}

static void pieces_are_copied_in(void **state)
{
	struct pieces p;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char want[11] = "abcdefghij";
		size_t n = strlen(cases[i].text);

		pieces(&p);
		if (n)
			memset(want + cases[i].skip, '.', n);
		assert_int_equal(iov_copy_in(p.iov, 4, cases[i].skip,
					     "..........", cases[i].length),
				 n);
		assert_string_equal(p.text, want);
	}
}

static void a_list_is_cut_at_both_ends(void **state)
{
	static const struct {
		uint64_t skip, keep;
		const char *text;
		int count;
	} cuts[] = {
		{ 0, 10, "abcdefghij", 4 },
		{ 0, 3, "abc", 1 },
		{ 3, 7, "defghij", 2 },
		{ 1, 2, "bc", 1 },
		{ 2, 3, "cde", 4 },
		{ 10, 0, "", 0 },
		{ 0, 0, "", 0 },
	};
	struct pieces p;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		char text[11] = { 0 };

		pieces(&p);
		iov_skip(&p.at, &p.count, cuts[i].skip);
		iov_trim(p.at, &p.count, cuts[i].keep);
		assert_int_equal(p.count, cuts[i].count);
		assert_int_equal(iov_total(p.at, p.count),
				 strlen(cuts[i].text));
		iov_copy_out(p.at, p.count, 0, text, 10);
		assert_string_equal(text, cuts[i].text);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(pieces_are_copied_out),
	cmocka_unit_test(pieces_are_copied_in),
	cmocka_unit_test(a_list_is_cut_at_both_ends),
};

UNIT_MAIN(tests)
