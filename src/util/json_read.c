#include "util/json_read.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS      " \t\r\n"
#define PUNCTUATION "{}[]:,"
#define DIGITS      "0123456789"

/* Each of these: the length of what begins at @text, 0 if the text ends within
 * it, or -EINVAL. */

static ssize_t measure_string(const char *text)
{
	const char *p = text + 1;

	for (; *p != '"'; p++) {
		if (*p == '\\') {
			size_t digits = *++p == 'u' ? 4 : 0;

			if (*p && !strchr("\"\\/bfnrtu", *p))
				return -EINVAL;
			while (*p && digits--) {
				if (*++p && !isxdigit((unsigned char)*p))
					return -EINVAL;
			}
		}
		if (!*p)
			return 0;
		if ((unsigned char)*p < ' ')
			return -EINVAL;
	}
	return p + 1 - text;
}

static ssize_t measure_number(const char *text)
{
	const char *p = text + (*text == '-');
	size_t digits = strspn(p, DIGITS);

	if (!digits || (digits > 1 && *p == '0'))
		return -EINVAL;
	p += digits;
	if (*p == '.') {
		digits = strspn(++p, DIGITS);
		if (!digits)
			return -EINVAL;
		p += digits;
	}
	if (*p == 'e' || *p == 'E') {
		p++;
		p += *p == '+' || *p == '-';
		digits = strspn(p, DIGITS);
		if (!digits)
			return -EINVAL;
		p += digits;
	}
	return p - text;
}

static ssize_t measure_token(const char *text)
{
	static const char words[][6] = { "true", "false", "null" };
	size_t length = strcspn(text, BLANKS PUNCTUATION "\"");

	if (*text == '"')
		return measure_string(text);
	if (*text && strchr(PUNCTUATION, *text))
		return 1;
	if (!text[length])
		return 0;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strlen(words[i]) == length &&
		    !memcmp(words[i], text, length))
			return length;
	}
	return measure_number(text) == (ssize_t)length ? (ssize_t)length
						       : -EINVAL;
}

enum kind {
	OPEN = 1,
	CLOSE = 2,
	COMMA = 4,
	COLON = 8,
	STRING = 16,
	SCALAR = 32,
};

#define ANY_VALUE (OPEN | STRING | SCALAR)

static enum kind kind_of(char first)
{
	switch (first) {
	case '{':
	case '[':
		return OPEN;
	case '}':
	case ']':
		return CLOSE;
	case ',':
		return COMMA;
	case ':':
		return COLON;
	case '"':
		return STRING;
	}
	return SCALAR;
}

ssize_t json_measure(const char *text)
{
	const char *p = text;
	uint64_t objects = 0; /* a bit for each level, the innermost lowest */
	unsigned depth = 0;
	unsigned want = ANY_VALUE; /* the kinds that may come next */

	do {
		ssize_t length;

		p += strspn(p, BLANKS);
		length = measure_token(p);
		if (length <= 0)
			return length;
		if (!(want & kind_of(*p)))
			return -EINVAL;
		switch (kind_of(*p)) {
		case OPEN:
			if (depth++ == JSON_LEVELS)
				return -E2BIG;
			objects = objects << 1 | (*p == '{');
			want = (*p == '{' ? STRING : ANY_VALUE) | CLOSE;
			break;
		case CLOSE:
			if ((objects & 1) != (*p == '}'))
				return -EINVAL;
			objects >>= 1;
			depth--;
			want = COMMA | CLOSE;
			break;
		case COMMA:
			want = objects & 1 ? STRING : ANY_VALUE;
			break;
		case COLON:
			want = ANY_VALUE;
			break;
		default: /* where no value may be, it is a key */
			want = want & OPEN ? COMMA | CLOSE : COLON;
		}
		p += length;
	} while (depth || want != (COMMA | CLOSE));
	return p - text;
}

static const char *skip_blanks(const char *p)
{
	return p + strspn(p, BLANKS);
}

bool json_next(const char **at, const char **key, const char **value)
{
	const char *p = *at;

	if (*p != '{' && *p != ',')
		return false;
	*key = skip_blanks(p + 1);
	if (**key != '"')
		return false; /* an empty object */
	p = skip_blanks(*key + measure_string(*key));
	*value = skip_blanks(p + 1);
	*at = skip_blanks(*value + json_measure(*value));
	return true;
}

int json_get_text(const char *value, char *text, size_t size)
{
	if (*value != '"')
		return -EINVAL;
	snprintf(text, size, "%.*s", (int)measure_string(value) - 2, value + 1);
	return 0;
}

int json_get_number(const char *value, uint64_t *number)
{
	size_t digits = strspn(value, DIGITS);

	if (!digits || strchr(".eE", value[digits]))
		return -EINVAL;
	errno = 0;
	*number = strtoull(value, NULL, 10);
	return errno ? -EINVAL : 0;
}
