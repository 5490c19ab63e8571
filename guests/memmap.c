/*
 * The memory map is true: RAM holds what is written at the ends of every
 * region, no two addresses are the same byte, and what is not RAM reads as
 * ones. Option ram=BYTES: how much there must be.
 */
#include "guests/lib/boot.h"
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"

#define LARGE    (2ul << 20)
#define GIB      (1ul << 30)
#define PAGE     0x87
#define TABLE    7
#define RAM_TYPE 1

#define HOLE     0xc0000000ul
#define HOLE_END 0x100000000ul

extern uint64_t pdpt[512];

static struct probe {
	uint64_t address, old;
} probes[2 * BOOT_MAP_MAX];
static int nr_probes;

/* Start-up maps 4 GiB; a page above gets its entry here. */
static void map(uint64_t address)
{
	static uint64_t next = BUFFERS;
	uint64_t *entry = &pdpt[address / GIB], *table;

	CHECK(address < 512 * GIB, "an address below 512 GiB");
	if (*entry & 0x80)
		return;
	if (!*entry) {
		memset((void *)next, 0, 4096);
		*entry = next | TABLE;
		next += 4096;
	}
	table = (uint64_t *)(*entry & ~0xffful);
	table[address % GIB / LARGE] = (address & ~(LARGE - 1)) | PAGE;
	__asm__ volatile("invlpg (%0)" ::"r"(address) : "memory");
}

static void add_probe(uint64_t address)
{
	map(address);
	probes[nr_probes++] = (struct probe){ address, read64(address) };
}

static uint64_t pattern(uint64_t address)
{
	return address * 0x9e3779b97f4a7c15ul;
}

static uint64_t check_map(void)
{
	uint64_t ram = 0, last = 0;

	for (int i = 0; i < boot.nr_ranges; i++) {
		const struct boot_range *range = &boot.map[i];

		CHECK(range->start >= last, "ranges are sorted and apart");
		last = range->start + range->size;
		CHECK(last > range->start, "a range is not empty");
		if (range->type != RAM_TYPE)
			continue;
		CHECK(last <= HOLE || range->start >= HOLE_END,
		      "no RAM in the PCI hole");
		ram += range->size;
		/* Page 0 and the first one of the image are in use. */
		if (range->start && range->start != 0x100000)
			add_probe((range->start + 7) & ~7ul);
		add_probe((last & ~7ul) - 8);
	}
	return ram;
}

static void expect_ones(uint64_t address)
{
	map(address);
	CHECK_EQ(read8(address), 0xff, "1 byte of no memory");
	CHECK_EQ(read16(address), 0xffff, "2 bytes of no memory");
	CHECK_EQ(read32(address), 0xffffffff, "4 bytes of no memory");
	CHECK_EQ(read64(address), ~0ul, "8 bytes of no memory");
	write32(address, 0x12345678);
	CHECK_EQ(read32(address), 0xffffffff, "no memory, after a write");
}

int guest_main(void)
{
	uint64_t ram = check_map(), wanted = option_number("ram", ram);
	uint64_t low_end = 0, end = 0;

	print("%lu KiB of RAM, wanted %lu\n", ram >> 10, wanted >> 10);
	CHECK(ram <= wanted && wanted - ram <= 1 << 20,
	      "RAM in the map, less what firmware keeps");

	for (int i = 0; i < nr_probes; i++)
		write64(probes[i].address, pattern(probes[i].address));
	for (int i = 0; i < nr_probes; i++)
		if (read64(probes[i].address) != pattern(probes[i].address))
			fail("%s:%d RAM at 0x%lx does not hold what is written",
			     __FILE__, __LINE__, probes[i].address);
	for (int i = 0; i < boot.nr_ranges; i++) {
		const struct boot_range *range = &boot.map[i];

		if (range->type != RAM_TYPE)
			continue;
		end = range->start + range->size;
		if (end <= HOLE)
			low_end = end;
	}

	expect_ones(0xdff00000); /* the end of the window for BARs */
	expect_ones(0xf8000000);
	expect_ones((end < HOLE_END ? HOLE_END : end) + LARGE);
	if (!(low_end & 0xfff)) {
		/* One access, part in RAM and part in nothing. */
		map(low_end);
		CHECK_EQ(read64(low_end - 4),
			 pattern(low_end - 8) >> 32 | ~0ul << 32,
			 "8 bytes across the end of RAM");
	}
	for (int i = nr_probes; i--;)
		write64(probes[i].address, probes[i].old);
	return 0;
}
