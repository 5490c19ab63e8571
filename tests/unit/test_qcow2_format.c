/* The bytes of qcow2: headers good and bad, entries, refcounts. No I/O. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/block/qcow2_format.h"
#include "util/bytes.h"
#include "util/checked.h"

#define CLUSTER 65536u

/* A valid version 3 header of a 1 GiB disk in clusters of 64 KiB. */
static void make_header(uint8_t *b)
{
	memset(b, 0, CLUSTER);
	put_be32(b, QCOW2_MAGIC);
	put_be32(b + 4, 3);
	put_be32(b + 20, 16);
	put_be64(b + 24, 1ull << 30);
	put_be32(b + 36, 2);
	put_be64(b + 40, 3 * CLUSTER);
	put_be64(b + 48, CLUSTER);
	put_be32(b + 56, 1);
	put_be32(b + 96, 4);
	put_be32(b + 100, 112);
}

static int parse(const uint8_t *b, struct qcow2_header *h,
		 struct qcow2_why *why)
{
	memset(why, 0, sizeof(*why));
	int err = qcow2_header_parse(b, CLUSTER, h, why);

	return err ? err : qcow2_header_usable(h, why);
}

/* A change to the header, of 1, 2, 4 or 8 bytes at an offset, and what comes
 * of it. */
struct bad {
	size_t at;
	unsigned width;
	uint64_t value;
	int err;
	const char *says;
};

static void put(uint8_t *b, const struct bad *bad)
{
	switch (bad->width) {
	case 1:
		b[bad->at] = bad->value;
		break;
	case 4:
		put_be32(b + bad->at, bad->value);
		break;
	default:
		put_be64(b + bad->at, bad->value);
	}
}

static const struct bad bad_headers[] = {
	{ 0, 4, 0x7f454c46, -EINVAL, "format=raw, or -f raw" },
	{ 4, 4, 1, -EINVAL, "version 1" },
	{ 4, 4, 4, -EINVAL, "version 4" },
	{ 20, 4, 8, -EINVAL, "cluster_bits is 8" },
	{ 20, 4, 22, -EINVAL, "cluster_bits is 22" },
	{ 20, 4, 0xffffffff, -EINVAL, "cluster_bits" },
	{ 24, 8, 1ull << 63, -EINVAL, "disk has" },
	{ 24, 8, 1ull << 40, -EINVAL, "too few" },
	{ 32, 4, 1, -ENOTSUP, "AES" },
	{ 32, 4, 2, -EINVAL, "LUKS" },
	{ 32, 4, 3, -EINVAL, "encryption method 3" },
	{ 36, 4, 0, -EINVAL, "too few" },
	{ 36, 4, 1, -EINVAL, "too few" },
	{ 36, 4, (32 << 20) / 8 + 1, -EINVAL, "32 MiB" },
	{ 40, 8, 3 * CLUSTER + 512, -EINVAL, "L1 table" },
	{ 40, 8, 0, -EINVAL, "L1 table" },
	{ 40, 8, 1ull << 63, -EINVAL, "L1 table" },
	{ 40, 8, 1ull << 60, -EINVAL, "L1 table" },
	{ 40, 8, CLUSTER, -EINVAL, "overlap" },
	{ 48, 8, 0, -EINVAL, "refcount table" },
	{ 48, 8, CLUSTER + 8, -EINVAL, "refcount table" },
	{ 48, 8, 0xffffffffffff0000, -EINVAL, "refcount table" },
	{ 48, 8, 1ull << 56, -EINVAL, "refcount table" },
	{ 56, 4, 0, -EINVAL, "no refcount table" },
	{ 56, 4, 129, -EINVAL, "8 MiB" },
	{ 56, 4, 0xffffffff, -EINVAL, "8 MiB" },
	{ 56, 4, 3, -EINVAL, "overlap" },
	{ 60, 8, 65537ull << 32 | 1, -EINVAL, "65537 snapshots" },
	{ 60, 4, 1, -EINVAL, "snapshot table" },
	{ 72, 8, 1 << 3, -EINVAL, "compression type" },
	{ 72, 8, 1 << 5, -ENOTSUP, "feature 5" },
	{ 72, 8, 1ull << 63, -ENOTSUP, "feature 63" },
	{ 88, 8, 1 << 1, -EINVAL, "data file raw" },
	{ 96, 4, 7, -EINVAL, "refcount_order is 7" },
	{ 100, 4, 96, -EINVAL, "length is 96" },
	{ 100, 4, 108, -EINVAL, "length is 108" },
	{ 100, 4, 2 * CLUSTER, -EINVAL, "length" },
	{ 104, 1, 1, -EINVAL, "compression type" },
	{ 112, 8, 0x1234567800010000, -EINVAL, "extension 0x12345678" },
	{ 112, 8, 0x1234567800000018 | 0xffffff00, -EINVAL, "extension" },
	{ 112, 8, 0x0537be7700000010, -EINVAL, "LUKS extension" },
	{ 112, 8, 0x4441544100000400, -EINVAL,
	  "data file's name has 1024 bytes" },
	{ 112, 8, 0x4441544100000008, -EINVAL, "control characters" },
	{ 112, 8, 0x2385287500000017, -EINVAL, "bitmaps" },
	{ 112, 8, 0x2385287500000018, -EINVAL, "0 bitmaps" },
};

