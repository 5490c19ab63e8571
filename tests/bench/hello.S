/*
 * The guest of tests/bench/start: a PVH kernel that prints one byte, waits for
 * 2^29 cycles of its time-stamp counter, prints another, and writes 0 to the
 * exit port, as the guest in floor.c does.
 */
	.section .note.pvh, "a", @note
	.long	4, 4, 18	/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	_start

	.text
	.code32
	.globl	_start
_start:
	mov	$0x3f8, %edx
	mov	$'!', %al
	out	%al, %dx
	rdtsc
	mov	%eax, %ebx
wait:
	rdtsc
	sub	%ebx, %eax
	cmp	$1 << 29, %eax
	jb	wait
	mov	$0x3f8, %edx
	mov	$'.', %al
	out	%al, %dx
	xor	%eax, %eax
	out	%al, $0xf4
	hlt
	.section .note.GNU-stack, "", @progbits
