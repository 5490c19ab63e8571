#include "cli/commands.h"
#include "util/args.h"
#include "util/exit_code.h"

#include <stdio.h>

int cmd_version(int argc, char **argv)
{
	int go_on = args_none("version",
			      "usage: kvist version\nPrints the version.", argc,
			      argv);

	if (go_on <= 0)
		return go_on ? EXIT_CODE_USAGE : EXIT_CODE_OK;
	puts("kvist " KVIST_VERSION);
	return EXIT_CODE_OK;
}
