#include "boot/unpack.h"

#include "boot/payload.h"
#include "boot/relocate.h"
#include "util/checked.h"
#include "util/log.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

/*
 * The linker puts a kernel's first byte 2 MiB into the ELF file. Unpacked to
 * that much below the kernel's place, most of it lies where it belongs.
 */
#define LEAD           (2ull << 20)
#define ALIGN_MIN      (2ull << 20) /* Linux's own: such pages map it */
#define KERNEL_MAP     0xffffffff80000000ull /* virtual address of physical 0 */
#define KERNEL_MAP_LEN (1ull << 30)
#define SEGMENTS_MAX   16

/* The ELF file of a kernel, in memory with all that was packed with it. */
struct image {
	uint8_t *bytes;
	uint64_t size;
	uint64_t elf;    /* bytes of it that are the ELF; relocations follow */
	uint64_t entry;  /* from the kernel's first byte on */
	uint64_t loaded; /* bytes of the kernel that came from the file */
	int count;
	Elf64_Phdr segments[SEGMENTS_MAX];
};

/*
 * The command line.
 */

/* True if one of its words is @word or, where @word ends with =, begins so.
 * Words end as they do for Linux: at a space or a control character. */
static bool has_word(const char *cmdline, const char *word)
{
	size_t len = strlen(word);
	bool open = word[len - 1] == '=';

	for (const char *at = cmdline; *at;) {
		while (*at && (unsigned char)*at <= ' ')
			at++;
		if (!strncmp(at, word, len) &&
		    (open || (unsigned char)at[len] <= ' '))
			return true;
		while ((unsigned char)*at > ' ')
			at++;
	}
	return false;
}

/* RAM may end earlier than the memory map says, or have other uses. */
static bool memory_is_limited(const char *cmdline)
{
	return has_word(cmdline, "mem=") || has_word(cmdline, "memmap=") ||
	       has_word(cmdline, "hugepages=");
}

/*
 * The image.
 */

static bool parse_header(struct image *image, Elf64_Ehdr *hdr)
{
	if (image->size < sizeof(*hdr))
		return false;
	memcpy(hdr, image->bytes, sizeof(*hdr));
	if (memcmp(hdr->e_ident, ELFMAG, SELFMAG) ||
	    hdr->e_ident[EI_CLASS] != ELFCLASS64 ||
	    hdr->e_ident[EI_DATA] != ELFDATA2LSB ||
	    hdr->e_machine != EM_X86_64 || hdr->e_type != ET_EXEC ||
	    hdr->e_phentsize != sizeof(Elf64_Phdr) || hdr->e_phnum == 0 ||
	    hdr->e_phnum > SEGMENTS_MAX ||
	    !range_within(hdr->e_phoff, hdr->e_phnum * sizeof(Elf64_Phdr),
			  image->size) ||
	    !range_within(hdr->e_shoff,
			  (uint64_t)hdr->e_shnum * hdr->e_shentsize,
			  image->size))
		return false;
	image->elf = hdr->e_shoff + (uint64_t)hdr->e_shnum * hdr->e_shentsize;
	image->count = hdr->e_phnum;
	memcpy(image->segments, image->bytes + hdr->e_phoff,
	       image->count * sizeof(Elf64_Phdr));
	return true;
}

/*
 * Checks what move_segments() relies on: each segment lies within the ELF and
 * goes to a place within the kernel's memory, all in the same order, and none
 * upwards. Also finds the entry, which is in one of them.
 */
static bool parse_segments(struct image *image, const Elf64_Ehdr *hdr,
			   const struct packed_kernel *kernel)
{
	uint64_t from = 0, to = LEAD;
	bool has_entry = false;

	for (int i = 0; i < image->count; i++) {
		Elf64_Phdr *s = &image->segments[i];
		uint64_t at = s->p_paddr - kernel->linked;

		if (s->p_type != PT_LOAD || !s->p_filesz)
			continue;
		if (!range_within(at, s->p_memsz, kernel->memory) ||
		    !range_within(s->p_offset, s->p_filesz, image->size) ||
		    s->p_filesz > s->p_memsz || s->p_offset < from ||
		    LEAD + at < to || LEAD + at > s->p_offset)
			return false;
		from = s->p_offset + s->p_filesz;
		to = LEAD + at + s->p_filesz;
		if (hdr->e_entry - s->p_paddr < s->p_filesz)
			has_entry = true;
	}
	if (image->elf < from)
		image->elf = from;
	image->entry = hdr->e_entry - kernel->linked;
	image->loaded = to - LEAD;
	return has_entry;
}

