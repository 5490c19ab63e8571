#include "cli/commands.h"
#include "util/exit_code.h"
#include "util/log.h"

#include <stdio.h>
#include <string.h>

int cmd_version(int argc, char **argv)
{
	if (argc == 1 &&
	    (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"))) {
		puts("usage: kvist version\nPrints the version.");
		return EXIT_CODE_OK;
	}
	if (argc) {
		log_err("version: takes no argument");
		return EXIT_CODE_USAGE;
	}
	puts("kvist " KVIST_VERSION);
	return EXIT_CODE_OK;
}
