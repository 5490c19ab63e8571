/*
 * `kvist net`: bridges of the host, without a guest.
 */
#include "cli/net.h"

#include "cli/commands.h"
#include "devices/net/bridge_move.h"
#include "devices/net/netif.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/exit_code.h"
#include "util/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct net_command {
	const char *name;
	int (*run)(const struct net_args *args);
	bool needs_bridge, takes_port, takes_output;
	const char *synopsis;
} commands[] = {
	{ "show", net_show, false, false, true, "[BR] [--output=human|json]" },
	{ "create", net_create, true, true, false, "BR [--port IF]" },
	{ "delete", net_delete, true, false, false, "BR" },
};

enum { OPT_OUTPUT, OPT_PORT, OPT_HELP };

static const struct arg_option flags[] = {
	[OPT_OUTPUT] = { "output", 'o', "human|json",
			 "show: how it is written [human]" },
	[OPT_PORT] = { "port", 'p', "IF",
		       "create: a network card of the host, which becomes\n"
		       "the bridge's port; the host's addresses and routes\n"
		       "on it move to the bridge" },
	[OPT_HELP] = { "help", 'h', NULL, "print this" },
};

static void usage(FILE *to)
{
	fputs("usage: kvist net COMMAND [OPTION]...\n"
	      "Shows, makes and removes bridges of the host: see "
	      "kvist-net(1).\n\n",
	      to);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(to, "  %-8s %s\n", commands[i].name,
			commands[i].synopsis);
	fputs("\n", to);
	args_print_help(flags, ARRAY_SIZE(flags), to);
}

static int parse_option(const struct net_command *command,
			struct net_args *args, int option, const char *value)
{
	if (option == OPT_PORT && command->takes_port) {
		args->port = value;
		return 0;
	}
	if (option == OPT_PORT || !command->takes_output) {
		log_err("net %s: takes no --%s; see kvist net --help",
			command->name, flags[option].name);
		return -EINVAL;
	}
	args->json = !strcmp(value, "json");
	if (args->json || !strcmp(value, "human"))
		return 0;
	log_err("net %s: --output %s: is not one of human, json", command->name,
		value);
	return -EINVAL;
}

static bool name_is_wrong(const struct net_command *command, const char *name)
{
	if (!name || netif_name_is_valid(name))
		return false;
	log_err("net %s: %s: %s", command->name, name, NETIF_NAME_RULE);
	return true;
}

/* 0, 1 when it was only help that was asked for, or -EINVAL. */
static int parse(const struct net_command *command, struct net_args *parsed,
		 int argc, char **argv)
{
	struct args args = { .command = "net",
			     .options = flags,
			     .nr_options = ARRAY_SIZE(flags),
			     .argc = argc,
			     .argv = argv };
	char *value;
	int i;

	while ((i = args_next(&args, &value)) != ARGS_END) {
		if (i == OPT_HELP) {
			usage(stdout);
			return 1;
		}
		if (i == ARGS_FREE && parsed->bridge) {
			log_err("net %s: takes one bridge; what is %s?",
				command->name, value);
			return -EINVAL;
		}
		if (i == ARGS_FREE)
			parsed->bridge = value;
		else if (i < 0 || parse_option(command, parsed, i, value))
			return -EINVAL;
	}
	if (name_is_wrong(command, parsed->bridge) ||
	    name_is_wrong(command, parsed->port))
		return -EINVAL;
	if (parsed->bridge || !command->needs_bridge)
		return 0;
	log_err("net %s: names no bridge; say kvist net %s br0", command->name,
		command->name);
	return -EINVAL;
}

static int run(const struct net_command *command, int argc, char **argv)
{
	struct net_args args = { 0 };
	int err = parse(command, &args, argc, argv), code;

	if (err)
		return err < 0 ? EXIT_CODE_USAGE : EXIT_CODE_OK;
	code = command->run(&args);
	if (!fflush(stdout))
		return code;
	log_err("net %s: standard output: %s", command->name, strerror(errno));
	return EXIT_CODE_HOST;
}

int cmd_net(int argc, char **argv)
{
	const char *nearest;

	if (argc < 1) {
		usage(stderr);
		return EXIT_CODE_USAGE;
	}
	if (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h")) {
		usage(stdout);
		return EXIT_CODE_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(argv[0], commands[i].name))
			return run(&commands[i], argc - 1, argv + 1);
	}
	nearest = args_nearest(argv[0], &commands[0].name, ARRAY_SIZE(commands),
			       sizeof(commands[0]));
	log_err("net: unknown command %s; %s%s", argv[0],
		nearest ? "did you mean kvist net "
			: "kvist net --help lists "
			  "them",
		nearest ? nearest : "");
	return EXIT_CODE_USAGE;
}

/* Half a move would leave the host without its network: neither a key nor the
 * end of a remote session stops it in the middle. */
static void finish_what_you_begin(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
}

int net_create(const struct net_args *args)
{
	finish_what_you_begin();
	return bridge_adopt(args->bridge, args->port, MOVE_NO_FAULT)
		       ? EXIT_CODE_HOST
		       : EXIT_CODE_OK;
}

int net_delete(const struct net_args *args)
{
	finish_what_you_begin();
	return bridge_dissolve(args->bridge, MOVE_NO_FAULT) ? EXIT_CODE_HOST
							    : EXIT_CODE_OK;
}
