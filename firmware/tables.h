/*
 * The parts of firmware_install(): each writes its tables into a bounded
 * buffer that is guest memory, and leaves the check for overflow to it.
 */
#ifndef KVIST_FIRMWARE_TABLES_H
#define KVIST_FIRMWARE_TABLES_H

#include "firmware/aml.h"
#include "firmware/firmware.h"

/* RSDP, XSDT, FADT, FACS, MADT, MCFG and DSDT; the RSDP comes first. @out is
 * empty, and its first byte lies at guest address @base, a multiple of 64. */
void acpi_build(struct aml *out, gpa_t base,
		const struct firmware_config *config);

/* The contents of the DSDT after its header: \_S5, processors, devices. */
void dsdt_build(struct aml *out, const struct firmware_config *config);

/* The SMBIOS 3.0 entry point and the structures it points to. @base lies in
 * 0xf0000..0xfffff and is a multiple of 16 (DMTF DSP0134 3.0, 5.2.2). */
void smbios_build(struct aml *out, gpa_t base, const char *name);

#endif
