/*
 * The commands of `kvist net`. Main thread. Each gets what was made of its
 * line, and returns an exit code of the process.
 */
#ifndef KVIST_CLI_NET_H
#define KVIST_CLI_NET_H

#include <stdbool.h>

struct net_args {
	const char *bridge; /* or NULL */
	const char *port;   /* --port, or NULL */
	bool json;          /* --output=json */
};

int net_show(const struct net_args *args);
int net_create(const struct net_args *args);
int net_delete(const struct net_args *args);

#endif
