/*
 * Clocks and timers: PIT by the PIC and by the IOAPIC, local APIC timer, TSC
 * deadline, PM timer, TSC and RTC. What is measured is compared generously:
 * the host may be busy. Too early is never right.
 */
#include "guests/lib/acpi.h"
#include "guests/lib/cpu.h"
#include "guests/lib/lib.h"

#define PIT_HZ      1193182
#define TICKS       10
#define TICK_MS     10
#define PIC_BASE    32
#define VECTOR_TICK 50

#define MSR_TSC_DEADLINE 0x6e0
#define LVT_PERIODIC     0x20000
#define LVT_DEADLINE     0x40000

static volatile int ticks;

static void pic_tick(struct trap *trap)
{
	(void)trap;
	ticks++;
	pic_eoi(0);
}

static void apic_tick(struct trap *trap)
{
	(void)trap;
	ticks++;
	apic_write(APIC_EOI, 0);
}

static void interrupts(bool on)
{
	if (on)
		__asm__ volatile("sti" ::: "memory");
	else
		__asm__ volatile("cli" ::: "memory");
}

/* Ten ticks of 10 ms since @start take 100 ms, less one that was under way. */
static void expect_ticks(const char *name, uint64_t start)
{
	uint64_t ms;

	interrupts(true);
	if (!WAIT_FOR(ticks >= TICKS))
		fail("%s: %d ticks in 2 s, want %d", name, ticks, TICKS);
	interrupts(false);
	ms = (clock_now() - start) * 1000 / CLOCK_HZ;
	if (ms < (TICKS - 2) * TICK_MS)
		fail("%s: %d ticks of %d ms came in %lu ms", name, TICKS,
		     TICK_MS, ms);
	print("%s: ok\n", name);
}

static void test_pit(void)
{
	uint16_t divisor = PIT_HZ / (1000 / TICK_MS);
	uint64_t start;

	outb(0x43, 0x34); /* channel 0, both bytes, mode 2 */
	outb(0x40, (uint8_t)divisor);
	outb(0x40, (uint8_t)(divisor >> 8));

	/* LINT0 is to pass the PIC's interrupts on as it is: a PC's firmware
	 * left it so. */
	trap_set(PIC_BASE, pic_tick);
	start = clock_now();
	ticks = 0;
	pic_init(PIC_BASE, 1);
	expect_ticks("PIT by the PIC", start);
	pic_init(PIC_BASE, 0);

	apic_init();
	trap_set(VECTOR_TICK, apic_tick);
	start = clock_now();
	ticks = 0;
	ioapic_route((int)acpi.irq0_gsi, VECTOR_TICK, false);
	expect_ticks("PIT by the IOAPIC", start);

	/* An idle CPU is woken. */
	ticks = 0;
	cpu_halt();
	CHECK(ticks > 0, "hlt ends by an interrupt");
	ioapic_mask((int)acpi.irq0_gsi);
}

static void test_apic_timer(void)
{
	uint64_t start, count;

	apic_write(APIC_TIMER_DIV, 0xb); /* by 1 */
	apic_write(APIC_TIMER, APIC_MASKED);
	start = clock_now();
	apic_write(APIC_TIMER_INIT, ~0u);
	clock_spin(clock_ms(TICK_MS));
	count = ~0u - apic_read(APIC_TIMER_NOW);
	count = count * clock_ms(TICK_MS) / (clock_now() - start);
	CHECK(count > 1000, "the local APIC timer counts");

	start = clock_now();
	ticks = 0;
	apic_write(APIC_TIMER, LVT_PERIODIC | VECTOR_TICK);
	apic_write(APIC_TIMER_INIT, (uint32_t)count);
	expect_ticks("local APIC timer", start);

	/* What is left of the periodic one comes now. */
	apic_write(APIC_TIMER_INIT, 0);
	interrupts(true);
	clock_spin(clock_ms(1));
	interrupts(false);
	ticks = 0;
	apic_write(APIC_TIMER, VECTOR_TICK);
	apic_write(APIC_TIMER_INIT, (uint32_t)count / 2);
	interrupts(true);
	clock_spin(clock_ms(3 * TICK_MS));
	CHECK(WAIT_FOR(ticks), "a single shot fires");
	clock_spin(clock_ms(TICK_MS));
	interrupts(false);
	CHECK_EQ(ticks, 1, "ticks of a single shot");
	apic_write(APIC_TIMER, APIC_MASKED);
}

