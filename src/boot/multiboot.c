/*
 * Multiboot 1 (GNU Multiboot Specification 0.6.96): a header in the first 8
 * KiB, loading by the addresses in it or by ELF, entry in 32-bit mode with
 * the address of an information structure in ebx.
 */
#include "boot/elf.h"
#include "boot/protocol.h"
#include "firmware/e820.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>

enum {
	HEADER_MAGIC = 0x1badb002,
	LOADER_MAGIC = 0x2badb002,

	/* Header flags (3.1.2): 0 to 15 must be understood. Modules on page
	 * boundaries and memory information are given without being asked;
	 * a wish for a video mode cannot be met, which the information says. */
	WANT_UNKNOWN = 0xfff8,
	HAS_ADDRESSES = 1 << 16,

	/* Information flags (3.3). */
	INFO_MEMORY = 1 << 0,
	INFO_CMDLINE = 1 << 2,
	INFO_MODULES = 1 << 3,
	INFO_MMAP = 1 << 6,
	INFO_LOADER_NAME = 1 << 9,

	NAME_MAX_LEN = 16,
	MODULE_STRING_MAX = 256,
};

struct header {
	uint32_t magic, flags, checksum;
	/* With HAS_ADDRESSES. */
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr;
	uint32_t entry_addr;
};

struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline;
	uint32_t mods_count, mods_addr, syms[4], mmap_length, mmap_addr;
	uint32_t drives_length, drives_addr, config_table, boot_loader_name;
	uint32_t apm_table, vbe_control_info, vbe_mode_info;
	uint16_t vbe_mode, vbe_interface_seg, vbe_interface_off;
	uint16_t vbe_interface_len;
} __attribute__((packed));

struct module {
	uint32_t start, end, string, reserved;
};

struct mmap_entry {
	uint32_t size; /* of what follows */
	uint64_t start, length;
	uint32_t type;
} __attribute__((packed));

/* All that is handed over, in one piece. */
struct handover {
	struct info info;
	struct module initrd;
	struct mmap_entry mmap[E820_MAX];
	char loader[NAME_MAX_LEN];
	char initrd_string[MODULE_STRING_MAX];
} __attribute__((packed));

_Static_assert(sizeof(struct header) == 32, "multiboot header");
_Static_assert(sizeof(struct info) == 88, "multiboot information");
_Static_assert(sizeof(struct module) == 16, "multiboot module");
_Static_assert(sizeof(struct mmap_entry) == 24, "multiboot map entry");

/* Where the kernel's bytes go. */
struct image {
	bool by_elf;
	struct elf elf;
	/* By the addresses of the header. */
	uint64_t offset, size;
	gpa_t start, end;
	gpa_t entry;
};

/* The header's offset in the file, or -1. */
static int find_header(const struct boot *boot, struct header *hdr)
{
	/* What the head has past the end of a short file is zeros. */
	for (int at = 0; at + 12 <= BOOT_HEAD; at += 4) {
		const uint8_t *p = boot->head + at;

		if (get_le32(p) != HEADER_MAGIC ||
		    get_le32(p) + get_le32(p + 4) + get_le32(p + 8) != 0)
			continue;
		*hdr = (struct header){ 0 };
		memcpy(hdr, p,
		       BOOT_HEAD - at < (int)sizeof(*hdr)
			       ? (size_t)(BOOT_HEAD - at)
			       : sizeof(*hdr));
		return at;
	}
	return -1;
}

static int refuse(const struct boot *boot, const char *why)
{
	log_err("kernel %s: is a multiboot kernel, but %s", boot->kernel.path,
		why);
	return -EINVAL;
}

/* The address fields of the header (3.1.3). */
static int image_by_addresses(const struct boot *boot, const struct header *hdr,
			      int header_at, struct image *image)
{
	uint64_t before = (uint64_t)hdr->header_addr - hdr->load_addr;
	uint64_t file_size = boot->kernel.size;

	if (hdr->load_addr > hdr->header_addr || before > (uint64_t)header_at)
		return refuse(boot, "damaged: its load address does not fit "
				    "its header's");
	image->offset = header_at - before;
	image->start = hdr->load_addr;
	image->size = file_size - image->offset;
	if (hdr->load_end_addr) {
		if (hdr->load_end_addr <= hdr->load_addr)
			return refuse(boot, "damaged: it ends before it "
					    "begins");
		image->size = hdr->load_end_addr - hdr->load_addr;
	}
	if (!range_within(image->offset, image->size, file_size))
		return refuse(boot, "truncated: its header says that it is "
				    "longer");
	image->end = image->start + image->size;
	if (hdr->bss_end_addr > image->end)
		image->end = hdr->bss_end_addr;
	image->entry = hdr->entry_addr;
	if (image->entry < image->start ||
	    image->entry - image->start >= image->size)
		return refuse(boot, "damaged: its entry point is outside");
	return 0;
}

