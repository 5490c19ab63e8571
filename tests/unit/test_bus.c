#include "unit.h"

#include "kvm/bus.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

struct probe {
	struct device dev;
	unsigned range, len;
	uint64_t offset, value;
	int reads, writes, resets;
};

static uint64_t probe_read(struct device *dev, unsigned range, uint64_t offset,
			   unsigned len)
{
	struct probe *p = (struct probe *)dev;

	p->range = range;
	p->offset = offset;
	p->len = len;
	p->reads++;
	return 0x1122334455667788;
}

static void probe_write(struct device *dev, unsigned range, uint64_t offset,
			unsigned len, uint64_t value)
{
	struct probe *p = (struct probe *)dev;

	p->range = range;
	p->offset = offset;
	p->len = len;
	p->value = value;
	p->writes++;
}

static void probe_reset(struct device *dev)
{
	((struct probe *)dev)->resets++;
}

static const struct device_ops probe_ops = { probe_read, probe_write,
					     probe_reset };

static void probe_init(struct probe *p, struct bus *bus, unsigned widths)
{
	memset(p, 0, sizeof(*p));
	device_init(&p->dev, "probe", &probe_ops, widths);
	bus_init(bus, "address", -1, false);
}

static void an_access_reaches_its_range_at_an_offset(void **state)
{
	uint8_t data[8] = { 0xaa, 0xbb };
	struct probe p;
	struct bus bus;

	(void)state;
	probe_init(&p, &bus, 1 | 2 | 4 | 8);
	assert_int_equal(bus_add(&bus, &p.dev, 0, 0x100, 0x10), 0);
	assert_int_equal(bus_add(&bus, &p.dev, 7, 0x80, 0x10), 0);
	bus_access(&bus, 0x84, data, 2, true);
	assert_int_equal(p.range, 7);
	assert_int_equal(p.offset, 4);
	assert_int_equal(p.value, 0xbbaa);
	bus_access(&bus, 0x108, data, 8, false);
	assert_int_equal(p.range, 0);
	assert_int_equal(p.offset, 8);
	assert_int_equal(data[0], 0x88);
	assert_int_equal(data[7], 0x11);
}

static void what_nobody_answers_reads_as_ones(void **state)
{
	static const struct {
		uint64_t addr;
		unsigned len;
	} cases[] = {
		{ 0xff, 1 },       { 0x110, 1 },
		{ 0, 4 },          { 0x10e, 4 }, /* across the end */
		{ 0x100, 8 },                    /* a width it does not allow */
		{ UINT64_MAX, 1 },
	};
	struct probe p;
	struct bus bus;

	(void)state;
	log_set_level(LOG_ERR);
	probe_init(&p, &bus, 1 | 2 | 4);
	assert_int_equal(bus_add(&bus, &p.dev, 0, 0x100, 0x10), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint8_t data[8] = { 0 };

		bus_access(&bus, cases[i].addr, data, cases[i].len, true);
		bus_access(&bus, cases[i].addr, data, cases[i].len, false);
		for (unsigned j = 0; j < cases[i].len; j++)
			assert_int_equal(data[j], 0xff);
	}
	assert_int_equal(p.reads + p.writes, 0);
}

/* KVM cuts an access that crosses a page in two, of any length. */
static void odd_lengths_reach_no_device(void **state)
{
	static const unsigned lengths[] = { 3, 5, 6, 7 };
	struct probe p;
	struct bus bus;

	(void)state;
	log_set_level(LOG_ERR);
	probe_init(&p, &bus, 1 | 2 | 4 | 8);
	assert_int_equal(bus_add(&bus, &p.dev, 0, 0x100, 0x10), 0);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		uint8_t data[8] = { 0 };

		bus_access(&bus, 0x100, data, lengths[i], true);
		bus_access(&bus, 0x100, data, lengths[i], false);
		for (unsigned j = 0; j < lengths[i]; j++)
			assert_int_equal(data[j], 0xff);
	}
	assert_int_equal(p.reads + p.writes, 0);
}

