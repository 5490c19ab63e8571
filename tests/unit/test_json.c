/*
 * The JSON writer (src/util/json.h).
 */
#include "unit.h"

#include "util/json.h"

#include <stdlib.h>
#include <string.h>

struct sink {
	char *text;
	size_t len;
	FILE *file;
	struct json json;
};

static void sink_open(struct sink *s)
{
	s->file = open_memstream(&s->text, &s->len);
	assert_non_null(s->file);
	json_init(&s->json, s->file);
}

static void sink_expect(struct sink *s, const char *text)
{
	fclose(s->file);
	assert_string_equal(s->text, text);
	free(s->text);
}

static void objects_and_arrays_are_nested_and_indented(void **state)
{
	struct sink s;

	(void)state;
	sink_open(&s);
	json_object(&s.json, NULL);
	json_string(&s.json, "name", "disk");
	json_array(&s.json, "list");
	json_number(&s.json, NULL, UINT64_MAX);
	json_object(&s.json, NULL);
	json_bool(&s.json, "dirty", true);
	json_bool(&s.json, "corrupt", false);
	json_end(&s.json);
	json_end(&s.json);
	json_number(&s.json, "last", 0);
	json_end(&s.json);
	sink_expect(&s, "{\n"
			"    \"name\": \"disk\",\n"
			"    \"list\": [\n"
			"        18446744073709551615,\n"
			"        {\n"
			"            \"dirty\": true,\n"
			"            \"corrupt\": false\n"
			"        }\n"
			"    ],\n"
			"    \"last\": 0\n"
			"}\n");
}

static void an_empty_list_is_an_empty_list(void **state)
{
	struct sink s;

	(void)state;
	sink_open(&s);
	json_array(&s.json, NULL);
	json_end(&s.json);
	sink_expect(&s, "[\n]\n");
}

static void text_is_escaped(void **state)
{
	static const struct {
		const char *text, *json;
	} cases[] = {
		{ "a\"b\\c/d", "\"a\\\"b\\\\c/d\"" },
		{ "\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\"" },
		{ "\x01\x1f\x7f", "\"\\u0001\\u001F\\u007F\"" },
		{ "sk\xc3\xa5l", "\"sk\\u00E5l\"" },
		{ "\xe2\x82\xac", "\"\\u20AC\"" },
		{ "\xf0\x9f\x98\x80", "\"\\uD83D\\uDE00\"" },
		/* No UTF-8: a stray byte, overlong, a surrogate, too large,
		 * cut short. */
		{ "\x80x", "\"\\uFFFDx\"" },
		{ "\xc0\xaf", "\"\\uFFFD\\uFFFD\"" },
		{ "\xed\xa0\x80", "\"\\uFFFD\\uFFFD\\uFFFD\"" },
		{ "\xf4\x90\x80\x80", "\"\\uFFFD\\uFFFD\\uFFFD\\uFFFD\"" },
		{ "\xff", "\"\\uFFFD\"" },
		{ "\xe2\x82", "\"\\uFFFD\\uFFFD\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sink s;

		sink_open(&s);
		json_string(&s.json, NULL, cases[i].text);
		sink_expect(&s, cases[i].json);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_and_arrays_are_nested_and_indented),
		cmocka_unit_test(an_empty_list_is_an_empty_list),
		cmocka_unit_test(text_is_escaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
