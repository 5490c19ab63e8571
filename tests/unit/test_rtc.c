/* The clock and CMOS RAM, with a wall clock that the tests set. */
#include "devices/rtc.h"
#include "firmware/platform.h"
#include "util/checked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND 1000000000ll
/* Saturday, 21 November 2026, 21:05:09 UTC. */
#define NOW    1795295109ll

struct rig {
	struct irqchip chip;
	struct loop loop;
	struct bus bus;
	struct rtc rtc;
};

static int64_t fake_now;

static int64_t fake_clock(const struct rtc *rtc)
{
	(void)rtc;
	return fake_now;
}

static int rig_open(void **state)
{
	static struct rig rig;

	rig = (struct rig){ .chip.vm_fd = -1 };
	pthread_mutex_init(&rig.chip.lock, NULL);
	if (loop_init(&rig.loop) ||
	    rtc_init(&rig.rtc, &rig.chip, PLATFORM_RTC_IRQ, &rig.loop))
		return -1;
	bus_init(&rig.bus, "port", -1, true);
	bus_add(&rig.bus, &rig.rtc.dev, 0, PLATFORM_RTC_PORT, RTC_PORTS);
	fake_now = NOW * SECOND;
	rig.rtc.now = fake_clock;
	rig.rtc.checked = fake_now;
	*state = &rig;
	return 0;
}

static int rig_close(void **state)
{
	struct rig *rig = *state;

	rtc_fini(&rig->rtc);
	loop_fini(&rig->loop);
	pthread_mutex_destroy(&rig->chip.lock);
	return 0;
}

static uint8_t get(struct rig *rig, uint8_t reg)
{
	uint8_t value;

	bus_access(&rig->bus, 0x70, &reg, 1, true);
	bus_access(&rig->bus, 0x71, &value, 1, false);
	return value;
}

static void set(struct rig *rig, uint8_t reg, uint8_t value)
{
	bus_access(&rig->bus, 0x70, &reg, 1, true);
	bus_access(&rig->bus, 0x71, &value, 1, true);
}

/* The timer, as the main loop would call it. */
static void timer_fires(struct rig *rig)
{
	rig->rtc.timer.ready(&rig->rtc.timer, EPOLLIN);
}

static void the_time_of_day_is_right_in_every_format(void **state)
{
	static const uint8_t regs[] = { 0, 2, 4, 6, 7, 8, 9, 0x32 };
	static const struct {
		int64_t now;
		uint8_t b;
		uint8_t expected[8];
	} cases[] = {
		{ NOW,
		  0x02,
		  { 0x09, 0x05, 0x21, 0x07, 0x21, 0x11, 0x26, 0x20 } },
		{ NOW, 0x06, { 9, 5, 21, 7, 21, 11, 26, 20 } },
		{ NOW,
		  0x00,
		  { 0x09, 0x05, 0x89, 0x07, 0x21, 0x11, 0x26, 0x20 } },
		{ NOW, 0x04, { 9, 5, 0x89, 7, 21, 11, 26, 20 } },
		/* Midnight and noon in twelve hours. */
		{ 1795219200,
		  0x00,
		  { 0, 0, 0x12, 0x07, 0x21, 0x11, 0x26, 0x20 } },
		{ 1795219200 + 43200,
		  0x00,
		  { 0, 0, 0x92, 0x07, 0x21, 0x11, 0x26, 0x20 } },
		/* 29 February 2000, a Tuesday; 31 December 1999, a Friday. */
		{ 951782400, 0x02, { 0, 0, 0, 0x03, 0x29, 0x02, 0, 0x20 } },
		{ 946684799,
		  0x02,
		  { 0x59, 0x59, 0x23, 0x06, 0x31, 0x12, 0x99, 0x19 } },
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fake_now = cases[i].now * SECOND;
		set(rig, 11, cases[i].b);
		for (size_t r = 0; r < ARRAY_SIZE(regs); r++) {
			uint8_t value = get(rig, regs[r]);

			if (value != cases[i].expected[r])
				fail_msg("case %zu, register %#x: %#x", i,
					 regs[r], value);
		}
	}
}

static void the_clock_starts_with_the_hosts_time(void **state)
{
	struct rig *rig = *state;
	struct irqchip chip = { .vm_fd = -1 };
	struct rtc rtc;
	int64_t now;

	pthread_mutex_init(&chip.lock, NULL);
	assert_int_equal(rtc_init(&rtc, &chip, 8, &rig->loop), 0);
	now = rtc.now(&rtc) / SECOND;
	assert_in_range(now, time(NULL) - 1, time(NULL) + 1);
	rtc_fini(&rtc);
	pthread_mutex_destroy(&chip.lock);
}

