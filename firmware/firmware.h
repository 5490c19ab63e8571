/*
 * What a PC's firmware leaves in memory for the operating system: ACPI and
 * SMBIOS tables, the memory map, and a stub at the reset vector.
 *
 * Pure: writes guest memory, keeps nothing. One thread at a time, stopped vm.
 * Called again after a reset, with the same result.
 */
#ifndef KVIST_FIRMWARE_FIRMWARE_H
#define KVIST_FIRMWARE_FIRMWARE_H

#include "firmware/e820.h"
#include "kvm/memory.h"

#include <stdbool.h>

struct firmware_config {
	int nr_cpus;        /* APIC ids 0..nr_cpus-1 */
	bool pci;           /* a host bridge with ECAM; else virtio-mmio */
	int nr_virtio_mmio; /* devices, when !pci */
	const char *name;   /* of the machine, for SMBIOS; may be NULL */
};

struct firmware {
	struct e820_map e820;
	gpa_t rsdp;
};

/* 0, or -E2BIG when the tables do not fit (thousands of CPUs), logged. */
int firmware_install(const struct firmware_config *config,
		     const struct memory *memory, struct firmware *firmware);

#endif
