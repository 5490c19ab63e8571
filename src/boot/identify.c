/*
 * What a file is when it is no kernel: the first words of an answer to "why
 * does it not boot?".
 */
#include "boot/protocol.h"
#include "util/bytes.h"
#include "util/checked.h"

#include <elf.h>
#include <stdio.h>

struct magic {
	uint16_t at;
	uint8_t len;
	const char *bytes;
	const char *what;
	const char *cure; /* NULL: another kernel */
};

static const char another_kernel[] =
	"give a Linux bzImage or vmlinux for x86, an ELF with a PVH note, a "
	"multiboot 1 kernel or a boot sector";
static const char unpack[] = "unpack it first";

/* The first that fits counts: kernels for other machines before the PE header
 * they carry. */
static const struct magic magics[] = {
	{ 56, 4, "ARM\x64", "an ARM64 Image", NULL },
	{ 56, 4, "RSC\x05", "a RISC-V Image", NULL },
	{ 36, 4, "\x18\x28\x6f\x01", "an ARM zImage", NULL },
	{ 0, 4, "\x27\x05\x19\x56", "a U-Boot uImage", NULL },
	{ 0, 2, "\x1f\x8b", "gzip data", unpack },
	{ 0, 6,
	  "\xfd"
	  "7zXZ\0",
	  "xz data", unpack },
	{ 0, 3, "BZh", "bzip2 data", unpack },
	{ 0, 4, "\x28\xb5\x2f\xfd", "zstd data", unpack },
	{ 0, 4, "\x02\x21\x4c\x18", "lz4 data", unpack },
	{ 0, 4, "\x04\x22\x4d\x18", "lz4 data", unpack },
	{ 0, 4, "\x89LZO", "lzop data", unpack },
	{ 0, 4, "PK\x03\x04", "a zip archive", NULL },
	{ 257, 5, "ustar", "a tar archive", NULL },
	{ 0, 5, "07070", "a cpio archive", "an initrd is given by --initrd" },
	{ 0, 4, "QFI\xfb", "a qcow2 image", "a disk is given by --disk" },
	{ 0, 4, "hsqs", "a squashfs image", NULL },
	{ 0, 8, "!<arch>\n", "a Debian package or an archive", NULL },
	{ 0, 2, "MZ", "a PE program, as for Windows or UEFI", NULL },
	{ 0, 2, "#!", "a script", NULL },
};

static const struct {
	uint16_t machine;
	const char *name;
} machines[] = {
	{ EM_386, "i386" },        { EM_X86_64, "x86-64" },
	{ EM_AARCH64, "aarch64" }, { EM_ARM, "arm" },
	{ EM_RISCV, "riscv" },     { EM_PPC64, "ppc64" },
	{ EM_PPC, "ppc" },         { EM_S390, "s390" },
	{ EM_MIPS, "mips" },       { EM_SPARCV9, "sparc64" },
	{ 258, "loongarch" },
};

static const char *machine_name(uint16_t machine)
{
	for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
		if (machines[i].machine == machine)
			return machines[i].name;
	}
	return "an unknown machine";
}

static void identify_elf(const uint8_t *head, uint64_t len, char *text,
			 size_t size)
{
	bool big = head[EI_DATA] == ELFDATA2MSB;
	uint16_t type, machine;

	if (len < sizeof(Elf32_Ehdr)) {
		snprintf(text, size, "a truncated ELF");
		return;
	}
	type = big ? get_be16(head + 16) : get_le16(head + 16);
	machine = big ? get_be16(head + 18) : get_le16(head + 18);
	if (machine != EM_386 && machine != EM_X86_64)
		snprintf(text, size, "an ELF for %s", machine_name(machine));
	else if (type == ET_REL)
		snprintf(text, size, "an ELF object file or kernel module");
	else if (type == ET_CORE)
		snprintf(text, size, "a core dump");
	else if (machine == EM_386 || head[EI_CLASS] == ELFCLASS32)
		snprintf(text, size,
			 "a 32-bit ELF without a PVH note or a multiboot "
			 "header");
	else
		snprintf(text, size, "an ELF program for %s, not a kernel",
			 machine_name(machine));
}

/* No control characters except those of text, and mostly ASCII. */
static bool is_text(const uint8_t *head, uint64_t len)
{
	uint64_t high = 0;

	for (uint64_t i = 0; i < len; i++) {
		if (head[i] < ' ' ? !memchr("\t\n\r\f\033", head[i], 5)
				  : head[i] == 0x7f)
			return false;
		high += head[i] >= 0x80;
	}
	return high <= len / 4;
}

static bool is_zero(const uint8_t *head, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++) {
		if (head[i])
			return false;
	}
	return true;
}

static bool has_multiboot2(const uint8_t *head, uint64_t len)
{
	for (uint64_t at = 0; at + 4 <= len; at += 8) {
		if (get_le32(head + at) == 0xe85250d6)
			return true;
	}
	return false;
}

const char *boot_identify(const uint8_t *head, uint64_t len, char *text,
			  size_t size)
{
	if (has_multiboot2(head, len)) {
		snprintf(text, size, "a multiboot 2 kernel");
		return another_kernel;
	}
	if (len >= SELFMAG && !memcmp(head, ELFMAG, SELFMAG)) {
		identify_elf(head, len, text, size);
		return another_kernel;
	}
	for (size_t i = 0; i < ARRAY_SIZE(magics); i++) {
		const struct magic *m = &magics[i];

		if (range_within(m->at, m->len, len) &&
		    !memcmp(head + m->at, m->bytes, m->len)) {
			snprintf(text, size, "%s", m->what);
			return m->cure ? m->cure : another_kernel;
		}
	}
	snprintf(text, size, "%s",
		 is_zero(head, len)   ? "nothing but zeros"
		 : is_text(head, len) ? "text"
				      : "data of an unknown kind");
	return another_kernel;
}
