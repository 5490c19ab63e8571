/*
 * What both ways into Linux share: the boot parameters ("zero page") and the
 * state of the processor (Linux Documentation/arch/x86/boot.rst).
 */
#ifndef KVIST_BOOT_LINUX_H
#define KVIST_BOOT_LINUX_H

#include "boot/placer.h"

#include <asm/bootparam.h>

#define LINUX_HEADER_MAGIC 0x53726448u /* "HdrS" */

/*
 * After the kernel was placed: places command line, initrd and boot
 * parameters with @hdr in them, completed; and for a 64-bit entry the page
 * tables that map the first 4 GiB to themselves. Then fills @entry, except
 * its ip. @hdr's cmdline_size and initrd_addr_max are respected. -errno,
 * logged.
 */
int linux_setup(struct placer *placer, const struct setup_header *hdr,
		bool long_mode, struct vcpu_entry *entry);

#endif
