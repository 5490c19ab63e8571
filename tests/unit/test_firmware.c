/* ACPI, SMBIOS, e820 and the reset stub, as a guest would read them. The
 * DSDT is judged by iasl, the reference compiler of ACPI. */
#include "firmware/firmware.h"
#include "firmware/platform.h"
#include "firmware/tables.h"
#include "util/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MIB (1ull << 20)

struct guest {
	struct memory memory;
	struct firmware firmware;
};

static struct firmware_config config(int nr_cpus, bool pci)
{
	return (struct firmware_config){ .nr_cpus = nr_cpus,
					 .pci = pci,
					 .nr_virtio_mmio = 9,
					 .name = "web" };
}

static void install(struct guest *guest, const struct firmware_config *cfg,
		    uint64_t ram)
{
	assert_int_equal(memory_create(&guest->memory, ram), 0);
	assert_int_equal(
		firmware_install(cfg, &guest->memory, &guest->firmware), 0);
}

static const uint8_t *at(const struct guest *guest, gpa_t gpa, uint64_t len)
{
	const uint8_t *p = memory_at(&guest->memory, gpa, len);

	assert_non_null(p);
	return p;
}

static uint8_t sum(const uint8_t *bytes, size_t len)
{
	uint8_t total = 0;

	while (len--)
		total += *bytes++;
	return total;
}

/* The table at @gpa, its checksum verified. */
static const uint8_t *table_at(const struct guest *guest, gpa_t gpa)
{
	const uint8_t *header = at(guest, gpa, 36);
	uint32_t len = get_le32(header + 4);

	assert_int_equal(sum(at(guest, gpa, len), len), 0);
	return header;
}

/* By way of RSDP and XSDT; NULL when the XSDT does not list it. */
static const uint8_t *find_table(const struct guest *guest, const char *sig)
{
	const uint8_t *rsdp = at(guest, guest->firmware.rsdp, 36);
	const uint8_t *xsdt = table_at(guest, get_le64(rsdp + 24));
	uint32_t len = get_le32(xsdt + 4);

	for (uint32_t i = 36; i < len; i += 8) {
		const uint8_t *t = table_at(guest, get_le64(xsdt + i));

		if (!memcmp(t, sig, 4))
			return t;
	}
	return NULL;
}

static void a_kernel_that_scans_finds_the_rsdp(void **state)
{
	struct firmware_config cfg = config(1, true);
	struct guest guest;
	gpa_t found = 0;

	(void)state;
	install(&guest, &cfg, 16 * MIB);
	for (gpa_t gpa = 0xe0000; gpa < 0x100000 && !found; gpa += 16) {
		if (!memcmp(at(&guest, gpa, 8), "RSD PTR ", 8))
			found = gpa;
	}
	assert_int_equal(found, guest.firmware.rsdp);
	assert_int_equal(sum(at(&guest, found, 20), 20), 0);
	assert_int_equal(sum(at(&guest, found, 36), 36), 0);
	memory_destroy(&guest.memory);
}

static void the_fadt_says_what_exists_and_what_does_not(void **state)
{
	struct firmware_config cfg = config(1, true);
	struct guest guest;
	const uint8_t *fadt, *facs;

	(void)state;
	install(&guest, &cfg, 16 * MIB);
	fadt = find_table(&guest, "FACP");
	assert_non_null(fadt);
	assert_int_equal(get_le32(fadt + 4), 276);
	assert_int_equal(fadt[8], 6);
	facs = at(&guest, get_le32(fadt + 36), 64);
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(get_le32(fadt + 36) % 64, 0);
	assert_int_equal(get_le64(fadt + 132), get_le32(fadt + 36));
	assert_memory_equal(table_at(&guest, get_le64(fadt + 140)), "DSDT", 4);
	assert_int_equal(get_le64(fadt + 140), get_le32(fadt + 40));
	assert_int_equal(get_le16(fadt + 46), PLATFORM_SCI_IRQ);
	assert_int_equal(get_le32(fadt + 48), 0); /* SMI_CMD */
	assert_int_equal(get_le32(fadt + 56), PLATFORM_PM1_EVENT);
	assert_int_equal(get_le32(fadt + 64), PLATFORM_PM1_CONTROL);
	assert_int_equal(get_le32(fadt + 76), PLATFORM_PM_TIMER);
	assert_int_equal(get_le16(fadt + 109) & (1 << 1), 0);  /* no 8042 */
	assert_int_equal(get_le16(fadt + 109) & (1 << 2), 4);  /* no VGA */
	assert_int_equal(get_le16(fadt + 109) & (1 << 3), 0);  /* MSI works */
	assert_int_equal(get_le16(fadt + 109) & (1 << 5), 0);  /* CMOS RTC */
	assert_int_equal(get_le32(fadt + 112) & (1 << 4), 0);  /* button */
	assert_int_equal(get_le32(fadt + 112) >> 8 & 1, 1);    /* 32 bit */
	assert_int_equal(get_le32(fadt + 112) >> 10 & 1, 1);   /* reset */
	assert_int_equal(get_le32(fadt + 112) & (1 << 20), 0); /* full */
	assert_int_equal(fadt[116], 1);
	assert_int_equal(get_le64(fadt + 120), PLATFORM_RESET_PORT);
	assert_int_equal(fadt[128], PLATFORM_RESET_VALUE);
	assert_int_equal(get_le64(fadt + 152), PLATFORM_PM1_EVENT);
	assert_int_equal(get_le64(fadt + 212), PLATFORM_PM_TIMER);
	memory_destroy(&guest.memory);
}

