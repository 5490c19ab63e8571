#include "devices/rtc.h"

#include "util/checked.h"
#include "util/clock.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000

enum reg {
	REG_SECONDS = 0,
	REG_MINUTES = 2,
	REG_HOURS = 4,
	REG_WEEKDAY = 6,
	REG_DAY = 7,
	REG_MONTH = 8,
	REG_YEAR = 9,
	REG_A = 10,
	REG_B = 11,
	REG_C = 12,
	REG_D = 13,
	/* One above their time: REG_SECONDS + ALARM and so on. */
	ALARM = 1,
};

#define A_UIP      0x80
#define A_DIVIDER  0x60 /* both bits: the divider is held in reset */
#define A_RATE     0x0f
#define A_DEFAULT  0x26 /* 32,768 Hz, 1,024 interrupts a second */
#define B_SET      0x80
#define B_PIE      0x40
#define B_AIE      0x20
#define B_UIE      0x10
#define B_BINARY   0x04
#define B_24H      0x02
#define C_IRQF     0x80
#define C_FLAGS    0x70 /* PF, AF, UF: at the places of PIE, AIE, UIE */
#define D_VALID    0x80
#define HOURS_PM   0x80
#define ALARM_ANY  0xc0 /* both bits: every hour, minute or second */
#define ALARM_NONE (-1)

/* UIP is set for this long before each second. After a reading without UIP the
 * registers stay as they are for at least this long (table 5). */
#define UIP_NS 244000

/* The years 1970 to 2255, in which nanoseconds fit 64 bits. */
#define TIME_MAX 9000000000

static int64_t rtc_clock(const struct rtc *rtc)
{
	(void)rtc;
	return (int64_t)clock_ns(CLOCK_REALTIME);
}

static int64_t guest_now(const struct rtc *rtc)
{
	return rtc->now(rtc) + rtc->offset;
}

/* True while the clock stands and its registers are plain memory. */
static bool held(const struct rtc *rtc)
{
	return (rtc->cmos[REG_B] & B_SET) ||
	       (rtc->cmos[REG_A] & A_DIVIDER) == A_DIVIDER;
}

static uint8_t encode(const struct rtc *rtc, int value)
{
	if (rtc->cmos[REG_B] & B_BINARY)
		return value;
	return value / 10 << 4 | value % 10;
}

static int decode(const struct rtc *rtc, uint8_t value)
{
	if (rtc->cmos[REG_B] & B_BINARY)
		return value;
	return (value >> 4) * 10 + (value & 0xf);
}

static uint8_t encode_hour(const struct rtc *rtc, int hour)
{
	if (rtc->cmos[REG_B] & B_24H)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) |
	       (hour >= 12 ? HOURS_PM : 0);
}

static int decode_hour(const struct rtc *rtc, uint8_t value)
{
	if (rtc->cmos[REG_B] & B_24H)
		return decode(rtc, value);
	return decode(rtc, value & ~HOURS_PM) % 12 +
	       (value & HOURS_PM ? 12 : 0);
}

static bool is_time(unsigned reg)
{
	return reg == REG_SECONDS || reg == REG_MINUTES || reg == REG_HOURS ||
	       (reg >= REG_WEEKDAY && reg <= REG_YEAR) || reg == RTC_CENTURY;
}

/* The registers of the time @ns. */
static void time_store(struct rtc *rtc, int64_t ns)
{
	time_t seconds = ns / SECOND;
	struct tm tm;

	gmtime_r(&seconds, &tm);
	rtc->cmos[REG_SECONDS] = encode(rtc, tm.tm_sec);
	rtc->cmos[REG_MINUTES] = encode(rtc, tm.tm_min);
	rtc->cmos[REG_HOURS] = encode_hour(rtc, tm.tm_hour);
	rtc->cmos[REG_WEEKDAY] = encode(rtc, tm.tm_wday + 1);
	rtc->cmos[REG_DAY] = encode(rtc, tm.tm_mday);
	rtc->cmos[REG_MONTH] = encode(rtc, tm.tm_mon + 1);
	rtc->cmos[REG_YEAR] = encode(rtc, tm.tm_year % 100);
	rtc->cmos[RTC_CENTURY] = encode(rtc, tm.tm_year / 100 + 19);
}

/* Runs on from the time in the registers, whatever the guest wrote there; the
 * place within the second is the divider's and stays. */
