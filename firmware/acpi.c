/*
 * The ACPI tables, except the DSDT's code (dsdt.c), and where they lie.
 */
#include "firmware/tables.h"

#include "firmware/platform.h"
#include "util/bytes.h"

/* Generic Address Structure (ACPI 6.4, 5.2.3.2). */
struct acpi_address {
	uint8_t space; /* 1: ports */
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access; /* 1: bytes, 2: words, 3: dwords */
	uint64_t address;
} __attribute__((packed));

/* What every table begins with (5.2.6). */
struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

/* 5.2.5.3 */
struct acpi_rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

/* 5.2.9, after the header; the names are the specification's. */
struct acpi_fadt {
	uint32_t firmware_ctrl, dsdt;
	uint8_t reserved0, preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt_blk, pm1b_evt_blk, pm1a_cnt_blk, pm1b_cnt_blk;
	uint32_t pm2_cnt_blk, pm_tmr_blk, gpe0_blk, gpe1_blk;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len;
	uint8_t gpe0_blk_len, gpe1_blk_len, gpe1_base, cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alrm, mon_alrm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_address reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl, x_dsdt;
	struct acpi_address x_pm1a_evt_blk, x_pm1b_evt_blk;
	struct acpi_address x_pm1a_cnt_blk, x_pm1b_cnt_blk;
	struct acpi_address x_pm2_cnt_blk, x_pm_tmr_blk;
	struct acpi_address x_gpe0_blk, x_gpe1_blk;
	struct acpi_address sleep_control_reg, sleep_status_reg;
	char hypervisor_vendor[8];
} __attribute__((packed));

/* 5.2.10 */
struct acpi_facs {
	char signature[4];
	uint32_t length;
	uint32_t hardware_signature, firmware_waking_vector, global_lock, flags;
	uint64_t x_firmware_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
} __attribute__((packed));

_Static_assert(sizeof(struct acpi_header) == 36, "ACPI table header");
_Static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");
_Static_assert(sizeof(struct acpi_fadt) == 276 - 36, "FADT");
_Static_assert(sizeof(struct acpi_facs) == 64, "FACS");

/* FADT flags (table 5.10) and IAPC_BOOT_ARCH (table 5.11): mostly what does
 * not exist, so that nobody spends time looking for it. */
enum {
	FADT_WBINVD = 1 << 0,
	FADT_PROC_C1 = 1 << 2,
	FADT_SLP_BUTTON = 1 << 5, /* no sleep button of the fixed kind */
	FADT_FIX_RTC = 1 << 6,    /* no RTC wake status in PM1 */
	FADT_TMR_VAL_EXT = 1 << 8,
	FADT_RESET_REG_SUP = 1 << 10,
	FADT_HEADLESS = 1 << 12,

	BOOT_ARCH_NO_VGA = 1 << 2,
	BOOT_ARCH_NO_ASPM = 1 << 4,
};

/* MADT entries (5.2.12). */
enum {
	MADT_PCAT_COMPAT = 1,
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,
	MADT_LAPIC_NMI = 4,
	MADT_X2APIC = 9,
	MADT_X2APIC_NMI = 10,
	MADT_ENABLED = 1,
	MADT_ISA_DEFAULT = 0,
	MADT_LEVEL_HIGH = 0x0d,
	LAPIC_ID_MAX = 254, /* 255 is the broadcast */
};

static uint8_t checksum(const uint8_t *bytes, size_t len)
{
	uint8_t sum = 0;

	while (len--)
		sum += *bytes++;
	return -sum;
}

static void pad(struct aml *out, size_t align)
{
	while (out->len % align && !out->overflow)
		aml_u8(out, 0);
}

/* Begins a table; its offset, for table_end(). */
static size_t table_begin(struct aml *out, const char *signature,
			  uint8_t revision)
{
	struct acpi_header header = {
		.revision = revision,
		.oem_id = "KVIST",
		.oem_table_id = "KVIST",
		.oem_revision = 1,
		.creator_id = { 'K', 'V', 'S', 'T' },
		.creator_revision = 1,
	};
	size_t at;

	pad(out, 8);
	at = out->len;
	memcpy(header.signature, signature, sizeof(header.signature));
	aml_bytes(out, &header, sizeof(header));
	return at;
}

static void table_end(struct aml *out, size_t at)
{
	uint8_t *table = out->buf + at;
	size_t len = out->len - at;

	if (out->overflow)
		return;
	put_le32(table + offsetof(struct acpi_header, length), len);
	table[offsetof(struct acpi_header, checksum)] = checksum(table, len);
}

static struct acpi_address port(uint16_t address, uint8_t bytes)
{
	return (struct acpi_address){
		.space = 1,
		.bit_width = bytes * 8,
		.access = bytes == 4 ? 3 : bytes,
		.address = address,
	};
}