/* To where each belongs when the kernel's first byte is at @bytes + LEAD. */
static void move_segments(const struct image *image,
			  const struct packed_kernel *kernel)
{
	for (int i = 0; i < image->count; i++) {
		const Elf64_Phdr *s = &image->segments[i];
		uint64_t to = LEAD + s->p_paddr - kernel->linked;

		if (s->p_type == PT_LOAD && to != s->p_offset)
			memmove(image->bytes + to, image->bytes + s->p_offset,
				s->p_filesz);
	}
}

/* By how much the kernel is moved from the virtual address it was linked for:
 * any multiple of its alignment that keeps it within the part of the address
 * space that is mapped for it. */
static uint64_t random_distance(const struct packed_kernel *kernel,
				uint64_t choice)
{
	uint64_t end = align_up(kernel->linked + kernel->memory, ALIGN_MIN);

	if (end > KERNEL_MAP_LEN)
		return 0;
	return choice % ((KERNEL_MAP_LEN - end) / kernel->align + 1) *
	       kernel->align;
}

/* 0, or why not. What follows the unpacked ELF is what KASLR needs; a kernel
 * without it stays at its virtual address. */
static const char *finish(struct image *image,
			  const struct packed_kernel *kernel, bool random,
			  uint64_t choice, struct boot_params *params)
{
	Elf64_Ehdr hdr;
	uint64_t distance;

	if (!parse_header(image, &hdr) || !parse_segments(image, &hdr, kernel))
		return "its payload is not the ELF of a kernel";
	move_segments(image, kernel);
	if (!random || image->elf == image->size)
		return NULL;
	distance = random_distance(kernel, choice);
	if (relocate(image->bytes + LEAD, image->loaded,
		     image->bytes + image->elf, image->size - image->elf,
		     KERNEL_MAP + kernel->linked, distance))
		return "its relocations are not understood";
	params->hdr.loadflags |= KASLR_FLAG;
	return NULL;
}

/*
 * The place.
 */

static bool is_sane(const struct packed_kernel *kernel, gpa_t gpa)
{
	return is_power_of_two(kernel->align) && kernel->align >= ALIGN_MIN &&
	       kernel->linked <= KERNEL_MAP_LEN &&
	       kernel->memory <= KERNEL_MAP_LEN && gpa % ALIGN_MIN == 0;
}

/* Takes a place with free memory below it for the ELF's first bytes, which
 * nobody needs afterwards. */
static bool find_place(struct placer *placer,
		       const struct packed_kernel *kernel, bool random,
		       uint64_t choice, gpa_t *gpa)
{
	struct placement want = {
		.size = kernel->memory,
		.align = ALIGN_MIN,
		.min = *gpa,
		.end = *gpa + kernel->memory,
	};

	if (random && kernel->relocatable &&
	    !memory_is_limited(placer->machine->cmdline)) {
		/* Linux for x86-64 never runs below where it was linked. */
		want.align = kernel->align;
		want.min = kernel->linked;
		want.end = MEMORY_HOLE_START;
	}
	return placer_move(placer, gpa, &want, LEAD, choice);
}

static int leave(const struct placer *placer, const char *why)
{
	log_debug("kernel %s: unpacks itself: %s", placer->boot->kernel.path,
		  why);
	return 0;
}

int unpack_kernel(struct placer *placer, const struct packed_kernel *kernel,
		  gpa_t *gpa, struct vcpu_entry *entry)
{
	const struct memory *memory = placer->machine->memory;
	bool random = !has_word(placer->machine->cmdline, "nokaslr");
	uint64_t choices[2];
	struct payload payload;
	struct image image;
	const char *why;
	int found;

	found = payload_find(placer->boot, kernel->offset, kernel->size,
			     &payload);
	if (found < 0)
		return found;
	if (!found || !is_sane(kernel, *gpa) ||
	    payload.size > LEAD + kernel->memory)
		return leave(placer, "its payload is of an unknown kind");
	if (getrandom(choices, sizeof(choices), 0) != sizeof(choices))
		return leave(placer, "no random numbers");
	if (!find_place(placer, kernel, random, choices[0], gpa))
		return leave(placer, "there is no free memory below it");
	image.bytes = memory_at(memory, *gpa - LEAD, LEAD + kernel->memory);
	image.size = payload.size;
	found = payload_unpack(placer->boot, &payload, image.bytes);
	if (found < 0)
		return found;
	if (!found)
		return leave(placer, "its payload is damaged");
	why = finish(&image, kernel, random && kernel->relocatable, choices[1],
		     memory_at(memory, entry->rsi, sizeof(struct boot_params)));
	if (why)
		return leave(placer, why);
	entry->ip = *gpa + image.entry;
	log_debug("kernel %s: unpacked %s to 0x%llx", placer->boot->kernel.path,
		  payload_name(&payload), (unsigned long long)*gpa);
	return 1;
}
