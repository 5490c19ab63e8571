/* Multiboot 1: loading by addresses and by ELF, and its information. */
#include "boot_world.h"

#include <elf.h>

/*
 * Multiboot: a flat file with addresses in its header, or a 32-bit ELF.
 */
#define MB_SIZE   0x4000
#define MB_HEADER 0x40

static void mb_header(uint8_t *p, uint32_t flags)
{
	put_le32(p, 0x1badb002);
	put_le32(p + 4, flags);
	put_le32(p + 8, -(0x1badb002 + flags));
}

static struct input mb_make(uint8_t bytes[MB_SIZE])
{
	uint8_t *p = bytes + MB_HEADER;

	memset(bytes, 0x90, MB_SIZE);
	mb_header(p, 1 << 16 | 3);
	put_le32(p + 12, MIB + MB_HEADER);
	put_le32(p + 16, MIB);
	put_le32(p + 20, MIB + 0x3000);
	put_le32(p + 24, MIB + 0x9000);
	put_le32(p + 28, MIB + 0x100);
	return (struct input){ .kernel = bytes, .kernel_size = MB_SIZE };
}

static void a_multiboot_kernel_gets_its_information(void **state)
{
	uint8_t bytes[MB_SIZE];
	struct input in = mb_make(bytes);
	const uint8_t *info, *mod;
	const char *cmdline;
	uint64_t ram = 0;
	struct world w;

	(void)state;
	in.cmdline = "smp 4";
	in.initrd_size = 6000;
	in.dirty = true;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_string_equal(w.protocol, "multiboot 1");
	assert_int_equal(w.entry.mode, VCPU_PROTECTED);
	assert_int_equal(w.entry.ip, MIB + 0x100);
	assert_int_equal(w.entry.rax, 0x2badb002);
	assert_int_equal(*(uint8_t *)at(&w, MIB + 0x2fff, 1), 0x90);
	assert_filled(&w, MIB + 0x3000, 0x6000, 0);
	info = at(&w, w.entry.rbx, 88);
	assert_int_equal(get_le32(info) & 0x24d, 0x24d);
	assert_int_equal(get_le32(info + 4), 639);
	assert_int_equal(get_le32(info + 8), 63 * 1024);
	cmdline = at(&w, get_le32(info + 16), 16);
	assert_non_null(strchr(cmdline, ' '));
	assert_string_equal(strchr(cmdline, ' '), " smp 4");
	assert_memory_equal(cmdline, "/proc/self/fd/", 14);
	assert_int_equal(get_le32(info + 20), 1);
	mod = at(&w, get_le32(info + 24), 16);
	assert_int_equal(get_le32(mod), MIB + 0x9000);
	assert_int_equal(get_le32(mod + 4) - get_le32(mod), 6000);
	assert_filled(&w, get_le32(mod), 6000, 0x1d);
	for (uint32_t off = 0; off < get_le32(info + 44);) {
		const uint8_t *e = at(&w, get_le32(info + 48) + off, 24);

		if (get_le32(e + 20) == 1)
			ram += get_le64(e + 12);
		off += get_le32(e) + 4;
	}
	assert_int_equal(ram, 63 * MIB + 0x9fc00);
	assert_string_equal(at(&w, get_le32(info + 64), 6), "kvist");
	world_fini(&w);
}

static void a_multiboot_header_is_found_up_to_8_kib(void **state)
{
	uint8_t bytes[MB_SIZE];
	struct input in = mb_make(bytes);
	struct world w;

	(void)state;
	memmove(bytes + 8192 - 32, bytes + MB_HEADER, 32);
	memset(bytes + MB_HEADER, 0, 32);
	put_le32(bytes + 8192 - 32 + 12, MIB + 8192 - 32);
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	world_fini(&w);
	/* The next place is one too far. */
	memmove(bytes + 8192 - 8, bytes + 8192 - 32, 32);
	memset(bytes + 8192 - 32, 0, 24);
	assert_refused(&in, -EINVAL, "data of an unknown kind");
}

static void a_multiboot_elf_is_loaded_by_its_segments(void **state)
{
	uint8_t bytes[MB_SIZE];
	Elf32_Ehdr *hdr = (Elf32_Ehdr *)bytes;
	Elf32_Phdr *ph = (Elf32_Phdr *)(bytes + sizeof(*hdr));
	struct input in = { .kernel = bytes, .kernel_size = MB_SIZE };
	struct world w;

	(void)state;
	memset(bytes, 0x90, MB_SIZE);
	*hdr = (Elf32_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32,
			     ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_386,
		.e_entry = 0xc0100010,
		.e_phoff = sizeof(*hdr),
		.e_phentsize = sizeof(*ph),
		.e_phnum = 1,
	};
	*ph = (Elf32_Phdr){ .p_type = PT_LOAD,
			    .p_offset = 0x1000,
			    .p_vaddr = 0xc0100000,
			    .p_paddr = 0x100000,
			    .p_filesz = 0x1000,
			    .p_memsz = 0x1800 };
	mb_header(bytes + 0x100, 0);
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_string_equal(w.protocol, "multiboot 1");
	assert_int_equal(w.entry.ip, 0x100010);
	assert_filled(&w, 0x100000, 0x1000, 0x90);
	world_fini(&w);

	memset(bytes + 0x100, 0, 12);
	assert_refused(&in, -EINVAL,
		       "a 32-bit ELF without a PVH note or a multiboot header");
}

static void a_hostile_multiboot_header_is_refused(void **state)
{
	static const struct {
		int field; /* offset in the header */
		uint32_t value;
		const char *words;
	} cases[] = {
		{ 16, MIB + MB_HEADER + 1, "does not fit its header's" },
		{ 16, 0, "does not fit its header's" },
		{ 20, MIB, "ends before it begins" },
		{ 20, MIB + MB_SIZE + 1, "says that it is longer" },
		{ 20, UINT32_MAX, "says that it is longer" },
		{ 24, UINT32_MAX, "not below 3 GiB" },
		{ 28, MIB - 1, "entry point is outside" },
		{ 28, MIB + 0x3000, "entry point is outside" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bytes[MB_SIZE];
		struct input in = mb_make(bytes);

		put_le32(bytes + MB_HEADER + cases[i].field, cases[i].value);
		assert_refused(&in, -EINVAL, cases[i].words);
	}
	for (int bit = 3; bit < 16; bit++) {
		uint8_t bytes[MB_SIZE];
		struct input in = mb_make(bytes);

		mb_header(bytes + MB_HEADER, 1 << bit);
		assert_refused(&in, -EINVAL, "does not define");
	}
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_multiboot_kernel_gets_its_information),
		cmocka_unit_test(a_multiboot_header_is_found_up_to_8_kib),
		cmocka_unit_test(a_multiboot_elf_is_loaded_by_its_segments),
		cmocka_unit_test(a_hostile_multiboot_header_is_refused),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
