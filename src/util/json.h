/*
 * Writes JSON to a stream, indented by four spaces, or in one line. Any thread;
 * the stream's errors stay with the stream.
 *
 * The first call makes the outermost value, with key NULL; within an array
 * keys are NULL, within an object they are not.
 */
#ifndef KVIST_UTIL_JSON_H
#define KVIST_UTIL_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH 16

struct json {
	FILE *to;
	unsigned depth;
	char close[JSON_DEPTH]; /* of what is open: '}' or ']' */
	bool filled;            /* something stands there already */
	bool one_line;          /* may be set after json_init() */
};

void json_init(struct json *json, FILE *to);
void json_object(struct json *json, const char *key);
void json_array(struct json *json, const char *key);
/* Ends what was begun last; the outermost ends its line as well. */
void json_end(struct json *json);
/* @text is taken as UTF-8; what is not becomes U+FFFD. */
void json_string(struct json *json, const char *key, const char *text);
void json_number(struct json *json, const char *key, uint64_t number);
void json_bool(struct json *json, const char *key, bool value);
/* A value as @len bytes of @text write it. */
void json_value(struct json *json, const char *key, const char *text,
		size_t len);

#endif
