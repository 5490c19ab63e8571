/* The multiboot 1 header, and the way to C. */
#define MAGIC	0x1badb002
#define FLAGS	3		/* modules on page boundaries; memory map */

	.code32
	.section .start, "ax"
	.balign	4
	.long	MAGIC, FLAGS, -(MAGIC + FLAGS)

	.globl	_start
_start:
	movl	$stack_top, %esp
	pushl	%ebx
	pushl	%eax
	call	hello32

	.section .bss
	.balign	16
	.skip	4096
stack_top:

	.section .note.GNU-stack, "", @progbits
