/*
 * Keys added and erased: what is refused changes nothing, and a crash at any
 * sector or a host that fails leaves a key that opens.
 */
#include <errno.h>

#include "devices/block/secret.h"
#include "disk_luks.h"
#include "util/bytes.h"

#define OFFSET 1536 /* of the area, in its file */
#define ANY    (-1)

static const char *const passphrases[] = { "one", "two", "three" };

static const struct change_case {
	const char *name;
	const char *before; /* the passphrase of each slot by number; 0: free */
	bool erase, force;
	int slot;
	const char *passphrase;
	int err;
	const char *after;
} cases[] = {
	{ "a second key", "1", false, false, ANY, "two", 0, "12" },
	{ "one in the slot that was asked for", "1", false, false, 6, "two", 0,
	  "1000002" },
	{ "one in the last slot", "1", false, false, 7, "one", 0, "10000001" },
	{ "the first free slot", "1203", false, false, ANY, "one", 0, "1213" },
	{ "over another", "1", false, false, 0, "two", -EINVAL, "1" },
	{ "over the only one, by force", "1", false, true, 0, "two", 0, "2" },
	{ "over one of two", "12", false, true, 1, "three", 0, "13" },
	{ "over one where all are used", "12121213", false, true, 6, "three", 0,
	  "12121233" },
	{ "a ninth", "12121212", false, false, ANY, "three", -EINVAL,
	  "12121212" },
	{ "no ninth by force", "12121212", false, true, ANY, "three", -EINVAL,
	  "12121212" },
	{ "erase a slot", "12", true, false, 0, NULL, 0, "02" },
	{ "erase one of two that are alike", "1000001", true, false, 6, NULL, 0,
	  "1" },
	{ "erase a passphrase", "12", true, false, ANY, "two", 0, "1" },
	{ "erase it from all its slots", "2122", true, false, ANY, "two", 0,
	  "01" },
	{ "erase the slot if it has that passphrase", "12", true, false, 1,
	  "two", 0, "1" },
	{ "it has another", "12", true, false, 1, "one", -EINVAL, "12" },
	{ "none has it", "12", true, false, ANY, "three", -EINVAL, "12" },
	{ "a slot that is free", "12", true, false, 2, NULL, -EINVAL, "12" },
	{ "a free slot by force", "12", true, true, 2, NULL, 0, "12" },
	{ "the only slot", "1", true, false, 0, NULL, -EINVAL, "1" },
	{ "the only passphrase", "11", true, false, ANY, "one", -EINVAL, "11" },
	{ "the only slot by force", "1", true, true, 0, NULL, 0, "0" },
};

static struct xts *key; /* of every area here */
/* How the next one is encrypted. */
static struct luks_kind kind = { .hash = HASH_SHA256, .key_len = 64 };

static struct luks_secret secret_of(const char *text)
{
	return (struct luks_secret){ (const uint8_t *)text,
				     text ? strlen(text) : 0 };
}

static int amend(struct host_file *file, const struct change_case *c)
{
	struct luks_change change = {
		.area = { file, OFFSET, LUKS_AREA, "test" },
		.key = key,
		.erase = c->erase,
		.force = c->force,
		.slot = c->slot,
		.secret = secret_of(c->passphrase),
	};

	return luks_amend(&change);
}

/* The area with keys in those slots. */
static void make(const char *slots, struct memory_bytes *memory)
{
	struct host_file *file;
	struct luks_area area = { NULL, OFFSET, LUKS_AREA, "test" };
	struct luks_secret first = secret_of(passphrases[*slots - '1']);

	*memory = (struct memory_bytes){ .bytes = calloc(1, OFFSET + LUKS_AREA),
					 .size = OFFSET + LUKS_AREA,
					 .limit = OFFSET + LUKS_AREA };
	assert_non_null(memory->bytes);
	assert_int_equal(luks_create(memory->bytes + OFFSET, &kind, &first, 0),
			 0);
	file = memory_file_create(memory);
	assert_non_null(file);
	area.file = file;
	assert_int_equal(luks_open(&area, &first, &key), 0);
	for (int i = 1; slots[i]; i++) {
		struct change_case c = { .slot = i };

		if (slots[i] == '0')
			continue;
		c.passphrase = passphrases[slots[i] - '1'];
		assert_int_equal(amend(file, &c), 0);
	}
	file->ops->close(file);
}