/* Sets 1 March 2031, 04:05:06, as Linux does: held, and the divider reset. */
static void set_as_linux_does(struct rig *rig)
{
	set(rig, 11, 0x82);
	set(rig, 10, 0x76);
	set(rig, 9, 0x31);
	set(rig, 8, 0x03);
	set(rig, 7, 0x01);
	set(rig, 4, 0x04);
	set(rig, 2, 0x05);
	set(rig, 0, 0x06);
	set(rig, 0x32, 0x20);
	set(rig, 11, 0x02);
	set(rig, 10, 0x26);
}

static void a_time_the_guest_sets_runs_on(void **state)
{
	struct rig *rig = *state;

	fake_now += 123456789;
	set_as_linux_does(rig);
	assert_int_equal(get(rig, 0), 0x06);
	/* The first second is a half: the divider starts there. */
	fake_now += SECOND / 2 - 1;
	assert_int_equal(get(rig, 0), 0x06);
	fake_now += 1;
	assert_int_equal(get(rig, 0), 0x07);
	fake_now += 86400 * SECOND;
	assert_int_equal(get(rig, 7), 0x02);
	assert_int_equal(get(rig, 6), 0x01); /* a Sunday */
	assert_int_equal(get(rig, 9), 0x31);
	assert_int_equal(get(rig, 2), 0x05);
}

static void a_held_clock_stands_still(void **state)
{
	struct rig *rig = *state;

	set(rig, 11, 0x82);
	fake_now += 10 * SECOND;
	assert_int_equal(get(rig, 0), 0x09);
	set(rig, 2, 0x30);
	set(rig, 11, 0x02);
	assert_int_equal(get(rig, 0), 0x09);
	assert_int_equal(get(rig, 2), 0x30);
	fake_now += SECOND;
	assert_int_equal(get(rig, 0), 0x10);
}

static void one_register_can_be_set_while_the_clock_runs(void **state)
{
	struct rig *rig = *state;

	set(rig, 4, 0x07);
	assert_int_equal(get(rig, 4), 0x07);
	assert_int_equal(get(rig, 2), 0x05);
	assert_int_equal(get(rig, 0), 0x09);
}

static void any_nonsense_may_be_written_as_a_time(void **state)
{
	struct rig *rig = *state;

	for (unsigned value = 0; value < 256; value++) {
		for (unsigned reg = 0; reg < 128; reg++)
			set(rig, reg, value);
		set(rig, 10, 0x26);
		set(rig, 11, 0x02);
		fake_now += 1000 * SECOND;
		for (unsigned reg = 0; reg < 128; reg++)
			get(rig, reg);
		assert_in_range(get(rig, 0) & 0xf, 0, 9);
		assert_in_range(get(rig, 8), 0x01, 0x12);
	}
}

static void uip_warns_before_each_second_and_only_then(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(get(rig, 10), 0x26);
	fake_now += SECOND - 245000;
	assert_int_equal(get(rig, 10), 0x26);
	fake_now += 2000;
	assert_int_equal(get(rig, 10), 0xa6);
	assert_int_equal(get(rig, 0), 0x09);
	fake_now += 243000;
	assert_int_equal(get(rig, 10), 0x26);
	assert_int_equal(get(rig, 0), 0x10);
	/* Never while the clock is held. */
	fake_now += SECOND - 1000;
	set(rig, 11, 0x82);
	assert_int_equal(get(rig, 10), 0x26);
}

static void flags_can_be_polled_and_reading_clears_them(void **state)
{
	struct rig *rig = *state;

	set(rig, 10, 0x20); /* no periodic rate */
	assert_int_equal(get(rig, 12), 0);
	fake_now += SECOND;
	assert_int_equal(get(rig, 12), 0x10);
	assert_int_equal(get(rig, 12), 0);
	set(rig, 10, 0x26);
	fake_now += SECOND / 1000;
	assert_int_equal(get(rig, 12), 0x40);
	assert_false(rig->rtc.line.level);
}

static void the_update_interrupt_comes_every_second(void **state)
{
	struct rig *rig = *state;

	set(rig, 11, 0x12);
	for (int i = 0; i < 3; i++) {
		assert_false(rig->rtc.line.level);
		assert_true(rig->rtc.armed);
		fake_now += SECOND;
		timer_fires(rig);
		assert_true(rig->rtc.line.level);
		assert_int_equal(get(rig, 12) & 0xb0, 0x90);
	}
	set(rig, 11, 0x02);
	assert_false(rig->rtc.armed);
}

static void a_reader_who_comes_before_the_timer_sees_the_interrupt(void **state)
{
	struct rig *rig = *state;

	set(rig, 11, 0x12); /* UIE */
	fake_now += SECOND;
	get(rig, 10);
	assert_true(rig->rtc.line.level);
	assert_int_equal(get(rig, 12) & 0xb0, 0x90);
	assert_false(rig->rtc.line.level);
	fake_now += SECOND;
	assert_int_equal(get(rig, 12) & 0xb0, 0x90);
	assert_false(rig->rtc.line.level);
}

