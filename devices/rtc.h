/*
 * The PC's clock and CMOS RAM: an MC146818 (Motorola, 1984) at ports 0x70 and
 * 0x71, with the century at 0x32.
 *
 * The time is the host's UTC plus an offset, which a guest that sets the clock
 * changes. Nothing runs while no interrupt is enabled: time and flags are
 * worked out when they are read.
 *
 * Owned by the machine. vCPU threads by the bus, and the timer on the main
 * thread; both under dev.lock.
 */
#ifndef KVIST_DEVICES_RTC_H
#define KVIST_DEVICES_RTC_H

#include "kvm/bus.h"
#include "kvm/irq.h"
#include "util/loop.h"

#include <stdbool.h>
#include <stdint.h>

#define RTC_PORTS   2    /* the size of its one range */
#define RTC_CENTURY 0x32 /* for the FADT */

struct rtc {
	struct device dev;
	struct irq_line line;
	struct loop *loop;  /* borrowed */
	struct watch timer; /* the next interrupt */

	bool armed; /* the timer is set */
	uint8_t index;
	uint8_t cmos[128]; /* the time's registers only while it is held */
	int64_t offset;    /* ns between the host's UTC and the guest's */
	int64_t checked;   /* guest's ns up to which the flags are worked out */

	/* The wall clock in ns; the tests set their own. */
	int64_t (*now)(const struct rtc *rtc);
};

/* The clock, right, on pin @gsi; its timer in @loop. 0 or -errno, logged. */
int rtc_init(struct rtc *rtc, struct irqchip *chip, uint32_t gsi,
	     struct loop *loop);
void rtc_fini(struct rtc *rtc);

/* One byte of CMOS RAM (0x0e..0x7f) as the firmware would leave it. Before
 * the guest runs. */
void rtc_set_nvram(struct rtc *rtc, unsigned index, uint8_t value);

#endif
