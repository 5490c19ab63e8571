/*
 * What the boot protocol handed over, in one shape for all of them.
 */
#ifndef GUESTS_LIB_BOOT_H
#define GUESTS_LIB_BOOT_H

#include <stdint.h>

enum boot_kind {
	BOOT_PVH = 1, /* 32-bit entry, struct hvm_start_info */
	BOOT_LINUX64, /* 64-bit entry, struct boot_params */
	BOOT_LINUX32, /* 32-bit entry of a bzImage, struct boot_params */
};

#define BOOT_MAP_MAX 32
#define BOOT_RAM     1 /* struct boot_range.type, as in E820h */

struct boot_range {
	uint64_t start, size;
	uint32_t type;
};

struct boot {
	enum boot_kind kind;
	const char *cmdline; /* "" when there is none */
	uint64_t rsdp;       /* 0: the protocol does not tell */
	uint64_t module, module_size;
	int nr_ranges;
	struct boot_range map[BOOT_MAP_MAX];
};

extern struct boot boot;

/* Called by the start-up code, before guest_main(). */
void boot_parse(enum boot_kind kind, uint64_t pointer);
const char *boot_kind_name(void);

#endif
