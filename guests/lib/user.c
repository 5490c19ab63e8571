#include "guests/lib/user.h"
#include "guests/lib/cpu.h"
#include "guests/lib/lib.h"

#include <stdint.h>

/* Where start.S has them in its table; the last two bits are the ring. */
#define USER_DATA 0x23
#define USER_CODE 0x2b
#define TSS       0x30

#define VECTOR_UD 6
#define UD2_SIZE  2

/* SDM 3, 7.7: all that is used of it is the stack for exceptions. */
static struct {
	uint32_t reserved;
	uint64_t rsp0;
	uint32_t rest[23];
} __attribute__((packed)) tss;

static uint8_t stack[4096] __attribute__((aligned(16)));

extern uint64_t gdt_tss[2];

static void call(struct trap *trap)
{
	void (*function)(void *arg) = (void (*)(void *))trap->rdi;

	if ((trap->cs & 3) != 3)
		fail("exception 6 at 0x%lx", trap->rip);
	trap->rip += UD2_SIZE;
	function((void *)trap->rsi);
}

/* By an exception, which every KVM delivers; INT not all can emulate. */
void user_call(void (*function)(void *arg), void *arg)
{
	__asm__ volatile("ud2" : : "D"(function), "S"(arg) : "memory");
}

void user_enter(void)
{
	uint64_t base = (uint64_t)&tss, limit = sizeof(tss) - 1;

	tss.rsp0 = (uint64_t)stack + sizeof(stack);
	tss.rest[22] = (sizeof(tss) & 0xffff) << 16; /* no map of ports */
	gdt_tss[0] = limit | (base & 0xffffff) << 16 | 0x89ul << 40 |
		     (base >> 24 & 0xff) << 56;
	gdt_tss[1] = base >> 32;
	trap_set(VECTOR_UD, call);
	__asm__ volatile("movl %0, %%eax\n\t"
			 "ltr %%ax\n\t"
			 "movq %%rsp, %%rax\n\t"
			 "pushq %1\n\t"
			 "pushq %%rax\n\t"
			 "pushq %2\n\t"
			 "pushq %3\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "iretq\n"
			 "1:"
			 :
			 : "i"(TSS), "i"(USER_DATA), "i"(2), "i"(USER_CODE)
			 : "rax", "memory");
}
