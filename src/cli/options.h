/*
 * The flags of `kvist run`, turned into a struct machine_config.
 *
 * Main thread. The configuration borrows the text of the arguments, and cuts
 * it up in place.
 */
#ifndef KVIST_CLI_OPTIONS_H
#define KVIST_CLI_OPTIONS_H

#include "machine.h"

#include <limits.h>
#include <stdio.h>

struct run_options {
	struct machine_config machine;
	bool stats; /* print the exits at the end */
	bool help;  /* print the help and do nothing */
	char identity[PATH_MAX];
};

/* 0, or -EINVAL after a line that says what is wrong. */
int run_options_parse(struct run_options *options, int argc, char **argv);
void run_options_help(FILE *to);

#endif
