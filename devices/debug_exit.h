/*
 * The exit port: a guest that writes a number to it ends the run with that
 * number (END_EXIT_PORT). For tests and tiny guests.
 *
 * Owned by the machine; vCPU threads by the bus, under dev.lock.
 */
#ifndef KVIST_DEVICES_DEBUG_EXIT_H
#define KVIST_DEVICES_DEBUG_EXIT_H

#include "kvm/bus.h"
#include "util/outcome.h"

#define DEBUG_EXIT_PORTS 4 /* the size of its one range */

struct debug_exit {
	struct device dev;
	struct end_wire *end; /* borrowed */
};

void debug_exit_init(struct debug_exit *dbg, struct end_wire *end);
void debug_exit_fini(struct debug_exit *dbg);

#endif
