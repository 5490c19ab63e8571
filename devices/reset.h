/*
 * The two ports by which a PC resets itself: the reset control register at
 * 0xcf9 (which the FADT names as well) and the keyboard controller's command
 * 0xfe at 0x64. There is no keyboard behind the latter.
 *
 * Owned by the machine; vCPU threads by the bus, under dev.lock.
 */
#ifndef KVIST_DEVICES_RESET_H
#define KVIST_DEVICES_RESET_H

#include "kvm/bus.h"
#include "util/outcome.h"

#include <stdint.h>

/* The ranges it answers, one port each. */
enum reset_range { RESET_CONTROL, RESET_KEYBOARD };

struct reset {
	struct device dev;
	struct end_wire *end; /* borrowed */
	uint8_t control;
};

void reset_init(struct reset *reset, struct end_wire *end);
void reset_fini(struct reset *reset);

#endif
