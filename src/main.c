#include "cli/commands.h"
#include "devices/console.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/exit_code.h"
#include "util/log.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command commands[] = {
	{ "run", cmd_run, "boot a guest" },
	{ "demo", cmd_demo, "boot a tiny guest and show how it runs" },
	{ "img", cmd_img, "make and inspect disk images" },
	{ "io", cmd_io, "read and write disk images by hand" },
	{ "net", cmd_net, "show, make and remove bridges of the host" },
	{ "version", cmd_version, "print the version" },
};

static void usage(FILE *to)
{
	fputs("usage: kvist COMMAND [OPTION]...\n\n", to);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].help);
	fputs("\nkvist COMMAND --help says more of each.\n", to);
}

static int unknown_command(const char *name)
{
	const char *nearest = args_nearest(name, &commands[0].name,
					   ARRAY_SIZE(commands),
					   sizeof(commands[0]));

	if (nearest)
		log_err("unknown command %s; did you mean %s?", name, nearest);
	else
		log_err("unknown command %s; kvist --help lists them", name);
	return EXIT_CODE_USAGE;
}

/* A copy for a command to cut up, while ps(1) goes on showing what the user
 * typed. In one piece, for free(). NULL without memory. */
static char **copy_args(int argc, char **argv)
{
	size_t size = sizeof(*argv) * argc;
	char **copy, *text;

	for (int i = 0; i < argc; i++)
		size += strlen(argv[i]) + 1;
	copy = malloc(size ? size : 1);
	if (!copy)
		return NULL;
	text = (char *)(copy + argc);
	for (int i = 0; i < argc; i++) {
		copy[i] = text;
		text = stpcpy(text, argv[i]) + 1;
	}
	return copy;
}

static int run_command(const struct command *command, int argc, char **argv)
{
	char **copy = copy_args(argc, argv);
	int code;

	if (!copy) {
		log_err("no memory for the command line");
		return EXIT_CODE_HOST;
	}
	code = command->run(argc, copy);
	free(copy);
	return code;
}

/* One MiB for each thread's stack, which is plenty, also with the shadow of a
 * sanitizer: where the host gives huge pages unasked, the first touch of one of
 * the usual 8 MiB takes 2 MiB. */
static void stacks_prepare(void)
{
	pthread_attr_t attr;

	if (pthread_attr_init(&attr))
		return;
	if (!pthread_attr_setstacksize(&attr, 1 << 20))
		pthread_setattr_default_np(&attr);
	pthread_attr_destroy(&attr);
}

int main(int argc, char **argv)
{
	console_prepare();
	stacks_prepare();
	/* A process that ignores it cannot wait for its children. */
	signal(SIGCHLD, SIG_DFL);
	if (argc < 2) {
		usage(stderr);
		return EXIT_CODE_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    !strcmp(argv[1], "help")) {
		usage(stdout);
		return EXIT_CODE_OK;
	}
	if (!strcmp(argv[1], "--version"))
		return cmd_version(argc - 2, argv + 2);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(argv[1], commands[i].name))
			return run_command(&commands[i], argc - 2, argv + 2);
	}
	return unknown_command(argv[1]);
}
