/*
 * The header written anew: what was there stays, and a crash at any sector
 * leaves the old or the new.
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
	struct qcow2_amendment to;
} changes[] = {
	{ "another backing file",
	  "-u -b one -F raw",
	  { 3, false, "two.qcow2", "qcow2" } },
	{ "a longer name", "-u -b one -F raw", { 3, false, LONG LONG, "raw" } },
	{ "a shorter name",
	  "-u -b " LONG " -F qcow2",
	  { 3, false, "x", "qcow2" } },
	{ "a first backing file", "", { 3, false, "one", "raw" } },
	{ "a first one, in small clusters",
	  "-o cluster_size=512",
	  { 3, false, "one", "raw" } },
	{ "no backing file", "-u -b one -F raw", { 3, false, NULL, NULL } },
	{ "no format", "-u -b one -F raw", { 3, false, "one", NULL } },
	{ "version 2", "-u -b one -F raw", { 2, false, "one", "raw" } },
	{ "version 3",
	  "-o compat=0.10 -u -b one -F raw",
	  { 3, true, "one", "raw" } },
	{ "lazy refcounts", "", { 3, true, NULL, NULL } },
};

static struct block *open_alone(struct host_file *file, bool read_only)
{
	struct block_options options = { .path = "top.qcow2",
					 .read_only = read_only,
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
	       same_text(a->backing, b->backing) &&
	       same_text(a->backing_fmt, b->backing_fmt);
}

static void check(struct memory_bytes *memory,
		  const struct qcow2_amendment *old,
		  const struct qcow2_amendment *new)
{
	struct block *block = open_alone(memory_file_create(memory), true);
	struct qcow2_findings found = { 0 };
	struct qcow2_amendment is;

	assert_int_equal(qcow2_amendment_of(block, &is), 0);
	assert_true(same(&is, new) || (old && same(&is, old)));
	assert_int_equal(block_close(block), 0);
	assert_int_equal(qcow2_check(memory_file_create(memory), "top.qcow2", 0,
				     stderr, &found),
			 0);
	assert_int_equal(found.corruptions, 0);
}

/* Any part of what came after the last sync, sector by sector. */
static void replay(const struct memory_bytes *base,
		   const struct recording *recording, uint64_t *seed,
		   const struct qcow2_amendment *old,
		   const struct qcow2_amendment *new)
{
	for (size_t n = 0; n <= recording->count; n++) {
		struct memory_bytes memory;

		memory_crash(&memory, base, recording, n, seed);
		check(&memory, old, new);
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
		must("rm -f top.qcow2; qemu-img create -q -f qcow2 %s "
		     "top.qcow2 1M && qemu-io -c 'write 0 1M' -c 'write -z 0 "
		     "64k' top.qcow2 || true",
		     c->create);
		memory_load(&base, "top.qcow2");
		memory_copy(&disk, &base);
		before = open_alone(memory_file_create(&base), true);
		assert_int_equal(qcow2_amendment_of(before, &old), 0);
		block = open_alone(record_file_create(memory_file_create(&disk),
						      &recording, 0),
				   false);
		assert_int_equal(qcow2_amend(block, &c->to), 0);
		assert_int_equal(block_close(block), 0);
		check(&disk, NULL, &c->to);
		for (int round = 0; round < 4; round++)
			replay(&base, &recording, &seed, &old, &c->to);
		assert_int_equal(block_close(before), 0);
		recording_fini(&recording);
		free(disk.bytes);
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crash_leaves_the_old_header_or_the_new),
		cmocka_unit_test(what_does_not_fit_is_refused),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
