/*
 * PVH, Xen's direct boot of an ELF (Xen docs/misc/pvh.pandoc and
 * public/arch-x86/hvm/start_info.h): a note tells a 32-bit entry, which is
 * called without paging, with the address of a start_info in ebx.
 */
#include "boot/elf.h"
#include "boot/file.h"
#include "boot/protocol.h"
#include "firmware/e820.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <string.h>

enum {
	START_MAGIC = 0x336ec578,
	START_VERSION = 1,
	NOTE_PHYS32_ENTRY = 18,
	NOTES_MAX = 16384, /* bytes of a note segment that are looked at */
	INITRD_END_64 = 0x80000000,
	INITRD_END_32 = 0x38000000, /* what a 32-bit Linux maps directly */
	CMDLINE_MAX = 2047,         /* Linux would cut it there, silently */
};

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modules, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

struct module {
	uint64_t start, size, cmdline, reserved;
};

struct memmap_entry {
	uint64_t start, size;
	uint32_t type, reserved;
};

/* All that is handed over, in one piece. */
struct handover {
	struct start_info info;
	struct module initrd;
	struct memmap_entry memmap[E820_MAX];
};

_Static_assert(sizeof(struct start_info) == 56, "hvm_start_info");
_Static_assert(sizeof(struct module) == 32, "hvm_modlist_entry");
_Static_assert(sizeof(struct memmap_entry) == 24, "hvm_memmap_table_entry");

/* Looks for the entry in @len bytes of notes. Every step moves on by at least
 * a header, and sums of 32-bit sizes do not wrap in 64. */
static bool find_note(const uint8_t *notes, uint64_t len, uint64_t align,
		      uint32_t *entry)
{
	uint64_t at = 0;

	while (range_within(at, sizeof(Elf64_Nhdr), len)) {
		uint64_t name = at + sizeof(Elf64_Nhdr), desc;
		Elf64_Nhdr note;

		memcpy(&note, notes + at, sizeof(note));
		desc = align_up(name + note.n_namesz, align);
		at = align_up(desc + note.n_descsz, align);
		if (note.n_type != NOTE_PHYS32_ENTRY || note.n_namesz != 4 ||
		    note.n_descsz < 4 || !range_within(desc, 4, len) ||
		    memcmp(notes + name, "Xen", 4))
			continue;
		memcpy(entry, notes + desc, sizeof(*entry));
		return true;
	}
	return false;
}

/* 1, 0 when there is no such note, or -errno. */
static int read_notes(const struct boot *boot, const struct elf *elf,
		      uint32_t *entry)
{
	uint8_t notes[NOTES_MAX];

	for (int i = 0; i < elf->count; i++) {
		const Elf64_Phdr *s = &elf->segments[i];
		uint64_t len = s->p_filesz < NOTES_MAX ? s->p_filesz
						       : NOTES_MAX;
		int err;

		if (s->p_type != PT_NOTE)
			continue;
		err = boot_kernel_read(boot, "its notes", s->p_offset, notes,
				       len);
		if (err)
			return err;
		if (find_note(notes, len, s->p_align == 8 ? 8 : 4, entry))
			return 1;
	}
	return 0;
}

static int pvh_parse(const struct boot *boot, struct elf *elf, uint32_t *entry)
{
	int found = elf_parse(boot, elf);

	if (found == 1)
		found = read_notes(boot, elf, entry);
	if (found == 1 && !elf_has_code(elf, *entry)) {
		log_err("kernel %s: is damaged: its PVH entry 0x%x is in no "
			"segment",
			boot->kernel.path, *entry);
		return -EINVAL;
	}
	return found;
}

static int pvh_probe(const struct boot *boot)
{
	struct elf elf;
	uint32_t entry;

	return pvh_parse(boot, &elf, &entry);
}

static int hand_over(struct placer *placer, gpa_t initrd, gpa_t *gpa)
{
	const struct boot_machine *machine = placer->machine;
	const struct e820_map *map = machine->e820;
	struct handover h = {
		.info.magic = START_MAGIC,
		.info.version = START_VERSION,
		.info.nr_modules = initrd ? 1 : 0,
		.info.rsdp = machine->rsdp,
		.info.memmap_entries = map->count,
		.initrd.start = initrd,
		.initrd.size = placer->boot->initrd.size,
	};
	int err;

	err = placer_find_small(placer, "the start info", sizeof(h), 8, gpa);
	if (!err)
		err = placer_put_cmdline(placer, NULL, &h.info.cmdline);
	if (err)
		return err;
	if (initrd)
		h.info.modules = *gpa + offsetof(struct handover, initrd);
	h.info.memmap = *gpa + offsetof(struct handover, memmap);
	for (int i = 0; i < map->count; i++)
		h.memmap[i] = (struct memmap_entry){
			.start = map->entries[i].start,
			.size = map->entries[i].size,
			.type = map->entries[i].type,
		};
	memory_write(machine->memory, *gpa, &h, sizeof(h));
	return 0;
}

static int pvh_load(const struct boot *boot, struct placer *placer,
		    struct vcpu_entry *entry)
{
	struct placement where = { .align = 4096,
				   .min = MEMORY_MIN,
				   .high = true };
	gpa_t initrd, info;
	struct elf elf;
	uint32_t ip;
	int err = pvh_parse(boot, &elf, &ip);

	if (err < 0)
		return err;
	if (strlen(placer->machine->cmdline) > CMDLINE_MAX) {
		log_err("kernel %s: takes a command line of at most %d bytes "
			"and was given %zu; shorten --append",
			boot->kernel.path, CMDLINE_MAX,
			strlen(placer->machine->cmdline));
		return -EINVAL;
	}
	where.end = elf.is64 ? INITRD_END_64 : INITRD_END_32;
	err = elf_place(placer, &elf);
	if (!err)
		err = placer_load_initrd(placer, &where, &initrd);
	if (!err)
		err = hand_over(placer, initrd, &info);
	if (err)
		return err;
	entry->mode = VCPU_PROTECTED;
	entry->ip = ip;
	entry->rbx = info;
	return elf_load(placer, &elf);
}

const struct boot_protocol boot_pvh = {
	.name = "ELF, PVH entry",
	.is_linux = true,
	.probe = pvh_probe,
	.load = pvh_load,
};
