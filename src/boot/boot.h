/*
 * Boot protocols: a kernel file becomes guest memory and an entry state.
 *
 * A struct boot is owned by the machine and used by one thread at a time. It
 * keeps the files open, so that a reset loads the same bytes again even when a
 * path has changed meanwhile. The protocol is chosen by looking at the file:
 *
 *   bzimage.c      Linux bzImage: 64-bit entry, or 32-bit where that is absent
 *   pvh.c          ELF with a PVH note: 32-bit entry
 *   multiboot.c    multiboot 1: command line, memory map, modules
 *   vmlinux.c      a plain 64-bit ELF, entered as Linux is
 *   bootsector.c   0x55 0xaa at 510: real mode, 0:7c00, as a PC's firmware
 *                  would, but no firmware calls
 *
 * in this order: a vmlinux that offers PVH is entered by PVH. Files are read
 * straight into guest memory, or unpacked into it (unpack.h), and never mapped:
 * one that shrinks while it is read is an error and not a SIGBUS.
 *
 * Kernel and initrd are hostile: every offset and size is checked against the
 * file and RAM, and nothing that is placed overlaps anything else.
 */
#ifndef KVIST_BOOT_BOOT_H
#define KVIST_BOOT_BOOT_H

#include "kvm/memory.h"
#include "kvm/vcpu.h"

#include <stdbool.h>
#include <stdint.h>

#define BOOT_HEAD 8192 /* bytes: a multiboot header lies within them */

struct boot_file {
	const char *noun; /* "kernel" or "initrd", for messages */
	const char *path; /* borrowed */
	int fd;           /* -1: none */
	uint64_t size;
};

struct boot_protocol;

struct boot {
	struct boot_file kernel;
	struct boot_file initrd; /* fd -1: none */
	const struct boot_protocol *protocol;
	uint8_t head[BOOT_HEAD]; /* the kernel's first bytes, then zeros */
};

/* What the machine tells a protocol. */
struct boot_machine {
	const struct memory *memory;
	const struct e820_map *e820; /* firmware/e820.h */
	gpa_t rsdp;                  /* of the ACPI tables */
	const char *cmdline;
	bool unpack; /* a bzImage's kernel here; else it unpacks itself */
};

/*
 * Opens @kernel and @initrd (or NULL) and identifies the protocol. -errno,
 * logged: -EINVAL names what was found instead of a kernel.
 */
int boot_open(struct boot *boot, const char *kernel, const char *initrd);
void boot_close(struct boot *boot);

/* True for the protocols of Linux kernels, which want a default command line
 * (bzImage, PVH and vmlinux). */
bool boot_is_linux(const struct boot *boot);
/* Bytes of both files. */
uint64_t boot_size(const struct boot *boot);
/* "bzImage, 64-bit entry" and the like. */
const char *boot_protocol_name(const struct boot *boot);

/*
 * Loads everything and says how the boot processor starts. Memory the kernel
 * expects to be zero is made so: RAM need not be fresh. -errno, logged: -E2BIG
 * when it does not fit into RAM, and the message says how much would.
 */
int boot_load(const struct boot *boot, const struct boot_machine *machine,
	      struct vcpu_entry *entry);

#endif
