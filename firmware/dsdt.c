/*
 * The DSDT, in AML: the machine's devices as a guest finds them.
 */
#include "firmware/tables.h"

#include "firmware/platform.h"

#include <stdio.h>

/* What is left of the ports above those of the machine's own devices. */
#define PCI_IO_START 0x1000u
#define PCI_IO_SIZE  0xf000u

static void dsdt_sleep(struct aml *out)
{
	struct aml_mark package;

	/* SLP_TYP for PM1a and PM1b, and two reserved (ACPI 6.4, 7.4.2). */
	aml_name(out, "\\_S5_");
	package = aml_package(out, 4);
	aml_int(out, PLATFORM_S5_TYPE);
	aml_int(out, PLATFORM_S5_TYPE);
	aml_int(out, 0);
	aml_int(out, 0);
	aml_end(out, package);
}

static void dsdt_processor(struct aml *out, unsigned id)
{
	struct aml_mark device;
	char name[8];

	snprintf(name, sizeof(name), "C%03X", id & 0xfff);
	device = aml_device(out, name);
	aml_name_string(out, "_HID", "ACPI0007");
	aml_name_int(out, "_UID", id);
	aml_end(out, device);
}

/* A device of the ISA kind: some ports and an interrupt. */
static void dsdt_isa(struct aml *out, const char *name, const char *id,
		     uint16_t port, uint8_t len, unsigned irq)
{
	struct aml_mark device = aml_device(out, name), resources;

	aml_name_eisa(out, "_HID", id);
	aml_name_int(out, "_UID", 0);
	aml_name(out, "_CRS");
	resources = aml_resources(out);
	aml_io(out, port, len);
	aml_irq(out, irq);
	aml_resources_end(out, resources);
	aml_end(out, device);
}

/* The interrupt pin A of every slot (ACPI 6.4, 6.2.13): no function here has
 * another pin, and no link device stands between it and the IOAPIC. */
static void dsdt_pci_routing(struct aml *out)
{
	struct aml_mark table, row;

	aml_name(out, "_PRT");
	table = aml_package(out, PLATFORM_DEVICES_MAX);
	for (unsigned slot = 1; slot <= PLATFORM_DEVICES_MAX; slot++) {
		row = aml_package(out, 4);
		aml_int(out, slot << 16 | 0xffff);
		aml_int(out, 0);
		aml_int(out, 0);
		aml_int(out, PLATFORM_INTX_FIRST + slot % PLATFORM_INTX_COUNT);
		aml_end(out, row);
	}
	aml_end(out, table);
}

static void dsdt_pci(struct aml *out)
{
	struct aml_mark device = aml_device(out, "PCI0"), resources;

	aml_name_eisa(out, "_HID", "PNP0A08");
	aml_name_eisa(out, "_CID", "PNP0A03");
	aml_name_int(out, "_UID", 0);
	aml_name_int(out, "_SEG", 0);
	aml_name_int(out, "_BBN", 0);
	aml_name(out, "_CRS");
	resources = aml_resources(out);
	aml_window_bus(out, 0, 0);
	aml_io(out, PLATFORM_PCI_ADDRESS, 8);
	aml_window_io(out, PCI_IO_START, PCI_IO_SIZE);
	aml_window_memory(out, PLATFORM_PCI_WINDOW, PLATFORM_PCI_WINDOW_SIZE);
	aml_resources_end(out, resources);
	dsdt_pci_routing(out);
	aml_end(out, device);

	/* ECAM must be claimed by the motherboard (PCI Firmware 3.2, 4.1.2). */
	device = aml_device(out, "ECAM");
	aml_name_eisa(out, "_HID", "PNP0C02");
	aml_name_int(out, "_UID", 0);
	aml_name(out, "_CRS");
	resources = aml_resources(out);
	aml_memory32(out, PLATFORM_ECAM, PLATFORM_ECAM_SIZE);
	aml_resources_end(out, resources);
	aml_end(out, device);
}

static void dsdt_virtio_mmio(struct aml *out, unsigned index)
{
	struct aml_mark device, resources;
	char name[8];

	snprintf(name, sizeof(name), "VR%02X", index & 0xff);
	device = aml_device(out, name);
	aml_name_string(out, "_HID", "LNRO0005");
	aml_name_int(out, "_UID", index);
	aml_name(out, "_CRS");
	resources = aml_resources(out);
	aml_memory32(out,
		     PLATFORM_VIRTIO_MMIO + index * PLATFORM_VIRTIO_MMIO_STEP,
		     PLATFORM_VIRTIO_MMIO_SIZE);
	aml_interrupt(out, PLATFORM_INTX_FIRST + index % PLATFORM_INTX_COUNT);
	aml_resources_end(out, resources);
	aml_end(out, device);
}

void dsdt_build(struct aml *out, const struct firmware_config *config)
{
	struct aml_mark scope;

	dsdt_sleep(out);
	scope = aml_scope(out, "\\_SB_");
	for (int i = 0; i < config->nr_cpus; i++)
		dsdt_processor(out, i);
	dsdt_isa(out, "COM1", "PNP0501", PLATFORM_SERIAL_PORT, 8,
		 PLATFORM_SERIAL_IRQ);
	dsdt_isa(out, "RTC0", "PNP0B00", PLATFORM_RTC_PORT, 2,
		 PLATFORM_RTC_IRQ);
	if (config->pci)
		dsdt_pci(out);
	else
		for (int i = 0; i < config->nr_virtio_mmio; i++)
			dsdt_virtio_mmio(out, i);
	aml_end(out, scope);
}