static void forget(struct memory_bytes *memory)
{
	free(memory->bytes);
	secret_free(key, sizeof(*key));
}

/* Whether slot @n is active and has that passphrase, '0' for a free one. */
static bool slot_is(struct memory_bytes *memory, int n, char which)
{
	struct luks_area area = { memory_file_create(memory), OFFSET, LUKS_AREA,
				  "test" };
	struct luks_header header;
	struct luks_secret secret;
	bool is;

	assert_non_null(area.file);
	assert_int_equal(luks_read_header(&area, &header), 0);
	if (which == '0') {
		is = !header.slot[n].active;
	} else {
		secret = secret_of(passphrases[which - '1']);
		is = luks_find_slot(&area, &header, 1u << n, &secret, NULL) ==
		     n;
	}
	area.file->ops->close(area.file);
	return is;
}

static void check(struct memory_bytes *memory, const char *slots)
{
	bool ended = false;

	for (int n = 0; n < LUKS_SLOTS; n++) {
		ended = ended || !slots[n];
		assert_true(slot_is(memory, n, ended ? '0' : slots[n]));
	}
}

/* Of the slots that are not to change none has; and a key that was there, or
 * the new one, opens. */
static void check_between(struct memory_bytes *memory,
			  const struct change_case *c)
{
	size_t before = strlen(c->before), after = strlen(c->after);
	bool opens = false;

	for (size_t n = 0; n < LUKS_SLOTS; n++) {
		char was = n < before ? c->before[n] : '0';
		char is = n < after ? c->after[n] : '0';

		if (was == is && was != '0') {
			assert_true(slot_is(memory, n, was));
			opens = true;
		}
	}
	/* Else it is the only one, which another is to replace. */
	for (size_t n = 0; n < LUKS_SLOTS && !opens; n++)
		opens = slot_is(memory, n, *c->before) ||
			slot_is(memory, n, *c->after);
	assert_true(opens);
}

static void every_change_does_what_it_says_or_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct change_case *c = &cases[i];
		struct recording recording = { 0 };
		struct memory_bytes memory;
		struct host_file *file;

		print_message("%s\n", c->name);
		kind.hash = i % HASH_KINDS;
		kind.key_len = i % 2 ? 32 : 64;
		make(c->before, &memory);
		file = record_file_create(memory_file_create(&memory),
					  &recording, 0);
		assert_non_null(file);
		assert_int_equal(amend(file, c), c->err);
		file->ops->close(file);
		check(&memory, c->after);
		assert_true(!c->err == !!recording.count);
		recording_fini(&recording);
		forget(&memory);
	}
	kind = luks_usual;
}

/* Any part of what came after the last sync, sector by sector. */
static void a_crash_leaves_a_key_that_opens(void **state)
{
	uint64_t seed = 3;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct change_case *c = &cases[i];
		struct recording recording = { 0 };
		struct memory_bytes base, memory;
		struct host_file *file;

		if (c->err || !strcmp(c->after, "0"))
			continue;
		print_message("%s\n", c->name);
		make(c->before, &base);
		memory_copy(&memory, &base);
		file = record_file_create(memory_file_create(&memory),
					  &recording, 0);
		assert_non_null(file);
		assert_int_equal(amend(file, c), 0);
		file->ops->close(file);
		free(memory.bytes);
		for (size_t n = 0; n <= recording.count; n++) {
			memory_crash(&memory, &base, &recording, n, &seed);
			check_between(&memory, c);
			free(memory.bytes);
		}
		recording_fini(&recording);
		forget(&base);
	}
}

