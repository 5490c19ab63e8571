/* A bzImage whose payload the host unpacks: what arrives in memory, what is
 * random, and what is left to the bzImage's own code. */
#include "boot/linux.h"

#include "boot_world.h"
#include "unit.h"

#include <elf.h>

/*
 * The packed kernel: an ELF with its first segment 2 MiB into the file, a
 * second one that moves down when it is loaded, and relocations after it.
 */
#define LINKED  (16 * MIB)
#define VIRTUAL 0xffffffff81000000ull
#define HEADERS 0x200ull
#define TEXT    0x200000ull /* in the file */
#define DATA    0x203000ull
#define DATA_AT 0x2000ull /* in memory, from the kernel's start on */
#define ELF_END 0x204000ull
#define TABLE   (5 * 4)
#define IMAGE   (ELF_END + TABLE)
#define MEMORY  (4 * MIB)
#define ENTRY   0x40

#define SETUP  (5 * 512)
#define BEFORE 0x400 /* bytes of code before the payload */

struct kernel {
	uint8_t image[IMAGE];
	uint8_t file[SETUP + BEFORE + 2 * IMAGE];
	uint64_t payload; /* bytes of it, so far */
};

static Elf64_Ehdr *elf(struct kernel *k)
{
	return (Elf64_Ehdr *)k->image;
}

static Elf64_Phdr *segment(struct kernel *k, int i)
{
	return (Elf64_Phdr *)(k->image + sizeof(Elf64_Ehdr)) + i;
}

static struct setup_header *header(struct kernel *k)
{
	return (struct setup_header *)(k->file + 0x1f1);
}

static void put(struct kernel *k, const void *bytes, uint64_t len)
{
	memcpy(k->file + SETUP + BEFORE + k->payload, bytes, len);
	k->payload += len;
}

static void put32(struct kernel *k, uint32_t value)
{
	uint8_t bytes[4];

	put_le32(bytes, value);
	put(k, bytes, 4);
}

/* The rest of a length, after the 15 in the token. */
static void put_length(struct kernel *k, uint64_t len)
{
	for (len -= 15; len >= 255; len -= 255)
		put(k, "\xff", 1);
	put(k, &(uint8_t){ len }, 1);
}

/* One block of LZ4: the headers, a run of zeros, and the rest. */
static void pack_lz4(struct kernel *k)
{
	uint64_t from = k->payload;

	put32(k, 0x184c2102);
	put32(k, 0);
	put(k, "\xff", 1);
	put_length(k, HEADERS);
	put(k, k->image, HEADERS);
	put(k, "\1\0", 2);
	put_length(k, TEXT - HEADERS - 4);
	put(k, "\xf0", 1);
	put_length(k, IMAGE - TEXT);
	put(k, k->image + TEXT, IMAGE - TEXT);
	put_le32(k->file + SETUP + BEFORE + from + 4, k->payload - from - 8);
	put32(k, IMAGE);
}

/* A frame of which the content size is not known, in raw blocks. */
static void pack_zstd(struct kernel *k)
{
	put(k, "\x28\xb5\x2f\xfd\x00\x88", 6);
	for (uint64_t at = 0; at < IMAGE; at += 0x20000) {
		uint32_t len = IMAGE - at < 0x20000 ? IMAGE - at : 0x20000;
		uint32_t block = len << 3 | (at + len == IMAGE);

		put(k, &(uint8_t[3]){ block, block >> 8, block >> 16 }, 3);
		put(k, k->image + at, len);
	}
	put32(k, IMAGE);
}

/* With a name and a comment, in stored blocks. */
static void pack_gzip(struct kernel *k)
{
	put(k, "\x1f\x8b\x08\x18\0\0\0\0\0\3vmlinux\0a comment", 28);
	for (uint64_t at = 0; at < IMAGE; at += 0x8000) {
		uint32_t len = IMAGE - at < 0x8000 ? IMAGE - at : 0x8000;

		put(k, at + len == IMAGE ? "\1" : "\0", 1);
		put32(k, len | (~len & 0xffff) << 16);
		put(k, k->image + at, len);
	}
	put32(k, 0x12345678); /* the CRC, which Linux does not look at either */
	put32(k, IMAGE);
}

