#include "firmware/e820.h"

#include "firmware/platform.h"
#include "util/checked.h"

static void e820_add(struct e820_map *map, uint64_t start, uint64_t end,
		     enum e820_type type)
{
	map->entries[map->count++] = (struct e820_entry){ .start = start,
							  .size = end - start,
							  .type = type };
}

/* RAM below 1 MiB as a PC has it: usable up to the EBDA, a hole for VGA and
 * option ROMs (the RAM there is not reported), then the firmware's own. */
static void e820_add_low(struct e820_map *map)
{
	e820_add(map, 0, PLATFORM_EBDA, E820_RAM);
	e820_add(map, PLATFORM_EBDA, 0xa0000, E820_RESERVED);
	e820_add(map, PLATFORM_TABLES, PLATFORM_TABLES + PLATFORM_TABLES_SIZE,
		 E820_RESERVED);
}

void e820_build(struct e820_map *map, const struct memory *memory, bool pci)
{
	map->count = 0;
	for (int i = 0; i < memory->nr_regions; i++) {
		const struct memory_region *region = &memory->regions[i];
		uint64_t end = region->start + region->size;

		if (region->start == 0) {
			e820_add_low(map);
			if (end > MEMORY_MIN)
				e820_add(map, MEMORY_MIN, end, E820_RAM);
			if (pci)
				e820_add(map, PLATFORM_ECAM,
					 PLATFORM_ECAM + PLATFORM_ECAM_SIZE,
					 E820_RESERVED);
			/* KVM keeps these pages for itself on VT-x. */
			e820_add(map, MEMORY_KVM_START,
				 MEMORY_KVM_START + MEMORY_KVM_SIZE,
				 E820_RESERVED);
		} else {
			e820_add(map, region->start, end, E820_RAM);
		}
	}
}
