#include "boot/linux.h"

#include "firmware/e820.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <string.h>

enum {
	LOADER_UNDEFINED = 0xff,
	VID_MODE_NORMAL = 0xffff,

	PTE_PRESENT_WRITE = 3,
	PTE_LARGE = 1 << 7,
	PAGE = 4096,
	PAGE_DIRECTORIES = 4, /* of 1 GiB each */
};

static int check_cmdline(const struct placer *placer, uint32_t max)
{
	size_t len = strlen(placer->machine->cmdline);

	if (len <= max)
		return 0;
	log_err("kernel %s: takes a command line of at most %u bytes and was "
		"given %zu; shorten --append",
		placer->boot->kernel.path, max, len);
	return -EINVAL;
}

/* Page tables that map the first 4 GiB to themselves by pages of 2 MiB. */
static int setup_paging(struct placer *placer, uint64_t *cr3)
{
	gpa_t gpa;
	uint64_t *table;
	int err;

	err = placer_find_small(placer, "the page tables",
				(2 + PAGE_DIRECTORIES) * PAGE, PAGE, &gpa);
	if (err)
		return err;
	table = memory_at(placer->machine->memory, gpa,
			  (2 + PAGE_DIRECTORIES) * PAGE);
	memset(table, 0, 2 * PAGE);
	table[0] = (gpa + PAGE) | PTE_PRESENT_WRITE;
	table += 512;
	for (uint64_t i = 0; i < PAGE_DIRECTORIES; i++)
		table[i] = (gpa + (2 + i) * PAGE) | PTE_PRESENT_WRITE;
	table += 512;
	for (uint64_t i = 0; i < PAGE_DIRECTORIES * 512; i++)
		table[i] = i << 21 | PTE_PRESENT_WRITE | PTE_LARGE;
	*cr3 = gpa;
	return 0;
}

static int setup_gdt(struct placer *placer, bool long_mode, gpa_t *gpa)
{
	/* Flat and accessed: null, null, code, data (SDM 3, 3.4.5). */
	const uint64_t gdt[4] = { 0, 0,
				  long_mode ? 0x00af9b000000ffff
					    : 0x00cf9b000000ffff,
				  0x00cf93000000ffff };
	int err = placer_find_small(placer, "the GDT", sizeof(gdt), 8, gpa);

	if (!err)
		memory_write(placer->machine->memory, *gpa, gdt, sizeof(gdt));
	return err;
}

static void fill_e820(struct boot_params *params, const struct e820_map *map)
{
	params->e820_entries = map->count;
	for (int i = 0; i < map->count; i++)
		params->e820_table[i] = (struct boot_e820_entry){
			.addr = map->entries[i].start,
			.size = map->entries[i].size,
			.type = map->entries[i].type,
		};
}

/* The boot parameters; screen_info stays zero, which says: no display. */
static int setup_params(struct placer *placer, const struct setup_header *hdr,
			gpa_t cmdline, gpa_t initrd, gpa_t *gpa)
{
	const struct boot_machine *machine = placer->machine;
	struct boot_params *params;
	int err;

	err = placer_find_small(placer, "the boot parameters", sizeof(*params),
				PAGE, gpa);
	if (err)
		return err;
	params = memory_at(machine->memory, *gpa, sizeof(*params));
	memset(params, 0, sizeof(*params));
	params->hdr = *hdr;
	params->hdr.type_of_loader = LOADER_UNDEFINED;
	/* One is for the real-mode code, one says what has been done. */
	params->hdr.loadflags &= ~(CAN_USE_HEAP | KASLR_FLAG);
	params->hdr.vid_mode = VID_MODE_NORMAL;
	params->hdr.cmd_line_ptr = cmdline;
	params->hdr.ramdisk_image = initrd;
	params->hdr.ramdisk_size = initrd ? placer->boot->initrd.size : 0;
	params->acpi_rsdp_addr = machine->rsdp;
	fill_e820(params, machine->e820);
	return 0;
}

int linux_setup(struct placer *placer, const struct setup_header *hdr,
		bool long_mode, struct vcpu_entry *entry)
{
	struct placement where = {
		.align = PAGE,
		.min = MEMORY_MIN,
		.end = hdr->initrd_addr_max + 1ull,
		.high = true,
	};
	gpa_t cmdline, initrd, params;
	int err;

	err = check_cmdline(placer, hdr->cmdline_size);
	if (!err)
		err = placer_load_initrd(placer, &where, &initrd);
	if (!err && long_mode)
		err = setup_paging(placer, &entry->cr3);
	if (!err)
		err = setup_gdt(placer, long_mode, &entry->gdt);
	if (!err)
		err = placer_put_cmdline(placer, NULL, &cmdline);
	if (!err)
		err = setup_params(placer, hdr, cmdline, initrd, &params);
	if (err)
		return err;
	entry->mode = long_mode ? VCPU_LONG : VCPU_PROTECTED;
	entry->rsi = params;
	return 0;
}
