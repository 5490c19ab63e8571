/* Power, reset and exit port: what the guest writes and what ends the run. */
#include "devices/debug_exit.h"
#include "devices/power.h"
#include "devices/reset.h"
#include "firmware/platform.h"
#include "util/checked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct rig {
	struct irqchip chip;
	struct bus bus;
	struct power power;
	struct reset reset;
	struct debug_exit dbg;
	struct end_wire wire;
	int ends;
	enum end end;
	uint32_t value;
};

static uint64_t fake_now;

static uint64_t fake_clock(const struct power *power)
{
	(void)power;
	return fake_now;
}

static void end_record(struct end_wire *wire, enum end end, uint32_t value)
{
	struct rig *rig = container_of(wire, struct rig, wire);

	rig->ends++;
	rig->end = end;
	rig->value = value;
}

static int rig_open(void **state)
{
	static struct rig rig;

	rig = (struct rig){ .chip.vm_fd = -1, .wire.request = end_record };
	pthread_mutex_init(&rig.chip.lock, NULL);
	bus_init(&rig.bus, "port", -1, true);
	power_init(&rig.power, &rig.chip, PLATFORM_SCI_IRQ, &rig.wire);
	rig.power.now = fake_clock;
	fake_now = 5000000000;
	rig.power.timer_zero = fake_now;
	reset_init(&rig.reset, &rig.wire);
	debug_exit_init(&rig.dbg, &rig.wire);
	bus_add(&rig.bus, &rig.power.dev, POWER_EVENT, PLATFORM_PM1_EVENT, 4);
	bus_add(&rig.bus, &rig.power.dev, POWER_CONTROL, PLATFORM_PM1_CONTROL,
		2);
	bus_add(&rig.bus, &rig.power.dev, POWER_TIMER, PLATFORM_PM_TIMER, 4);
	bus_add(&rig.bus, &rig.reset.dev, RESET_CONTROL, PLATFORM_RESET_PORT,
		1);
	bus_add(&rig.bus, &rig.reset.dev, RESET_KEYBOARD, PLATFORM_KBD_PORT, 1);
	bus_add(&rig.bus, &rig.dbg.dev, 0, PLATFORM_EXIT_PORT,
		DEBUG_EXIT_PORTS);
	log_set_level(LOG_ERR);
	*state = &rig;
	return 0;
}

static int rig_close(void **state)
{
	struct rig *rig = *state;

	power_fini(&rig->power);
	reset_fini(&rig->reset);
	debug_exit_fini(&rig->dbg);
	pthread_mutex_destroy(&rig->chip.lock);
	return 0;
}

static uint32_t in(struct rig *rig, uint16_t port, unsigned len)
{
	uint32_t value = 0;

	bus_access(&rig->bus, port, (uint8_t *)&value, len, false);
	return value;
}

static void out(struct rig *rig, uint16_t port, unsigned len, uint32_t value)
{
	bus_access(&rig->bus, port, (uint8_t *)&value, len, true);
}

static void only_the_right_writes_end_the_run(void **state)
{
	static const struct {
		uint16_t port;
		uint8_t len;
		uint32_t write;
		enum end end;
		uint32_t value;
	} cases[] = {
		/* S5 is sleep type 5; SLP_EN must be set. */
		{ PLATFORM_PM1_CONTROL, 2, 0x3401, END_POWEROFF, 0 },
		{ PLATFORM_PM1_CONTROL, 2, 0x1401, END_NONE, 0 },
		{ PLATFORM_PM1_CONTROL, 2, 0x2001, END_NONE, 0 },
		{ PLATFORM_PM1_CONTROL, 2, 0x2c01, END_NONE, 0 },
		{ PLATFORM_PM1_CONTROL + 1, 1, 0x34, END_POWEROFF, 0 },
		{ PLATFORM_RESET_PORT, 1, 0x06, END_RESET, 0 },
		{ PLATFORM_RESET_PORT, 1, 0x0e, END_RESET, 0 },
		{ PLATFORM_RESET_PORT, 1, 0x04, END_RESET, 0 },
		{ PLATFORM_RESET_PORT, 1, 0x02, END_NONE, 0 },
		{ PLATFORM_KBD_PORT, 1, 0xfe, END_RESET, 0 },
		{ PLATFORM_KBD_PORT, 1, 0xff, END_NONE, 0 },
		{ PLATFORM_KBD_PORT, 1, 0xd1, END_NONE, 0 },
		{ PLATFORM_EXIT_PORT, 1, 7, END_EXIT_PORT, 7 },
		{ PLATFORM_EXIT_PORT, 2, 0x1234, END_EXIT_PORT, 0x1234 },
		{ PLATFORM_EXIT_PORT, 4, 0xfffffffe, END_EXIT_PORT,
		  0xfffffffe },
		{ PLATFORM_EXIT_PORT, 4, 0, END_EXIT_PORT, 0 },
		{ PLATFORM_EXIT_PORT + 1, 1, 7, END_NONE, 0 },
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rig->ends = 0;
		rig->end = END_NONE;
		out(rig, cases[i].port, cases[i].len, cases[i].write);
		if (rig->end != cases[i].end ||
		    rig->ends != (cases[i].end != END_NONE) ||
		    (rig->ends && rig->value != cases[i].value))
			fail_msg("case %zu: end %d value %u", i, rig->end,
				 rig->value);
	}
}

