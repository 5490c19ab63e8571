/*
 * The memory map handed to the guest, in the format of INT 15h, E820h (ACPI
 * 6.4, 15.1). Pure functions.
 */
#ifndef KVIST_FIRMWARE_E820_H
#define KVIST_FIRMWARE_E820_H

#include "kvm/memory.h"

#include <stdbool.h>
#include <stdint.h>

enum e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3 };

struct e820_entry {
	uint64_t start, size;
	uint32_t type; /* enum e820_type */
};

#define E820_MAX 16

/* Sorted, without overlap. */
struct e820_map {
	int count;
	struct e820_entry entries[E820_MAX];
};

/* The map of @memory: RAM without what firmware/platform.h reserves. @pci adds
 * the ECAM area as reserved, as Linux wants before it uses it. */
void e820_build(struct e820_map *map, const struct memory *memory, bool pci);

#endif
