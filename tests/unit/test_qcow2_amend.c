/*
 * The header written anew, and refcounts of another width: what was there
 * stays, and a crash at any sector or a host that fails leaves the old or the
 * new.
 */
#include "disk_memory.h"

#include <errno.h>

#include "devices/block/qcow2_amend.h"
#include "devices/block/qcow2_check.h"

#define LONG                                                                   \
	"a-long-name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-"  \
	"name-a-long-name-a-long-name-a-long-name-a-long-name-a-long-name"

static const struct change {
	const char *name, *create;
	const char *then; /* what else is done to top.qcow2 */
	struct qcow2_amendment to;
} changes[] = {
	{ "another backing file",
	  "-u -b one -F raw",
	  "true",
	  { .version = 3, .backing = "two.qcow2", .backing_fmt = "qcow2" } },
	{ "a longer name",
	  "-u -b one -F raw",
	  "true",
	  { .version = 3, .backing = LONG LONG, .backing_fmt = "raw" } },
	{ "a shorter name",
	  "-u -b " LONG " -F qcow2",
	  "true",
	  { .version = 3, .backing = "x", .backing_fmt = "qcow2" } },
	{ "a first backing file",
	  "",
	  "true",
	  { .version = 3, .backing = "one", .backing_fmt = "raw" } },
	{ "a first one, in small clusters",
	  "-o cluster_size=512",
	  "true",
	  { .version = 3, .backing = "one", .backing_fmt = "raw" } },
	{ "no backing file", "-u -b one -F raw", "true", { .version = 3 } },
	{ "no format",
	  "-u -b one -F raw",
	  "true",
	  { .version = 3, .backing = "one" } },
	{ "version 2",
	  "-u -b one -F raw",
	  "true",
	  { .version = 2, .backing = "one", .backing_fmt = "raw" } },
	{ "version 3",
	  "-o compat=0.10 -u -b one -F raw",
	  "true",
	  { .version = 3,
	    .lazy_refcounts = true,
	    .backing = "one",
	    .backing_fmt = "raw" } },
	{ "lazy refcounts",
	  "",
	  "true",
	  { .version = 3, .lazy_refcounts = true } },
	{ "wider refcounts",
	  "",
	  "true",
	  { .version = 3, .refcount_bits = 64 } },
	{ "narrower refcounts",
	  "-o cluster_size=512,refcount_bits=64",
	  "true",
	  { .version = 3, .refcount_bits = 1 } },
	{ "wider ones, with a snapshot",
	  "-o cluster_size=512,refcount_bits=2",
	  "qemu-img snapshot -c one top.qcow2 && "
	  "qemu-io -c 'write -P 2 100k 200k' top.qcow2",
	  { .version = 3, .refcount_bits = 32 } },
	{ "narrower ones that may be late",
	  "-o cluster_size=4k,lazy_refcounts=on",
	  "true",
	  { .version = 3, .lazy_refcounts = true, .refcount_bits = 8 } },
	{ "narrower ones, of compressed clusters",
	  "-o cluster_size=4k",
	  "qemu-img convert -c -O qcow2 top.qcow2 c.qcow2 && "
	  "mv c.qcow2 top.qcow2",
	  { .version = 3, .refcount_bits = 8 } },
	{ "wider ones, with a data file",
	  "-o cluster_size=4k,data_file=top.raw",
	  "true",
	  { .version = 3, .refcount_bits = 64 } },
	{ "a data file of another name",
	  "-o data_file=top.raw",
	  "cp top.raw another.raw",
	  { .version = 3, .data_file = "another.raw" } },
	{ "a raw data file, in small clusters",
	  "-o cluster_size=512,data_file=top.raw,data_file_raw=on",
	  "cp top.raw another.raw",
	  { .version = 3, .data_file = "another.raw", .data_raw = true } },
	{ "a data file that is raw no longer",
	  "-o data_file=top.raw,data_file_raw=on",
	  "true",
	  { .version = 3 } },
	{ "version 2, and its width",
	  "-o cluster_size=4k,refcount_bits=64",
	  "true",
	  { .version = 2, .refcount_bits = 16 } },
	{ "version 3, and another width",
	  "-o compat=0.10",
	  "true",
	  { .version = 3, .refcount_bits = 2 } },
};

