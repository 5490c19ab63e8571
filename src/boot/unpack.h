/*
 * A bzImage's kernel, unpacked by the host: straight into guest memory, and
 * moved to a random place as the code in the bzImage would have done it
 * (KASLR). So the guest starts in the kernel proper.
 *
 * One thread at a time. Whatever is not as expected is left to the bzImage's
 * own code, which knows more formats and says what is wrong.
 */
#ifndef KVIST_BOOT_UNPACK_H
#define KVIST_BOOT_UNPACK_H

#include "boot/placer.h"

/* What the header of a bzImage says about the kernel in it. */
struct packed_kernel {
	uint64_t offset, size; /* of the payload in the file */
	gpa_t linked;          /* where the kernel was linked to run */
	uint64_t memory;       /* what it needs, from its first byte on */
	uint64_t align;
	bool relocatable;
};

/*
 * After linux_setup(), for a kernel that has its place at *@gpa: may move that
 * place, unpacks the kernel there, and sets @entry's ip, and KASLR_FLAG in the
 * boot parameters at its rsi. The command line is obeyed: with `nokaslr`
 * nothing is random, and where it limits memory the place is not.
 *
 * 1; 0 when the kernel must unpack itself, for which *@gpa is a place; -errno,
 * logged.
 */
int unpack_kernel(struct placer *placer, const struct packed_kernel *kernel,
		  gpa_t *gpa, struct vcpu_entry *entry);

#endif
