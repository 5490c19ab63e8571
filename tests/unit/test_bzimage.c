/* bzImage: where it goes, what it is told, and what is wrong with it. */
#include "boot/linux.h"

#include "boot_world.h"

/*
 * A bzImage: 5 sectors of setup, 64 KiB of kernel filled with 0x90.
 */
#define BZ_KERNEL 0x10000
#define BZ_SIZE   (BZ_SETUP + BZ_KERNEL)

struct bzimage {
	uint8_t bytes[BZ_SIZE];
};

static struct input bz_make(struct bzimage *bz)
{
	memset(bz, 0, BZ_SETUP);
	memset(bz->bytes + BZ_SETUP, 0x90, BZ_KERNEL);
	bz_init(bz->bytes, BZ_SIZE);
	return (struct input){ .kernel = bz->bytes, .kernel_size = BZ_SIZE };
}

static void a_bzimage_is_entered_in_long_mode(void **state)
{
	struct bzimage bz;
	struct input in = bz_make(&bz);
	const struct boot_params *p;
	const uint64_t *pml4, *pdpt, *pd;
	struct world w;

	(void)state;
	in.cmdline = "console=ttyS0";
	in.initrd_size = 5000;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_string_equal(w.protocol, "bzImage, 64-bit entry");
	assert_int_equal(w.entry.mode, VCPU_LONG);
	assert_int_equal(w.entry.ip, 16 * MIB + 0x200);
	assert_filled(&w, 16 * MIB, BZ_KERNEL, 0x90);
	p = params(&w);
	assert_int_equal(p->hdr.header, LINUX_HEADER_MAGIC);
	assert_int_equal(p->hdr.type_of_loader, 0xff);
	assert_int_equal(p->acpi_rsdp_addr, 0xe0000);
	assert_int_equal(p->e820_entries, w.e820.count);
	assert_int_equal(p->e820_table[0].size, 0x9fc00);
	assert_string_equal(at(&w, p->hdr.cmd_line_ptr, 14), "console=ttyS0");
	assert_int_equal(p->hdr.ramdisk_size, 5000);
	assert_int_equal(p->hdr.ramdisk_image, 64 * MIB - 8192);
	assert_filled(&w, p->hdr.ramdisk_image, 5000, 0x1d);
	/* The last page below 4 GiB is mapped to itself, and no further. */
	pml4 = at(&w, w.entry.cr3, 4096);
	pdpt = at(&w, align_down(pml4[0], 4096), 4096);
	pd = at(&w, align_down(pdpt[3], 4096), 4096);
	assert_int_equal(pd[511], 0xffe00083);
	assert_int_equal(pml4[1], 0);
	assert_int_equal(pdpt[4], 0);
	assert_int_equal(*(uint64_t *)at(&w, w.entry.gdt + 16, 8),
			 0x00af9b000000ffff);
	world_fini(&w);
}

static void a_bzimage_without_64_bit_entry_is_entered_in_32(void **state)
{
	struct bzimage bz;
	struct input in = bz_make(&bz);
	struct world w;

	(void)state;
	bz_header(bz.bytes)->xloadflags = 0;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_string_equal(w.protocol, "bzImage, 32-bit entry");
	assert_int_equal(w.entry.mode, VCPU_PROTECTED);
	assert_int_equal(w.entry.ip, 16 * MIB);
	assert_int_equal(params(&w)->hdr.code32_start, 16 * MIB);
	assert_int_equal(w.entry.rbx | w.entry.rdi | w.entry.rbp, 0);
	assert_int_equal(*(uint64_t *)at(&w, w.entry.gdt + 16, 8),
			 0x00cf9b000000ffff);
	world_fini(&w);
}

static void an_old_bzimage_runs_at_one_mebibyte(void **state)
{
	struct bzimage bz;
	struct input in = bz_make(&bz);
	struct world w;

	(void)state;
	bz_header(bz.bytes)->version = 0x0203;
	in.initrd_size = 1;
	in.memory = 1024 * MIB;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_string_equal(w.protocol, "bzImage, 32-bit entry");
	assert_int_equal(w.entry.ip, 1 * MIB);
	world_fini(&w);
}

