/*
 * The value of --serial.
 */
#include "devices/console.h"

#include "util/checked.h"

#include <errno.h>
#include <string.h>

int console_parse(const char *text, struct console_options *options)
{
	static const struct {
		const char *prefix;
		enum console_kind kind;
		bool path;
	} kinds[] = {
		{ "stdio", CONSOLE_STDIO, false },
		{ "none", CONSOLE_NONE, false },
		{ "file:", CONSOLE_FILE, true },
		{ "pty", CONSOLE_PTY, false },
		{ "unix:", CONSOLE_UNIX, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		size_t len = strlen(kinds[i].prefix);

		/* A path of at least a byte, or nothing at all. */
		if (strncmp(text, kinds[i].prefix, len) ||
		    (text[len] != '\0') != kinds[i].path)
			continue;
		options->kind = kinds[i].kind;
		options->path = kinds[i].path ? text + len : NULL;
		return 0;
	}
	return -EINVAL;
}
