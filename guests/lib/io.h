/*
 * The machine's instructions as C: ports, MMIO, registers and barriers.
 *
 * Guests are freestanding and run in ring 0 with memory mapped one to one.
 */
#ifndef GUESTS_LIB_IO_H
#define GUESTS_LIB_IO_H

#include <stddef.h>
#include <stdint.h>

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static inline void outw(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port));
}

static inline void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint16_t inw(uint16_t port)
{
	uint16_t value;

	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void outsb(uint16_t port, const void *from, size_t count)
{
	__asm__ volatile("rep outsb"
			 : "+S"(from), "+c"(count)
			 : "d"(port)
			 : "memory");
}

static inline void insb(uint16_t port, void *to, size_t count)
{
	__asm__ volatile("rep insb"
			 : "+D"(to), "+c"(count)
			 : "d"(port)
			 : "memory");
}

/* MMIO: one plain mov each, so that the access has exactly this width. */
static inline uint8_t read8(uint64_t address)
{
	uint8_t value;

	__asm__ volatile("movb (%1), %0"
			 : "=q"(value)
			 : "r"(address)
			 : "memory");
	return value;
}

static inline uint16_t read16(uint64_t address)
{
	uint16_t value;

	__asm__ volatile("movw (%1), %0"
			 : "=r"(value)
			 : "r"(address)
			 : "memory");
	return value;
}

static inline uint32_t read32(uint64_t address)
{
	uint32_t value;

	__asm__ volatile("movl (%1), %0"
			 : "=r"(value)
			 : "r"(address)
			 : "memory");
	return value;
}

static inline uint64_t read64(uint64_t address)
{
	uint64_t value;

	__asm__ volatile("movq (%1), %0"
			 : "=r"(value)
			 : "r"(address)
			 : "memory");
	return value;
}

static inline void write8(uint64_t address, uint8_t value)
{
	__asm__ volatile("movb %0, (%1)" ::"q"(value), "r"(address) : "memory");
}

static inline void write16(uint64_t address, uint16_t value)
{
	__asm__ volatile("movw %0, (%1)" ::"r"(value), "r"(address) : "memory");
}

static inline void write32(uint64_t address, uint32_t value)
{
	__asm__ volatile("movl %0, (%1)" ::"r"(value), "r"(address) : "memory");
}

static inline void write64(uint64_t address, uint64_t value)
{
	__asm__ volatile("movq %0, (%1)" ::"r"(value), "r"(address) : "memory");
}

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid id;

	__asm__ volatile("cpuid"
			 : "=a"(id.eax), "=b"(id.ebx), "=c"(id.ecx),
			   "=d"(id.edx)
			 : "a"(leaf), "c"(subleaf));
	return id;
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value),
			 "d"((uint32_t)(value >> 32))
			 : "memory");
}

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static inline void cpu_pause(void)
{
	__asm__ volatile("pause" ::: "memory");
}

/* Interrupts on for exactly the halt: sti takes effect after the next
 * instruction, so none is lost between the caller's test and the hlt. */
static inline void cpu_halt(void)
{
	__asm__ volatile("sti; hlt; cli" ::: "memory");
}

/* Compilers keep the order of what is before and after; x86 keeps that of
 * stores among themselves and of loads among themselves. */
static inline void barrier(void)
{
	__asm__ volatile("" ::: "memory");
}

/* A store before is seen by the others before a load after. A locked
 * instruction, for mfence is missing on some hosts' emulators. */
static inline void memory_fence(void)
{
	__asm__ volatile("lock addl $0, -4(%%rsp)" ::: "memory", "cc");
}

#endif
