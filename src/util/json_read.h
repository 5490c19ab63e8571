/*
 * Reads JSON (RFC 8259) that may be hostile: without recursion, without a copy.
 *
 * Pure. A text ends with a NUL. json_measure() checks a whole value; the others
 * take a pointer to a value, or to a part of one, that has passed it.
 */
#ifndef KVIST_UTIL_JSON_READ_H
#define KVIST_UTIL_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define JSON_LEVELS 32

/* How long the first value of @text is, with the blanks before it; 0 if it is
 * not complete (a number at the end of the text never is); -EINVAL; or -E2BIG:
 * nested deeper than JSON_LEVELS. */
ssize_t json_measure(const char *text);

/* The next member of an object, of which *at is the first byte at first. False
 * when there is none, or when it is no object. */
bool json_next(const char **at, const char **key, const char **value);

/* For names: a string, cut off at @size bytes with its end. Escapes stay as
 * they are written: no name of ours has one. 0, or -EINVAL: no string. */
int json_get_text(const char *value, char *text, size_t size);

/* 0, or -EINVAL: it is not a number, or has a sign, a fraction, or more than 64
 * bits. */
int json_get_number(const char *value, uint64_t *number);

#endif