static void setup_sects_0_means_4(void **state)
{
	struct bzimage bz;
	struct input in = bz_make(&bz);
	struct world w;

	(void)state;
	bz_header(bz.bytes)->setup_sects = 0;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_filled(&w, 16 * MIB, BZ_KERNEL, 0x90);
	world_fini(&w);
}

static void a_signature_after_the_kernel_is_not_loaded(void **state)
{
	struct bzimage bz;
	struct input in = bz_make(&bz);
	struct world w;

	(void)state;
	bz_header(bz.bytes)->syssize = BZ_KERNEL / 16 - 16;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_filled(&w, 16 * MIB, BZ_KERNEL - 256, 0x90);
	assert_filled(&w, 16 * MIB + BZ_KERNEL - 256, 256, 0);
	world_fini(&w);
}

static void the_header_ends_where_it_says(void **state)
{
	struct bzimage bz;
	struct input in = bz_make(&bz);
	struct world w;

	(void)state;
	/* Up to and with cmdline_size; the rest is code. */
	bz_header(bz.bytes)->jump = 0x3aeb;
	bz_header(bz.bytes)->version = 0x0206;
	bz_header(bz.bytes)->setup_data = 0x4141414141414141;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_int_equal(params(&w)->hdr.setup_data, 0);
	assert_int_equal(params(&w)->hdr.cmdline_size, 2047);
	world_fini(&w);
}

static void a_relocatable_kernel_moves_when_it_must(void **state)
{
	struct bzimage bz;
	struct input in = bz_make(&bz);
	struct world w;

	(void)state;
	bz_header(bz.bytes)->pref_address = 0xe0000; /* the firmware's tables */
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_int_equal(w.entry.ip, 2 * MIB + 0x200);
	world_fini(&w);

	bz_header(bz.bytes)->relocatable_kernel = 0;
	assert_refused(&in, -EINVAL, "where no usable RAM is");
}

static void a_command_line_may_be_as_long_as_the_kernel_says(void **state)
{
	struct bzimage bz;
	struct input in = bz_make(&bz);
	char cmdline[101];
	struct world w;

	(void)state;
	memset(cmdline, 'x', 100);
	cmdline[100] = '\0';
	in.cmdline = cmdline;
	bz_header(bz.bytes)->cmdline_size = 100;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	world_fini(&w);
	bz_header(bz.bytes)->cmdline_size = 99;
	assert_refused(&in, -EINVAL,
		       "a command line of at most 99 bytes and was given 100");
}

static void the_initrd_stays_below_initrd_addr_max(void **state)
{
	struct bzimage bz;
	struct input in = bz_make(&bz);
	struct world w;

	(void)state;
	bz_header(bz.bytes)->initrd_addr_max = 32 * MIB - 1;
	in.initrd_size = 1 * MIB;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_int_equal(params(&w)->hdr.ramdisk_image, 31 * MIB);
	world_fini(&w);

	/* Between kernel and limit it does not fit, but below the kernel. */
	in.initrd_size = 12 * MIB;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_int_equal(params(&w)->hdr.ramdisk_image, 4 * MIB);
	world_fini(&w);

	in.initrd_size = 16 * MIB;
	assert_refused(&in, -E2BIG, "whatever --memory is given");
}

static void too_little_memory_is_said_with_the_cure(void **state)
{
	struct bzimage bz;
	struct input in = bz_make(&bz);
	struct world w;

	(void)state;
	in.memory = 8 * MIB;
	assert_refused(&in, -E2BIG, "needs at least 24M, give --memory 24M");
	in.initrd_size = 30 * MIB + 1;
	assert_refused(&in, -E2BIG, "needs at least 55M, give --memory 55M");
	in.memory = 24 * MIB;
	assert_refused(&in, -E2BIG, "needs at least 55M, give --memory 55M");
	in.memory = 54 * MIB;
	assert_refused(&in, -E2BIG, "give --memory 55M");
	in.memory = 55 * MIB;
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	world_fini(&w);
}