static void time_load(struct rtc *rtc)
{
	struct tm tm = {
		.tm_sec = decode(rtc, rtc->cmos[REG_SECONDS]),
		.tm_min = decode(rtc, rtc->cmos[REG_MINUTES]),
		.tm_hour = decode_hour(rtc, rtc->cmos[REG_HOURS]),
		.tm_mday = decode(rtc, rtc->cmos[REG_DAY]),
		.tm_mon = decode(rtc, rtc->cmos[REG_MONTH]) - 1,
		.tm_year = decode(rtc, rtc->cmos[RTC_CENTURY]) * 100 +
			   decode(rtc, rtc->cmos[REG_YEAR]) - 1900,
	};
	int64_t seconds = timegm(&tm);
	int64_t now = guest_now(rtc);

	if (seconds < 0)
		seconds = 0;
	if (seconds > TIME_MAX)
		seconds = TIME_MAX;
	rtc->offset += seconds * SECOND - now / SECOND * SECOND;
	rtc->checked = guest_now(rtc);
}

static bool alarm_field(const struct rtc *rtc, enum reg reg, uint8_t value)
{
	uint8_t alarm = rtc->cmos[reg + ALARM];

	return (alarm & ALARM_ANY) == ALARM_ANY || alarm == value;
}

/* The first second at or after @t at which the alarm is due. */
static int64_t alarm_next(const struct rtc *rtc, int64_t t)
{
	int64_t end = t + 86400;

	while (t <= end) {
		int second = t % 86400;

		if (!alarm_field(rtc, REG_HOURS,
				 encode_hour(rtc, second / 3600)))
			t += 3600 - second % 3600;
		else if (!alarm_field(rtc, REG_MINUTES,
				      encode(rtc, second / 60 % 60)))
			t += 60 - second % 60;
		else if (!alarm_field(rtc, REG_SECONDS,
				      encode(rtc, second % 60)))
			t++;
		else
			return t;
	}
	return ALARM_NONE;
}

/* The periodic interrupt's interval in ns, or 0 (table 3). */
static int64_t period(const struct rtc *rtc)
{
	unsigned rate = rtc->cmos[REG_A] & A_RATE;

	if (!rate)
		return 0;
	if (rate <= 2)
		rate += 7;
	return (int64_t)SECOND * (1 << (rate - 1)) / 32768;
}

/* IRQF and the line follow the flags that are enabled. */
static void line_update(struct rtc *rtc)
{
	bool level = rtc->cmos[REG_C] & rtc->cmos[REG_B] & C_FLAGS;

	rtc->cmos[REG_C] &= ~C_IRQF;
	if (level)
		rtc->cmos[REG_C] |= C_IRQF;
	irq_line_set(&rtc->line, level);
}

/* Brings the flags up to date with what has happened since the last time. The
 * guest may read them before the timer comes. */
static void flags_check(struct rtc *rtc)
{
	int64_t now = guest_now(rtc), was = rtc->checked, alarm;

	if (held(rtc))
		return;
	rtc->checked = now;
	if (now <= was)
		return; /* the host's clock was set back */
	if (period(rtc) && now / period(rtc) != was / period(rtc))
		rtc->cmos[REG_C] |= B_PIE;
	if (now / SECOND != was / SECOND) {
		rtc->cmos[REG_C] |= B_UIE;
		alarm = alarm_next(rtc, was / SECOND + 1);
		if (alarm != ALARM_NONE && alarm <= now / SECOND)
			rtc->cmos[REG_C] |= B_AIE;
	}
	line_update(rtc);
}

/* When the next enabled interrupt is due, in the guest's ns; 0 for never. */
static int64_t next_event(const struct rtc *rtc)
{
	int64_t now = guest_now(rtc), next = INT64_MAX, t;
	uint8_t enabled = rtc->cmos[REG_B];

	if (held(rtc) || (rtc->cmos[REG_C] & C_IRQF))
		return 0; /* none until the clock runs, or C was read */
	if ((enabled & B_PIE) && period(rtc))
		next = (now / period(rtc) + 1) * period(rtc);
	if (enabled & B_UIE) {
		t = (now / SECOND + 1) * SECOND;
		next = t < next ? t : next;
	}
	t = enabled & B_AIE ? alarm_next(rtc, now / SECOND + 1) : ALARM_NONE;
	if (t != ALARM_NONE && t * SECOND < next)
		next = t * SECOND;
	return next == INT64_MAX ? 0 : next;
}

/* Ends every change of flags, enables and time: the line follows the flags,
 * and the timer what comes next. */