static size_t build_fadt(struct aml *out, gpa_t facs, gpa_t dsdt)
{
	/* Not set on purpose: SMI_CMD (the machine is always in ACPI mode),
	 * the 8042 flag, and PWR_BUTTON, whose absence says that the fixed
	 * power button exists. */
	struct acpi_fadt fadt = {
		.firmware_ctrl = facs,
		.dsdt = dsdt,
		.sci_int = PLATFORM_SCI_IRQ,
		.pm1a_evt_blk = PLATFORM_PM1_EVENT,
		.pm1a_cnt_blk = PLATFORM_PM1_CONTROL,
		.pm_tmr_blk = PLATFORM_PM_TIMER,
		.pm1_evt_len = 4,
		.pm1_cnt_len = 2,
		.pm_tmr_len = 4,
		.p_lvl2_lat = 101,  /* above 100 and 1000 microseconds: */
		.p_lvl3_lat = 1001, /* no C2, no C3 */
		.iapc_boot_arch = BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_ASPM,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON |
			 FADT_FIX_RTC | FADT_TMR_VAL_EXT | FADT_RESET_REG_SUP |
			 FADT_HEADLESS,
		.reset_reg = port(PLATFORM_RESET_PORT, 1),
		.reset_value = PLATFORM_RESET_VALUE,
		.minor_version = 4,
		.x_firmware_ctrl = facs,
		.x_dsdt = dsdt,
		.x_pm1a_evt_blk = port(PLATFORM_PM1_EVENT, 4),
		.x_pm1a_cnt_blk = port(PLATFORM_PM1_CONTROL, 2),
		.x_pm_tmr_blk = port(PLATFORM_PM_TIMER, 4),
		.hypervisor_vendor = "KVIST",
	};
	size_t at = table_begin(out, "FACP", 6);

	/* Status and enable halves of PM1 are words. */
	fadt.x_pm1a_evt_blk.access = 2;
	aml_bytes(out, &fadt, sizeof(fadt));
	table_end(out, at);
	return at;
}

static void madt_cpu(struct aml *out, uint32_t id)
{
	if (id <= LAPIC_ID_MAX) {
		aml_u8(out, MADT_LAPIC);
		aml_u8(out, 8);
		aml_u8(out, id); /* processor UID */
		aml_u8(out, id); /* APIC id */
		aml_u32(out, MADT_ENABLED);
	} else {
		aml_u8(out, MADT_X2APIC);
		aml_u8(out, 16);
		aml_u16(out, 0);
		aml_u32(out, id);
		aml_u32(out, MADT_ENABLED);
		aml_u32(out, id);
	}
}

static void madt_override(struct aml *out, uint8_t irq, uint32_t gsi,
			  uint16_t flags)
{
	aml_u8(out, MADT_OVERRIDE);
	aml_u8(out, 10);
	aml_u8(out, 0); /* ISA */
	aml_u8(out, irq);
	aml_u32(out, gsi);
	aml_u16(out, flags);
}

static size_t build_madt(struct aml *out, int nr_cpus)
{
	size_t at = table_begin(out, "APIC", 5);

	aml_u32(out, PLATFORM_LAPIC);
	aml_u32(out, MADT_PCAT_COMPAT);
	for (int id = 0; id < nr_cpus; id++)
		madt_cpu(out, id);
	aml_u8(out, MADT_IOAPIC);
	aml_u8(out, 12);
	aml_u16(out, 0); /* its id, and a reserved byte */
	aml_u32(out, PLATFORM_IOAPIC);
	aml_u32(out, 0); /* its first GSI */
	madt_override(out, 0, 2, MADT_ISA_DEFAULT);
	madt_override(out, PLATFORM_SCI_IRQ, PLATFORM_SCI_IRQ, MADT_LEVEL_HIGH);
	/* NMI is LINT1 of every processor. */
	aml_u8(out, MADT_LAPIC_NMI);
	aml_u8(out, 6);
	aml_u8(out, 0xff);
	aml_u16(out, 0);
	aml_u8(out, 1);
	if (nr_cpus > LAPIC_ID_MAX + 1) {
		aml_u8(out, MADT_X2APIC_NMI);
		aml_u8(out, 12);
		aml_u16(out, 0);
		aml_u32(out, UINT32_MAX);
		aml_u32(out, 1); /* LINT1, and three reserved bytes */
	}
	table_end(out, at);
	return at;
}

/* Where the ECAM of the one bus is (PCI Firmware 3.2, table 4-3). */
static size_t build_mcfg(struct aml *out)
{
	size_t at = table_begin(out, "MCFG", 1);

	aml_u32(out, 0); /* reserved */
	aml_u32(out, 0);
	aml_u32(out, PLATFORM_ECAM);
	aml_u32(out, 0);
	aml_u16(out, 0); /* segment */
	aml_u16(out, 0); /* first and last bus */
	aml_u32(out, 0);
	table_end(out, at);
	return at;
}

static size_t build_xsdt(struct aml *out, gpa_t base, const size_t *tables,
			 int count)
{
	size_t at = table_begin(out, "XSDT", 1);

	for (int i = 0; i < count; i++) {
		aml_u32(out, base + tables[i]);
		aml_u32(out, 0);
	}
	table_end(out, at);
	return at;
}

void acpi_build(struct aml *out, gpa_t base,
		const struct firmware_config *config)
{
	struct acpi_rsdp rsdp = {
		.signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' },
		.oem_id = "KVIST",
		.revision = 2,
		.length = sizeof(rsdp),
	};
	struct acpi_facs facs = {
		.signature = { 'F', 'A', 'C', 'S' },
		.length = sizeof(facs),
		.version = 2,
	};
	size_t facs_at, dsdt_at, tables[3];
	int count = 0;

	aml_bytes(out, &rsdp,
		  sizeof(rsdp)); /* its place; written again below */
	pad(out, 64);
	facs_at = out->len;
	aml_bytes(out, &facs, sizeof(facs));
	dsdt_at = table_begin(out, "DSDT", 2);
	dsdt_build(out, config);
	table_end(out, dsdt_at);
	tables[count++] = build_fadt(out, base + facs_at, base + dsdt_at);
	tables[count++] = build_madt(out, config->nr_cpus);
	if (config->pci)
		tables[count++] = build_mcfg(out);
	rsdp.xsdt = base + build_xsdt(out, base, tables, count);
	if (out->overflow)
		return;
	rsdp.checksum = checksum((uint8_t *)&rsdp, 20);
	rsdp.extended_checksum = checksum((uint8_t *)&rsdp, sizeof(rsdp));
	memcpy(out->buf, &rsdp, sizeof(rsdp));
}
