/*
 * Image files in memory, for tests: taken from and given to QEMU's tools,
 * copied, and made anew as a crash may leave them, of what a recorder saw.
 */
#ifndef KVIST_TESTS_DISK_MEMORY_H
#define KVIST_TESTS_DISK_MEMORY_H

#include "devices/block/fault.h"
#include "disk_test.h"

/* The file's bytes, with room to grow; free(memory->bytes) when done. */
static inline void memory_load(struct memory_bytes *memory, const char *path)
{
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	fseek(file, 0, SEEK_END);
	memory->size = ftell(file);
	memory->limit = 1 << 30;
	memory->bytes = malloc(memory->size + 1);
	assert_non_null(memory->bytes);
	rewind(file);
	assert_int_equal(fread(memory->bytes, 1, memory->size, file),
			 memory->size);
	fclose(file);
}

static inline void memory_save(const struct memory_bytes *memory,
			       const char *path)
{
	disk_save(path, memory->bytes, memory->size);
}

static inline void memory_copy(struct memory_bytes *to,
			       const struct memory_bytes *from)
{
	*to = *from;
	to->bytes = malloc(from->size + 1);
	assert_non_null(to->bytes);
	memcpy(to->bytes, from->bytes, from->size);
}

/* The image in @file, which is taken over. */
static inline struct block *open_over(struct host_file *file, bool read_only)
{
	struct block_options options = { .path = "top.qcow2",
					 .read_only = read_only };
	struct block *block;

	assert_non_null(file);
	assert_int_equal(block_open_file(&options, file, &block), 0);
	return block;
}

/* QEMU finds neither errors nor leaks in it. */
static inline void check_clean(const struct memory_bytes *memory)
{
	memory_save(memory, "top.qcow2");
	must("qemu-img check -f qcow2 top.qcow2");
}

/* What comes through of the records after the last sync. */
enum crash_mode {
	CRASH_ALL,     /* everything: the log ends there */
	CRASH_RECORDS, /* any of them */
	CRASH_SECTORS, /* any sector of each */
	CRASH_MODES
};

/* Does what @mode lets through of a record that was not synced. */
static inline void crash_apply(const struct record *record,
			       enum crash_mode mode, uint64_t *seed,
			       struct memory_bytes *memory)
{
	if (mode != CRASH_SECTORS || record->kind != RECORD_WRITE) {
		if (mode == CRASH_ALL || rnd(seed) & 1)
			assert_int_equal(
				record_apply(record, 0, record->length, memory),
				0);
		return;
	}
	for (uint64_t at = 0; at < record->length;) {
		uint64_t n = 512 - (record->offset + at) % 512;

		if (n > record->length - at)
			n = record->length - at;
		if (rnd(seed) & 1)
			assert_int_equal(record_apply(record, at, n, memory),
					 0);
		at += n;
	}
}

/* *memory: @base after the first @crash records and a crash; of those that
 * were not synced, any sectors came through. */
static inline void memory_crash(struct memory_bytes *memory,
				const struct memory_bytes *base,
				const struct recording *recording, size_t crash,
				uint64_t *seed)
{
	size_t synced = 0;

	memory_copy(memory, base);
	for (size_t i = 0; i < crash; i++) {
		if (recording->records[i].kind == RECORD_SYNC)
			synced = i;
	}
	for (size_t i = 0; i < crash; i++)
		crash_apply(&recording->records[i],
			    i < synced ? CRASH_ALL : CRASH_SECTORS, seed,
			    memory);
}

#endif