static void a_bad_header_is_refused_with_a_reason(void **state)
{
	uint8_t *b = malloc(CLUSTER);
	struct qcow2_header h;
	struct qcow2_why why;

	(void)state;
	assert_non_null(b);
	for (size_t i = 0; i < ARRAY_SIZE(bad_headers); i++) {
		const struct bad *bad = &bad_headers[i];

		make_header(b);
		assert_int_equal(parse(b, &h, &why), 0);
		put(b, bad);
		if (parse(b, &h, &why) != bad->err ||
		    !strstr(why.text, bad->says))
			fail_msg("case %zu: want \"%s\", got \"%s\"", i,
				 bad->says, why.text);
	}
	free(b);
}

static void a_backing_name_must_lie_in_the_header_cluster(void **state)
{
	static const struct {
		uint64_t offset;
		uint32_t len;
		char fill;
		int err;
	} cases[] = {
		{ 1024, 10, 'a', 0 },
		{ 1024, 1023, 'a', 0 },
		{ CLUSTER - 1023, 1023, 'a', 0 },
		{ 0, 5000, 'a', 0 }, /* offset 0: no backing file */
		{ 1024, 1024, 'a', -EINVAL },
		{ 1024, 0xffffffff, 'a', -EINVAL },
		{ CLUSTER - 1022, 1023, 'a', -EINVAL },
		{ UINT64_MAX, 10, 'a', -EINVAL },
		{ 40, 10, 'a', -EINVAL },
		{ 1024, 10, '\0', -EINVAL },
		{ 1024, 10, '\033', -EINVAL },
	};
	uint8_t *b = malloc(CLUSTER);
	struct qcow2_header h;
	struct qcow2_why why;

	(void)state;
	assert_non_null(b);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		make_header(b);
		memset(b + 1024, cases[i].fill, CLUSTER - 1024);
		put_be64(b + 8, cases[i].offset);
		put_be32(b + 16, cases[i].len);
		assert_int_equal(parse(b, &h, &why), cases[i].err);
		if (!cases[i].err)
			assert_int_equal(strlen(h.backing),
					 cases[i].offset ? cases[i].len : 0);
	}
	free(b);
}

static void an_unknown_feature_is_called_what_the_image_calls_it(void **s)
{
	uint8_t *b = malloc(CLUSTER);
	struct qcow2_header h;
	struct qcow2_why why;

	(void)s;
	assert_non_null(b);
	make_header(b);
	put_be64(b + 72, 1ull << 9);
	put_be32(b + 112, 0x6803f857);
	put_be32(b + 116, 96);
	b[120] = 1; /* the same bit of the compatible features */
	b[121] = 9;
	strcpy((char *)b + 122, "wrong");
	b[168] = 0;
	b[169] = 9;
	strcpy((char *)b + 170, "time\033travel");
	assert_int_equal(parse(b, &h, &why), -ENOTSUP);
	assert_non_null(strstr(why.text, "feature 9: time?travel,"));
	free(b);
}

static void zstd_is_known_and_what_comes_after_it_refused(void **state)
{
	uint8_t *b = malloc(CLUSTER);
	struct qcow2_header h;
	struct qcow2_why why;

	(void)state;
	assert_non_null(b);
	make_header(b);
	put_be64(b + 72, QCOW2_COMPRESSION);
	b[104] = 1;
	assert_int_equal(parse(b, &h, &why), 0);
	assert_int_equal(h.compression, QCOW2_ZSTD);
	b[104] = 2;
	assert_int_equal(parse(b, &h, &why), -ENOTSUP);
	assert_non_null(strstr(why.text, "compression type 2"));
	free(b);
}

static void version_2_has_no_features_and_16_bit_refcounts(void **s)
{
	uint8_t *b = malloc(CLUSTER);
	struct qcow2_header h;
	struct qcow2_why why;

	(void)s;
	assert_non_null(b);
	make_header(b);
	put_be32(b + 4, 2);
	memset(b + 72, 0, 40);
	put_be64(b + 24, (1ull << 30) + 511);
	put_be32(b + 36, 3);
	put_be32(b + 72, 0xe2792aca);
	put_be32(b + 76, 3);
	memcpy(b + 80, "raw", 3);
	assert_int_equal(parse(b, &h, &why), 0);
	assert_int_equal(h.version, 2);
	assert_int_equal(h.refcount_order, 4);
	assert_int_equal(h.incompatible, 0);
	assert_int_equal(h.size, 1ull << 30);
	assert_string_equal(h.backing_format, "raw");
	free(b);
}