static void irq_update(struct rtc *rtc)
{
	struct itimerspec when = { 0 };
	int64_t next;

	line_update(rtc);
	next = next_event(rtc);
	if (!next && !rtc->armed)
		return;
	rtc->armed = next != 0;
	if (next) {
		next -= rtc->offset;
		when.it_value.tv_sec = next / SECOND;
		when.it_value.tv_nsec = next % SECOND;
	}
	timerfd_settime(rtc->timer.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void timer_ready(struct watch *watch, uint32_t events)
{
	struct rtc *rtc = container_of(watch, struct rtc, timer);

	(void)events; /* edge triggered: never read */
	pthread_mutex_lock(&rtc->dev.lock);
	flags_check(rtc);
	irq_update(rtc);
	pthread_mutex_unlock(&rtc->dev.lock);
}

static uint8_t reg_read(struct rtc *rtc, unsigned reg)
{
	uint8_t value;

	flags_check(rtc);
	if (is_time(reg) && !held(rtc))
		time_store(rtc, guest_now(rtc));
	value = rtc->cmos[reg];
	if (reg == REG_A && !held(rtc) &&
	    guest_now(rtc) % SECOND >= SECOND - UIP_NS)
		value |= A_UIP;
	if (reg == REG_C) {
		rtc->cmos[REG_C] = 0;
		irq_update(rtc);
	}
	return value;
}

/* A and B: what may hold the clock, or let it go. */
static void control_write(struct rtc *rtc, unsigned reg, uint8_t value)
{
	bool was_held = held(rtc);
	bool was_reset = (rtc->cmos[REG_A] & A_DIVIDER) == A_DIVIDER;

	if (!was_held)
		time_store(rtc, guest_now(rtc));
	if (reg == REG_A)
		value &= ~A_UIP;
	else if (value & B_SET)
		value &= ~B_UIE;
	rtc->cmos[reg] = value;
	/* A divider let go gives the first update half a second later. */
	if (was_reset && (rtc->cmos[REG_A] & A_DIVIDER) != A_DIVIDER)
		rtc->offset += SECOND / 2 - guest_now(rtc) % SECOND;
	if (was_held && !held(rtc))
		time_load(rtc);
}

static void reg_write(struct rtc *rtc, unsigned reg, uint8_t value)
{
	flags_check(rtc);
	if (reg == REG_A || reg == REG_B) {
		control_write(rtc, reg, value);
	} else if (is_time(reg) && !held(rtc)) {
		time_store(rtc, guest_now(rtc));
		rtc->cmos[reg] = value;
		time_load(rtc);
	} else if (reg != REG_C && reg != REG_D) {
		rtc->cmos[reg] = value;
	}
	irq_update(rtc);
}

static uint64_t rtc_read(struct device *dev, unsigned range, uint64_t offset,
			 unsigned len)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);

	(void)range, (void)len;
	return offset ? reg_read(rtc, rtc->index) : 0xff; /* write only */
}

static void rtc_write(struct device *dev, unsigned range, uint64_t offset,
		      unsigned len, uint64_t value)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);

	(void)range, (void)len;
	if (offset)
		reg_write(rtc, rtc->index, value);
	else
		rtc->index = value &
			     0x7f; /* bit 7 masks NMIs: there are none */
}

/* The clock has a battery: a reset only turns interrupts off. */
static void rtc_reset(struct device *dev)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);

	rtc->cmos[REG_B] &= ~(B_PIE | B_AIE | B_UIE);
	rtc->cmos[REG_C] = 0;
	irq_update(rtc);
}

static const struct device_ops rtc_ops = {
	.read = rtc_read,
	.write = rtc_write,
	.reset = rtc_reset,
};

int rtc_init(struct rtc *rtc, struct irqchip *chip, uint32_t gsi,
	     struct loop *loop)
{
	int err;

	*rtc = (struct rtc){
		.line = irq_line(chip, gsi),
		.loop = loop,
		.timer.ready = timer_ready,
		.now = rtc_clock,
	};
	rtc->timer.fd =
		timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	err = rtc->timer.fd < 0 ? -errno : 0;
	if (!err)
		err = loop_add(loop, &rtc->timer, EPOLLIN | EPOLLET);
	if (err) {
		log_err("rtc: timer: %s", strerror(-err));
		if (rtc->timer.fd >= 0)
			close(rtc->timer.fd);
		return err;
	}
	device_init(&rtc->dev, "rtc", &rtc_ops, 1);
	rtc->cmos[REG_A] = A_DEFAULT;
	rtc->cmos[REG_B] = B_24H;
	rtc->cmos[REG_D] = D_VALID;
	rtc->checked = guest_now(rtc);
	return 0;
}

void rtc_fini(struct rtc *rtc)
{
	loop_remove(rtc->loop, &rtc->timer);
	close(rtc->timer.fd);
	device_fini(&rtc->dev);
}

void rtc_set_nvram(struct rtc *rtc, unsigned index, uint8_t value)
{
	if (index > REG_D && index < sizeof(rtc->cmos) && !is_time(index))
		rtc->cmos[index] = value;
}
