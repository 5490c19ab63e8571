/* The bytes of demo_guest.h. DEMO_IMAGE comes from guests/CMakeLists.txt. */
	.section .rodata.demo_guest, "a", @progbits
	.balign	16
	.globl	demo_guest_start, demo_guest_end
demo_guest_start:
	.incbin	DEMO_IMAGE
demo_guest_end:

	.section .note.GNU-stack, "", @progbits