static void a_hostile_bzimage_is_refused(void **state)
{
	static const struct {
		const char *words;
		size_t cut; /* of the file; 0: whole */
		uint64_t pref;
		uint32_t init_size, alignment, syssize;
		uint16_t version;
		uint8_t loadflags, sects;
	} cases[] = {
		{ .words = "truncated bzImage: its header says 68096 bytes, "
			   "the file has 40000",
		  .cut = 40000 },
		{ .words = "ends before the kernel", .cut = BZ_SETUP },
		{ .words = "ends before the kernel", .cut = 0x300 },
		{ .words = "truncated bzImage", .syssize = UINT32_MAX },
		{ .words = "ends before the kernel",
		  .sects = 255,
		  .cut = 130000 % BZ_SIZE },
		{ .words = "without code", .syssize = 0x20 },
		{ .words = "older than", .version = 0x0201 },
		{ .words = "a zImage", .loadflags = 0xfe },
		{ .words = "not a power of two", .alignment = 3 },
		{ .words = "not below 3 GiB", .init_size = UINT32_MAX },
		{ .words = "not below 3 GiB", .pref = 3072 * MIB },
		{ .words = "not below 3 GiB", .pref = UINT64_MAX },
		{ .words = "not below 3 GiB", .pref = 5ull << 30 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bzimage bz;
		struct input in = bz_make(&bz);
		struct setup_header *hdr = bz_header(bz.bytes);

		in.memory = 8192 * MIB;
		if (cases[i].cut)
			in.kernel_size = cases[i].cut;
		if (cases[i].pref) {
			hdr->pref_address = cases[i].pref;
			hdr->relocatable_kernel = 0;
		}
		if (cases[i].init_size)
			hdr->init_size = cases[i].init_size;
		if (cases[i].alignment)
			hdr->kernel_alignment = cases[i].alignment;
		if (cases[i].syssize)
			hdr->syssize = cases[i].syssize;
		if (cases[i].version)
			hdr->version = cases[i].version;
		if (cases[i].loadflags)
			hdr->loadflags = cases[i].loadflags;
		if (cases[i].sects)
			hdr->setup_sects = cases[i].sects;
		assert_refused(&in, -EINVAL, cases[i].words);
	}
}

/* No field of the header, whatever it says, may crash the loader or make it
 * write outside RAM; the sanitizers watch. */
static void no_single_field_breaks_the_loader(void **state)
{
	struct bzimage bz;
	struct world w;

	(void)state;
	for (size_t field = 0x1f1; field < 0x26c; field++) {
		struct input in = bz_make(&bz);

		put_le32(bz.bytes + field, 0xfffffff0);
		in.initrd_size = 4096;
		boot_input(&w, &in);
		assert_true(w.err == 0 || w.err == -EINVAL || w.err == -E2BIG);
		world_fini(&w);
	}
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bzimage_is_entered_in_long_mode),
		cmocka_unit_test(
			a_bzimage_without_64_bit_entry_is_entered_in_32),
		cmocka_unit_test(an_old_bzimage_runs_at_one_mebibyte),
		cmocka_unit_test(setup_sects_0_means_4),
		cmocka_unit_test(a_signature_after_the_kernel_is_not_loaded),
		cmocka_unit_test(the_header_ends_where_it_says),
		cmocka_unit_test(a_relocatable_kernel_moves_when_it_must),
		cmocka_unit_test(
			a_command_line_may_be_as_long_as_the_kernel_says),
		cmocka_unit_test(the_initrd_stays_below_initrd_addr_max),
		cmocka_unit_test(too_little_memory_is_said_with_the_cure),
		cmocka_unit_test(a_hostile_bzimage_is_refused),
		cmocka_unit_test(no_single_field_breaks_the_loader),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
