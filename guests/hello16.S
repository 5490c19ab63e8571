/*
 * A boot sector: real mode at 0:7c00, no firmware calls. Two sectors, for the
 * second one must be loaded as well. Each failure ends with its own line.
 */
#define SERIAL	0x3f8
#define EXIT	0xf4

	.code16
	.text
	.globl	_start
_start:
	cli
	cld
	call	1f
1:	popw	%ax			/* ip, without what was assumed */
	subw	$(1b - _start), %ax
	movw	$bad_ip, %si
	cmpw	$0x7c00, %ax
	jne	failed
	movw	%cs, %ax
	movw	$bad_cs, %si
	testw	%ax, %ax
	jnz	failed
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	$0x7000, %sp

	smsww	%ax
	movw	$bad_mode, %si
	testw	$1, %ax
	jnz	failed
	movw	$bad_sector, %si
	cmpl	$0x6f776b76, second
	jne	failed

	/* A segment reaches 64 KiB from its start, and no further up. */
	movw	$0x1000, %ax
	movw	%ax, %es
	movw	$bad_segment, %si
	movw	$0x1234, %es:0x10
	cmpw	$0x1234, %es:0x10
	jne	failed
	xorw	%ax, %ax
	movw	%ax, %es
	cmpw	$0x1234, %es:0x10
	je	failed

	movw	$hello, %si
	call	puts
	xorl	%eax, %eax
	movw	$EXIT, %dx
	outl	%eax, %dx
	hlt

failed:
	movw	%si, %bx
	movw	$fail, %si
	call	puts
	movw	%bx, %si
	call	puts
	movl	$1, %eax
	movw	$EXIT, %dx
	outl	%eax, %dx
	hlt

/* ds:si, zero terminated, to the serial port. */
puts:
	lodsb
	testb	%al, %al
	jz	3f
	movb	%al, %ah
	movw	$(SERIAL + 5), %dx
2:	inb	%dx, %al
	testb	$0x20, %al
	jz	2b
	movb	%ah, %al
	movw	$SERIAL, %dx
	outb	%al, %dx
	jmp	puts
3:	ret

hello:		.asciz "hello from 16-bit real mode\n"
fail:		.asciz "FAIL hello16.S "
bad_ip:		.asciz "ip is not 7c00\n"
bad_cs:		.asciz "cs is not 0\n"
bad_mode:	.asciz "the CPU is not in real mode\n"
bad_sector:	.asciz "the second sector is not loaded\n"
bad_segment:	.asciz "a segment's base is ignored\n"

	.org	510
	.word	0xaa55
	.org	1020
second:	.long	0x6f776b76
