#include "util/json.h"

#include <inttypes.h>

void json_init(struct json *json, FILE *to)
{
	json->to = to;
	json->depth = 0;
	json->filled = false;
	json->one_line = false;
}

static void new_line(const struct json *json)
{
	if (!json->one_line)
		fprintf(json->to, "\n%*s", (int)json->depth * 4, "");
}

/*
 * The character that begins at *text, which moves behind it. Overlong forms,
 * surrogates and stray bytes are no characters: one byte of them is skipped.
 */
static uint32_t next_character(const unsigned char **text)
{
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = *text;
	unsigned more = *p < 0x80             ? 0
			: (*p & 0xe0) == 0xc0 ? 1
			: (*p & 0xf0) == 0xe0 ? 2
			: (*p & 0xf8) == 0xf0 ? 3
					      : 4;
	uint32_t c;

	*text = p + 1;
	if (!more)
		return *p;
	if (more == 4)
		return 0xfffd;
	c = *p & (0x3f >> more);
	for (unsigned i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80) /* the end of the text, too */
			return 0xfffd;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0xfffd;
	*text = p + 1 + more;
	return c;
}

static void put_character(FILE *to, uint32_t c)
{
	static const char plain[] = "\"\\\b\f\n\r\t";
	static const char named[] = "\"\\bfnrt";

	for (unsigned i = 0; i < sizeof(plain) - 1; i++) {
		if (c == (unsigned char)plain[i]) {
			fprintf(to, "\\%c", named[i]);
			return;
		}
	}
	if (c >= 0x10000)
		fprintf(to, "\\u%04X\\u%04X", 0xd7c0 + (c >> 10),
			0xdc00 + (c & 0x3ff));
	else if (c < 0x20 || c > 0x7e)
		fprintf(to, "\\u%04X", c);
	else
		fputc((int)c, to);
}

static void put_string(FILE *to, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	fputc('"', to);
	while (*p)
		put_character(to, next_character(&p));
	fputc('"', to);
}

/* Everything that stands before a value. */
static void begin(struct json *json, const char *key)
{
	if (json->filled)
		fputs(json->one_line ? ", " : ",", json->to);
	if (json->depth)
		new_line(json);
	if (key) {
		put_string(json->to, key);
		fputs(": ", json->to);
	}
	json->filled = true;
}

static void open_level(struct json *json, const char *key, char first,
		       char last)
{
	begin(json, key);
	fputc(first, json->to);
	if (json->depth < JSON_DEPTH)
		json->close[json->depth] = last;
	json->depth++;
	json->filled = false;
}

void json_object(struct json *json, const char *key)
{
	open_level(json, key, '{', '}');
}

void json_array(struct json *json, const char *key)
{
	open_level(json, key, '[', ']');
}

void json_end(struct json *json)
{
	json->depth--;
	new_line(json);
	if (json->depth < JSON_DEPTH)
		fputc(json->close[json->depth], json->to);
	if (!json->depth)
		fputc('\n', json->to);
	json->filled = true;
}

void json_string(struct json *json, const char *key, const char *text)
{
	begin(json, key);
	put_string(json->to, text);
}

void json_number(struct json *json, const char *key, uint64_t number)
{
	begin(json, key);
	fprintf(json->to, "%" PRIu64, number);
}

void json_bool(struct json *json, const char *key, bool value)
{
	begin(json, key);
	fputs(value ? "true" : "false", json->to);
}

void json_value(struct json *json, const char *key, const char *text,
		size_t len)
{
	begin(json, key);
	fwrite(text, 1, len, json->to);
}
