#include "guests/lib/boot.h"
#include "guests/lib/lib.h"

struct boot boot;

/* Xen's public header arch-x86/hvm/start_info.h, by which PVH is defined. */
struct hvm_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modules, cmdline, rsdp;
	uint64_t memmap; /* version 1 */
	uint32_t nr_memmap, reserved;
};

struct hvm_module {
	uint64_t start, size, cmdline, reserved;
};

struct hvm_memmap {
	uint64_t start, size;
	uint32_t type, reserved;
};

#define HVM_MAGIC 0x336ec578

struct e820_packed {
	uint64_t start, size;
	uint32_t type;
} __attribute__((packed));

/* Offsets of struct boot_params: Documentation/arch/x86/zero-page.rst. */
#define LINUX_RSDP      0x070
#define LINUX_E820_NR   0x1e8
#define LINUX_MAGIC     0x202
#define LINUX_INITRD    0x218
#define LINUX_INITRD_SZ 0x21c
#define LINUX_CMDLINE   0x228
#define LINUX_E820      0x2d0

static const void *at(uint64_t address)
{
	return (const void *)address;
}

static void add_range(uint64_t start, uint64_t size, uint32_t type)
{
	if (boot.nr_ranges < BOOT_MAP_MAX)
		boot.map[boot.nr_ranges++] = (struct boot_range){
			.start = start,
			.size = size,
			.type = type,
		};
}

static void parse_pvh(uint64_t pointer)
{
	const struct hvm_start_info *info = at(pointer);
	const struct hvm_memmap *map = at(info->memmap);

	CHECK_EQ(info->magic, HVM_MAGIC, "magic of hvm_start_info");
	CHECK(info->version >= 1, "hvm_start_info has a memory map");
	if (info->cmdline)
		boot.cmdline = at(info->cmdline);
	boot.rsdp = info->rsdp;
	if (info->nr_modules) {
		const struct hvm_module *module = at(info->modules);

		boot.module = module->start;
		boot.module_size = module->size;
	}
	for (uint32_t i = 0; i < info->nr_memmap; i++)
		add_range(map[i].start, map[i].size, map[i].type);
}

static void parse_linux(uint64_t pointer)
{
	const struct e820_packed *map = at(pointer + LINUX_E820);
	int nr = read8(pointer + LINUX_E820_NR);

	CHECK_EQ(read32(pointer + LINUX_MAGIC), 0x53726448,
		 "HdrS in boot_params");
	if (read32(pointer + LINUX_CMDLINE))
		boot.cmdline = at(read32(pointer + LINUX_CMDLINE));
	boot.rsdp = read64(pointer + LINUX_RSDP);
	boot.module = read32(pointer + LINUX_INITRD);
	boot.module_size = read32(pointer + LINUX_INITRD_SZ);
	for (int i = 0; i < nr; i++)
		add_range(map[i].start, map[i].size, map[i].type);
}

void boot_parse(enum boot_kind kind, uint64_t pointer)
{
	boot.kind = kind;
	boot.cmdline = "";
	if (kind == BOOT_PVH)
		parse_pvh(pointer);
	else
		parse_linux(pointer);
}

const char *boot_kind_name(void)
{
	static const char *const names[] = {
		[BOOT_PVH] = "PVH",
		[BOOT_LINUX64] = "Linux 64-bit",
		[BOOT_LINUX32] = "Linux 32-bit",
	};

	return names[boot.kind];
}
