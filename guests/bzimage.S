/*
 * A Linux kernel image around a guest: the header of the boot protocol 2.15
 * (Documentation/arch/x86/boot.rst), one sector of setup code that nobody
 * runs, and the protected-mode part. XLOADFLAGS says whether that has a 64-bit
 * entry at 0x200; PAYLOAD is the file.
 */
#define LOADED_HIGH	1
#define PLACE		0x100000
#define NEEDED		0x100000	/* with what it clears by itself */

	.text
	.globl	_start
_start:
	.org	0x1f1
	.byte	1			/* setup_sects */
	.word	0
	.long	(payload_end - payload + 15) / 16
	.word	0, 0, 0
	.word	0xaa55
	.byte	0xeb, header_end - 0x202 - _start
	.ascii	"HdrS"
	.word	0x020f
	.long	0
	.word	0, 0
	.byte	0, LOADED_HIGH
	.word	0
	.long	PLACE			/* code32_start */
	.long	0, 0			/* ramdisk_image, ramdisk_size */
	.long	0			/* bootsect_kludge */
	.word	0
	.byte	0, 0
	.long	0			/* cmd_line_ptr */
	.long	0x37ffffff		/* initrd_addr_max */
	.long	PLACE			/* kernel_alignment */
	.byte	0, 20			/* not relocatable, min_alignment */
	.word	XLOADFLAGS
	.long	255			/* cmdline_size */
	.long	0			/* hardware_subarch */
	.quad	0
	.long	0, 0			/* payload_offset, length */
	.quad	0			/* setup_data */
	.quad	PLACE			/* pref_address */
	.long	NEEDED			/* init_size */
	.long	0, 0			/* handover, kernel_info */
header_end:

	.org	1024
payload:
	.incbin	PAYLOAD
payload_end:
