/*
 * Several disks read as one.
 */
#include "disk_test.h"

#include <errno.h>

#include "devices/block/concat.h"
#include "devices/block/fault.h"
#include "devices/block/image_map.h"

#define SECTORS 12
#define SIZE    ((uint64_t)SECTORS * BLOCK_SECTOR)

/* In sectors; one is empty. */
static const unsigned lengths[] = { 3, 0, 1, 8 };

struct world {
	struct memory_bytes memory[ARRAY_SIZE(lengths)];
	uint8_t model[SIZE];
	struct block *disk;
};

static void start(struct world *w)
{
	struct block *parts[ARRAY_SIZE(lengths)];
	uint64_t seed = 7, at = 0;

	memset(w, 0, sizeof(*w));
	for (size_t i = 0; i < SIZE; i++)
		w->model[i] = (uint8_t)rnd(&seed);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct block_options options = { .path = "part",
						 .format = BLOCK_RAW,
						 .read_only = true };
		struct memory_bytes *m = &w->memory[i];
		struct host_file *file;

		m->limit = SIZE;
		m->size = (uint64_t)lengths[i] * BLOCK_SECTOR;
		m->bytes = malloc(m->size + 1);
		assert_non_null(m->bytes);
		memcpy(m->bytes, w->model + at, m->size);
		at += m->size;
		file = memory_file_create(m);
		assert_non_null(file);
		assert_int_equal(block_open_file(&options, file, &parts[i]), 0);
	}
	assert_int_equal(concat_create(parts, ARRAY_SIZE(lengths), &w->disk),
			 0);
}

static void end(struct world *w)
{
	assert_int_equal(block_close(w->disk), 0);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		free(w->memory[i].bytes);
}

static void every_range_reads_as_the_parts_in_their_order(void **state)
{
	uint8_t bytes[SIZE];
	struct world w;

	(void)state;
	start(&w);
	assert_int_equal(w.disk->size, SIZE);
	for (uint64_t from = 0; from < SIZE; from += BLOCK_SECTOR) {
		for (uint64_t to = from + BLOCK_SECTOR; to <= SIZE;
		     to += BLOCK_SECTOR) {
			memset(bytes, 0, SIZE);
			assert_int_equal(
				disk_read(w.disk, bytes, from, to - from), 0);
			assert_memory_equal(bytes, w.model + from, to - from);
		}
	}
	end(&w);
}

static void a_piece_of_the_map_ends_with_its_part(void **state)
{
	struct image_extent found;
	struct world w;

	(void)state;
	start(&w);
	assert_int_equal(
		image_map(w.disk, BLOCK_SECTOR, SIZE - BLOCK_SECTOR, &found),
		0);
	assert_true(found.at.allocated && !found.at.placed);
	assert_int_equal(found.at.length, 2 * BLOCK_SECTOR);
	assert_int_equal(
		image_map(w.disk, 3 * BLOCK_SECTOR, BLOCK_SECTOR, &found), 0);
	assert_int_equal(found.at.length, BLOCK_SECTOR);
	end(&w);
}

static void nothing_is_written(void **state)
{
	uint8_t bytes[BLOCK_SECTOR] = { 1 };
	struct world w;

	(void)state;
	start(&w);
	assert_int_equal(disk_write(w.disk, bytes, 0, sizeof(bytes)), -EROFS);
	assert_int_equal(disk_flush(w.disk), 0);
	assert_int_equal(disk_read(w.disk, bytes, SIZE, sizeof(bytes)),
			 -EINVAL);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_range_reads_as_the_parts_in_their_order),
		cmocka_unit_test(a_piece_of_the_map_ends_with_its_part),
		cmocka_unit_test(nothing_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
