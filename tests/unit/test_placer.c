/* The placer's two promises (placer.h, P1 and P2), whatever is asked of it. */
#include "boot/placer.h"
#include "boot_world.h"

#include <stdlib.h>

static struct boot boot = { .kernel.path = "test", .initrd.fd = -1 };

struct site {
	struct memory memory;
	struct e820_map e820;
	struct boot_machine machine;
	struct placer placer;
};

static void site_init(struct site *site, uint64_t memory)
{
	assert_int_equal(memory_create(&site->memory, memory), 0);
	e820_build(&site->e820, &site->memory, true);
	site->machine = (struct boot_machine){ .memory = &site->memory,
					       .e820 = &site->e820,
					       .cmdline = "" };
	placer_init(&site->placer, &boot, &site->machine);
}

static void site_fini(struct site *site)
{
	memory_destroy(&site->memory);
}

static bool is_usable(const struct site *site, gpa_t start, uint64_t size)
{
	for (int i = 0; i < site->e820.count; i++) {
		const struct e820_entry *e = &site->e820.entries[i];

		if (e->type == E820_RAM && start >= e->start &&
		    start + size <= e->start + e->size)
			return start + size <= MEMORY_HOLE_START;
	}
	return false;
}

static void assert_promises(const struct site *site)
{
	const struct placer *p = &site->placer;

	for (int i = 0; i < p->count; i++) {
		const struct placed *a = &p->placed[i];

		assert_true(is_usable(site, a->start, a->size));
		for (int j = 0; j < i; j++)
			assert_false(ranges_overlap(a->start, a->size,
						    p->placed[j].start,
						    p->placed[j].size));
	}
}

static void random_requests_keep_the_promises(void **state)
{
	static const uint64_t memories[] = { MIB, 4 * MIB, 64 * MIB,
					     5120 * MIB };
	struct said said = said_begin();
	int found = 0, claimed = 0;
	char log[1];

	(void)state;
	srandom(1);
	for (int round = 0; round < 40; round++) {
		struct site site;

		site_init(&site, memories[round % 4]);
		for (int n = 0; n < 200; n++) {
			uint64_t size = 1ull << random() % 24;
			gpa_t gpa = (uint64_t)random() << random() % 4;
			struct placement want = {
				.what = "it",
				.size = size + random() % size,
				.align = 1ull << random() % 22,
				.min = gpa % (16 * MIB),
				.end = random() % 2 ? MEMORY_HOLE_START
						    : 32 * MIB,
				.high = random() % 2,
			};

			if (random() % 2) {
				claimed += !placer_claim(&site.placer, "it",
							 gpa % (128 * MIB),
							 want.size);
			} else if (!placer_try_find(&site.placer, &want,
						    &gpa)) {
				found++;
				assert_int_equal(gpa % want.align, 0);
				assert_true(gpa >= want.min);
				assert_true(gpa + want.size <= want.end);
			}
		}
		assert_promises(&site);
		site_fini(&site);
	}
	said_end(said, log, sizeof(log));
	assert_true(found > 100 && claimed > 100);
}

static void what_is_found_is_the_lowest_or_the_highest(void **state)
{
	struct placement want = { .what = "it",
				  .size = 0x1000,
				  .align = 0x1000,
				  .min = 0x10000,
				  .end = MEMORY_HOLE_START };
	struct site site;
	gpa_t gpa;

	(void)state;
	site_init(&site, 4 * MIB);
	assert_int_equal(placer_claim(&site.placer, "a", 0x10000, 0x1800), 0);
	assert_int_equal(placer_find(&site.placer, &want, &gpa), 0);
	assert_int_equal(gpa, 0x12000);
	want.high = true;
	assert_int_equal(placer_find(&site.placer, &want, &gpa), 0);
	assert_int_equal(gpa, 4 * MIB - 0x1000);
	assert_int_equal(placer_find(&site.placer, &want, &gpa), 0);
	assert_int_equal(gpa, 4 * MIB - 0x2000);
	/* Low memory is below the firmware's, high memory above it. */
	want.size = 3 * MIB - 0x2000;
	assert_int_equal(placer_find(&site.placer, &want, &gpa), 0);
	assert_int_equal(gpa, MIB);
	want.size = 0x1000;
	assert_int_equal(placer_find(&site.placer, &want, &gpa), 0);
	assert_int_equal(gpa, 0x9e000);
	site_fini(&site);
}

static void zeroing_reaches_the_range_and_no_further(void **state)
{
	static const struct {
		gpa_t gpa;
		uint64_t len;
	} cases[] = { { 100, 50 },     { 4000, 200 },  { 4000, 5000 },
		      { 4096, 4096 },  { 0, 1 << 20 }, { 5000, 0 },
		      { 8191, 100000 } };
	struct site site;

	(void)state;
	site_init(&site, MIB);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const uint8_t *host = site.memory.host;
		gpa_t gpa = cases[i].gpa;

		memset(site.memory.host, 0xcc, MIB);
		placer_zero(&site.placer, gpa, cases[i].len);
		for (uint64_t n = 0; n < MIB; n++) {
			bool in = n >= gpa && n - gpa < cases[i].len;

			if (host[n] != (in ? 0 : 0xcc))
				fail_msg("byte %d of case %d", (int)n, (int)i);
		}
	}
	site_fini(&site);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_requests_keep_the_promises),
		cmocka_unit_test(what_is_found_is_the_lowest_or_the_highest),
		cmocka_unit_test(zeroing_reaches_the_range_and_no_further),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
