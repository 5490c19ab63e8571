#include "guests/lib/cpu.h"
#include "guests/lib/acpi.h"
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"

#define CODE64 0x10

#define LAPIC    0xfee00000ul
#define APIC_MSR 0x1b

#define ICR_PENDING 0x1000
#define ICR_INIT    0x4500
#define ICR_SIPI    0x4600

struct gate {
	uint16_t low, selector, flags, middle;
	uint32_t high, reserved;
};

struct {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed)) idtr;

extern const uint8_t trap_stubs[VECTORS][16], ap_start[], ap_end[];
void trap_dispatch(struct trap *trap);
void ap_run(void);

uint32_t ap_stack; /* for the next CPU to come up */
static uint32_t ap_id;
static void (*ap_function)(uint32_t id);
static volatile bool ap_up;

static struct gate idt[VECTORS];
static trap_handler *handlers[VECTORS];

void trap_init(void)
{
	for (int i = 0; i < VECTORS; i++) {
		uint64_t stub = (uint64_t)trap_stubs[i];

		idt[i] = (struct gate){
			.low = (uint16_t)stub,
			.selector = CODE64,
			.flags = 0x8e00, /* present, interrupt gate */
			.middle = (uint16_t)(stub >> 16),
		};
	}
	idtr.limit = sizeof(idt) - 1;
	idtr.base = (uint64_t)idt;
	__asm__ volatile("lidt %0" ::"m"(idtr));
}

void trap_set(int vector, trap_handler *handler)
{
	handlers[vector] = handler;
}

void trap_dispatch(struct trap *trap)
{
	uint64_t cr2;

	if (handlers[trap->vector]) {
		handlers[trap->vector](trap);
		return;
	}
	if (trap->vector == VECTOR_SPURIOUS)
		return;
	__asm__ volatile("movq %%cr2, %0" : "=r"(cr2));
	if (trap->vector >= VECTOR_FIRST)
		fail("interrupt %lu has no handler", trap->vector);
	fail("exception %lu, error 0x%lx, at 0x%lx, cr2 0x%lx, rsp 0x%lx",
	     trap->vector, trap->error, trap->rip, cr2, trap->rsp);
}

void pic_init(uint8_t base, uint16_t open)
{
	open |= open >> 8 ? 4 : 0; /* the second one hangs on IRQ 2 */
	outb(0x20, 0x11);
	outb(0xa0, 0x11);
	outb(0x21, base);
	outb(0xa1, (uint8_t)(base + 8));
	outb(0x21, 4);
	outb(0xa1, 2);
	outb(0x21, 1);
	outb(0xa1, 1);
	outb(0x21, (uint8_t)~open);
	outb(0xa1, (uint8_t)(~open >> 8));
}

void pic_eoi(int irq)
{
	if (irq >= 8)
		outb(0xa0, 0x20);
	outb(0x20, 0x20);
}

void apic_init(void)
{
	uint64_t base = rdmsr(APIC_MSR);

	CHECK_EQ(base & ~0xffful, LAPIC, "base of the local APIC");
	wrmsr(APIC_MSR, base | 0x800);
	apic_write(APIC_SPURIOUS, 0x100 | VECTOR_SPURIOUS);
	apic_write(APIC_TPR, 0);
}

uint32_t apic_read(uint32_t reg)
{
	return read32(LAPIC + reg);
}

void apic_write(uint32_t reg, uint32_t value)
{
	write32(LAPIC + reg, value);
}

uint32_t apic_id(void)
{
	return apic_read(APIC_ID) >> 24;
}

void apic_send(uint32_t id, uint32_t command)
{
	apic_write(APIC_ICR_HIGH, id << 24);
	apic_write(APIC_ICR, command);
	while (apic_read(APIC_ICR) & ICR_PENDING)
		cpu_pause();
}

static void ioapic_write(uint32_t reg, uint32_t value)
{
	acpi_init();
	write32(acpi.ioapic, reg);
	write32(acpi.ioapic + 0x10, value);
}

void ioapic_route(int gsi, int vector, bool level)
{
	uint32_t reg = 0x10 + 2 * (uint32_t)gsi;

	ioapic_write(reg, APIC_MASKED);
	ioapic_write(reg + 1, 0);
	ioapic_write(reg, (uint32_t)vector | (level ? 0x8000 : 0));
}

void ioapic_mask(int gsi)
{
	ioapic_write(0x10 + 2 * (uint32_t)gsi, APIC_MASKED);
}

/* Called on the new CPU, by start.S. */
void ap_run(void)
{
	uint32_t id = ap_id;
	void (*function)(uint32_t) = ap_function;

	ap_up = true;
	apic_init();
	function(id);
}

bool cpu_start(uint32_t id, void (*ap_main)(uint32_t id))
{
	static uint32_t started;

	memcpy((void *)AP_TRAMPOLINE, ap_start, (size_t)(ap_end - ap_start));
	ap_stack = AP_STACKS + ++started * CPU_STACK;
	ap_id = id;
	ap_function = ap_main;
	ap_up = false;
	memory_fence();
	apic_send(id, ICR_INIT);
	for (int tries = 0; tries < 2; tries++) {
		apic_send(id, ICR_SIPI | AP_TRAMPOLINE >> 12);
		if (WAIT_FOR_MS(ap_up, tries ? 1000 : 200))
			return true;
	}
	return false;
}
