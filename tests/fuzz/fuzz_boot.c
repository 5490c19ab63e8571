/*
 * Any bytes as a kernel: boot_open() and boot_load() must refuse them or leave
 * a processor that starts inside RAM. The sanitizers watch the rest.
 */
#include "boot/boot.h"
#include "firmware/e820.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct target {
	struct memory memory;
	struct e820_map e820;
	char kernel[32], initrd[32];
	int kernel_fd;
};

static struct target *target(void)
{
	static struct target t;
	int fd;

	if (t.memory.size)
		return &t;
	fd = memfd_create("initrd", 0);
	t.kernel_fd = memfd_create("kernel", 0);
	if (fd < 0 || t.kernel_fd < 0 || ftruncate(fd, 5000) ||
	    memory_create(&t.memory, 32 << 20))
		abort();
	snprintf(t.kernel, sizeof(t.kernel), "/proc/self/fd/%d", t.kernel_fd);
	snprintf(t.initrd, sizeof(t.initrd), "/proc/self/fd/%d", fd);
	e820_build(&t.e820, &t.memory, true);
	return &t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct target *t = target();
	struct boot_machine machine = { .memory = &t->memory,
					.e820 = &t->e820,
					.rsdp = 0xe0000,
					.cmdline = "",
					.unpack = true };
	struct vcpu_entry entry;
	struct boot boot;

	if (ftruncate(t->kernel_fd, size) ||
	    pwrite(t->kernel_fd, data, size, 0) != (ssize_t)size)
		abort();
	if (boot_open(&boot, t->kernel, size % 2 ? t->initrd : NULL))
		return 0;
	if (!boot_load(&boot, &machine, &entry) &&
	    !memory_at(&t->memory, entry.ip, 1))
		abort();
	boot_close(&boot);
	/* The next input finds fresh memory, as cheap as it can be had. */
	madvise(t->memory.host, t->memory.size, MADV_DONTNEED);
	return 0;
}
