/*
 * ACPI fixed hardware (ACPI 6.4, 4.8.3): the PM1 event and control blocks, the
 * power management timer and the power button. Sleep state S5 ends the run.
 *
 * Owned by the machine. Registers: vCPU threads by the bus, under dev.lock;
 * power_button() is for any thread.
 */
#ifndef KVIST_DEVICES_POWER_H
#define KVIST_DEVICES_POWER_H

#include "kvm/bus.h"
#include "kvm/irq.h"
#include "util/outcome.h"

#include <stdint.h>

/* The ranges it answers; machine.c says where. */
enum power_range {
	POWER_EVENT,   /* 4 ports: status, enable */
	POWER_CONTROL, /* 2 */
	POWER_TIMER,   /* 4: 32 bits, 3.579545 MHz */
};

struct power {
	struct device dev;
	struct irq_line sci;
	struct end_wire *end; /* borrowed */
	uint16_t status, enable, control;
	uint64_t timer_zero;  /* CLOCK_MONOTONIC ns at which the timer was 0 */
	uint32_t timer_carry; /* bit 31 when TMR_STS was last worked out */
	/* CLOCK_MONOTONIC in ns; the tests set their own. */
	uint64_t (*now)(const struct power *power);
	struct guest_error bad_sleep;
};

void power_init(struct power *power, struct irqchip *chip, uint32_t sci,
		struct end_wire *end);
void power_fini(struct power *power);

/* Presses and releases the power button. Any thread. */
void power_button(struct power *power);

#endif
