/*
 * exit-port CODE: writes the byte CODE to kvist's exit port, which ends the
 * run. Stock kernels may have no /dev/port, and the guest's shell has no other
 * way. A program without a library: it adds nothing to the initrd.
 */
#define SYS_exit   60
#define SYS_ioperm 173
#define EXIT_PORT  0xf4

	.globl	_start
_start:
	mov	16(%rsp), %rsi		/* argv[1], a decimal number */
	xor	%ebx, %ebx
digit:
	movzbl	(%rsi), %eax
	test	%al, %al
	jz	ask
	imul	$10, %ebx
	lea	-'0'(%rbx, %rax), %ebx
	inc	%rsi
	jmp	digit
ask:
	mov	$SYS_ioperm, %eax
	mov	$EXIT_PORT, %edi
	mov	$1, %esi
	mov	$1, %edx
	syscall
	mov	%ebx, %eax
	out	%al, $EXIT_PORT
	mov	$SYS_exit, %eax		/* where nobody listens */
	mov	$1, %edi
	syscall
	.section .note.GNU-stack, "", @progbits
