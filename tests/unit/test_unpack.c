/* A bzImage whose payload the host unpacks: what arrives in memory, what is
 * random, and what is left to the bzImage's own code. */
#include "boot/linux.h"
#include "packed_kernel.h"

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

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_payload_of_any_format_arrives_whole),
	cmocka_unit_test(both_addresses_are_random),
	cmocka_unit_test(the_command_line_can_keep_the_kernel_in_place),
	cmocka_unit_test(without_relocations_the_address_stays),
	cmocka_unit_test(without_room_it_unpacks_itself),
};

UNIT_MAIN(tests)
