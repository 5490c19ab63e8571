#include "devices/power.h"

#include "firmware/platform.h"
#include "util/checked.h"
#include "util/clock.h"

/* PM1 status and enable (ACPI 6.4, 4.8.3.1). */
#define STS_TIMER   0x0001
#define STS_BUTTON  0x0100
#define STS_WAKE    0x8000
#define ENABLE_MASK 0x0721 /* timer, global, buttons, RTC */

/* PM1 control (4.8.3.2). */
#define CTL_SCI_EN   0x0001
#define CTL_BUS_MSTR 0x0002
#define CTL_TYPE     0x1c00
#define CTL_SLP_EN   0x2000

#define TIMER_HZ    3579545u
#define TIMER_CARRY 0x80000000u /* TMR_STS follows the highest bit */

static uint64_t power_clock(const struct power *power)
{
	(void)power;
	return clock_ns(CLOCK_MONOTONIC);
}

static uint32_t timer_read(const struct power *power)
{
	uint64_t ns = power->now(power) - power->timer_zero;

	/* Whole seconds apart, so that nothing overflows. */
	return (uint32_t)(ns / 1000000000u * TIMER_HZ +
			  ns % 1000000000u * TIMER_HZ / 1000000000u);
}

static void sci_update(struct power *power)
{
	irq_line_set(&power->sci, (power->status & power->enable) != 0);
}

/*
 * TMR_STS is worked out when someone looks: with a 32-bit timer its bit 31
 * turns over every ten minutes, and a driver that reads the timer more often
 * than that needs no interrupt for it.
 */
static void timer_check(struct power *power)
{
	uint32_t carry = timer_read(power) & TIMER_CARRY;

	if (carry != power->timer_carry)
		power->status |= STS_TIMER;
	power->timer_carry = carry;
	sci_update(power);
}

/* The event block as the 32 bits it is: status below, enable above. */
static uint32_t event_read(struct power *power)
{
	timer_check(power);
	return power->status | (uint32_t)power->enable << 16;
}

/* @mask: the bits of the 32 that the access covers. */
static void event_write(struct power *power, uint32_t value, uint32_t mask)
{
	uint16_t enable_mask = mask >> 16;

	timer_check(power);
	power->status &= ~(value & mask);
	power->enable = (power->enable & ~enable_mask) |
			((value >> 16) & enable_mask & ENABLE_MASK);
	sci_update(power);
}

static void control_write(struct power *power, uint16_t value, uint16_t mask)
{
	uint16_t old = power->control & ~mask;

	/* SCI_EN stays set: there is no legacy mode to go back to. */
	power->control = CTL_SCI_EN |
			 ((old | (value & mask)) & (CTL_BUS_MSTR | CTL_TYPE));
	if (!(value & mask & CTL_SLP_EN))
		return;
	if ((power->control & CTL_TYPE) >> 10 == PLATFORM_S5_TYPE)
		end_request(power->end, END_POWEROFF, 0);
	else
		log_guest(&power->bad_sleep,
			  "power: guest asked for sleep type %u, which the "
			  "firmware tables do not offer",
			  (power->control & CTL_TYPE) >> 10);
}

static uint64_t power_read(struct device *dev, unsigned range, uint64_t offset,
			   unsigned len)
{
	struct power *power = container_of(dev, struct power, dev);
	uint32_t value = 0;

	switch (range) {
	case POWER_EVENT:
		value = event_read(power);
		break;
	case POWER_CONTROL:
		value = power->control;
		break;
	case POWER_TIMER:
		value = timer_read(power);
		break;
	}
	return value >> 8 * offset & ((1ull << 8 * len) - 1);
}

static void power_write(struct device *dev, unsigned range, uint64_t offset,
			unsigned len, uint64_t value)
{
	struct power *power = container_of(dev, struct power, dev);
	uint32_t mask = (uint32_t)((1ull << 8 * len) - 1) << 8 * offset;

	value <<= 8 * offset;
	switch (range) {
	case POWER_EVENT:
		event_write(power, value, mask);
		break;
	case POWER_CONTROL:
		control_write(power, value, mask);
		break;
	}
}

static void power_reset(struct device *dev)
{
	struct power *power = container_of(dev, struct power, dev);

	power->status = 0;
	power->enable = 0;
	power->control = CTL_SCI_EN;
	power->timer_zero = power->now(power);
	power->timer_carry = 0;
	sci_update(power);
}

static const struct device_ops power_ops = {
	.read = power_read,
	.write = power_write,
	.reset = power_reset,
};

void power_init(struct power *power, struct irqchip *chip, uint32_t sci,
		struct end_wire *end)
{
	*power = (struct power){ .end = end, .now = power_clock };
	device_init(&power->dev, "power", &power_ops, 1 | 2 | 4);
	power->sci = irq_line(chip, sci);
	power_reset(&power->dev);
}

void power_fini(struct power *power)
{
	device_fini(&power->dev);
}

void power_button(struct power *power)
{
	pthread_mutex_lock(&power->dev.lock);
	power->status |= STS_BUTTON;
	sci_update(power);
	pthread_mutex_unlock(&power->dev.lock);
}
