/*
 * How a run ends, and the wire by which a device asks for it.
 *
 * Devices know neither the vm nor the process: a power device is given an
 * end_wire and pulls it. Any thread. The first request counts, but the host's
 * own word replaces the guest's (V2 of kvm/vm.h).
 */
#ifndef KVIST_UTIL_OUTCOME_H
#define KVIST_UTIL_OUTCOME_H

#include <stdint.h>

enum end {
	END_NONE,         /* still running */
	END_POWEROFF,     /* ACPI S5 */
	END_EXIT_PORT,    /* value: what the guest wrote to port 0xf4 */
	END_RESET,        /* 0xcf9, 0x64 <- 0xfe, the ACPI reset register */
	END_TRIPLE_FAULT, /* KVM_EXIT_SHUTDOWN */
	END_KVM_ERROR,    /* failed entry, internal error; already logged */
	/* From here on the host's own word. */
	END_TIMEOUT, /* --timeout ran out */
	END_SIGNAL,  /* value: the signal's number */
	END_USER,    /* the user typed the key that ends */
};

struct end_wire {
	void (*request)(struct end_wire *wire, enum end end, uint32_t value);
};

static inline void end_request(struct end_wire *wire, enum end end,
			       uint32_t value)
{
	wire->request(wire, end, value);
}

#endif
