#include "cli/commands.h"
#include "devices/console.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/exit_code.h"
#include "util/log.h"

#include <stdio.h>
#include <string.h>

static const struct command commands[] = {
	{ "run", cmd_run, "boot a guest" },
	{ "demo", cmd_demo, "boot a tiny guest and show how it runs" },
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

int main(int argc, char **argv)
{
	console_prepare();
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
		argv[1] += 2;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 2, argv + 2);
	}
	return unknown_command(argv[1]);
}
