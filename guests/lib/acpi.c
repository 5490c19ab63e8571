#include "guests/lib/acpi.h"
#include "guests/lib/boot.h"
#include "guests/lib/lib.h"

struct acpi acpi;

#define TABLE_LENGTH 4 /* offsets in every table's header */
#define TABLE_DATA   36

static bool signature(uint64_t table, const char *name)
{
	return !memcmp((const void *)table, name, 4);
}

static void check_sum(uint64_t table, uint32_t length, const char *name)
{
	uint8_t sum = 0;

	for (uint32_t i = 0; i < length; i++)
		sum = (uint8_t)(sum + read8(table + i));
	if (sum)
		fail("ACPI table %s at 0x%lx, %u bytes: checksum is off by %u",
		     name, table, length, sum);
}

/* Where the protocol does not tell: on 16 bytes below 1 MiB. */
static uint64_t find_rsdp(void)
{
	if (boot.rsdp)
		return boot.rsdp;
	for (uint64_t at = 0xe0000; at < 0x100000; at += 16)
		if (read64(at) == 0x2052545020445352) /* "RSD PTR " */
			return at;
	return 0;
}

static void parse_madt(uint64_t table)
{
	uint64_t end = table + read32(table + TABLE_LENGTH);

	acpi.nr_cpus = 0;
	for (uint64_t at = table + TABLE_DATA + 8; at < end;
	     at += read8(at + 1)) {
		CHECK(read8(at + 1) >= 2, "length of an entry of the MADT");
		switch (read8(at)) {
		case 0: /* local APIC */
			if (read32(at + 4) & 1 && acpi.nr_cpus < CPUS_MAX)
				acpi.cpus[acpi.nr_cpus++] = read8(at + 3);
			break;
		case 1: /* IOAPIC */
			acpi.ioapic = read32(at + 4);
			break;
		case 2: /* override of an ISA interrupt */
			if (read8(at + 3) == 0)
				acpi.irq0_gsi = read32(at + 4);
			break;
		}
	}
}

static void parse_mcfg(uint64_t table)
{
	acpi.ecam = read64(table + 44);
	acpi.ecam_last_bus = read8(table + 55);
}

/*
 * The DSDT is a program in AML; what a test needs of it stands in it in fixed
 * shapes: Name (_S5_, Package {type...}) and, after each device's "LNRO0005",
 * a Memory32Fixed (0x86) and an extended interrupt (0x89) descriptor.
 */
static void parse_dsdt(uint64_t table)
{
	uint64_t end = table + read32(table + TABLE_LENGTH);
	bool device = false;

	for (uint64_t at = table + TABLE_DATA; at + 8 <= end; at++) {
		uint32_t word = read32(at);

		if (word == 0x5f35535f) { /* _S5_, 0x12 length count 0x0a n */
			/* The length has 1 to 4 bytes: the first says. */
			uint64_t first = at + 7 + (read8(at + 5) >> 6);
			bool prefix = read8(first) == 0x0a;

			acpi.s5 = true;
			acpi.s5_type = read8(first + prefix);
		} else if (word == 0x4f524e4c) { /* LNRO */
			device = read32(at + 4) == 0x35303030;
		} else if (device && (word & 0xffffff) == 0x000986) {
			if (acpi.nr_mmio == ACPI_MMIO_MAX)
				continue;
			acpi.mmio[acpi.nr_mmio].base = read32(at + 4);
		} else if (device && (word & 0xffffff) == 0x000689) {
			acpi.mmio[acpi.nr_mmio++].gsi = read32(at + 5);
			device = false;
		}
	}
}

static void parse_fadt(uint64_t table)
{
	uint64_t dsdt = read32(table + 40);

	if (read32(table + TABLE_LENGTH) >= 148 && read64(table + 140))
		dsdt = read64(table + 140); /* X_DSDT */
	acpi.sci = read16(table + 46);
	acpi.pm1_event = (uint16_t)read32(table + 56);
	acpi.pm1_control = (uint16_t)read32(table + 64);
	acpi.pm_timer = (uint16_t)read32(table + 76);
	acpi.pm_timer_32 = read32(table + 112) & 0x100; /* TMR_VAL_EXT */
	if (read32(table + 112) & 0x400 &&              /* RESET_REG_SUP */
	    read8(table + 116) == 1) {                  /* system I/O */
		acpi.reset_port = (uint16_t)read64(table + 120);
		acpi.reset_value = read8(table + 128);
	}
	check_sum(dsdt, read32(dsdt + TABLE_LENGTH), "DSDT");
	parse_dsdt(dsdt);
}

static void parse_table(uint64_t table)
{
	static const struct {
		char name[5];
		void (*parse)(uint64_t table);
	} parsers[] = {
		{ "APIC", parse_madt },
		{ "MCFG", parse_mcfg },
		{ "FACP", parse_fadt },
	};

	for (size_t i = 0; i < ARRAY_SIZE(parsers); i++) {
		if (!signature(table, parsers[i].name))
			continue;
		check_sum(table, read32(table + TABLE_LENGTH), parsers[i].name);
		parsers[i].parse(table);
	}
}

void acpi_init(void)
{
	static bool done;
	uint64_t rsdp, sdt;
	uint32_t length;
	int width = 4;

	if (done)
		return;
	done = true;
	/* A PC's, should there be no tables. */
	acpi.ioapic = 0xfec00000;
	acpi.irq0_gsi = 2;
	acpi.pm_timer = 0x608;
	acpi.nr_cpus = 1;
	rsdp = find_rsdp();
	if (!rsdp)
		return;
	acpi.found = true;
	check_sum(rsdp, 20, "RSDP");
	sdt = read32(rsdp + 16);
	if (read8(rsdp + 15) >= 2) {
		check_sum(rsdp, read32(rsdp + 20), "RSDP");
		sdt = read64(rsdp + 24);
		width = 8;
	}
	length = read32(sdt + TABLE_LENGTH);
	check_sum(sdt, length, width == 8 ? "XSDT" : "RSDT");
	for (uint64_t at = sdt + TABLE_DATA; at < sdt + length;
	     at += (uint64_t)width)
		parse_table(width == 8 ? read64(at) : read32(at));
}

void acpi_poweroff(void)
{
	acpi_init();
	outw(acpi.pm1_control, (uint16_t)(acpi.s5_type << 10 | 1 << 13));
}
