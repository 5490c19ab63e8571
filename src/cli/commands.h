/*
 * The commands of kvist, one file each. Each gets the arguments after its name
 * and returns the exit code of the process (util/exit_code.h). Main thread.
 */
#ifndef KVIST_CLI_COMMANDS_H
#define KVIST_CLI_COMMANDS_H

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help; /* one line */
};

int cmd_run(int argc, char **argv);
int cmd_demo(int argc, char **argv);
int cmd_img(int argc, char **argv);
int cmd_io(int argc, char **argv);
int cmd_net(int argc, char **argv);
int cmd_version(int argc, char **argv);

#endif
