/*
 * Interrupts and processors: IDT, PIC, local APIC, IOAPIC, and starting CPUs.
 *
 * Vectors 0..31 are exceptions: without a handler they are reported and end
 * the run with 1. Vectors 32..63 are for interrupts.
 */
#ifndef GUESTS_LIB_CPU_H
#define GUESTS_LIB_CPU_H

#include <stdbool.h>
#include <stdint.h>

#define VECTORS         64
#define VECTOR_FIRST    32
#define VECTOR_SPURIOUS 63

#define CPUS_MAX  64
#define CPU_STACK 2048

/* As pushed by the stubs of start.S. */
struct trap {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
	uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

/* Called with interrupts off. The handler ends its own interrupt. */
typedef void trap_handler(struct trap *trap);
void trap_set(int vector, trap_handler *handler);
/* Sets up the IDT of the boot processor; the others share it. */
void trap_init(void);

/* Both 8259: vectors base..base+15, all masked except those in @open. */
void pic_init(uint8_t base, uint16_t open);
void pic_eoi(int irq);

#define APIC_ID         0x20
#define APIC_VERSION    0x30
#define APIC_TPR        0x80
#define APIC_EOI        0xb0
#define APIC_SPURIOUS   0xf0
#define APIC_ICR        0x300
#define APIC_ICR_HIGH   0x310
#define APIC_TIMER      0x320
#define APIC_LINT0      0x350
#define APIC_TIMER_INIT 0x380
#define APIC_TIMER_NOW  0x390
#define APIC_TIMER_DIV  0x3e0

#define APIC_MASKED 0x10000

/* Enables this CPU's local APIC, at its usual address. */
void apic_init(void);
uint32_t apic_read(uint32_t reg);
void apic_write(uint32_t reg, uint32_t value);
uint32_t apic_id(void);
/* A fixed interrupt, INIT, or SIPI, as @command says, to CPU @id. */
void apic_send(uint32_t id, uint32_t command);

/* Routes pin @gsi of the IOAPIC to @vector of CPU 0. */
void ioapic_route(int gsi, int vector, bool level);
void ioapic_mask(int gsi);

/*
 * Starts the CPU with APIC id @id by INIT and SIPI; it calls
 * ap_main(@id) on a stack of its own, and halts when that returns. False when
 * it has not come up within a second.
 */
bool cpu_start(uint32_t id, void (*ap_main)(uint32_t id));

#endif