/* 1, 0 when it is no multiboot kernel, or -EINVAL, logged. */
static int multiboot_parse(const struct boot *boot, struct image *image)
{
	struct header hdr;
	int at = find_header(boot, &hdr);
	int err;

	if (at < 0)
		return 0;
	if (hdr.flags & WANT_UNKNOWN)
		return refuse(boot, "needs features of the boot loader that "
				    "multiboot 1 does not define");
	image->by_elf = !(hdr.flags & HAS_ADDRESSES);
	if (!image->by_elf) {
		err = image_by_addresses(boot, &hdr, at, image);
		return err ? err : 1;
	}
	err = elf_parse(boot, &image->elf);
	if (err == 0)
		return refuse(boot, "neither an ELF for x86 nor with addresses "
				    "in its header");
	if (err == 1)
		err = elf_entry(boot, &image->elf, &image->entry);
	if (err == 0 && image->entry > UINT32_MAX)
		return refuse(boot, "its entry point is not below 4 GiB");
	return err ? err : 1;
}

static int multiboot_probe(const struct boot *boot)
{
	struct image image;

	return multiboot_parse(boot, &image);
}

static int image_place(struct placer *placer, const struct image *image)
{
	if (image->by_elf)
		return elf_place(placer, &image->elf);
	return placer_claim(placer, "the kernel", image->start,
			    image->end - image->start);
}

static int image_load(struct placer *placer, const struct image *image)
{
	int err;

	if (image->by_elf)
		return elf_load(placer, &image->elf);
	err = placer_load(placer, "its code", image->offset, image->size,
			  image->start);
	if (!err)
		placer_zero(placer, image->start + image->size,
			    image->end - image->start - image->size);
	return err;
}

/* The memory map, and the two numbers of older times: KiB from 0, and from
 * 1 MiB up to the first hole. */
static void fill_memory(struct handover *h, const struct e820_map *map)
{
	for (int i = 0; i < map->count; i++) {
		const struct e820_entry *e = &map->entries[i];

		h->mmap[i] = (struct mmap_entry){
			.size = sizeof(h->mmap[i]) - 4,
			.start = e->start,
			.length = e->size,
			.type = e->type,
		};
		if (e->type == E820_RAM && e->start == 0)
			h->info.mem_lower = e->size >> 10;
		if (e->type == E820_RAM && e->start == MEMORY_MIN)
			h->info.mem_upper = e->size >> 10;
	}
	h->info.mmap_length = map->count * sizeof(h->mmap[0]);
}

static int hand_over(struct placer *placer, gpa_t initrd, gpa_t *gpa)
{
	struct handover h = {
		.info.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES |
			      INFO_MMAP | INFO_LOADER_NAME,
		.info.mods_count = initrd ? 1 : 0,
		.initrd.start = initrd,
		.initrd.end = initrd + placer->boot->initrd.size,
		.loader = "kvist",
	};
	gpa_t cmdline;
	int err;

	err = placer_find_small(placer, "the multiboot information", sizeof(h),
				8, gpa);
	/* The kernel's name comes first: of the usual loaders only GRUB 2
	 * leaves it out, and kernels take their first word for it. */
	if (!err)
		err = placer_put_cmdline(placer, placer->boot->kernel.path,
					 &cmdline);
	if (err)
		return err;
	fill_memory(&h, placer->machine->e820);
	h.info.cmdline = cmdline;
	h.info.mods_addr = *gpa + offsetof(struct handover, initrd);
	h.info.mmap_addr = *gpa + offsetof(struct handover, mmap);
	h.info.boot_loader_name = *gpa + offsetof(struct handover, loader);
	if (initrd) {
		h.initrd.string =
			*gpa + offsetof(struct handover, initrd_string);
		strncpy(h.initrd_string, placer->boot->initrd.path,
			sizeof(h.initrd_string) - 1);
	}
	memory_write(placer->machine->memory, *gpa, &h, sizeof(h));
	return 0;
}

static int multiboot_load(const struct boot *boot, struct placer *placer,
			  struct vcpu_entry *entry)
{
	/* Modules go right above the kernel, as boot loaders do: a small
	 * kernel may map no more than its first megabytes. */
	struct placement where = { .align = 4096, .end = MEMORY_HOLE_START };
	struct image image;
	gpa_t initrd, info;
	int err = multiboot_parse(boot, &image);

	if (err < 0)
		return err;
	err = image_place(placer, &image);
	where.min = image.by_elf ? elf_end(&image.elf) : image.end;
	if (where.min < MEMORY_MIN)
		where.min = MEMORY_MIN;
	if (!err)
		err = placer_load_initrd(placer, &where, &initrd);
	if (!err)
		err = hand_over(placer, initrd, &info);
	if (err)
		return err;
	entry->mode = VCPU_PROTECTED;
	entry->ip = image.entry;
	entry->rax = LOADER_MAGIC;
	entry->rbx = info;
	return image_load(placer, &image);
}

const struct boot_protocol boot_multiboot = {
	.name = "multiboot 1",
	.probe = multiboot_probe,
	.load = multiboot_load,
};
