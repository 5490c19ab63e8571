/*
 * Every CPU of the MADT is brought up by INIT and SIPI, agrees with itself on
 * who it is, answers interrupts from the first one, and counts with the
 * others. Option cpus=N: how many there must be.
 */
#include "guests/lib/acpi.h"
#include "guests/lib/cpu.h"
#include "guests/lib/lib.h"

#define VECTOR_PING 48
#define ICR_OTHERS  0xc0000 /* all but the sender */
#define ADDS        200

static volatile uint32_t up;
static volatile uint32_t pings[CPUS_MAX];
static uint32_t counter;
static volatile bool over;

static void ping(struct trap *trap)
{
	(void)trap;
	for (int i = 0; i < ADDS; i++)
		__atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&pings[apic_id()], 1, __ATOMIC_RELEASE);
	apic_write(APIC_EOI, 0);
}

static void check_identity(uint32_t id)
{
	CHECK_EQ(apic_id(), id, "id in the local APIC");
	CHECK_EQ(cpuid(1, 0).ebx >> 24, id, "APIC id in CPUID leaf 1");
	if (cpuid(0, 0).eax >= 0xb && cpuid(0xb, 0).ebx)
		CHECK_EQ(cpuid(0xb, 0).edx, id, "x2APIC id in CPUID leaf 0xb");
	CHECK_EQ(rdmsr(0x1b) >> 8 & 1, id == 0,
		 "boot processor flag in the APIC base");
}

static void ap_main(uint32_t id)
{
	check_identity(id);
	print("cpu %u: up\n", id);
	__atomic_fetch_add(&up, 1, __ATOMIC_RELEASE);
	while (!over)
		cpu_halt();
}

static bool all_have(int count, uint32_t want)
{
	for (int i = 1; i < count; i++)
		if (pings[acpi.cpus[i]] != want)
			return false;
	return true;
}

int guest_main(void)
{
	int count;

	acpi_init();
	CHECK(acpi.found, "ACPI tables are found");
	count = acpi.nr_cpus;
	CHECK_EQ(count, option_number("cpus", (uint64_t)count),
		 "CPUs in the MADT");
	CHECK_EQ(acpi.cpus[0], 0, "the MADT's first CPU");
	apic_init();
	check_identity(0);
	trap_set(VECTOR_PING, ping);
	print("cpu 0: up\n");

	for (int i = 1; i < count; i++)
		if (!cpu_start(acpi.cpus[i], ap_main))
			fail("%s:%d CPU %u does not come up", __FILE__,
			     __LINE__, acpi.cpus[i]);
	CHECK(WAIT_FOR(up == (uint32_t)count - 1), "all CPUs reach C");

	for (int i = 1; i < count; i++) {
		apic_send(acpi.cpus[i], VECTOR_PING);
		if (!WAIT_FOR(pings[acpi.cpus[i]] == 1))
			fail("%s:%d CPU %u does not answer an interrupt",
			     __FILE__, __LINE__, acpi.cpus[i]);
	}
	if (count > 1) {
		apic_send(0, ICR_OTHERS | VECTOR_PING);
		CHECK(WAIT_FOR(all_have(count, 2)), "all answer a broadcast");
	}
	CHECK_EQ(counter, (uint32_t)(count - 1) * 2 * ADDS,
		 "sum of what all CPUs added");
	over = true;
	if (count > 1)
		apic_send(0, ICR_OTHERS | VECTOR_PING);
	print("%d CPUs\n", count);
	return 0;
}
