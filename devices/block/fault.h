/*
 * Host files for tests: one in memory, one that fails on purpose, one that
 * records what is done to it, so that a crash can be replayed, and one that
 * takes its time. No part of the program uses them.
 *
 * Each is used by one thread at a time, like any host_file. NULL when memory
 * is out.
 */
#ifndef KVIST_BLOCK_FAULT_H
#define KVIST_BLOCK_FAULT_H

#include <stdbool.h>

#include "devices/block/host_file.h"

/* A file of bytes that are the caller's, in *bytes (from malloc, may be
 * replaced as the file grows) and *size; both outlive the file. It grows to at
 * most @limit bytes: -ENOSPC beyond. */
struct memory_bytes {
	uint8_t *bytes;
	uint64_t size;
	uint64_t limit;
};

struct host_file *memory_file_create(struct memory_bytes *memory);

/* What goes wrong. The plan is the caller's and may be changed at any time. */
enum fault_kind {
	FAULT_READ = 1,
	FAULT_WRITE = 2,
	FAULT_SYNC = 4,
	FAULT_PUNCH = 8,
};

struct fault_plan {
	unsigned kinds;    /* fault_kind bits: what is counted and may fail */
	uint64_t done;     /* operations counted so far */
	uint64_t fail_at;  /* this operation fails, counted from 1; 0: none */
	uint64_t fail_for; /* how many fail, that one included */
	int err;           /* with this -errno */
	size_t cut;        /* longest transfer, the rest is left out; 0: any */
};

/* Owns @below from then on. */
struct host_file *fault_file_create(struct host_file *below,
				    struct fault_plan *plan);

/*
 * Owns @below, which does all at once. *seed, the caller's, decides in which
 * order and when the submitted I/O is done: by reap(), some of it each time, or
 * between two other operations and told later.
 */
struct host_file *delay_file_create(struct host_file *below, uint64_t *seed);

/* The same for one more file, whose I/O is in flight together with that of
 * @other, from delay_file_create(): reap() of either ends some of both. */
struct host_file *delay_file_beside(struct host_file *below,
				    struct host_file *other);

enum record_kind { RECORD_WRITE, RECORD_PUNCH, RECORD_TRUNCATE, RECORD_SYNC };

struct record {
	enum record_kind kind;
	unsigned file; /* the number of the file it was made to */
	uint64_t offset, length;
	uint8_t *data; /* of a write */
};

struct recording {
	struct record *records;
	size_t count, space;
	bool failed; /* memory ran out: the recording is not complete */
};

/* Owns @below, which has the number @number among the files that share the
 * recording; borrows that, which starts out as zeros. */
struct host_file *record_file_create(struct host_file *below,
				     struct recording *recording,
				     unsigned number);
void recording_fini(struct recording *recording);

/* Does the part [skip, skip + length) of a recorded write, or a whole punch or
 * truncation, to a file in memory. 0 or -errno. */
int record_apply(const struct record *record, uint64_t skip, uint64_t length,
		 struct memory_bytes *memory);

#endif
