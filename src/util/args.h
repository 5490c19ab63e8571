/*
 * Command lines: options from a table, sizes, and KEY=VALUE lists.
 *
 * Pure except for messages. Main thread. What is wrong is logged in one line
 * that says what would be right; functions then return -EINVAL.
 */
#ifndef KVIST_UTIL_ARGS_H
#define KVIST_UTIL_ARGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct arg_option {
	const char *name;  /* without the dashes */
	char letter;       /* its short form */
	const char *value; /* what --help calls its value; NULL: a switch */
	const char *help;  /* may hold line ends */
};

struct args {
	const char *command; /* "run": for messages */
	const struct arg_option *options;
	int nr_options;
	int argc;
	char **argv;
	int at; /* the next argument */
};

#define ARGS_END  (-1)
#define ARGS_FREE (-2) /* an argument that is no option */

/*
 * The index in args->options of the next option, with *value set when it takes
 * one (--name VALUE, --name=VALUE, -n VALUE, -nVALUE); ARGS_FREE with *value
 * the argument; ARGS_END; -EINVAL. Every argument after "--" is free.
 */
int args_next(struct args *args, char **value);

/*
 * For a command that takes nothing but --help: 1 when it may go on, 0 when
 * @help was printed, or -EINVAL.
 */
int args_none(const char *command, const char *help, int argc, char **argv);

/* The table as --help prints it. */
void args_print_help(const struct arg_option *options, int count, FILE *to);

/* The one of @count @names that looks most like @text, or NULL when none
 * does: for "did you mean". @stride is the distance of the pointers in bytes,
 * so that a column of a table of structs serves. */
const char *args_nearest(const char *text, const char *const *names, int count,
			 int stride);

/* A byte count such as 512M, 2G or 4096: suffixes K M G T, powers of 1024. 0,
 * or -EINVAL for anything else or more than 64 bits; nothing is logged. */
int parse_size(const char *text, uint64_t *size);
/* A decimal number within [min, max]. 0 or -EINVAL; nothing is logged. */
int parse_number(const char *text, uint64_t min, uint64_t max,
		 uint64_t *number);

/*
 * Takes the next field of a comma-separated list that starts at *rest; two
 * commas stand for one within a field. Splits it at its first '=': *value is
 * what follows, or NULL. Cuts the text up in place. NULL at the end.
 */
char *list_next(char **rest, char **value);

/* True if @word is one of @words, with one blank between them; never if it is
 * empty, or several. */
bool among(const char *words, const char *word);

#endif