static struct block *open_alone(struct host_file *file, bool read_only)
{
	struct block_options options = { .path = "top.qcow2",
					 .read_only = read_only,
					 .data_is_ours = true,
					 .unlocked = true,
					 .no_backing = true };
	struct block *block;

	assert_non_null(file);
	assert_int_equal(block_open_file(&options, file, &block), 0);
	return block;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool same(const struct qcow2_amendment *a,
		 const struct qcow2_amendment *b)
{
	return a->version == b->version &&
	       a->lazy_refcounts == b->lazy_refcounts &&
	       (!b->refcount_bits || a->refcount_bits == b->refcount_bits) &&
	       (!b->data_file || same_text(a->data_file, b->data_file)) &&
	       a->data_raw == b->data_raw &&
	       same_text(a->backing, b->backing) &&
	       same_text(a->backing_fmt, b->backing_fmt);
}

/* The version is one step, and the width another. */
static bool between(const struct qcow2_amendment *is,
		    const struct qcow2_amendment *old,
		    const struct qcow2_amendment *next)
{
	return old->version != next->version && next->refcount_bits &&
	       is->version == 3 && is->refcount_bits == 16;
}

static void check(struct memory_bytes *memory,
		  const struct qcow2_amendment *old,
		  const struct qcow2_amendment *next)
{
	struct block *block = open_alone(memory_file_create(memory), true);
	struct qcow2_findings found = { 0 };
	struct qcow2_amendment is;

	assert_int_equal(qcow2_amendment_of(block, &is), 0);
	assert_true(same(&is, next) ||
		    (old && (same(&is, old) || between(&is, old, next))));
	assert_int_equal(block_close(block), 0);
	assert_int_equal(qcow2_check(memory_file_create(memory), "top.qcow2", 0,
				     stderr, &found),
			 0);
	assert_int_equal(found.corruptions, 0);
	/* Only a crash leaks. */
	assert_true(old || !found.leaks);
}

static void make(const struct change *c, struct memory_bytes *base)
{
	must("rm -f top.*; qemu-img create -q -f qcow2 %s top.qcow2 1M && "
	     "qemu-io -c 'write 0 1M' -c 'write -z 0 64k' top.qcow2 || true; "
	     "%s",
	     c->create, c->then);
	memory_load(base, "top.qcow2");
}

/* QEMU finds nothing to complain of, and the same disk. */
static void judge(const struct change *c, const struct memory_bytes *memory)
{
	memory_save(memory, "after.qcow2");
	if (!c->to.refcount_bits)
		return; /* its backing file is not there */
	must("qemu-img check -q -f qcow2 after.qcow2 && qemu-img compare -q "
	     "-f qcow2 -F qcow2 top.qcow2 after.qcow2 && { ! qemu-img snapshot "
	     "-l top.qcow2 | grep -q one || { qemu-img snapshot -a one "
	     "after.qcow2 && qemu-img snapshot -a one top.qcow2 && qemu-img "
	     "compare -q top.qcow2 after.qcow2; }; }");
}

/* Any part of what came after the last sync, sector by sector. */
static void replay(const struct memory_bytes *base,
		   const struct recording *recording, uint64_t *seed,
		   const struct qcow2_amendment *old,
		   const struct qcow2_amendment *next)
{
	for (size_t n = 0; n <= recording->count; n++) {
		struct memory_bytes memory;

		memory_crash(&memory, base, recording, n, seed);
		check(&memory, old, next);
		free(memory.bytes);
	}
}

static void a_crash_leaves_the_old_header_or_the_new(void **state)
{
	uint64_t seed = 5;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		const struct change *c = &changes[i];
		struct recording recording = { 0 };
		struct memory_bytes base, disk;
		struct qcow2_amendment old;
		struct block *block, *before;

		print_message("%s\n", c->name);
		make(c, &base);
		memory_copy(&disk, &base);
		before = open_alone(memory_file_create(&base), true);
		assert_int_equal(qcow2_amendment_of(before, &old), 0);
		block = open_alone(record_file_create(memory_file_create(&disk),
						      &recording, 0),
				   false);
		assert_int_equal(qcow2_amend(block, &c->to), 0);
		assert_int_equal(block_close(block), 0);
		check(&disk, NULL, &c->to);
		judge(c, &disk);
		for (int round = 0; round < 4; round++)
			replay(&base, &recording, &seed, &old, &c->to);
		assert_int_equal(block_close(before), 0);
		recording_fini(&recording);
		free(disk.bytes);
		free(base.bytes);
	}
}

