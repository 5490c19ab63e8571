/* ELF kernels: PVH and a plain vmlinux, most of them hostile. */
#include "boot/linux.h"

#include "boot_world.h"

#include <elf.h>

/*
 * ELF files: headers, notes at NOTES, code at CODE.
 */
#define ELF_NOTES 0x800
#define ELF_CODE  0x1000
#define ELF_BYTES 0x3000

struct elf_file {
	uint8_t bytes[ELF_BYTES];
};

static Elf64_Ehdr *elf_header(struct elf_file *f)
{
	return (Elf64_Ehdr *)f->bytes;
}

static Elf64_Phdr *elf_segment(struct elf_file *f, int i)
{
	return (Elf64_Phdr *)(f->bytes + sizeof(Elf64_Ehdr)) + i;
}

static Elf64_Phdr segment(uint32_t type, uint64_t offset, uint64_t paddr,
			  uint64_t filesz, uint64_t memsz)
{
	return (Elf64_Phdr){
		.p_type = type,
		.p_offset = offset,
		.p_vaddr = paddr + 0xffffffff80000000,
		.p_paddr = paddr,
		.p_filesz = filesz,
		.p_memsz = memsz,
		.p_align = 4,
	};
}

/* A vmlinux of two segments, the second mostly bss, as Linux says its entry:
 * by physical address. */
static struct input elf_make(struct elf_file *f)
{
	memset(f, 0, ELF_CODE);
	memset(f->bytes + ELF_CODE, 0x90, ELF_BYTES - ELF_CODE);
	*elf_header(f) = (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
			     ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = 16 * MIB + 0x10,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
	};
	*elf_segment(f, 0) =
		segment(PT_LOAD, ELF_CODE, 16 * MIB, 0x1000, 0x1000);
	*elf_segment(f, 1) =
		segment(PT_LOAD, ELF_CODE + 0x1000, 20 * MIB, 0x800, 0x12345);
	return (struct input){ .kernel = f->bytes, .kernel_size = ELF_BYTES };
}

static void add_note(struct elf_file *f, size_t *at, const char *name,
		     uint32_t type, uint64_t desc, uint32_t descsz)
{
	Elf64_Nhdr note = { .n_namesz = strlen(name) + 1,
			    .n_descsz = descsz,
			    .n_type = type };
	uint8_t *p = f->bytes + ELF_NOTES + *at;

	memcpy(p, &note, sizeof(note));
	memcpy(p + 12, name, note.n_namesz);
	p += 12 + align_up(note.n_namesz, 4);
	memcpy(p, &desc, descsz);
	*at += 12 + align_up(note.n_namesz, 4) + align_up(descsz, 4);
}

/* The same with notes, the third of which tells the PVH entry. */
static struct input pvh_make(struct elf_file *f)
{
	struct input in = elf_make(f);
	size_t len = 0;

	add_note(f, &len, "GNU", 3, 0x1234, 8);
	add_note(f, &len, "Xenon", 18, 0x1234, 4);
	add_note(f, &len, "Xen", 18, 16 * MIB + 0x20, 4);
	*elf_segment(f, 2) = segment(PT_NOTE, ELF_NOTES, 0, len, len);
	elf_header(f)->e_phnum = 3;
	return in;
}

static void a_plain_vmlinux_is_entered_in_long_mode(void **state)
{
	struct elf_file f;
	struct input in = elf_make(&f);
	struct world w;

	(void)state;
	in.dirty = true;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_string_equal(w.protocol, "vmlinux, 64-bit ELF");
	assert_int_equal(w.entry.mode, VCPU_LONG);
	assert_int_equal(w.entry.ip, 16 * MIB + 0x10);
	assert_int_equal(params(&w)->hdr.header, LINUX_HEADER_MAGIC);
	assert_filled(&w, 16 * MIB, 0x1000, 0x90);
	assert_filled(&w, 20 * MIB, 0x800, 0x90);
	assert_filled(&w, 20 * MIB + 0x800, 0x12345 - 0x800, 0);
	assert_filled(&w, 20 * MIB + 0x12345, 0x1000, 0xcc);
	world_fini(&w);
}

static void a_virtual_entry_becomes_physical(void **state)
{
	struct elf_file f;
	struct input in = elf_make(&f);
	struct world w;

	(void)state;
	elf_header(&f)->e_entry = 0xffffffff80000000 + 16 * MIB + 0x30;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_int_equal(w.entry.ip, 16 * MIB + 0x30);
	world_fini(&w);
}