/* How many entries of @type the MADT has, and the last of them. */
static int madt_count(const uint8_t *madt, uint8_t type, const uint8_t **last)
{
	uint32_t len = get_le32(madt + 4), i;
	int count = 0;

	for (i = 44; i < len; i += madt[i + 1]) {
		assert_true(madt[i + 1] >= 2);
		if (madt[i] == type) {
			count++;
			*last = madt + i;
		}
	}
	assert_int_equal(i, len);
	return count;
}

static void the_madt_lists_every_processor(void **state)
{
	static const struct {
		int cpus, lapics, x2apics;
	} cases[] = { { 1, 1, 0 },
		      { 4, 4, 0 },
		      { 255, 255, 0 },
		      { 256, 255, 1 },
		      { 1024, 255, 769 } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct firmware_config cfg = config(cases[i].cpus, true);
		const uint8_t *madt, *last = NULL;
		struct guest guest;

		install(&guest, &cfg, 16 * MIB);
		madt = find_table(&guest, "APIC");
		assert_non_null(madt);
		assert_int_equal(madt_count(madt, 0, &last), cases[i].lapics);
		assert_int_equal(last[3], cases[i].lapics - 1);
		assert_int_equal(madt_count(madt, 9, &last), cases[i].x2apics);
		if (cases[i].x2apics)
			assert_int_equal(get_le32(last + 4), cases[i].cpus - 1);
		assert_int_equal(madt_count(madt, 1, &last), 1);
		assert_int_equal(get_le32(last + 4), PLATFORM_IOAPIC);
		assert_int_equal(madt_count(madt, 2, &last), 2);
		assert_int_equal(last[3], PLATFORM_SCI_IRQ);
		assert_int_equal(get_le16(last + 8), 0x0d);
		memory_destroy(&guest.memory);
	}
}

static void the_mcfg_names_one_bus_and_only_with_pci(void **state)
{
	struct firmware_config cfg = config(1, true);
	const uint8_t *mcfg;
	struct guest guest;

	(void)state;
	install(&guest, &cfg, 16 * MIB);
	mcfg = find_table(&guest, "MCFG");
	assert_non_null(mcfg);
	assert_int_equal(get_le64(mcfg + 44), PLATFORM_ECAM);
	assert_int_equal(mcfg[54], 0);
	assert_int_equal(mcfg[55], 0);
	memory_destroy(&guest.memory);

	cfg.pci = false;
	install(&guest, &cfg, 16 * MIB);
	assert_null(find_table(&guest, "MCFG"));
	memory_destroy(&guest.memory);
}

static void too_many_processors_are_refused(void **state)
{
	struct firmware_config cfg = config(4000, true);
	struct firmware firmware;
	struct memory memory;

	(void)state;
	assert_int_equal(memory_create(&memory, 16 * MIB), 0);
	assert_int_equal(firmware_install(&cfg, &memory, &firmware), -E2BIG);
	memory_destroy(&memory);
}

