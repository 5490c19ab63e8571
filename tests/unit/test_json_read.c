/*
 * The JSON reader (src/util/json_read.h).
 */
#include "unit.h"

#include "util/checked.h"
#include "util/json_read.h"

#include <errno.h>
#include <string.h>

static void what_is_json_is_told_from_what_is_not(void **state)
{
	static const struct {
		const char *text;
		ssize_t length; /* of the first value */
	} cases[] = {
		{ "{}", 2 },
		{ " \t\r\n[ ] x", 7 },
		{ "{\"a\":[1,{\"b\":null}],\"c\":\"\"}{", 27 },
		{ "[true,false,null]", 17 },
		{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00aF\"", 24 },
		{ "\"sk\xc3\xa5l\"", 7 },
		{ "[0,-0,10,-1.5,1e9,1.25E-3,2e+0]", 31 },
		/* Not complete yet. */
		{ "", 0 },
		{ " ", 0 },
		{ "{", 0 },
		{ "{\"a", 0 },
		{ "{\"a\"", 0 },
		{ "{\"a\":", 0 },
		{ "{\"a\":1", 0 },
		{ "{\"a\":1,", 0 },
		{ "[\"\\", 0 },
		{ "[\"\\u00", 0 },
		{ "tru", 0 },
		{ "12", 0 },
		/* Wrong. */
		{ "x ", -EINVAL },
		{ "True ", -EINVAL },
		{ "truest ", -EINVAL },
		{ "}", -EINVAL },
		{ ",", -EINVAL },
		{ ":", -EINVAL },
		{ "{]", -EINVAL },
		{ "[}", -EINVAL },
		{ "{1:2}", -EINVAL },
		{ "{\"a\" 1}", -EINVAL },
		{ "{\"a\",1}", -EINVAL },
		{ "{\"a\":}", -EINVAL },
		{ "{\"a\":1 \"b\":2}", -EINVAL },
		{ "{\"a\":1,}", -EINVAL },
		{ "{,\"a\":1}", -EINVAL },
		{ "{\"a\":\"b\":1}", -EINVAL },
		{ "{{}}", -EINVAL },
		{ "[1,]", -EINVAL },
		{ "[,1]", -EINVAL },
		{ "[1 2]", -EINVAL },
		{ "[\"a\":1]", -EINVAL },
		{ "[01]", -EINVAL },
		{ "[-]", -EINVAL },
		{ "[+1]", -EINVAL },
		{ "[.5]", -EINVAL },
		{ "[1.]", -EINVAL },
		{ "[1e]", -EINVAL },
		{ "[1.2.3]", -EINVAL },
		{ "[0x10]", -EINVAL },
		{ "[NaN]", -EINVAL },
		{ "\"\\x\"", -EINVAL },
		{ "\"\\u00g0\"", -EINVAL },
		{ "\"\n\"", -EINVAL },
		{ "'a'", 0 },
		{ "'a' ", -EINVAL },
		{ "\1", 0 },
		{ "{\1}", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ssize_t length = json_measure(cases[i].text);

		if (length != cases[i].length)
			fail_msg("%s: %zd, not %zd", cases[i].text, length,
				 cases[i].length);
	}
}

static void levels_end_somewhere(void **state)
{
	char text[JSON_LEVELS * 2 + 3];

	(void)state;
	for (int more = 0; more < 2; more++) {
		int levels = JSON_LEVELS + more;

		memset(text, '[', levels);
		memset(text + levels, ']', levels);
		text[levels * 2] = '\0';
		assert_int_equal(json_measure(text),
				 more ? -E2BIG : levels * 2);
	}
	/* An endless flight of stairs costs no stack. */
	memset(text, '[', sizeof(text) - 1);
	assert_int_equal(json_measure(text), -E2BIG);
}

static void members_come_one_after_the_other(void **state)
{
	static const char text[] = " {\"a\" : \"}\\\"\" , \"b\":[{},2],"
				   "\"c\":{\"a\":1 }\t, \"d\":-1.5 } {\"e\":0}";
	static const char *const want[][2] = { { "a", "\"}\\\"\"" },
					       { "b", "[{},2]" },
					       { "c", "{\"a\":1 }" },
					       { "d", "-1.5" } };
	const char *at = text + 1, *key, *value;
	char name[8];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		assert_true(json_next(&at, &key, &value));
		assert_int_equal(json_get_text(key, name, sizeof(name)), 0);
		assert_string_equal(name, want[i][0]);
		assert_int_equal(json_measure(value), strlen(want[i][1]));
		assert_memory_equal(value, want[i][1], strlen(want[i][1]));
	}
	assert_false(json_next(&at, &key, &value));
	assert_false(json_next(&at, &key, &value));
	at = "{ }";
	assert_false(json_next(&at, &key, &value));
	at = "[\"a\",1]";
	assert_false(json_next(&at, &key, &value));
}

static void names_are_cut_off(void **state)
{
	char name[4] = "old";

	(void)state;
	assert_int_equal(json_get_text("12", name, sizeof(name)), -EINVAL);
	assert_string_equal(name, "old");
	assert_int_equal(json_get_text("\"\"", name, sizeof(name)), 0);
	assert_string_equal(name, "");
	assert_int_equal(json_get_text("\"abc\"d", name, sizeof(name)), 0);
	assert_string_equal(name, "abc");
	assert_int_equal(json_get_text("\"abcdef\"", name, sizeof(name)), 0);
	assert_string_equal(name, "abc");
	assert_int_equal(json_get_text("\"\\\"b\"", name, sizeof(name)), 0);
	assert_string_equal(name, "\\\"b");
}

static void numbers_are_whole_and_not_negative(void **state)
{
	static const char *const wrong[] = { "-1,",   "1.0,",
					     "1e3,",  "\"1\",",
					     "true,", "18446744073709551616," };
	uint64_t number;

	(void)state;
	assert_int_equal(json_get_number("18446744073709551615,", &number), 0);
	assert_int_equal(number, UINT64_MAX);
	assert_int_equal(json_get_number("0}", &number), 0);
	assert_int_equal(number, 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(json_get_number(wrong[i], &number), -EINVAL);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(what_is_json_is_told_from_what_is_not),
	cmocka_unit_test(levels_end_somewhere),
	cmocka_unit_test(members_come_one_after_the_other),
	cmocka_unit_test(names_are_cut_off),
	cmocka_unit_test(numbers_are_whole_and_not_negative),
};

UNIT_MAIN(tests)
