/*
 * The machine as its ACPI tables tell it (ACPI 6.4, chapter 5), and nothing
 * else: what a guest finds here, a kernel of a distribution finds as well.
 */
#ifndef GUESTS_LIB_ACPI_H
#define GUESTS_LIB_ACPI_H

#include "guests/lib/cpu.h"

#include <stdbool.h>
#include <stdint.h>

#define ACPI_MMIO_MAX 31

struct acpi {
	bool found;
	int nr_cpus; /* enabled, in the MADT */
	uint32_t cpus[CPUS_MAX];
	uint64_t ioapic;
	uint32_t irq0_gsi; /* where the PIT's interrupt arrives */
	uint64_t ecam;     /* 0: none */
	int ecam_last_bus;
	uint16_t pm1_event, pm1_control, pm_timer;
	bool pm_timer_32;
	uint16_t sci;
	uint16_t reset_port; /* 0: none */
	uint8_t reset_value;
	bool s5; /* s5_type is known */
	uint8_t s5_type;
	int nr_mmio; /* virtio-mmio devices, LNRO0005 */
	struct {
		uint64_t base;
		uint32_t gsi;
	} mmio[ACPI_MMIO_MAX];
};

extern struct acpi acpi;

/* Reads the tables once; checksums are checked. */
void acpi_init(void);
/* ACPI S5. Returns only when it did not work. */
void acpi_poweroff(void);

#endif