static void a_second_install_gives_the_same_bytes(void **state)
{
	struct firmware_config cfg = config(4, true);
	struct guest guest;
	uint8_t *before = malloc(PLATFORM_TABLES_SIZE);
	uint8_t *ram;

	(void)state;
	assert_non_null(before);
	install(&guest, &cfg, 16 * MIB);
	ram = memory_at(&guest.memory, PLATFORM_TABLES, PLATFORM_TABLES_SIZE);
	memcpy(before, ram, PLATFORM_TABLES_SIZE);
	for (size_t i = 0; i < PLATFORM_TABLES_SIZE; i++)
		ram[i] ^= before[i] ? 0x5a : 0; /* as a guest may have done */
	assert_int_equal(firmware_install(&cfg, &guest.memory, &guest.firmware),
			 0);
	assert_memory_equal(ram, before, PLATFORM_TABLES_SIZE);
	memory_destroy(&guest.memory);
	free(before);
}

static void smbios_is_found_and_names_the_machine(void **state)
{
	struct firmware_config cfg = config(1, true);
	const uint8_t *entry = NULL, *s;
	struct guest guest;
	uint8_t uuid[16];

	(void)state;
	install(&guest, &cfg, 16 * MIB);
	for (gpa_t gpa = 0xf0000; gpa < 0x100000 && !entry; gpa += 16) {
		if (!memcmp(at(&guest, gpa, 5), "_SM3_", 5))
			entry = at(&guest, gpa, 24);
	}
	assert_non_null(entry);
	assert_int_equal(sum(entry, 24), 0);
	s = at(&guest, get_le64(entry + 16), get_le32(entry + 12));
	assert_int_equal(s[0], 0);
	s += s[1];
	while (s[0] || s[1])
		s++;
	s += 2;
	assert_int_equal(s[0], 1);
	assert_int_equal(get_le16(s + 2), 1);
	memcpy(uuid, s + 8, 16);
	assert_string_equal((const char *)s + s[1], "kvist");
	assert_int_equal(uuid[7] >> 4, 8);
	assert_int_equal(uuid[8] >> 6, 2);
	memory_destroy(&guest.memory);

	cfg.name = "db";
	install(&guest, &cfg, 16 * MIB);
	assert_memory_not_equal(
		uuid, memory_at(&guest.memory, s + 8 - guest.memory.host, 16),
		16);
	memory_destroy(&guest.memory);
}

static void the_memory_map_fits_the_memory(void **state)
{
	static const uint64_t sizes[] = { 1 * MIB,    2 * MIB,    256 * MIB,
					  3072 * MIB, 3073 * MIB, 8192 * MIB };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct e820_map map;
		struct memory memory;
		uint64_t ram = 0, end = 0;

		assert_int_equal(memory_create(&memory, sizes[i]), 0);
		e820_build(&map, &memory, true);
		for (int n = 0; n < map.count; n++) {
			const struct e820_entry *e = &map.entries[n];

			assert_true(e->size > 0);
			assert_true(e->start >= end);
			end = e->start + e->size;
			if (e->type != E820_RAM)
				continue;
			ram += e->size;
			assert_non_null(memory_at(&memory, e->start, e->size));
			assert_true(end <= PLATFORM_EBDA || e->start >= MIB);
		}
		assert_int_equal(ram, sizes[i] - MIB + PLATFORM_EBDA);
		memory_destroy(&memory);
	}
}

static void the_memory_map_reserves_ecam_only_with_pci(void **state)
{
	(void)state;
	for (int pci = 0; pci < 2; pci++) {
		struct memory memory;
		struct e820_map map;
		int found = 0;

		assert_int_equal(memory_create(&memory, 16 * MIB), 0);
		e820_build(&map, &memory, pci);
		for (int n = 0; n < map.count; n++)
			found += map.entries[n].start == PLATFORM_ECAM &&
				 map.entries[n].type == E820_RESERVED;
		assert_int_equal(found, pci);
		memory_destroy(&memory);
	}
}

static void the_reset_stub_writes_the_reset_port(void **state)
{
	static const uint8_t stub[] = {
		0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xf4
	};
	struct firmware_config cfg = config(1, true);
	struct guest guest;

	(void)state;
	install(&guest, &cfg, 1 * MIB);
	assert_memory_equal(at(&guest, 0xffff0, 16), stub, sizeof(stub));
	assert_int_equal(get_le16(at(&guest, 0x40e, 2)), 0x9fc0);
	assert_int_equal(get_le16(at(&guest, 0x413, 2)), 639);
	memory_destroy(&guest.memory);
}

