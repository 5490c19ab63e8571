/*
 * ELF executables for x86: parsed from the kernel's file, loaded by physical
 * address (System V ABI, chapters 4 and 5). Shared by three boot protocols.
 */
#ifndef KVIST_BOOT_ELF_H
#define KVIST_BOOT_ELF_H

#include "boot/placer.h"

#include <elf.h>

#define ELF_SEGMENTS_MAX 128

struct elf {
	bool is64;
	uint64_t entry;
	int count;
	Elf64_Phdr segments[ELF_SEGMENTS_MAX]; /* also those of a 32-bit file */
};

/*
 * 1; 0 when it is not an executable for x86 without an interpreter; -EINVAL,
 * logged, when it is one but damaged. Afterwards every segment's bytes lie
 * within the file and are not more than its memory.
 */
int elf_parse(const struct boot *boot, struct elf *elf);

/* Places all segments, then reads them in and zeroes what follows them.
 * -errno, logged. */
int elf_place(struct placer *placer, const struct elf *elf);
int elf_load(struct placer *placer, const struct elf *elf);

/* True if @gpa is inside the file's bytes of a segment: a possible entry. */
bool elf_has_code(const struct elf *elf, gpa_t gpa);

/* The physical address of the entry, which may have been virtual. -EINVAL,
 * logged, when it is in no segment. */
int elf_entry(const struct boot *boot, const struct elf *elf, gpa_t *entry);

/* The end of the highest segment. */
gpa_t elf_end(const struct elf *elf);

#endif
