#include "unit.h"

#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <string.h>

static void sizes_have_suffixes_of_powers_of_1024(void **state)
{
	static const struct {
		const char *text;
		uint64_t size;
	} cases[] = {
		{ "0", 0 },           { "4096", 4096 },
		{ "1k", 1024 },       { "512M", 512 << 20 },
		{ "2G", 2ull << 30 }, { "3T", 3ull << 40 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t size;

		assert_int_equal(parse_size(cases[i].text, &size), 0);
		assert_int_equal(size, cases[i].size);
	}
}

static void what_is_no_size_is_refused(void **state)
{
	static const char *const cases[] = {
		"",
		"M",
		"-1",
		"+1",
		" 1",
		"1 M",
		"1MB",
		"1.5G",
		"0x10",
		"1K1",
		"18446744073709551616",
		"16777216T",
		"99999999999999999999999999999999",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t size;

		assert_int_equal(parse_size(cases[i], &size), -EINVAL);
	}
}

static void numbers_keep_to_their_range(void **state)
{
	uint64_t n;

	(void)state;
	assert_int_equal(parse_number("1", 1, 255, &n), 0);
	assert_int_equal(parse_number("255", 1, 255, &n), 0);
	assert_int_equal(n, 255);
	assert_int_equal(parse_number("0", 1, 255, &n), -EINVAL);
	assert_int_equal(parse_number("256", 1, 255, &n), -EINVAL);
	assert_int_equal(
		parse_number("99999999999999999999", 0, UINT64_MAX, &n),
		-EINVAL);
}

static void lists_split_at_commas_and_two_stand_for_one(void **state)
{
	char text[] = "a,,b.qcow2,format=raw,readonly";
	char *rest = text, *value;

	(void)state;
	assert_string_equal(list_next(&rest, &value), "a,b.qcow2");
	assert_null(value);
	assert_string_equal(list_next(&rest, &value), "format");
	assert_string_equal(value, "raw");
	assert_string_equal(list_next(&rest, &value), "readonly");
	assert_null(value);
	assert_null(list_next(&rest, &value));
}

static void one_word_is_among_words_and_no_more(void **state)
{
	static const char *const not [] = { "",       "of",     "offs",
					    "on off", "on ",    " on",
					    " ",      "f none", "off none" };

	(void)state;
	assert_true(among("on off none", "on"));
	assert_true(among("on off none", "off"));
	assert_true(among("on off none", "none"));
	assert_true(among("on", "on"));
	for (size_t i = 0; i < ARRAY_SIZE(not ); i++)
		assert_false(among("on off none", not [i]));
}

static const struct arg_option flags[] = {
	{ "kernel", 'k', "FILE", "a file" },
	{ "no-reboot", 'R', NULL, "a switch" },
};

static struct args args_of(int argc, char **argv)
{
	return (struct args){ .command = "test",
			      .options = flags,
			      .nr_options = ARRAY_SIZE(flags),
			      .argc = argc,
			      .argv = argv };
}

static void an_option_is_given_in_four_ways(void **state)
{
	char *argv[] = { (char[]){ "--kernel" },   (char[]){ "a" },
			 (char[]){ "--kernel=b" }, (char[]){ "-k" },
			 (char[]){ "c" },          (char[]){ "-kd" } };
	struct args args = args_of(6, argv);
	char *value;

	(void)state;
	for (const char *want = "abcd"; *want; want++) {
		assert_int_equal(args_next(&args, &value), 0);
		assert_int_equal(value[0], *want);
	}
	assert_int_equal(args_next(&args, &value), ARGS_END);
}

static void wrong_options_are_refused(void **state)
{
	char *cases[] = { (char[]){ "--kernal" }, (char[]){ "-z" },
			  (char[]){ "--no-reboot=1" }, (char[]){ "--kernel" },
			  (char[]){ "-Rk" } };

	(void)state;
	log_set_level(LOG_ERR);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct args args = args_of(1, &cases[i]);
		char *value;

		assert_int_equal(args_next(&args, &value), -EINVAL);
	}
}

static void after_two_dashes_nothing_is_an_option(void **state)
{
	char *argv[] = { (char[]){ "--" }, (char[]){ "-R" }, (char[]){ "--" } };
	struct args args = args_of(3, argv);
	char *value;

	(void)state;
	assert_int_equal(args_next(&args, &value), ARGS_FREE);
	assert_string_equal(value, "-R");
	assert_int_equal(args_next(&args, &value), ARGS_FREE);
	assert_string_equal(value, "--");
	assert_int_equal(args_next(&args, &value), ARGS_END);
}

static void a_command_without_options_takes_help_alone(void **state)
{
	static const struct {
		int argc;
		char argv[2][8];
		int want;
	} cases[] = {
		{ 0, { "", "" }, 1 },       { 1, { "--help", "" }, 0 },
		{ 1, { "-h", "" }, 0 },     { 1, { "x", "" }, -EINVAL },
		{ 1, { "", "" }, -EINVAL }, { 2, { "x", "--help" }, -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char first[8], second[8], *argv[] = { first, second };

		strcpy(first, cases[i].argv[0]);
		strcpy(second, cases[i].argv[1]);
		assert_int_equal(
			args_none("demo", "its help", cases[i].argc, argv),
			cases[i].want);
	}
}

static void the_nearest_name_is_suggested(void **state)
{
	static const char *const names[] = { "kernel", "memory", "disk" };

	(void)state;
	assert_string_equal(args_nearest("kernal", names, 3, sizeof(*names)),
			    "kernel");
	assert_string_equal(args_nearest("mem", names, 3, sizeof(*names)),
			    "memory");
	assert_string_equal(args_nearest("disc", names, 3, sizeof(*names)),
			    "disk");
	assert_null(args_nearest("xyzzy", names, 3, sizeof(*names)));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(sizes_have_suffixes_of_powers_of_1024),
	cmocka_unit_test(what_is_no_size_is_refused),
	cmocka_unit_test(numbers_keep_to_their_range),
	cmocka_unit_test(lists_split_at_commas_and_two_stand_for_one),
	cmocka_unit_test(one_word_is_among_words_and_no_more),
	cmocka_unit_test(an_option_is_given_in_four_ways),
	cmocka_unit_test(wrong_options_are_refused),
	cmocka_unit_test(after_two_dashes_nothing_is_an_option),
	cmocka_unit_test(a_command_without_options_takes_help_alone),
	cmocka_unit_test(the_nearest_name_is_suggested),
};

UNIT_MAIN(tests)