/* Every read, write and sync in turn, by a full or a broken disk. */
static void a_host_that_fails_leaves_a_key_that_opens(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct change_case *c = &cases[i];
		struct memory_bytes base;
		bool done = false;

		if (c->err || !strcmp(c->after, "0"))
			continue;
		make(c->before, &base);
		for (uint64_t at = 1; !done; at++) {
			struct fault_plan plan = {
				.kinds = FAULT_READ | FAULT_WRITE | FAULT_SYNC,
				.fail_at = at,
				.fail_for = 1,
				.err = at % 2 ? -EIO : -ENOSPC
			};
			struct memory_bytes memory;
			struct host_file *file;
			int err;

			memory_copy(&memory, &base);
			file = fault_file_create(memory_file_create(&memory),
						 &plan);
			assert_non_null(file);
			err = amend(file, c);
			done = plan.done < at;
			assert_int_equal(err, done ? 0 : plan.err);
			file->ops->close(file);
			check_between(&memory, c);
			free(memory.bytes);
		}
		forget(&base);
	}
}

/* Every sector of the stripes, and the salt without which they are noise. */
static void nothing_is_left_of_a_key_that_was_erased(void **state)
{
	static const struct change_case c = { .erase = true, .slot = 1 };
	struct memory_bytes before, after;
	struct host_file *file;
	const uint64_t at = OFFSET + 4096 + 258048;
	const uint64_t slot = OFFSET + LUKS_AT_SLOTS + LUKS_SLOT_LEN;

	(void)state;
	make("12", &before);
	memory_copy(&after, &before);
	file = memory_file_create(&after);
	assert_non_null(file);
	assert_int_equal(amend(file, &c), 0);
	file->ops->close(file);
	for (uint64_t i = 0; i < LUKS_MATERIAL_MAX; i += 512)
		assert_memory_not_equal(before.bytes + at + i,
					after.bytes + at + i, 512);
	for (unsigned i = 4; i < 40; i++)
		assert_int_equal(after.bytes[slot + i], 0);
	assert_memory_equal(before.bytes + slot + 40, after.bytes + slot + 40,
			    8);
	free(after.bytes);
	forget(&before);
}

/* The places of slots are what a hostile header says they are. */
static void a_slot_that_lies_over_others_is_not_written(void **state)
{
	static const uint32_t places[] = { 0,
					   1,
					   8,
					   8 + 499,
					   LUKS_AREA / 512,
					   LUKS_AREA / 512 - 499,
					   0xffffffff };
	static const struct change_case changes[] = {
		{ .slot = ANY, .passphrase = "two" },
		{ .slot = 1, .passphrase = "two", .force = true },
		{ .slot = 0, .passphrase = "two", .force = true },
		{ .slot = 1, .erase = true, .force = true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(places) * ARRAY_SIZE(changes); i++) {
		const struct change_case *c = &changes[i % ARRAY_SIZE(changes)];
		struct memory_bytes memory, before;
		struct host_file *file;

		make("1", &memory);
		put_be32(memory.bytes + OFFSET + LUKS_AT_SLOTS + LUKS_SLOT_LEN +
				 40,
			 places[i / ARRAY_SIZE(changes)]);
		memory_copy(&before, &memory);
		file = memory_file_create(&memory);
		assert_non_null(file);
		assert_int_equal(amend(file, c), -EINVAL);
		file->ops->close(file);
		assert_int_equal(memory.size, before.size);
		assert_memory_equal(memory.bytes, before.bytes, memory.size);
		free(before.bytes);
		forget(&memory);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_change_does_what_it_says_or_nothing),
		cmocka_unit_test(a_crash_leaves_a_key_that_opens),
		cmocka_unit_test(a_host_that_fails_leaves_a_key_that_opens),
		cmocka_unit_test(nothing_is_left_of_a_key_that_was_erased),
		cmocka_unit_test(a_slot_that_lies_over_others_is_not_written),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
