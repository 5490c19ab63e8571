/*
 * 32-bit protected mode by multiboot 1 (version 0.6.96): the state of the
 * machine, the command line, the memory map and a module.
 */
#include <stdint.h>

#define BOOT_MAGIC 0x2badb002

#define INFO_MEMORY  (1 << 0)
#define INFO_CMDLINE (1 << 2)
#define INFO_MODULES (1 << 3)
#define INFO_MMAP    (1 << 6)

struct multiboot_info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper; /* KiB */
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t nr_modules, modules;
	uint32_t syms[4];
	uint32_t mmap_length, mmap;
};

struct multiboot_module {
	uint32_t start, end, string, reserved;
};

struct multiboot_mmap {
	uint32_t size; /* of what follows */
	uint32_t start, start_high;
	uint32_t length, length_high;
	uint32_t type;
} __attribute__((packed));

void hello32(uint32_t magic, const struct multiboot_info *info);

static void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static void put(char c)
{
	uint8_t status;

	do
		__asm__ volatile("inb %1, %0"
				 : "=a"(status)
				 : "d"((uint16_t)0x3fd));
	while (!(status & 0x20));
	out8(0x3f8, (uint8_t)c);
}

static void print(const char *text)
{
	while (*text)
		put(*text++);
}

static void print_hex(uint32_t value)
{
	for (int shift = 28; shift >= 0; shift -= 4)
		put("0123456789abcdef"[value >> shift & 15]);
}

static void end(uint32_t code)
{
	__asm__ volatile("outl %0, %1" ::"a"(code), "d"((uint16_t)0xf4));
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void check(int good, const char *what)
{
	if (good)
		return;
	print("FAIL hello32.c ");
	print(what);
	print("\n");
	end(1);
}

static int has_word(const char *text, const char *word)
{
	for (; *text; text++) {
		int i = 0;

		while (word[i] && text[i] == word[i])
			i++;
		if (!word[i])
			return 1;
	}
	return 0;
}

static void check_map(const struct multiboot_info *info)
{
	uint32_t at = info->mmap, image = 0;

	check(info->flags & INFO_MMAP, "there is no memory map");
	while (at < info->mmap + info->mmap_length) {
		const struct multiboot_mmap *range = (const void *)at;

		print("memory: ");
		print_hex(range->start_high);
		print_hex(range->start);
		print(" length ");
		print_hex(range->length_high);
		print_hex(range->length);
		print(range->type == 1 ? " RAM\n" : " reserved\n");
		if (range->type == 1 && range->start <= 0x100000 &&
		    range->start + range->length > 0x110000)
			image = 1;
		at += range->size + 4;
	}
	check(image, "the memory map has no RAM where the kernel is");
}

static void print_module(const struct multiboot_info *info)
{
	const struct multiboot_module *module = (const void *)info->modules;

	if (!(info->flags & INFO_MODULES) || !info->nr_modules)
		return;
	print("module: ");
	for (uint32_t i = module->start; i < module->end; i++)
		put(*(const char *)i);
}

void hello32(uint32_t magic, const struct multiboot_info *info)
{
	uint32_t cr0, eflags;

	__asm__ volatile("movl %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("pushfl; popl %0" : "=r"(eflags));
	check(magic == BOOT_MAGIC, "eax is not 2badb002");
	check((cr0 & 1) && !(cr0 >> 31), "cr0 wants PE set and PG clear");
	check(!(eflags & 0x20200), "eflags wants VM and IF clear");
	check(info->flags & INFO_MEMORY, "there are no memory sizes");
	check(info->mem_lower >= 512 && info->mem_lower <= 640,
	      "mem_lower is not in 512..640 KiB");
	check(info->mem_upper >= 1024, "mem_upper is below 1 MiB");
	check(info->flags & INFO_CMDLINE, "there is no command line");
	check_map(info);
	print("hello from 32-bit protected mode, by multiboot\ncmdline: ");
	print((const char *)info->cmdline);
	print("\n");
	print_module(info);
	if (has_word((const char *)info->cmdline, "module"))
		check(info->flags & INFO_MODULES && info->nr_modules == 1,
		      "there is not one module");
	end(0);
}