static void acpi_mode_cannot_be_left(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(in(rig, PLATFORM_PM1_CONTROL, 2), 0x0001);
	out(rig, PLATFORM_PM1_CONTROL, 2, 0);
	assert_int_equal(in(rig, PLATFORM_PM1_CONTROL, 2), 0x0001);
	/* SLP_EN reads as zero, the type stays. */
	out(rig, PLATFORM_PM1_CONTROL, 2, 0x3400);
	assert_int_equal(in(rig, PLATFORM_PM1_CONTROL, 2), 0x1401);
	assert_int_equal(in(rig, PLATFORM_PM1_CONTROL + 1, 1), 0x14);
}

static void
the_power_button_interrupts_until_its_status_is_cleared(void **state)
{
	struct rig *rig = *state;

	power_button(&rig->power);
	assert_int_equal(in(rig, PLATFORM_PM1_EVENT, 2), 0x0100);
	assert_false(rig->power.sci.level);
	out(rig, PLATFORM_PM1_EVENT + 2, 2, 0x0100);
	assert_true(rig->power.sci.level);
	assert_int_equal(in(rig, PLATFORM_PM1_EVENT + 2, 2), 0x0100);
	out(rig, PLATFORM_PM1_EVENT, 2, 0x0001); /* another bit */
	assert_true(rig->power.sci.level);
	out(rig, PLATFORM_PM1_EVENT, 2, 0x0100);
	assert_false(rig->power.sci.level);
	assert_int_equal(in(rig, PLATFORM_PM1_EVENT, 2), 0);
	power_button(&rig->power);
	assert_true(rig->power.sci.level);
}

static void events_can_be_read_and_written_at_any_width(void **state)
{
	struct rig *rig = *state;

	power_button(&rig->power);
	out(rig, PLATFORM_PM1_EVENT + 3, 1, 0x01);
	assert_true(rig->power.sci.level);
	assert_int_equal(in(rig, PLATFORM_PM1_EVENT, 4), 0x01000100);
	assert_int_equal(in(rig, PLATFORM_PM1_EVENT + 1, 1), 0x01);
	/* Status cleared and enable kept, in one access. */
	out(rig, PLATFORM_PM1_EVENT, 4, 0x01000100);
	assert_int_equal(in(rig, PLATFORM_PM1_EVENT, 4), 0x01000000);
	assert_false(rig->power.sci.level);
}

static void the_timer_counts_at_its_rate_and_wraps(void **state)
{
	static const struct {
		uint64_t ns;
		uint32_t ticks;
	} cases[] = {
		{ 0, 0 },
		{ 280, 1 },
		{ 1000000, 3579 },
		{ 1000000000, 3579545 },
		/* A year: no overflow on the way. */
		{ 31536000000000000, (uint32_t)(31536000ull * 3579545ull) },
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fake_now = rig->power.timer_zero + cases[i].ns;
		assert_int_equal(in(rig, PLATFORM_PM_TIMER, 4), cases[i].ticks);
	}
}

static void the_timer_status_follows_its_highest_bit(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(in(rig, PLATFORM_PM1_EVENT, 2), 0);
	fake_now += 601000000000; /* 2^31 ticks take 599.93 s */
	assert_int_equal(in(rig, PLATFORM_PM1_EVENT, 2), 0x0001);
	out(rig, PLATFORM_PM1_EVENT, 2, 0x0001);
	assert_int_equal(in(rig, PLATFORM_PM1_EVENT, 2), 0);
	fake_now += 601000000000;
	out(rig, PLATFORM_PM1_EVENT + 2, 2, 0x0001);
	assert_true(rig->power.sci.level);
	out(rig, PLATFORM_PM1_EVENT, 2, 0x0001);
	assert_false(rig->power.sci.level);
	fake_now += 601000000000;
	assert_int_equal(in(rig, PLATFORM_PM1_EVENT, 2), 0x0001);
	assert_true(rig->power.sci.level);
}

static void a_reset_releases_the_interrupt(void **state)
{
	struct rig *rig = *state;

	out(rig, PLATFORM_PM1_EVENT + 2, 2, 0x0100);
	power_button(&rig->power);
	fake_now += 1000000000;
	rig->power.dev.ops->reset(&rig->power.dev);
	assert_false(rig->power.sci.level);
	assert_int_equal(in(rig, PLATFORM_PM1_EVENT, 4), 0);
	assert_int_equal(in(rig, PLATFORM_PM_TIMER, 4), 0);
}

static void the_absent_keyboard_controller_is_quick_to_probe(void **state)
{
	struct rig *rig = *state;
	uint32_t status = in(rig, PLATFORM_KBD_PORT, 1);

	/* Output full: a probe that flushes gives up. Input empty: a kernel
	 * that reboots sends its command without waiting. */
	assert_true(status & 1);
	assert_false(status & 2);
}

static void the_reset_control_register_keeps_its_kind(void **state)
{
	struct rig *rig = *state;

	out(rig, PLATFORM_RESET_PORT, 1, 0x02);
	assert_int_equal(in(rig, PLATFORM_RESET_PORT, 1), 0x02);
	out(rig, PLATFORM_RESET_PORT, 1, 0xff);
	assert_int_equal(in(rig, PLATFORM_RESET_PORT, 1), 0x0a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_open, rig_close)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(only_the_right_writes_end_the_run),
		TEST(acpi_mode_cannot_be_left),
		TEST(the_power_button_interrupts_until_its_status_is_cleared),
		TEST(events_can_be_read_and_written_at_any_width),
		TEST(the_timer_counts_at_its_rate_and_wraps),
		TEST(the_timer_status_follows_its_highest_bit),
		TEST(a_reset_releases_the_interrupt),
		TEST(the_absent_keyboard_controller_is_quick_to_probe),
		TEST(the_reset_control_register_keeps_its_kind),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