static void a_pvh_note_is_preferred(void **state)
{
	struct elf_file f;
	struct input in = pvh_make(&f);
	const uint8_t *info, *map;
	struct world w;

	(void)state;
	in.cmdline = "quiet";
	in.initrd_size = 4096;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_string_equal(w.protocol, "ELF, PVH entry");
	assert_int_equal(w.entry.mode, VCPU_PROTECTED);
	assert_int_equal(w.entry.ip, 16 * MIB + 0x20);
	info = at(&w, w.entry.rbx, 56);
	assert_int_equal(get_le32(info), 0x336ec578);
	assert_int_equal(get_le32(info + 4), 1);
	assert_int_equal(get_le32(info + 12), 1);
	assert_int_equal(get_le64(at(&w, get_le64(info + 16), 32)),
			 64 * MIB - 4096);
	assert_string_equal(at(&w, get_le64(info + 24), 6), "quiet");
	assert_int_equal(get_le64(info + 32), 0xe0000);
	assert_int_equal(get_le32(info + 48), w.e820.count);
	map = at(&w, get_le64(info + 40), w.e820.count * 24);
	assert_int_equal(get_le64(map + 8), 0x9fc00);
	assert_int_equal(get_le32(map + 16), E820_RAM);
	world_fini(&w);
}

static void notes_that_lie_are_survived(void **state)
{
	struct elf_file f;
	struct input in;
	struct world w;

	(void)state;
	/* Sizes that would wrap, loop or leave the segment. */
	for (uint32_t size = 0; size < 4; size++) {
		static const uint32_t sizes[] = { UINT32_MAX, UINT32_MAX - 3,
						  0x7fffffff, 0 };

		for (int field = 0; field < 2; field++) {
			in = pvh_make(&f);
			put_le32(f.bytes + ELF_NOTES + field * 4, sizes[size]);
			boot_input(&w, &in);
			assert_int_equal(w.err, 0);
			world_fini(&w);
		}
	}
	in = pvh_make(&f);
	elf_segment(&f, 2)->p_filesz -= 4; /* the entry is cut off */
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_string_equal(w.protocol, "vmlinux, 64-bit ELF");
	world_fini(&w);
	in = pvh_make(&f);
	put_le32(f.bytes + ELF_NOTES + elf_segment(&f, 2)->p_filesz - 4,
		 0xdead0000);
	assert_refused(&in, -EINVAL, "PVH entry 0xdead0000 is in no segment");
}

static void elf_overlap(struct elf_file *f)
{
	elf_segment(f, 1)->p_paddr = 16 * MIB + 0xfff;
}
static void elf_past_end(struct elf_file *f)
{
	elf_segment(f, 1)->p_offset = ELF_BYTES - 0x7ff;
}
static void elf_offset_wraps(struct elf_file *f)
{
	elf_segment(f, 1)->p_offset = UINT64_MAX - 0x7f;
}
static void elf_more_bytes(struct elf_file *f)
{
	elf_segment(f, 1)->p_memsz = 0x7ff;
}
static void elf_in_tables(struct elf_file *f)
{
	elf_segment(f, 1)->p_paddr = 0xe0000;
}
static void elf_in_hole(struct elf_file *f)
{
	elf_segment(f, 1)->p_paddr = 0xc0000000;
}
static void elf_wraps(struct elf_file *f)
{
	elf_segment(f, 1)->p_paddr = UINT64_MAX - 0x100;
}
static void elf_huge(struct elf_file *f)
{
	elf_segment(f, 1)->p_memsz = UINT64_MAX;
}
static void elf_no_entry(struct elf_file *f)
{
	elf_header(f)->e_entry = 0x1234;
}
static void elf_entry_in_bss(struct elf_file *f)
{
	elf_header(f)->e_entry = 20 * MIB + 0x800;
}
static void elf_many(struct elf_file *f)
{
	elf_header(f)->e_phnum = 5000;
}
static void elf_none(struct elf_file *f)
{
	elf_header(f)->e_phnum = 0;
}
static void elf_table_outside(struct elf_file *f)
{
	elf_header(f)->e_phoff = ELF_BYTES - 100;
}
static void elf_table_wraps(struct elf_file *f)
{
	elf_header(f)->e_phoff = UINT64_MAX - 50;
}
static void elf_odd_entries(struct elf_file *f)
{
	elf_header(f)->e_phentsize = 32;
}
static void elf_nothing(struct elf_file *f)
{
	elf_segment(f, 0)->p_type = PT_NULL;
	elf_segment(f, 1)->p_type = PT_NULL;
}

