#include "util/args.h"

#include "util/checked.h"
#include "util/log.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The number of insertions, deletions and replacements of one character that
 * turn @a into @b (Wagner and Fischer, one row at a time). */
static unsigned edit_distance(const char *a, const char *b)
{
	enum { MAX = 64 };
	unsigned row[MAX + 1];
	size_t blen = strlen(b);

	if (blen > MAX)
		return MAX;
	for (size_t j = 0; j <= blen; j++)
		row[j] = j;
	for (size_t i = 0; a[i]; i++) {
		unsigned diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < blen; j++) {
			unsigned best = diagonal + (a[i] != b[j]);

			diagonal = row[j + 1];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (diagonal + 1 < best)
				best = diagonal + 1;
			row[j + 1] = best;
		}
	}
	return row[blen];
}

const char *args_nearest(const char *text, const char *const *names, int count,
			 int stride)
{
	const char *nearest = NULL;
	unsigned best = strlen(text) / 2 + 1;

	for (int i = 0; i < count; i++) {
		const char *name;
		unsigned distance;

		memcpy(&name, (const char *)names + (size_t)i * stride,
		       sizeof(name));
		/* The beginning of a name is nearer than any misspelling. */
		distance = strncmp(text, name, strlen(text))
				   ? edit_distance(text, name)
				   : 0;
		if (distance < best) {
			best = distance;
			nearest = name;
		}
	}
	return nearest;
}

static int args_unknown(const struct args *args, const char *arg)
{
	const char *nearest =
		arg[1] == '-'
			? args_nearest(arg + 2, &args->options->name,
				       args->nr_options, sizeof(*args->options))
			: NULL;

	if (nearest)
		log_err("%s: unknown option %s; did you mean --%s?",
			args->command, arg, nearest);
	else
		log_err("%s: unknown option %s; kvist %s --help lists them",
			args->command, arg, args->command);
	return -EINVAL;
}

/* The option that @arg names; *inline_value is what stands in the same
 * argument, or NULL. */
static int args_match(const struct args *args, char *arg, char **inline_value)
{
	bool is_long = arg[1] == '-';
	size_t len = strcspn(arg + 2, "=");

	for (int i = 0; i < args->nr_options; i++) {
		const struct arg_option *o = &args->options[i];

		if (is_long && strlen(o->name) == len &&
		    !strncmp(arg + 2, o->name, len)) {
			*inline_value = arg[2 + len] ? arg + 3 + len : NULL;
			return i;
		}
		if (!is_long && o->letter && arg[1] == o->letter) {
			*inline_value = arg[2] ? arg + 2 : NULL;
			return i;
		}
	}
	return args_unknown(args, arg);
}

int args_next(struct args *args, char **value)
{
	const struct arg_option *option;
	char *arg;
	int i;

	if (args->at >= args->argc)
		return ARGS_END;
	arg = args->argv[args->at++];
	*value = arg;
	if (!args->nr_options || arg[0] != '-' || !arg[1])
		return ARGS_FREE;
	if (!strcmp(arg, "--")) {
		args->nr_options = 0; /* only free arguments from here on */
		if (args->at >= args->argc)
			return ARGS_END;
		*value = args->argv[args->at++];
		return ARGS_FREE;
	}
	i = args_match(args, arg, value);
	if (i < 0)
		return i;
	option = &args->options[i];
	if (!option->value && *value) {
		log_err("%s: --%s takes no value", args->command, option->name);
		return -EINVAL;
	}
	if (option->value && !*value) {
		if (args->at >= args->argc) {
			log_err("%s: --%s wants a value: --%s %s",
				args->command, option->name, option->name,
				option->value);
			return -EINVAL;
		}
		*value = args->argv[args->at++];
	}
	return i;
}

int args_none(const char *command, const char *help, int argc, char **argv)
{
	if (!argc)
		return 1;
	if (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h")) {
		puts(help);
		return 0;
	}
	log_err("%s: takes no argument", command);
	return -EINVAL;
}

void args_print_help(const struct arg_option *options, int count, FILE *to)
{
	for (int i = 0; i < count; i++) {
		const struct arg_option *o = &options[i];
		const char *line = o->help;
		int width = fprintf(to, "  -%c, --%s%s%s", o->letter, o->name,
				    o->value ? " " : "",
				    o->value ? o->value : "");

		if (width > 27) { /* too wide for the first column */
			fputc('\n', to);
			width = 0;
		}
		while (line) {
			const char *end = strchr(line, '\n');
			int len = end ? (int)(end - line) : (int)strlen(line);

			fprintf(to, "%*s%.*s\n", 28 - width, "", len, line);
			width = 0;
			line = end ? end + 1 : NULL;
		}
	}
}

int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
	char *end;

	/* strtoull() would take a sign and spaces. */
	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	*number = strtoull(text, &end, 10);
	if (errno || *end || *number < min || *number > max)
		return -EINVAL;
	return 0;
}

int parse_size(const char *text, uint64_t *size)
{
	static const char suffixes[] = "KMGT";
	size_t digits = strspn(text, "0123456789");
	char number[24];
	const char *suffix;

	if (!digits || digits >= sizeof(number))
		return -EINVAL;
	memcpy(number, text, digits);
	number[digits] = '\0';
	if (parse_number(number, 0, UINT64_MAX, size))
		return -EINVAL;
	if (!text[digits])
		return 0;
	suffix = strchr(suffixes, toupper((unsigned char)text[digits]));
	if (!suffix || text[digits + 1])
		return -EINVAL;
	if (!checked_mul(*size, 1ull << (10 * (suffix - suffixes + 1)), size))
		return -EINVAL;
	return 0;
}

char *list_next(char **rest, char **value)
{
	char *field = *rest, *to = field, *from = field;

	if (!field)
		return NULL;
	while (*from && (*from != ',' || from[1] == ',')) {
		if (*from == ',')
			from++;
		*to++ = *from++;
	}
	*rest = *from ? from + 1 : NULL;
	*to = '\0';
	*value = strchr(field, '=');
	if (*value)
		*(*value)++ = '\0';
	return field;
}

bool among(const char *words, const char *word)
{
	size_t length = strcspn(word, " ");

	for (; words; words = strchr(words, ' ')) {
		words += *words == ' ';
		if (!strncmp(words, word, length) &&
		    (!words[length] || words[length] == ' '))
			return length && !word[length];
	}
	return false;
}