static void make_image(struct kernel *k)
{
	static const uint32_t table[5] = { 0, 0x81000100, 0, 0, 0x81002000 };

	*elf(k) = (Elf64_Ehdr){
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_entry = LINKED + ENTRY,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
		.e_shoff = ELF_END - 128,
		.e_shentsize = 64,
		.e_shnum = 2,
	};
	*segment(k, 0) = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = TEXT,
		.p_vaddr = VIRTUAL,
		.p_paddr = LINKED,
		.p_filesz = 0x1000,
		.p_memsz = 0x1000,
	};
	*segment(k, 1) = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = DATA,
		.p_vaddr = VIRTUAL + DATA_AT,
		.p_paddr = LINKED + DATA_AT,
		.p_filesz = 0x800,
		.p_memsz = 0x1000,
	};
	memset(k->image + TEXT, 0x90, 0x1000);
	put_le64(k->image + TEXT + 0x100, VIRTUAL + DATA_AT);
	memset(k->image + DATA, 0xda, 0x800);
	put_le32(k->image + DATA, (uint32_t)VIRTUAL);
	memcpy(k->image + ELF_END, table, sizeof(table));
}

static struct input make_file(struct kernel *k, void (*pack)(struct kernel *))
{
	uint64_t size;

	pack(k);
	size = align_up(SETUP + BEFORE + k->payload, 16);
	memset(k->file + SETUP, 0xcc, BEFORE);
	*header(k) = (struct setup_header){
		.setup_sects = 4,
		.syssize = (size - SETUP) / 16,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb,
		.header = LINUX_HEADER_MAGIC,
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 2 * MIB,
		.relocatable_kernel = 1,
		.xloadflags = XLF_KERNEL_64,
		.cmdline_size = 2047,
		.payload_offset = BEFORE,
		.payload_length = k->payload,
		.pref_address = LINKED,
		.init_size = MEMORY,
	};
	return (struct input){ .kernel = k->file,
			       .kernel_size = size,
			       .cmdline = "quiet",
			       .unpack = true };
}

static struct kernel *kernel_new(void)
{
	struct kernel *k = calloc(1, sizeof(*k));

	assert_non_null(k);
	make_image(k);
	return k;
}

static struct boot_params *params(const struct world *w)
{
	return at(w, w->entry.rsi, sizeof(struct boot_params));
}

/* The bzImage's own code would start at this byte of it. */
static bool unpacks_itself(const struct world *w)
{
	return *(uint8_t *)at(w, w->entry.ip, 1) == 0xcc &&
	       !(params(w)->hdr.loadflags & KASLR_FLAG);
}

/* How far the kernel that was unpacked is from its virtual address; all of it
 * agrees. */
static uint64_t check_kernel(const struct world *w)
{
	uint64_t start = w->entry.ip - ENTRY, distance;

	assert_int_equal(w->err, 0);
	assert_int_equal(w->entry.mode, VCPU_LONG);
	assert_int_equal(start % (2 * MIB), 0);
	assert_true(start >= LINKED);
	assert_filled(w, start, 0x100, 0x90);
	assert_filled(w, start + 0x108, 0xef8, 0x90);
	assert_filled(w, start + DATA_AT + 4, 0x7fc, 0xda);
	distance = *(uint64_t *)at(w, start + 0x100, 8) - VIRTUAL - DATA_AT;
	assert_int_equal(distance % (2 * MIB), 0);
	assert_true(distance + LINKED + MEMORY <= 1024 * MIB);
	assert_int_equal(*(uint32_t *)at(w, start + DATA_AT, 4),
			 (uint32_t)(VIRTUAL + distance));
	return distance;
}

static void a_payload_of_any_format_arrives_whole(void **state)
{
	void (*const packs[])(struct kernel *) = { pack_lz4, pack_gzip,
						   pack_zstd };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(packs); i++) {
		struct kernel *k = kernel_new();
		struct input in = make_file(k, packs[i]);
		struct world w;

		in.initrd_size = 5000;
		in.dirty = true;
		boot_input(&w, &in);
		check_kernel(&w);
		assert_true(params(&w)->hdr.loadflags & KASLR_FLAG);
		assert_filled(&w, params(&w)->hdr.ramdisk_image, 5000, 0x1d);
		world_fini(&w);
		free(k);
	}
}

/* 10 boots at one of 22 places and 503 addresses each. */
static void both_addresses_are_random(void **state)
{
	struct kernel *k = kernel_new();
	struct input in = make_file(k, pack_lz4);
	uint64_t places = 0, distances = 0, first = 0;

	(void)state;
	for (int i = 0; i < 10; i++) {
		uint64_t distance;
		struct world w;

		boot_input(&w, &in);
		distance = check_kernel(&w);
		first = i ? first : distance;
		distances += distance != first;
		places |= 1ull << w.entry.ip / (2 * MIB);
		world_fini(&w);
	}
	assert_true(places & (places - 1));
	assert_true(distances > 0);
	free(k);
}

