/*
 * A plain 64-bit ELF without notes: taken for a vmlinux, and entered as the
 * 64-bit entry of a bzImage is, which is the same code.
 */
#include "boot/elf.h"
#include "boot/linux.h"
#include "boot/protocol.h"

#include <errno.h>

static int vmlinux_probe(const struct boot *boot)
{
	struct elf elf;
	gpa_t entry;
	int found = elf_parse(boot, &elf);

	if (found == 1 && !elf.is64)
		return 0;
	return found == 1 && elf_entry(boot, &elf, &entry) ? -EINVAL : found;
}

static int vmlinux_load(const struct boot *boot, struct placer *placer,
			struct vcpu_entry *entry)
{
	/* What the header of its bzImage would have said. */
	static const struct setup_header hdr = {
		.boot_flag = 0xaa55,
		.header = LINUX_HEADER_MAGIC,
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 1 << 24,
		.cmdline_size = 2047,
	};
	struct elf elf;
	int err = elf_parse(boot, &elf);

	if (err < 0)
		return err;
	err = elf_entry(boot, &elf, &entry->ip);
	if (!err)
		err = elf_place(placer, &elf);
	if (!err)
		err = linux_setup(placer, &hdr, true, entry);
	return err ? err : elf_load(placer, &elf);
}

const struct boot_protocol boot_vmlinux = {
	.name = "vmlinux, 64-bit ELF",
	.is_linux = true,
	.probe = vmlinux_probe,
	.load = vmlinux_load,
};
