/*
 * The user's commands for when a tap comes and when it goes (--net up=, down=).
 *
 * A command is a line for sh(1), to which the tap's name is added as its last
 * argument. Its standard input is empty, what it prints goes to our standard
 * error, and its environment is kvist's own, where KVIST_HOOK (up or down),
 * KVIST_TAP, and KVIST_BRIDGE, empty when there is none, stand in place of all
 * variables KVIST_*. Main thread.
 */
#ifndef KVIST_NET_HOOK_H
#define KVIST_NET_HOOK_H

struct hook_event {
	const char *tap;
	const char *bridge; /* or NULL */
};

/* Runs it and waits for its end. 0; or -errno, logged: -ECANCELED when it does
 * not end with 0. */
int hook_run(const char *command, const struct hook_event *event);

/*
 * Starts what will run @command when hook_finish() is called, or when this
 * process ends without that, in whatever way: a process of its own, that waits
 * for its standard input to end. 0 or -errno, logged.
 */
struct hook;
int hook_prepare(const char *command, const struct hook_event *event,
		 struct hook **hook);
/* Lets it run, waits for its end, or for SIGINT or SIGTERM where these are
 * blocked, and frees @hook. What goes wrong is logged. NULL is none. */
void hook_finish(struct hook *hook);

#endif
