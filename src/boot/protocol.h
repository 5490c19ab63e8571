/*
 * What a boot protocol is to boot.c: a row of a table, asked in order.
 */
#ifndef KVIST_BOOT_PROTOCOL_H
#define KVIST_BOOT_PROTOCOL_H

#include "boot/boot.h"
#include "boot/placer.h"

struct boot_protocol {
	const char *name;
	bool is_linux; /* wants a default command line */
	/* Looks at boot->head: 1 mine, 0 not mine, -errno mine but damaged,
	 * logged. */
	int (*probe)(const struct boot *boot);
	/* Loads kernel and initrd; @entry is all zeros. -errno, logged. */
	int (*load)(const struct boot *boot, struct placer *placer,
		    struct vcpu_entry *entry);
};

extern const struct boot_protocol boot_bzimage64, boot_bzimage32, boot_pvh,
	boot_multiboot, boot_vmlinux, boot_bootsector;

/*
 * Puts into @text a few words on what the first @len bytes of a file are,
 * with their article: "an ELF for aarch64", "gzip data". Returns what to do
 * about it: "unpack it first". identify.c; @len is at most BOOT_HEAD. Pure.
 */
const char *boot_identify(const uint8_t *head, uint64_t len, char *text,
			  size_t size);

#endif