static void ranges_never_overlap(void **state)
{
	static const struct {
		uint64_t base, size;
		int err;
	} cases[] = {
		{ 0x100, 0x10, -EEXIST },   { 0xff, 2, -EEXIST },
		{ 0x10f, 1, -EEXIST },      { 0x0, 0x1000, -EEXIST },
		{ 0x108, 4, -EEXIST },      { 0x200, 0, -EINVAL },
		{ UINT64_MAX, 2, -EINVAL }, { 0xf0, 0x10, 0 },
		{ 0x110, 0x10, 0 },
	};
	struct probe p;
	struct bus bus;

	(void)state;
	probe_init(&p, &bus, 1);
	assert_int_equal(bus_add(&bus, &p.dev, 0, 0x100, 0x10), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(bus_add(&bus, &p.dev, i + 1, cases[i].base,
					 cases[i].size),
				 cases[i].err);
}

static void a_range_that_moves_a_thousand_times_keeps_its_row(void **state)
{
	struct probe p;
	struct bus bus;
	uint8_t byte = 0;

	(void)state;
	probe_init(&p, &bus, 1);
	assert_int_equal(bus_add(&bus, &p.dev, 0, 0x100, 0x10), 0);
	for (uint64_t i = 1; i < 1000; i++) {
		bus_remove(&bus, 0x100 * i);
		assert_int_equal(bus_add(&bus, &p.dev, 0, 0x100 * (i + 1), 16),
				 0);
	}
	assert_int_equal(bus.count, 1);
	bus_access(&bus, 0x100, &byte, 1, false);
	assert_int_equal(p.reads, 0);
	bus_access(&bus, 100000, &byte, 1, false); /* not in it */
	bus_access(&bus, 0x100 * 1000, &byte, 1, false);
	assert_int_equal(p.reads, 1);
}

static void a_reset_reaches_each_device_once(void **state)
{
	struct probe p;
	struct bus bus;

	(void)state;
	probe_init(&p, &bus, 1);
	assert_int_equal(bus_add(&bus, &p.dev, 0, 0x100, 0x10), 0);
	assert_int_equal(bus_add(&bus, &p.dev, 1, 0x200, 0x10), 0);
	bus_reset(&bus);
	assert_int_equal(p.resets, 1);
}

struct mover {
	struct bus *bus;
	struct probe *probe;
	bool stop; /* atomic */
};

static void *move_for_a_while(void *arg)
{
	struct mover *m = arg;

	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		bus_remove(m->bus, 0x100);
		bus_add(m->bus, &m->probe->dev, 0, 0x1000, 0x10);
		bus_remove(m->bus, 0x1000);
		bus_add(m->bus, &m->probe->dev, 0, 0x100, 0x10);
	}
	return NULL;
}

/* For the thread sanitizer above all: an access sees the old place of a range
 * or the new one, never an offset that is of neither. */
static void accesses_race_with_moves(void **state)
{
	struct probe p, still;
	struct bus bus;
	struct mover mover = { &bus, &p, false };
	pthread_t thread;

	(void)state;
	probe_init(&p, &bus, 1);
	device_init(&still.dev, "still", &probe_ops, 1);
	still.reads = 0;
	assert_int_equal(bus_add(&bus, &p.dev, 0, 0x100, 0x10), 0);
	assert_int_equal(bus_add(&bus, &still.dev, 0, 0x500, 0x10), 0);
	assert_int_equal(
		pthread_create(&thread, NULL, move_for_a_while, &mover), 0);
	for (int i = 0; i < 20000; i++) {
		uint8_t byte = 0;

		bus_access(&bus, 0x105, &byte, 1, false);
		assert_true(byte == 0x88 || byte == 0xff);
		bus_access(&bus, 0x505, &byte, 1, false);
		assert_int_equal(byte, 0x88);
	}
	__atomic_store_n(&mover.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(still.reads, 20000);
	if (p.reads)
		assert_int_equal(p.offset, 5);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(an_access_reaches_its_range_at_an_offset),
	cmocka_unit_test(what_nobody_answers_reads_as_ones),
	cmocka_unit_test(odd_lengths_reach_no_device),
	cmocka_unit_test(ranges_never_overlap),
	cmocka_unit_test(a_range_that_moves_a_thousand_times_keeps_its_row),
	cmocka_unit_test(a_reset_reaches_each_device_once),
	cmocka_unit_test(accesses_race_with_moves),
};

UNIT_MAIN(tests)
