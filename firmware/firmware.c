#include "firmware/firmware.h"

#include "firmware/platform.h"
#include "firmware/tables.h"
#include "util/bytes.h"
#include "util/log.h"

#include <errno.h>

/* SMBIOS shares a page with the reset stub; ACPI has what is before it. */
#define SMBIOS_AT   0xff000u
#define ACPI_SIZE   (SMBIOS_AT - PLATFORM_TABLES)
#define SMBIOS_SIZE (PLATFORM_RESET_STUB - SMBIOS_AT)

/* Fields of the BIOS data area, which real-mode code and scanners read. */
enum {
	BDA_COM1 = 0x400,
	BDA_EBDA_SEGMENT = 0x40e,
	BDA_MEMORY_KIB = 0x413,
};

/* Where a jump to the reset vector ends: there is no firmware to start over,
 * so it asks for a reset, and the machine loads the kernel again. */
static const uint8_t reset_stub[16] = {
	0xba,
	PLATFORM_RESET_PORT & 0xff,
	PLATFORM_RESET_PORT >> 8, /* mov dx */
	0xb0,
	PLATFORM_RESET_VALUE, /* mov al */
	0xee,                 /* out */
	0xf4,                 /* hlt */
	0xeb,
	0xfd, /* jmp to the hlt */
};

static void install_bda(const struct memory *memory)
{
	uint8_t *low = memory_at(memory, 0, 4096);

	put_le16(low + BDA_COM1, PLATFORM_SERIAL_PORT);
	put_le16(low + BDA_EBDA_SEGMENT, PLATFORM_EBDA >> 4);
	put_le16(low + BDA_MEMORY_KIB, PLATFORM_EBDA >> 10);
}

int firmware_install(const struct firmware_config *config,
		     const struct memory *memory, struct firmware *firmware)
{
	struct aml acpi = { .buf = memory_at(memory, PLATFORM_TABLES,
					     ACPI_SIZE),
			    .size = ACPI_SIZE };
	struct aml smbios = { .buf = memory_at(memory, SMBIOS_AT, SMBIOS_SIZE),
			      .size = SMBIOS_SIZE };

	acpi_build(&acpi, PLATFORM_TABLES, config);
	smbios_build(&smbios, SMBIOS_AT, config->name);
	if (acpi.overflow || smbios.overflow) {
		log_err("firmware: the ACPI tables of %d CPUs do not fit into "
			"%u KiB; give fewer --cpus",
			config->nr_cpus, ACPI_SIZE >> 10);
		return -E2BIG;
	}
	install_bda(memory);
	memory_write(memory, PLATFORM_RESET_STUB, reset_stub,
		     sizeof(reset_stub));
	e820_build(&firmware->e820, memory, config->pci);
	firmware->rsdp = PLATFORM_TABLES;
	return 0;
}
