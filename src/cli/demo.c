#include "cli/commands.h"
#include "util/exit_code.h"

int cmd_demo(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return EXIT_CODE_INTERNAL;
}
