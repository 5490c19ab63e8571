/*
 * For the tests of boot protocols: a kernel made in memory is booted in a
 * small machine, and what came of it is kept, messages included.
 */
#ifndef KVIST_TESTS_BOOT_WORLD_H
#define KVIST_TESTS_BOOT_WORLD_H

#include "boot/boot.h"
#include "boot/linux.h"
#include "firmware/e820.h"
#include "said.h"
#include "util/bytes.h"
#include "util/checked.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1ull << 20)

/* One try to boot, with what came of it. */
struct world {
	struct memory memory;
	struct e820_map e820;
	struct vcpu_entry entry;
	char protocol[64];
	char log[2048];
	int err;
};

struct input {
	const void *kernel;
	size_t kernel_size;
	size_t initrd_size; /* bytes of 0x1d; 0: none */
	const char *cmdline;
	uint64_t memory; /* bytes; 0: 64 MiB */
	bool dirty;      /* RAM was used before */
	bool unpack;     /* a bzImage's payload, by the host */
};

static inline int temp_file(const void *bytes, size_t size, char path[32])
{
	int fd = memfd_create("test", 0);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, size, 0), size);
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

static inline void world_init(struct world *w, const struct input *in)
{
	memset(w, 0, sizeof(*w));
	assert_int_equal(
		memory_create(&w->memory, in->memory ? in->memory : 64 * MIB),
		0);
	if (in->dirty)
		memset(w->memory.host, 0xcc, w->memory.size);
	e820_build(&w->e820, &w->memory, true);
}

static inline void boot_paths(struct world *w, const struct input *in,
			      const char *kernel, const char *initrd)
{
	struct boot_machine machine = { .memory = &w->memory,
					.e820 = &w->e820,
					.rsdp = 0xe0000,
					.cmdline = in->cmdline ? in->cmdline
							       : "",
					.unpack = in->unpack };
	struct said said = said_begin();
	struct boot boot;

	w->err = boot_open(&boot, kernel, initrd);
	if (!w->err) {
		snprintf(w->protocol, sizeof(w->protocol), "%s",
			 boot_protocol_name(&boot));
		w->err = boot_load(&boot, &machine, &w->entry);
		boot_close(&boot);
	}
	said_end(said, w->log, sizeof(w->log));
	/* One line for an error, silence otherwise. */
	if (w->err)
		assert_ptr_equal(strchr(w->log, '\n'),
				 w->log + strlen(w->log) - 1);
	else
		assert_string_equal(w->log, "");
}

static inline void boot_input(struct world *w, const struct input *in)
{
	char kernel[32], initrd[32];
	int kernel_fd = temp_file(in->kernel, in->kernel_size, kernel);
	int initrd_fd = -1;
	uint8_t *bytes = NULL;

	if (in->initrd_size) {
		bytes = malloc(in->initrd_size);
		assert_non_null(bytes);
		memset(bytes, 0x1d, in->initrd_size);
		initrd_fd = temp_file(bytes, in->initrd_size, initrd);
		free(bytes);
	}
	world_init(w, in);
	boot_paths(w, in, kernel, in->initrd_size ? initrd : NULL);
	close(kernel_fd);
	if (in->initrd_size)
		close(initrd_fd);
}

static inline void world_fini(struct world *w)
{
	memory_destroy(&w->memory);
}

static inline void *at(const struct world *w, gpa_t gpa, uint64_t len)
{
	void *p = memory_at(&w->memory, gpa, len);

	assert_non_null(p);
	return p;
}

static inline struct boot_params *params(const struct world *w)
{
	return at(w, w->entry.rsi, sizeof(struct boot_params));
}

#define BZ_SETUP (5 * 512) /* bytes of a bzImage before its kernel */

static inline struct setup_header *bz_header(uint8_t *bzimage)
{
	return (struct setup_header *)(bzimage + 0x1f1);
}

/* The header of a bzImage of @size bytes, in which each test changes what it is
 * about. */
static inline void bz_init(uint8_t *bzimage, uint64_t size)
{
	*bz_header(bzimage) = (struct setup_header){
		.setup_sects = BZ_SETUP / 512 - 1,
		.syssize = (size - BZ_SETUP) / 16,
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
		.pref_address = 16 * MIB,
		.init_size = 8 * MIB,
	};
}

static inline void assert_said(const struct world *w, const char *words)
{
	if (!strstr(w->log, words))
		fail_msg("expected \"%s\" in: %s", words, w->log);
}

/* Boots @in, which must fail with @err and say @words. */
static inline void assert_refused(const struct input *in, int err,
				  const char *words)
{
	struct world w;

	boot_input(&w, in);
	if (w.err != err)
		fail_msg("%d instead of %d: %s", w.err, err, w.log);
	assert_said(&w, words);
	world_fini(&w);
}

/* Every byte of [gpa, gpa+len) is @byte. */
static inline void assert_filled(const struct world *w, gpa_t gpa, uint64_t len,
				 uint8_t byte)
{
	const uint8_t *p = at(w, gpa, len);

	for (uint64_t i = 0; i < len; i++)
		assert_int_equal(p[i], byte);
}

#endif
