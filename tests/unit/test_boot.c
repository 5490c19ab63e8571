/* What all protocols share: the files, and what is said about those that are
 * no kernel; and the boot sector, the smallest protocol. */
#include "boot_world.h"

#include <glob.h>

static struct input make_sector(uint8_t sector[512])
{
	memset(sector, 0x90, 510);
	put_le16(sector + 510, 0xaa55);
	return (struct input){ .kernel = sector, .kernel_size = 512 };
}

static void a_boot_sector_starts_in_real_mode(void **state)
{
	uint8_t bytes[40000];
	struct input in = { .kernel = bytes, .kernel_size = 1536 };
	struct world w;

	(void)state;
	memset(bytes, 0x90, sizeof(bytes));
	put_le16(bytes + 510, 0xaa55);
	boot_input(&w, &in);
	assert_int_equal(w.err, 0);
	assert_string_equal(w.protocol, "boot sector");
	assert_int_equal(w.entry.mode, VCPU_REAL);
	assert_int_equal(w.entry.ip, 0x7c00);
	assert_int_equal(w.entry.rdx, 0x80);
	assert_filled(&w, 0x7e00, 1024, 0x90);
	world_fini(&w);

	in.cmdline = "quiet";
	assert_refused(&in, -EINVAL, "takes no --initrd");
	in.cmdline = NULL;
	in.kernel_size = sizeof(bytes);
	assert_refused(&in, -EINVAL, "a disk image is given by --disk");
	in.kernel_size = 511;
	assert_refused(&in, -EINVAL, "data of an unknown kind");
}

static void what_is_no_kernel_is_named(void **state)
{
	static const struct {
		size_t at;
		const char *bytes;
		size_t len;
		const char *words;
	} cases[] = {
		{ 0, "\x1f\x8b\x08", 3, "is gzip data; unpack it first" },
		{ 56, "ARM\x64", 4, "is an ARM64 Image" },
		{ 0, "MZ", 2, "is a PE program" },
		{ 0, "QFI\xfb", 4,
		  "is a qcow2 image; a disk is given by --disk" },
		{ 0, "070701", 6, "is a cpio archive" },
		{ 0, "\xd6\x50\x52\xe8", 4, "is a multiboot 2 kernel" },
		{ 0, "\xff\xfe\xfd", 3, "is data of an unknown kind" },
		{ 0, "", 0, "is nothing but zeros" },
		{ 0,
		  "\x7f"
		  "ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\xb7",
		  19, "is an ELF for aarch64" },
		{ 0,
		  "\x7f"
		  "ELF\2\2\1\0\0\0\0\0\0\0\0\0\0\2\0\x16",
		  20, "is an ELF for s390" },
		{ 0,
		  "\x7f"
		  "ELF\2\1\1\0\0\0\0\0\0\0\0\0\1\0\x3e",
		  19, "is an ELF object file or kernel module" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bytes[1024] = { 0 };
		struct input in = { .kernel = bytes, .kernel_size = 1024 };

		memcpy(bytes + cases[i].at, cases[i].bytes, cases[i].len);
		assert_refused(&in, -EINVAL, cases[i].words);
	}
	assert_refused(&(struct input){ .kernel = "hello, world\n",
					.kernel_size = 13 },
		       -EINVAL, "is text");
	assert_refused(
		&(struct input){ .kernel = "#!/bin/sh\n", .kernel_size = 10 },
		-EINVAL, "is a script");
}

static void what_is_no_file_is_named(void **state)
{
	static const struct {
		const char *path;
		int err;
		const char *words;
	} cases[] = {
		{ "/", -EINVAL, "is a directory" },
		{ "/dev/null", -EINVAL, "is a device" },
		{ "/nonexistent", -ENOENT, "No such file" },
	};
	uint8_t sector[512];
	struct input in = make_sector(sector);
	char kernel[32], empty[32];
	int kernel_fd = temp_file(sector, sizeof(sector), kernel);
	int empty_fd = temp_file("", 0, empty);
	struct world w;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (int initrd = 0; initrd < 2; initrd++) {
			world_init(&w, &in);
			boot_paths(&w, &in, initrd ? kernel : cases[i].path,
				   initrd ? cases[i].path : NULL);
			assert_int_equal(w.err, cases[i].err);
			assert_said(&w, cases[i].words);
			assert_said(&w, initrd ? "initrd /" : "kernel /");
			world_fini(&w);
		}
	}
	world_init(&w, &in);
	boot_paths(&w, &in, empty, NULL);
	assert_int_equal(w.err, -EINVAL);
	assert_said(&w, "is an empty file");
	world_fini(&w);
	close(empty_fd);
	close(kernel_fd);
}

static void a_file_that_shrinks_is_noticed(void **state)
{
	uint8_t bytes[BOOT_HEAD + 4096] = { 0 };
	struct input in = make_sector(bytes);
	char path[32], log[256];
	int fd = temp_file(bytes, sizeof(bytes), path), err;
	struct boot_machine machine;
	struct said said;
	struct boot boot;
	struct world w;

	(void)state;
	world_init(&w, &in);
	machine = (struct boot_machine){ .memory = &w.memory,
					 .e820 = &w.e820,
					 .cmdline = "" };
	assert_int_equal(boot_open(&boot, path, NULL), 0);
	assert_int_equal(ftruncate(fd, sizeof(bytes) - 1), 0);
	said = said_begin();
	err = boot_load(&boot, &machine, &w.entry);
	said_end(said, log, sizeof(log));
	assert_int_equal(err, -EINVAL);
	assert_non_null(strstr(log, "became shorter while it was read"));
	boot_close(&boot);
	world_fini(&w);
	close(fd);
}

/* A distribution's kernel: KVIST_TEST_KERNEL, or one that is installed. */
static void a_real_kernel_loads(void **state)
{
	const char *path = getenv("KVIST_TEST_KERNEL");
	struct input in = { .memory = 256 * MIB, .cmdline = "quiet" };
	struct world w;
	glob_t found = { 0 };

	(void)state;
	if (!path && !glob("/boot/vmlinuz-*", 0, NULL, &found))
		path = found.gl_pathv[0];
	if (!path) {
		print_message("skipped: no kernel in /boot, and "
			      "KVIST_TEST_KERNEL is not set\n");
		globfree(&found);
		skip();
	}
	world_init(&w, &in);
	boot_paths(&w, &in, path, NULL);
	globfree(&found);
	if (w.err)
		fail_msg("%s", w.log);
	assert_string_equal(w.protocol, "bzImage, 64-bit entry");
	assert_int_equal(w.entry.mode, VCPU_LONG);
	world_fini(&w);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_boot_sector_starts_in_real_mode),
		cmocka_unit_test(what_is_no_kernel_is_named),
		cmocka_unit_test(what_is_no_file_is_named),
		cmocka_unit_test(a_file_that_shrinks_is_noticed),
		cmocka_unit_test(a_real_kernel_loads),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