static void the_alarm_interrupts_at_its_time(void **state)
{
	static const struct {
		uint8_t hour, minute, second;
		int64_t after; /* seconds, or -1: never */
	} cases[] = {
		{ 0x21, 0x05, 0x10, 1 },     { 0x21, 0x06, 0x00, 51 },
		{ 0xff, 0xff, 0xff, 1 },     { 0xff, 0xff, 0x08, 59 },
		{ 0xc0, 0x04, 0x09, 3540 },  { 0x21, 0x05, 0x09, 86400 },
		{ 0x20, 0x00, 0x00, 82491 }, { 0x25, 0x00, 0x00, -1 },
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		set(rig, 5, cases[i].hour);
		set(rig, 3, cases[i].minute);
		set(rig, 1, cases[i].second);
		get(rig, 12);
		set(rig, 11, 0x22);
		if (cases[i].after < 0) {
			assert_false(rig->rtc.armed);
			continue;
		}
		fake_now = (NOW + cases[i].after) * SECOND - 1;
		timer_fires(rig);
		if (rig->rtc.line.level)
			fail_msg("case %zu: too early", i);
		fake_now += 1;
		timer_fires(rig);
		if (!rig->rtc.line.level || (get(rig, 12) & 0xa0) != 0xa0)
			fail_msg("case %zu: too late", i);
		set(rig, 11, 0x02);
		fake_now = NOW * SECOND;
		rig->rtc.checked = fake_now;
	}
}

static void the_periodic_interrupt_follows_its_rate(void **state)
{
	static const struct {
		uint8_t rate;
		int64_t ns;
	} cases[] = {
		{ 1, 3906250 },    { 2, 7812500 }, { 6, 976562 },
		{ 15, 500000000 }, { 3, 122070 },
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		set(rig, 10, 0x20 | cases[i].rate);
		fake_now = fake_now / cases[i].ns * cases[i].ns;
		rig->rtc.checked = fake_now;
		get(rig, 12);
		set(rig, 11, 0x42);
		fake_now += cases[i].ns - 1;
		timer_fires(rig);
		assert_false(rig->rtc.line.level);
		fake_now += 1;
		timer_fires(rig);
		assert_true(rig->rtc.line.level);
		assert_int_equal(get(rig, 12) & 0xc0, 0xc0);
		set(rig, 11, 0x02);
	}
}

static void ram_keeps_its_bytes_over_a_reset_and_status_does_not(void **state)
{
	struct rig *rig = *state;

	for (unsigned reg = 14; reg < 128; reg++) {
		if (reg != RTC_CENTURY)
			set(rig, reg, reg ^ 0x5a);
	}
	rtc_set_nvram(&rig->rtc, 0x34, 0x77);
	set(rig, 11, 0x12);
	set(rig, 12, 0xff);
	set(rig, 13, 0x00);
	rig->rtc.dev.ops->reset(&rig->rtc.dev);
	for (unsigned reg = 14; reg < 128; reg++) {
		if (reg != RTC_CENTURY && reg != 0x34)
			assert_int_equal(get(rig, reg), reg ^ 0x5a);
	}
	assert_int_equal(get(rig, 0x34), 0x77);
	assert_int_equal(get(rig, 11), 0x02);
	assert_int_equal(get(rig, 12), 0);
	assert_int_equal(get(rig, 13), 0x80);
	/* The NMI mask is not part of the index. */
	assert_int_equal(get(rig, 0x80 | 0x40), 0x40 ^ 0x5a);
}

static void the_real_timer_wakes_the_loop(void **state)
{
	struct rig *rig = *state;
	struct epoll_event event;

	rig->rtc.now = NULL;
	rtc_fini(&rig->rtc);
	assert_int_equal(rtc_init(&rig->rtc, &rig->chip, 8, &rig->loop), 0);
	set(rig, 10, 0x2d); /* 8 Hz */
	set(rig, 11, 0x42);
	assert_int_equal(epoll_wait(rig->loop.epoll_fd, &event, 1, 1000), 1);
	assert_ptr_equal(event.data.ptr, &rig->rtc.timer);
	timer_fires(rig);
	assert_true(rig->rtc.line.level);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_open, rig_close)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(the_time_of_day_is_right_in_every_format),
		TEST(the_clock_starts_with_the_hosts_time),
		TEST(a_time_the_guest_sets_runs_on),
		TEST(a_held_clock_stands_still),
		TEST(one_register_can_be_set_while_the_clock_runs),
		TEST(any_nonsense_may_be_written_as_a_time),
		TEST(uip_warns_before_each_second_and_only_then),
		TEST(flags_can_be_polled_and_reading_clears_them),
		TEST(the_update_interrupt_comes_every_second),
		TEST(a_reader_who_comes_before_the_timer_sees_the_interrupt),
		TEST(the_alarm_interrupts_at_its_time),
		TEST(the_periodic_interrupt_follows_its_rate),
		TEST(ram_keeps_its_bytes_over_a_reset_and_status_does_not),
		TEST(the_real_timer_wakes_the_loop),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