/* Every read, write and sync in turn, by a full or a broken disk. */
static void a_host_that_fails_leaves_the_old_or_the_new(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		const struct change *c = &changes[i];
		struct memory_bytes base;
		struct qcow2_amendment old; /* has its names from @before */
		struct block *before;
		bool done = false;

		make(c, &base);
		before = open_alone(memory_file_create(&base), true);
		qcow2_amendment_of(before, &old);
		for (uint64_t at = 1; !done; at += 1 + at / 16) {
			struct fault_plan plan = {
				.kinds = FAULT_READ | FAULT_WRITE | FAULT_SYNC,
				.fail_for = 1,
				.err = at % 2 ? -EIO : -ENOSPC
			};
			const struct qcow2_amendment *other;
			struct memory_bytes disk;
			struct block *block;
			int err;

			memory_copy(&disk, &base);
			block = open_alone(
				fault_file_create(memory_file_create(&disk),
						  &plan),
				false);
			plan.fail_at = plan.done + at;
			err = qcow2_amend(block, &c->to);
			done = plan.done < plan.fail_at;
			assert_true(!done || !err);
			plan.fail_at = 0;
			block_close(block);
			/* What fails when all is done but giving back what was
			 * freed leaves only a leak. */
			other = err ? &old : &c->to;
			check(&disk, done ? NULL : other, &c->to);
			free(disk.bytes);
		}
		block_close(before);
		free(base.bytes);
	}
}

static void what_does_not_fit_is_refused(void **state)
{
	struct qcow2_amendment a;
	char name[1100];
	struct block *block;

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	must("rm -f top.qcow2; qemu-img create -q -f qcow2 -o "
	     "cluster_size=512,refcount_bits=8 top.qcow2 1M");
	block = open_disk("top.qcow2");
	assert_int_equal(qcow2_amendment_of(block, &a), 0);
	a.backing = name;
	a.backing_fmt = "raw";
	assert_int_equal(qcow2_amend(block, &a), -EFBIG);
	name[500] = '\0';
	assert_int_equal(qcow2_amend(block, &a), -EFBIG);
	name[100] = '\0';
	assert_int_equal(qcow2_amend(block, &a), 0);
	a.version = 2;
	assert_int_equal(qcow2_amend(block, &a), -ENOTSUP);
	assert_int_equal(block_close(block), 0);
}

static void refcounts_that_are_too_large_are_refused(void **state)
{
	struct memory_bytes base, disk;
	struct qcow2_amendment a;
	struct block *block;

	(void)state;
	make(&(struct change){ .create = "-o cluster_size=4k",
			       .then = "qemu-img snapshot -c a top.qcow2 && "
				       "qemu-img snapshot -c b top.qcow2 && "
				       "qemu-img snapshot -c c top.qcow2" },
	     &base);
	memory_copy(&disk, &base);
	block = open_alone(memory_file_create(&disk), false);
	assert_int_equal(qcow2_amendment_of(block, &a), 0);
	for (a.refcount_bits = 1; a.refcount_bits <= 2; a.refcount_bits *= 2)
		assert_int_equal(qcow2_amend(block, &a), -ERANGE);
	a.refcount_bits = 4;
	assert_int_equal(qcow2_amend(block, &a), 0);
	assert_int_equal(block_close(block), 0);
	check(&disk, NULL, &a);
	free(disk.bytes);
	free(base.bytes);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crash_leaves_the_old_header_or_the_new),
		cmocka_unit_test(a_host_that_fails_leaves_the_old_or_the_new),
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(refcounts_that_are_too_large_are_refused),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
