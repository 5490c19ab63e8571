#include "boot/elf.h"

#include "boot/file.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <string.h>

static int refuse(const struct boot *boot, const char *why)
{
	log_err("kernel %s: is an ELF, but %s", boot->kernel.path, why);
	return -EINVAL;
}

/* The header as a 64-bit one. False when the file is not for us. */
static bool parse_header(const struct boot *boot, Elf64_Ehdr *hdr)
{
	Elf32_Ehdr hdr32;

	memcpy(hdr, boot->head, sizeof(*hdr));
	if (memcmp(hdr->e_ident, ELFMAG, SELFMAG) ||
	    hdr->e_ident[EI_DATA] != ELFDATA2LSB)
		return false;
	if (hdr->e_ident[EI_CLASS] == ELFCLASS32) {
		memcpy(&hdr32, boot->head, sizeof(hdr32));
		hdr->e_entry = hdr32.e_entry;
		hdr->e_phoff = hdr32.e_phoff;
		hdr->e_phentsize = hdr32.e_phentsize;
		hdr->e_phnum = hdr32.e_phnum;
	} else if (hdr->e_ident[EI_CLASS] != ELFCLASS64) {
		return false;
	}
	/* e_type and e_machine are at the same place in both. */
	return (hdr->e_machine == EM_386 || hdr->e_machine == EM_X86_64) &&
	       (hdr->e_type == ET_EXEC || hdr->e_type == ET_DYN);
}

static void widen(const Elf32_Phdr *from, Elf64_Phdr *to)
{
	*to = (Elf64_Phdr){
		.p_type = from->p_type,
		.p_flags = from->p_flags,
		.p_offset = from->p_offset,
		.p_vaddr = from->p_vaddr,
		.p_paddr = from->p_paddr,
		.p_filesz = from->p_filesz,
		.p_memsz = from->p_memsz,
		.p_align = from->p_align,
	};
}

static int read_segments(const struct boot *boot, struct elf *elf,
			 const Elf64_Ehdr *hdr)
{
	Elf32_Phdr narrow[ELF_SEGMENTS_MAX];
	size_t size = elf->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
	int err;

	if (hdr->e_phnum == 0 || hdr->e_phnum > ELF_SEGMENTS_MAX) {
		log_err("kernel %s: is an ELF with %u program headers; 1 to "
			"%d are possible",
			boot->kernel.path, hdr->e_phnum, ELF_SEGMENTS_MAX);
		return -EINVAL;
	}
	if (hdr->e_phentsize != size)
		return refuse(boot, "its program headers have an odd size");
	elf->count = hdr->e_phnum;
	err = boot_kernel_read(boot, "its program headers", hdr->e_phoff,
			       elf->is64 ? (void *)elf->segments : narrow,
			       elf->count * size);
	if (!err && !elf->is64) {
		for (int i = 0; i < elf->count; i++)
			widen(&narrow[i], &elf->segments[i]);
	}
	return err;
}

/* 1, 0 for a program that wants an interpreter, or -EINVAL. */
static int check_segments(const struct boot *boot, const struct elf *elf)
{
	bool loads = false;

	for (int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];

		if (segment->p_type == PT_INTERP)
			return 0;
		if (segment->p_type != PT_LOAD && segment->p_type != PT_NOTE)
			continue;
		if (!range_within(segment->p_offset, segment->p_filesz,
				  boot->kernel.size))
			return refuse(boot, "truncated or damaged: a segment "
					    "lies past the end of the file");
		if (segment->p_type == PT_LOAD &&
		    segment->p_filesz > segment->p_memsz)
			return refuse(boot, "damaged: a segment has more bytes "
					    "than memory");
		loads |= segment->p_type == PT_LOAD && segment->p_filesz;
	}
	return loads ? 1 : refuse(boot, "has nothing to load");
}

int elf_parse(const struct boot *boot, struct elf *elf)
{
	Elf64_Ehdr hdr;
	int err;

	if (!parse_header(boot, &hdr))
		return 0;
	elf->is64 = hdr.e_ident[EI_CLASS] == ELFCLASS64;
	elf->entry = hdr.e_entry;
	err = read_segments(boot, elf, &hdr);
	return err ? err : check_segments(boot, elf);
}

int elf_place(struct placer *placer, const struct elf *elf)
{
	for (int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];
		int err;

		if (segment->p_type != PT_LOAD)
			continue;
		err = placer_claim(placer, "a segment", segment->p_paddr,
				   segment->p_memsz);
		if (err)
			return err;
	}
	return 0;
}

int elf_load(struct placer *placer, const struct elf *elf)
{
	for (int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];
		int err = 0;

		if (segment->p_type != PT_LOAD)
			continue;
		if (segment->p_filesz)
			err = placer_load(placer, "a segment",
					  segment->p_offset, segment->p_filesz,
					  segment->p_paddr);
		if (err)
			return err;
		placer_zero(placer, segment->p_paddr + segment->p_filesz,
			    segment->p_memsz - segment->p_filesz);
	}
	return 0;
}

bool elf_has_code(const struct elf *elf, gpa_t gpa)
{
	for (int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];

		if (segment->p_type == PT_LOAD && gpa >= segment->p_paddr &&
		    gpa - segment->p_paddr < segment->p_filesz)
			return true;
	}
	return false;
}

int elf_entry(const struct boot *boot, const struct elf *elf, gpa_t *entry)
{
	*entry = elf->entry;
	for (int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];

		if (segment->p_type == PT_LOAD &&
		    elf->entry >= segment->p_vaddr &&
		    elf->entry - segment->p_vaddr < segment->p_filesz) {
			*entry = elf->entry - segment->p_vaddr +
				 segment->p_paddr;
			return 0;
		}
	}
	/* Linux gives its entry as a physical address. */
	if (elf_has_code(elf, *entry))
		return 0;
	return refuse(boot, "damaged: its entry point is in no segment");
}

gpa_t elf_end(const struct elf *elf)
{
	gpa_t end = 0;

	for (int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];

		if (segment->p_type == PT_LOAD &&
		    segment->p_paddr + segment->p_memsz > end)
			end = segment->p_paddr + segment->p_memsz;
	}
	return end;
}
