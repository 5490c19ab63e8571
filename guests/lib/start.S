/*
 * From each boot protocol's entry to guest_main() in 64-bit mode.
 *
 * The image starts as that of a Linux kernel does, with the 32-bit entry at 0
 * and the 64-bit entry at 0x200; the PVH note names its own entry. All meet
 * with memory mapped one to one: 4 GiB by pages of 2 MiB, or 64 GiB where the
 * CPU has pages of 1 GiB.
 */
#include "guests/lib/layout.h"

#define CODE32 0x08
#define CODE64 0x10
#define DATA   0x18

#define PAGE   0x87 /* present, writable, user, large */
#define TABLE  0x07

#define BOOT_PVH     1
#define BOOT_LINUX64 2
#define BOOT_LINUX32 3

	.section .note.pvh, "a", @note
#ifndef GUEST_NO_PVH
	.balign 4
	.long	4, 4, 18	/* name, descriptor, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	start_pvh
#endif

/* Assembles in 32-bit and in 64-bit mode alike. Clobbers all but ebp, esi. */
.macro build_tables
	movl	$(pdpt + TABLE), %eax
	movl	%eax, pml4
	movl	$0x80000001, %eax
	cpuid
	movl	$PAGE, %eax
	testl	$(1 << 26), %edx	/* pages of 1 GiB */
	jz	2f
	xorl	%edx, %edx
	movl	$pdpt, %edi
	movl	$64, %ecx
1:	movl	%eax, (%edi)
	movl	%edx, 4(%edi)
	addl	$(1 << 30), %eax
	adcl	$0, %edx
	addl	$8, %edi
	decl	%ecx
	jnz	1b
	jmp	4f
2:	movl	$(pd + TABLE), %edx
	movl	%edx, pdpt
	addl	$0x1000, %edx
	movl	%edx, pdpt + 8
	addl	$0x1000, %edx
	movl	%edx, pdpt + 16
	addl	$0x1000, %edx
	movl	%edx, pdpt + 24
	movl	$pd, %edi
	movl	$2048, %ecx
3:	movl	%eax, (%edi)
	addl	$(1 << 21), %eax
	addl	$8, %edi
	decl	%ecx
	jnz	3b
4:
.endm

/* A bzImage's loader does not clear what comes after the file. */
.macro clear_bss
	movl	$bss_start, %edi
	movl	$bss_end, %ecx
	subl	%edi, %ecx
	shrl	$2, %ecx
	xorl	%eax, %eax
	rep	stosl
.endm

	.section .start, "ax"
	.code32
	cld
	clear_bss
	movl	$BOOT_LINUX32, %ebp
	jmp	start32

	.org	0x200
	.code64
	.globl	start64
start64:
	cli
	cld
	clear_bss
	movl	$stack_top, %esp
	movl	$BOOT_LINUX64, %ebp
	build_tables
	lgdt	gdtr
	movl	$pml4, %eax
	movq	%rax, %cr3
	pushq	$CODE64
	pushq	$main64
	lretq

	.code32
start_pvh:
	cld
	movl	%ebx, %esi
	movl	$BOOT_PVH, %ebp
start32:
	cli
	movl	$stack_top, %esp
	build_tables
	call	long_mode
	ljmp	$CODE64, $main64

/* Paging and long mode on, still in a 32-bit segment. Keeps ebp, esi. */
long_mode:
	lgdt	gdtr
	movl	%cr4, %eax
	orl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER: LME */
	rdmsr
	orl	$0x100, %eax
	wrmsr
	movl	%cr0, %eax
	andl	$0x9fffffff, %eax	/* caches on */
	orl	$0x80000021, %eax	/* PG, NE, PE */
	movl	%eax, %cr0
	ret

	.code64
main64:
	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	movl	$stack_top, %esp
	movl	%ebp, %edi		/* boot_parse(kind, pointer) */
	xorl	%ebp, %ebp
	call	boot_parse
	call	trap_init
	call	guest_main
	movl	%eax, %edi
	call	guest_exit

/*
 * Application processors start here, copied to AP_TRAMPOLINE, in real mode.
 */
	.section .text
	.globl	ap_start, ap_end
	.code16
ap_start:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	ap_gdtr - ap_start
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$CODE32, $ap32
	.balign	4
ap_gdtr:
	.word	gdt_end - gdt - 1
	.long	gdt
ap_end:

	.code32
ap32:
	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %ss
	movl	ap_stack, %esp
	call	long_mode
	ljmp	$CODE64, $ap64

	.code64
ap64:
	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	ap_stack, %esp
	lidt	idtr
	call	ap_run
1:	cli
	hlt
	jmp	1b

/* Exceptions and interrupts: struct trap of cpu.h. */
	.macro	trap_stub n
	.balign	16
	.if	!(\n == 8 || (\n >= 10 && \n <= 14) || \n == 17 || \n == 21)
	pushq	$0
	.endif
	pushq	$\n
	jmp	trap_common
	.endm

	.balign	16
	.globl	trap_stubs
trap_stubs:
	.altmacro
	.set	vector, 0
	.rept	64
	trap_stub %vector
	.set	vector, vector + 1
	.endr
	.noaltmacro

trap_common:
	pushq	%rax
	pushq	%rbx
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%rbp
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, %rdi
	cld
	call	trap_dispatch
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rbp
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rbx
	popq	%rax
	addq	$16, %rsp
	iretq

	.data				/* the processor marks the TSS */
	.balign	8
	.globl	gdt_tss
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff	/* 0x08: code, 32-bit */
	.quad	0x00af9b000000ffff	/* 0x10: code, 64-bit */
	.quad	0x00cf93000000ffff	/* 0x18: data */
	.quad	0x00cff3000000ffff	/* 0x20: data, ring 3 */
	.quad	0x00affb000000ffff	/* 0x28: code, 64-bit, ring 3 */
gdt_tss:
	.quad	0, 0			/* 0x30: made by user_enter() */
gdt_end:
gdtr:
	.word	gdt_end - gdt - 1
	.quad	gdt

	.section .bss
	.balign	4096
	.globl	pml4, pdpt
pml4:	.skip	4096
pdpt:	.skip	4096
pd:	.skip	4 * 4096
stack:	.skip	STACK_SIZE
stack_top:

	.section .note.GNU-stack, "", @progbits
