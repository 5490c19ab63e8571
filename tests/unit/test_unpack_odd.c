/* A bzImage that the host had better not unpack: its own code does it. */
#include "packed_kernel.h"

/* Each makes a kernel that the host must not take. */
static void odd_type(struct kernel *k)
{
	elf(k)->e_type = ET_DYN;
}
static void odd_machine(struct kernel *k)
{
	elf(k)->e_machine = EM_386;
}
static void odd_class(struct kernel *k)
{
	elf(k)->e_ident[4] = ELFCLASS32;
}
static void odd_magic(struct kernel *k)
{
	k->image[0] = 0;
}
static void no_segments(struct kernel *k)
{
	elf(k)->e_phnum = 0;
}
static void many_segments(struct kernel *k)
{
	elf(k)->e_phnum = 17;
}
static void far_segments(struct kernel *k)
{
	elf(k)->e_phoff = IMAGE - 8;
}
static void wrapped_segments(struct kernel *k)
{
	elf(k)->e_phoff = -8;
}
static void far_sections(struct kernel *k)
{
	elf(k)->e_shoff = IMAGE - 64;
}
static void no_entry(struct kernel *k)
{
	elf(k)->e_entry = LINKED + 0x1000;
}
static void low_entry(struct kernel *k)
{
	elf(k)->e_entry = LINKED - 1;
}
static void low_segment(struct kernel *k)
{
	segment(k, 0)->p_paddr = 0;
}
static void upwards(struct kernel *k)
{
	segment(k, 1)->p_offset -= 0x1800;
}
static void far_bytes(struct kernel *k)
{
	segment(k, 1)->p_offset = IMAGE;
}
static void far_memory(struct kernel *k)
{
	segment(k, 1)->p_memsz = MEMORY;
}
static void huge_memory(struct kernel *k)
{
	segment(k, 1)->p_memsz = -1;
}
static void huge_bytes(struct kernel *k)
{
	segment(k, 1)->p_filesz = -1;
}
static void past_bytes(struct kernel *k)
{
	segment(k, 1)->p_offset = IMAGE - 0x400;
}
static void short_memory(struct kernel *k)
{
	segment(k, 1)->p_memsz = 0x400;
}
static void overlap(struct kernel *k)
{
	segment(k, 0)->p_filesz = segment(k, 0)->p_memsz = 0x2900;
}
static void same_bytes(struct kernel *k)
{
	segment(k, 0)->p_offset = TEXT + 0x1000;
	segment(k, 1)->p_offset = TEXT + 0x1800;
	segment(k, 1)->p_paddr = LINKED + 0x1000;
}
static void odd_table(struct kernel *k)
{
	k->image[ELF_END] = 1;
}
static void far_relocation(struct kernel *k)
{
	put_le32(k->image + ELF_END + 4, 0x81002800);
}

static void an_odd_kernel_unpacks_itself(void **state)
{
	static const struct {
		void (*make)(struct kernel *k);
		/* Its relocations are looked at, which may find it, too. */
		bool moves;
	} oddities[] = {
		{ odd_type, false },      { odd_machine, false },
		{ odd_class, false },     { odd_magic, false },
		{ no_segments, false },   { many_segments, false },
		{ far_segments, false },  { wrapped_segments, false },
		{ far_sections, false },  { no_entry, false },
		{ low_entry, false },     { low_segment, false },
		{ upwards, false },       { far_bytes, false },
		{ past_bytes, false },    { far_memory, false },
		{ huge_memory, false },   { huge_bytes, false },
		{ short_memory, false },  { overlap, false },
		{ same_bytes, false },    { odd_table, true },
		{ far_relocation, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(oddities); i++) {
		struct kernel *k = kernel_new();
		struct input in;
		struct world w;

		oddities[i].make(k);
		in = make_file(k, pack_lz4);
		if (!oddities[i].moves)
			in.cmdline = "nokaslr";
		boot_input(&w, &in);
		assert_int_equal(w.err, 0);
		if (!unpacks_itself(&w))
			fail_msg("oddity %zu was taken", i);
		world_fini(&w);
		free(k);
	}
}

static void an_odd_payload_unpacks_itself(void **state)
{
	static const struct {
		const char *what;
		int64_t at; /* in the payload; from its end if negative */
		uint32_t word;
		/* 0: as they were */
		uint32_t length, offset, alignment;
	} cases[] = {
		{ "xz", 0, 0x587a37fd, 0, 0, 0 },
		{ "a huge size", -4, 0xffffffff, 0, 0, 0 },
		{ "a small size", -4, IMAGE - 1, 0, 0, 0 },
		{ "a size of 0", -4, 0, 0, 0, 0 },
		{ "a large size", -4, 6 * MIB + 1, 0, 0, 0 },
		{ "a block past the end", 4, 0x7fffffff, 0, 0, 0 },
		{ "a short payload", 0, 0x184c2102, 7, 0, 0 },
		{ "a payload past the end", 0, 0x184c2102, 0, 0x7fffff00, 0 },
		{ "an alignment below a page", 0, 0x184c2102, 0, 0, 0x1000 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct kernel *k = kernel_new();
		struct input in = make_file(k, pack_lz4);
		uint64_t at_byte;
		struct world w;

		at_byte = cases[i].at + (cases[i].at < 0 ? k->payload : 0);
		put_le32(k->file + BZ_SETUP + BEFORE + at_byte, cases[i].word);
		if (cases[i].length)
			header(k)->payload_length = cases[i].length;
		if (cases[i].offset)
			header(k)->payload_offset = cases[i].offset;
		if (cases[i].alignment)
			header(k)->kernel_alignment = cases[i].alignment;
		boot_input(&w, &in);
		assert_int_equal(w.err, 0);
		if (!unpacks_itself(&w))
			fail_msg("%s was taken", cases[i].what);
		world_fini(&w);
		free(k);
	}
}

/* All of it is right, and 1 MiB of zeros behind it too much. */
static void pack_too_much(struct kernel *k)
{
	pack_zstd_and(k, (LEAD + MEMORY + MIB - IMAGE) / ZSTD_BLOCK);
}

static void what_does_not_fit_is_not_unpacked(void **state)
{
	struct kernel *k = kernel_new();
	struct input in = make_file(k, pack_too_much);
	struct world w;

	(void)state;
	in.cmdline = "nokaslr";
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_true(unpacks_itself(&w));
	world_fini(&w);
	free(k);
}

static void damaged_headers_of_gzip_are_refused(void **state)
{
	/* With any flag but that for text, other bytes would be the stream. */
	static const struct {
		uint8_t flags;
		bool good;
	} cases[] = {
		{ 0x18, true },  { 0x19, true },  { 0x00, false },
		{ 0x08, false }, { 0x10, false }, { 0x1c, false },
		{ 0x1a, false }, { 0x38, false }, { 0x98, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct kernel *k = kernel_new();
		struct input in = make_file(k, pack_gzip);
		struct world w;

		k->file[BZ_SETUP + BEFORE + 3] = cases[i].flags;
		boot_input(&w, &in);
		assert_int_equal(w.err, 0);
		if (unpacks_itself(&w) == cases[i].good)
			fail_msg("flags 0x%x", cases[i].flags);
		world_fini(&w);
		free(k);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(an_odd_kernel_unpacks_itself),
	cmocka_unit_test(an_odd_payload_unpacks_itself),
	cmocka_unit_test(what_does_not_fit_is_not_unpacked),
	cmocka_unit_test(damaged_headers_of_gzip_are_refused),
};

UNIT_MAIN(tests)