static void an_entry_says_what_its_cluster_is(void **state)
{
	static const struct {
		uint64_t raw;
		unsigned bits, version;
		int err;
		enum qcow2_kind kind;
		bool copied;
		uint64_t host, bytes;
	} cases[] = {
		{ 0, 16, 3, 0, QCOW2_KIND_UNALLOCATED, false, 0, 0 },
		{ QCOW2_COPIED, 16, 3, 0, QCOW2_KIND_UNALLOCATED, false, 0, 0 },
		{ 1, 16, 3, 0, QCOW2_KIND_ZERO, false, 0, 0 },
		{ 0x50000, 16, 2, 0, QCOW2_KIND_DATA, false, 0x50000, 0 },
		{ QCOW2_COPIED | 0x50000, 16, 3, 0, QCOW2_KIND_DATA, true,
		  0x50000, 0 },
		{ QCOW2_COPIED | 0x50001, 16, 3, 0, QCOW2_KIND_ZERO_ALLOCATED,
		  true, 0x50000, 0 },
		{ 0x50001, 16, 3, 0, QCOW2_KIND_ZERO_ALLOCATED, false, 0x50000,
		  0 },
		{ 1, 16, 2, -EIO, 0, false, 0, 0 },
		{ 0x50002, 16, 3, -EIO, 0, false, 0, 0 },
		{ 0x50200, 16, 3, -EIO, 0, false, 0, 0 },
		{ 0x0100000000050000, 16, 3, -EIO, 0, false, 0, 0 },
		/* 64 KiB: 54 bits of offset, 8 of sectors. */
		{ QCOW2_COMPRESSED | 3ull << 54 | 0x50123, 16, 3, 0,
		  QCOW2_KIND_COMPRESSED, false, 0x50123, 4 * 512 - 0x123 },
		{ QCOW2_COMPRESSED | 255ull << 54 | 0x50000, 16, 3, 0,
		  QCOW2_KIND_COMPRESSED, false, 0x50000, 65536 * 2 },
		/* 512 bytes: 61 bits of offset, 1 of sectors. */
		{ QCOW2_COMPRESSED | 1ull << 61 | 0x1ff, 9, 3, 0,
		  QCOW2_KIND_COMPRESSED, false, 0x1ff, 1024 - 0x1ff },
		/* 2 MiB: 49 bits of offset, 13 of sectors. */
		{ QCOW2_COMPRESSED | 8191ull << 49 | 0x200, 21, 3, 0,
		  QCOW2_KIND_COMPRESSED, false, 0x200, 8192 * 512 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct qcow2_entry entry;

		assert_int_equal(qcow2_entry_decode(cases[i].raw, cases[i].bits,
						    cases[i].version, &entry),
				 cases[i].err);
		if (cases[i].err)
			continue;
		assert_int_equal(entry.kind, cases[i].kind);
		assert_int_equal(entry.copied, cases[i].copied);
		assert_int_equal(entry.host, cases[i].host);
		assert_int_equal(entry.bytes, cases[i].bytes);
	}
}

static void an_extended_entry_says_what_its_subclusters_are(void **state)
{
	static const struct {
		uint64_t raw, bitmap;
		int err;
		enum qcow2_kind first, last;
	} cases[] = {
		{ 0, 0, 0, QCOW2_KIND_UNALLOCATED, QCOW2_KIND_UNALLOCATED },
		{ 0, 1ull << 32, 0, QCOW2_KIND_ZERO, QCOW2_KIND_UNALLOCATED },
		{ 0, 1ull << 63, 0, QCOW2_KIND_UNALLOCATED, QCOW2_KIND_ZERO },
		{ 0x50000, 1, 0, QCOW2_KIND_DATA, QCOW2_KIND_UNALLOCATED },
		{ QCOW2_COPIED | 0x50000, 1ull << 63 | 1, 0, QCOW2_KIND_DATA,
		  QCOW2_KIND_ZERO_ALLOCATED },
		{ QCOW2_COMPRESSED | 0x50123, 0, 0, QCOW2_KIND_COMPRESSED,
		  QCOW2_KIND_COMPRESSED },
		{ QCOW2_COMPRESSED | 0x50123, 1, -EIO, 0, 0 },
		{ QCOW2_COMPRESSED | 0x50123, 1ull << 40, -EIO, 0, 0 },
		/* Data without a place; data that are zeros; the zero bit. */
		{ 0, 1, -EIO, 0, 0 },
		{ 0x50000, 1ull << 35 | 1 << 3, -EIO, 0, 0 },
		{ 0x50001, 0, -EIO, 0, 0 },
		{ 1, 0, -EIO, 0, 0 },
		{ 0x50200, 0, -EIO, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct qcow2_entry entry;

		assert_int_equal(qcow2_extended_decode(cases[i].raw,
						       cases[i].bitmap, 16,
						       &entry),
				 cases[i].err);
		if (cases[i].err)
			continue;
		assert_int_equal(qcow2_sub_kind(&entry, 0), cases[i].first);
		assert_int_equal(qcow2_sub_kind(&entry, 31), cases[i].last);
	}
}

static void every_width_of_refcount_keeps_its_neighbours(void **state)
{
	(void)state;
	for (unsigned order = 0; order <= 6; order++) {
		uint64_t max = qcow2_refcount_max(order);
		uint64_t n = 512 * 8 >> order;
		uint8_t block[512];

		for (uint64_t i = 0; i < n; i++) {
			memset(block, 0xff, sizeof(block));
			qcow2_refcount_put(block, order, i, 0);
			for (uint64_t k = 0; k < n; k++)
				assert_int_equal(
					qcow2_refcount_get(block, order, k),
					k == i ? 0 : max);
			memset(block, 0, sizeof(block));
			qcow2_refcount_put(block, order, i, max);
			for (uint64_t k = 0; k < n; k++)
				assert_int_equal(
					qcow2_refcount_get(block, order, k),
					k == i ? max : 0);
		}
	}
}

static void narrow_refcounts_begin_in_the_low_bits(void **state)
{
	static const struct {
		unsigned order;
		uint64_t index;
		uint8_t bytes[8];
	} cases[] = {
		{ 0, 0, { 0x01 } },       { 0, 7, { 0x80 } },
		{ 0, 8, { 0, 0x01 } },    { 1, 1, { 0x04 } },
		{ 1, 4, { 0, 0x01 } },    { 2, 1, { 0x10 } },
		{ 3, 1, { 0, 0x01 } },    { 4, 1, { 0, 0, 0, 0x01 } },
		{ 5, 0, { 0, 0, 0, 1 } }, { 6, 0, { 0, 0, 0, 0, 0, 0, 0, 1 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t block[8] = { 0 };

		qcow2_refcount_put(block, cases[i].order, cases[i].index, 1);
		assert_memory_equal(block, cases[i].bytes, 8);
	}
}

static void a_damaged_snapshot_entry_is_refused(void **state)
{
	uint8_t good[64] = { 0 }, bad[64];
	struct qcow2_snapshot snapshot;

	(void)state;
	put_be64(good, 5 * CLUSTER);
	put_be32(good + 8, 3);
	put_be16(good + 12, 1);
	put_be16(good + 14, 2);
	put_be32(good + 36, 16);
	assert_int_equal(qcow2_snapshot_parse(good, 64, 16, &snapshot), 64);
	assert_int_equal(snapshot.l1_offset, 5 * CLUSTER);
	assert_int_equal(snapshot.l1_entries, 3);
	assert_int_equal(qcow2_snapshot_parse(good, 63, 16, &snapshot), 0);
	assert_int_equal(qcow2_snapshot_parse(good, 39, 16, &snapshot), 0);
	memcpy(bad, good, 64);
	put_be64(bad, 5 * CLUSTER + 512);
	assert_int_equal(qcow2_snapshot_parse(bad, 64, 16, &snapshot), 0);
	memcpy(bad, good, 64);
	put_be32(bad + 36, 1025);
	assert_int_equal(qcow2_snapshot_parse(bad, 64, 16, &snapshot), 0);
	memcpy(bad, good, 64);
	put_be32(bad + 8, (32 << 20) / 8 + 1);
	assert_int_equal(qcow2_snapshot_parse(bad, 64, 16, &snapshot), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bad_header_is_refused_with_a_reason),
		cmocka_unit_test(a_backing_name_must_lie_in_the_header_cluster),
		cmocka_unit_test(
			an_unknown_feature_is_called_what_the_image_calls_it),
		cmocka_unit_test(zstd_is_known_and_what_comes_after_it_refused),
		cmocka_unit_test(
			version_2_has_no_features_and_16_bit_refcounts),
		cmocka_unit_test(an_entry_says_what_its_cluster_is),
		cmocka_unit_test(
			an_extended_entry_says_what_its_subclusters_are),
		cmocka_unit_test(every_width_of_refcount_keeps_its_neighbours),
		cmocka_unit_test(narrow_refcounts_begin_in_the_low_bits),
		cmocka_unit_test(a_damaged_snapshot_entry_is_refused),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