static void a_hostile_elf_is_refused(void **state)
{
	static const struct {
		void (*damage)(struct elf_file *f);
		const char *words;
	} cases[] = {
		{ elf_overlap, "would overlap a segment at 0x1000000" },
		{ elf_past_end, "past the end of the file" },
		{ elf_offset_wraps, "past the end of the file" },
		{ elf_more_bytes, "more bytes than memory" },
		{ elf_in_tables, "where no usable RAM is" },
		{ elf_in_hole, "not below 3 GiB" },
		{ elf_wraps, "not below 3 GiB" },
		{ elf_huge, "not below 3 GiB" },
		{ elf_no_entry, "entry point is in no segment" },
		{ elf_entry_in_bss, "entry point is in no segment" },
		{ elf_many, "5000 program headers" },
		{ elf_none, "0 program headers" },
		{ elf_table_outside, "past the end of the file" },
		{ elf_table_wraps, "past the end of the file" },
		{ elf_odd_entries, "odd size" },
		{ elf_nothing, "nothing to load" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct elf_file f;
		struct input in = elf_make(&f);

		cases[i].damage(&f);
		assert_refused(&in, -EINVAL, cases[i].words);
	}
}

static void a_truncated_elf_is_refused(void **state)
{
	struct elf_file f;
	struct input in = elf_make(&f);

	(void)state;
	in.kernel_size = ELF_BYTES / 2;
	assert_refused(&in, -EINVAL, "past the end of the file");
	in.kernel_size = 100;
	assert_refused(&in, -EINVAL, "past the end of the file");
	in.kernel_size = 16;
	assert_refused(&in, -EINVAL, "a truncated ELF");
}

static void an_elf_that_needs_more_memory_says_how_much(void **state)
{
	struct elf_file f;
	struct input in = elf_make(&f);

	(void)state;
	elf_segment(&f, 1)->p_paddr = 95 * MIB;
	assert_refused(&in, -E2BIG, "needs at least 96M, give --memory 96M");
}

/* What the loader itself hands over finds a place around a kernel that takes
 * all low memory but a little. */
static void an_elf_in_low_memory_is_worked_around(void **state)
{
	struct elf_file f;
	struct input in = elf_make(&f);
	struct world w;

	(void)state;
	*elf_segment(&f, 1) =
		segment(PT_LOAD, ELF_CODE, 0x8000, 0x1000, 0x9fc00 - 0x8000);
	in.dirty = true;
	in.cmdline = "hello";
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_true(w.entry.rsi >= MIB);
	assert_true(w.entry.gdt >= MIB);
	assert_true(w.entry.cr3 >= MIB);
	assert_filled(&w, 0x9000, 0x9fc00 - 0x9000, 0);
	assert_string_equal(at(&w, params(&w)->hdr.cmd_line_ptr, 6), "hello");
	world_fini(&w);
}

/* No field of a header, whatever it says, may crash the loader or make it
 * write outside RAM; the sanitizers watch. */
static void no_single_field_breaks_the_loader(void **state)
{
	static const uint32_t values[] = { 0,          1,          0x7fffffff,
					   0x80000000, 0xfffff000, 0xffffffff };
	struct elf_file elf;
	struct world w;

	(void)state;
	for (size_t field = 16; field < 240; field += 4) {
		for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
			struct input in = pvh_make(&elf);

			put_le32(elf.bytes + field, values[v]);
			boot_input(&w, &in);
			assert_true(w.err == 0 || w.err == -EINVAL ||
				    w.err == -E2BIG);
			world_fini(&w);
		}
	}
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plain_vmlinux_is_entered_in_long_mode),
		cmocka_unit_test(a_virtual_entry_becomes_physical),
		cmocka_unit_test(a_pvh_note_is_preferred),
		cmocka_unit_test(notes_that_lie_are_survived),
		cmocka_unit_test(a_hostile_elf_is_refused),
		cmocka_unit_test(a_truncated_elf_is_refused),
		cmocka_unit_test(an_elf_that_needs_more_memory_says_how_much),
		cmocka_unit_test(an_elf_in_low_memory_is_worked_around),
		cmocka_unit_test(no_single_field_breaks_the_loader),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