static void aml_that_does_not_fit_is_noticed_and_stays_inside(void **state)
{
	struct firmware_config cfg = config(2, true);
	uint8_t buf[4096];
	struct aml whole = { .buf = buf, .size = sizeof(buf) };

	(void)state;
	dsdt_build(&whole, &cfg);
	assert_false(whole.overflow);
	for (size_t size = 0; size < whole.len; size++) {
		struct aml aml = { .buf = buf, .size = size };

		memset(buf, 0xcc, sizeof(buf));
		dsdt_build(&aml, &cfg);
		assert_true(aml.overflow);
		assert_true(aml.len <= size);
		for (size_t i = size; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 0xcc);
	}
}

static void aml_integers_take_their_shortest_form(void **state)
{
	static const struct {
		uint64_t v;
		size_t len;
		uint8_t op;
	} cases[] = { { 0, 1, 0 },
		      { 1, 1, 1 },
		      { 2, 2, 0x0a },
		      { 255, 2, 0x0a },
		      { 256, 3, 0x0b },
		      { 65535, 3, 0x0b },
		      { 65536, 5, 0x0c },
		      { UINT32_MAX, 5, 0x0c },
		      { 1ull << 32, 9, 0x0e } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t buf[16];
		struct aml aml = { .buf = buf, .size = sizeof(buf) };

		aml_int(&aml, cases[i].v);
		assert_int_equal(aml.len, cases[i].len);
		assert_int_equal(buf[0], cases[i].op);
	}
}

static void write_file(const char *dir, const char *name, const uint8_t *table)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(table, get_le32(table + 4), 1, f), 1);
	fclose(f);
}

/* Every table is taken apart and put together again by iasl; the source of
 * the DSDT must compile without an error or a warning. */
static void judge(const struct firmware_config *cfg)
{
	char dir[] = "/tmp/kvist-acpi-XXXXXX", command[512];
	const uint8_t *fadt;
	struct guest guest;

	install(&guest, cfg, 16 * MIB);
	fadt = find_table(&guest, "FACP");
	assert_non_null(mkdtemp(dir));
	write_file(dir, "facp.aml", fadt);
	write_file(dir, "apic.aml", find_table(&guest, "APIC"));
	write_file(dir, "dsdt.aml", table_at(&guest, get_le64(fadt + 140)));
	if (cfg->pci)
		write_file(dir, "mcfg.aml", find_table(&guest, "MCFG"));
	memory_destroy(&guest.memory);
	snprintf(command, sizeof(command),
		 "cd %s && exec >log 2>&1 && for t in *.aml; do iasl -d $t && "
		 "iasl -we -p new ${t%%.aml}.dsl || exit 1; done; "
		 "! grep -i -E '(error|warning).*-' log",
		 dir);
	if (system(command)) {
		snprintf(command, sizeof(command), "cat %s/log", dir);
		assert_int_equal(system(command), 0);
		fail_msg("iasl objects; the tables are in %s", dir);
	}
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

static void iasl_accepts_the_tables(void **state)
{
	const char *skip_list = getenv("KVIST_SKIP");
	struct firmware_config cfg;

	(void)state;
	if (skip_list && strstr(skip_list, "iasl")) {
		print_message("skipped: iasl, as KVIST_SKIP asks\n");
		skip();
	}
	if (system("command -v iasl >/dev/null"))
		fail_msg("iasl is not installed (Debian: acpica-tools); "
			 "KVIST_SKIP=iasl does without");
	cfg = config(1, true);
	judge(&cfg);
	cfg = config(300, true);
	judge(&cfg);
	cfg = config(2, false);
	judge(&cfg);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_kernel_that_scans_finds_the_rsdp),
		cmocka_unit_test(the_fadt_says_what_exists_and_what_does_not),
		cmocka_unit_test(the_madt_lists_every_processor),
		cmocka_unit_test(the_mcfg_names_one_bus_and_only_with_pci),
		cmocka_unit_test(too_many_processors_are_refused),
		cmocka_unit_test(a_second_install_gives_the_same_bytes),
		cmocka_unit_test(smbios_is_found_and_names_the_machine),
		cmocka_unit_test(the_memory_map_fits_the_memory),
		cmocka_unit_test(the_memory_map_reserves_ecam_only_with_pci),
		cmocka_unit_test(the_reset_stub_writes_the_reset_port),
		cmocka_unit_test(
			aml_that_does_not_fit_is_noticed_and_stays_inside),
		cmocka_unit_test(aml_integers_take_their_shortest_form),
		cmocka_unit_test(iasl_accepts_the_tables),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
