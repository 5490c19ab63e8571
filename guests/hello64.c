/*
 * 64-bit start by whichever protocol it is booted: prints what the protocol
 * handed over, and checks the state it promises.
 */
#include "guests/lib/boot.h"
#include "guests/lib/lib.h"

static int zeroes[64]; /* bss: the loader's to clear, at every boot */

int guest_main(void)
{
	uint64_t cr0;

	__asm__ volatile("movq %%cr0, %0" : "=r"(cr0));
	CHECK(cr0 & 1 && cr0 >> 31 & 1, "paging and protection are on");
	for (size_t i = 0; i < ARRAY_SIZE(zeroes); i++)
		CHECK_EQ(zeroes[i], 0, "bss");

	print("hello from 64-bit mode, by %s\n", boot_kind_name());
	print("cmdline: %s\n", boot.cmdline);
	for (int i = 0; i < boot.nr_ranges; i++)
		print("memory: %010lx..%010lx type %u\n", boot.map[i].start,
		      boot.map[i].start + boot.map[i].size, boot.map[i].type);
	if (boot.module_size) {
		const char *text = (const char *)boot.module;

		print("module: %lu bytes:", boot.module_size);
		for (uint64_t i = 0; i < boot.module_size && i < 64; i++)
			print("%c", text[i]);
		print("\n");
	}
	if (boot.kind == BOOT_PVH)
		CHECK(boot.rsdp, "hvm_start_info tells where the RSDP is");
	return 0;
}