static void test_tsc(void)
{
	uint64_t start = clock_now(), tsc = rdtsc(), per_ms;

	clock_spin(clock_ms(TICK_MS));
	tsc = rdtsc() - tsc;
	per_ms = tsc * CLOCK_HZ / (clock_now() - start) / 1000;
	CHECK(per_ms > 100000 && per_ms < 10000000,
	      "the TSC runs at 0.1 to 10 GHz");
	print("TSC: ok\n");
	if (!(cpuid(1, 0).ecx >> 24 & 1)) {
		print("TSC deadline: not offered\n");
		return;
	}
	apic_write(APIC_TIMER, LVT_DEADLINE | VECTOR_TICK);
	memory_fence();
	ticks = 0;
	start = clock_now();
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + per_ms * TICK_MS);
	interrupts(true);
	CHECK(WAIT_FOR(ticks), "a TSC deadline fires");
	interrupts(false);
	CHECK(clock_now() - start >= clock_ms(TICK_MS / 2),
	      "a TSC deadline does not fire early");
	CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0, "the deadline after it fired");
	print("TSC deadline: ok\n");
}

static uint8_t cmos(uint8_t reg)
{
	outb(0x70, reg);
	return inb(0x71);
}

static unsigned rtc(uint8_t reg)
{
	unsigned value = cmos(reg);

	if (cmos(0xb) & 4)
		return value;
	return (value >> 4) * 10 + (value & 15);
}

static void cmos_write(uint8_t reg, uint8_t value)
{
	outb(0x70, reg);
	outb(0x71, value);
}

static volatile uint8_t rtc_flags;

static void rtc_interrupt(struct trap *trap)
{
	(void)trap;
	ticks++;
	rtc_flags |= cmos(0xc); /* reading it lets the next one come */
	apic_write(APIC_EOI, 0);
}

/* Ticks of 1/128 s, then what a second's end brings: with the alarm set to
 * every second, both it and the update. */
static void test_rtc_interrupts(void)
{
	uint8_t control = cmos(0xb), rate = cmos(0xa);
	uint64_t start = clock_now(), ms;

	trap_set(VECTOR_TICK, rtc_interrupt);
	ioapic_route(8, VECTOR_TICK, false);
	cmos(0xc);
	ticks = 0;
	cmos_write(0xa, 0x29);
	cmos_write(0xb, control | 0x40);
	interrupts(true);
	CHECK(WAIT_FOR(ticks >= 10), "the RTC's periodic interrupt");
	interrupts(false);
	cmos_write(0xb, control);
	ms = (clock_now() - start) * 1000 / CLOCK_HZ;
	CHECK(ms >= 60, "ten ticks of 1/128 s take 78 ms");
	CHECK(rtc_flags & 0x40, "the periodic flag");

	cmos(0xc);
	rtc_flags = 0;
	cmos_write(1, 0xff);
	cmos_write(3, 0xff);
	cmos_write(5, 0xff);
	cmos_write(0xb, control | 0x30);
	interrupts(true);
	CHECK(WAIT_FOR((rtc_flags & 0x30) == 0x30),
	      "the RTC's alarm and update interrupts");
	interrupts(false);
	cmos_write(0xb, control);
	cmos_write(0xa, rate);
	cmos(0xc);
	ioapic_mask(8);
	print("RTC interrupts: ok\n");
}

static void test_rtc(void)
{
	uint8_t control = cmos(0xb);
	unsigned year;

	CHECK(cmos(0xd) & 0x80, "the RTC's battery is good");
	CHECK(control & 2, "the RTC counts 24 hours");
	CHECK(WAIT_FOR(!(cmos(0xa) & 0x80)), "the RTC's update ends");
	year = cmos(9);
	print("rtc: %02u%02u-%02u-%02u %02u:%02u:%02u\n", rtc(0x32), rtc(9),
	      rtc(8), rtc(7), rtc(4), rtc(2), rtc(0));
	cmos_write(0xb, control | 0x80); /* held, to be set */
	cmos_write(9, 0x31);
	cmos_write(0xb, control);
	CHECK_EQ(cmos(9), 0x31, "the year that was set");
	cmos_write(0xb, control | 0x80);
	cmos_write(9, (uint8_t)year);
	cmos_write(0xb, control);
	test_rtc_interrupts();
}

static void test_pm_timer(void)
{
	uint32_t last = inl(acpi.pm_timer), now;
	uint32_t mask = acpi.pm_timer_32 ? ~0u : 0xffffff;

	for (int i = 0; i < 200; i++) {
		now = inl(acpi.pm_timer);
		CHECK(((now - last) & mask) < CLOCK_HZ,
		      "the PM timer never steps back");
		last = now;
	}
}

int guest_main(void)
{
	acpi_init();
	test_pm_timer();
	test_pit();
	test_apic_timer();
	test_tsc();
	test_rtc();
	return 0;
}