static void the_command_line_can_keep_the_kernel_in_place(void **state)
{
	static const struct {
		const char *cmdline;
		bool place, address; /* random */
	} cases[] = {
		{ "nokaslr", false, false },
		{ "quiet nokaslr", false, false },
		{ "\tnokaslr quiet", false, false },
		{ "nokaslrs anokaslr", true, true },
		{ "quiet mem=60M", false, true },
		{ "memmap=1M$2M", false, true },
		{ "hugepages=3", false, true },
		{ "xmem=60M mem", true, true },
		{ "", true, true },
	};
	struct kernel *k = kernel_new();
	struct input in = make_file(k, pack_lz4);

	(void)state;
	in.memory = 1024 * MIB;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t moved = 0, distance = 0;
		bool flag = false;

		in.cmdline = cases[i].cmdline;
		/* One of 500 places each time: four are enough to see. */
		for (int n = 0; n < 4; n++) {
			struct world w;

			boot_input(&w, &in);
			distance |= check_kernel(&w);
			moved |= w.entry.ip - ENTRY - LINKED;
			flag = params(&w)->hdr.loadflags & KASLR_FLAG;
			world_fini(&w);
		}
		if (!!moved != cases[i].place ||
		    !!distance != cases[i].address || flag != cases[i].address)
			fail_msg("%s: by 0x%llx, 0x%llx", cases[i].cmdline,
				 (unsigned long long)moved,
				 (unsigned long long)distance);
	}
	free(k);
}

static void without_relocations_the_address_stays(void **state)
{
	struct kernel *k = kernel_new();
	struct input in;
	struct world w;

	(void)state;
	/* All that follows the segments belongs to the ELF. */
	elf(k)->e_shoff = IMAGE - 64;
	elf(k)->e_shnum = 1;
	in = make_file(k, pack_lz4);
	boot_input(&w, &in);
	assert_int_equal(check_kernel(&w), 0);
	assert_false(params(&w)->hdr.loadflags & KASLR_FLAG);
	world_fini(&w);

	/* And one that says it cannot move at all. */
	free(k);
	k = kernel_new();
	in = make_file(k, pack_lz4);
	header(k)->relocatable_kernel = 0;
	boot_input(&w, &in);
	assert_int_equal(check_kernel(&w), 0);
	assert_int_equal(w.entry.ip, LINKED + ENTRY);
	assert_false(params(&w)->hdr.loadflags & KASLR_FLAG);
	world_fini(&w);
	free(k);
}

static void without_room_it_unpacks_itself(void **state)
{
	struct kernel *k = kernel_new();
	struct input in = make_file(k, pack_lz4);
	struct world w;

	(void)state;
	/* An initrd that ends where the kernel begins. */
	in.memory = LINKED + MEMORY;
	in.initrd_size = 10 * MIB;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_int_equal(w.entry.ip, LINKED + 0x200);
	assert_true(unpacks_itself(&w));
	world_fini(&w);

	/* Room for it in one place only. */
	in.initrd_size = 0;
	boot_input(&w, &in);
	check_kernel(&w);
	assert_int_equal(w.entry.ip, LINKED + ENTRY);
	world_fini(&w);

	in.unpack = false;
	boot_input(&w, &in);
	assert_true(unpacks_itself(&w));
	world_fini(&w);
	free(k);
}

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
static void overlap(struct kernel *k)
{
	segment(k, 1)->p_paddr = LINKED + 8;
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
	static void (*const oddities[])(struct kernel *) = {
		odd_type,     odd_machine,   odd_class,    odd_magic,
		no_segments,  many_segments, far_segments, wrapped_segments,
		far_sections, no_entry,      low_entry,    low_segment,
		upwards,      far_bytes,     far_memory,   huge_memory,
		huge_bytes,   overlap,       odd_table,    far_relocation,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(oddities); i++) {
		struct kernel *k = kernel_new();
		struct input in;
		struct world w;

		oddities[i](k);
		in = make_file(k, pack_lz4);
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
		put_le32(k->file + SETUP + BEFORE + at_byte, cases[i].word);
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

		k->file[SETUP + BEFORE + 3] = cases[i].flags;
		boot_input(&w, &in);
		assert_int_equal(w.err, 0);
		if (unpacks_itself(&w) == cases[i].good)
			fail_msg("flags 0x%x", cases[i].flags);
		world_fini(&w);
		free(k);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_payload_of_any_format_arrives_whole),
	cmocka_unit_test(both_addresses_are_random),
	cmocka_unit_test(the_command_line_can_keep_the_kernel_in_place),
	cmocka_unit_test(without_relocations_the_address_stays),
	cmocka_unit_test(without_room_it_unpacks_itself),
	cmocka_unit_test(an_odd_kernel_unpacks_itself),
	cmocka_unit_test(an_odd_payload_unpacks_itself),
	cmocka_unit_test(damaged_headers_of_gzip_are_refused),
};

UNIT_MAIN(tests)
