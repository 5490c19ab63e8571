#include "unit.h"

#include "devices/virtio/blk_request.h"
#include "util/checked.h"

#define DISK (100 * BLOCK_SECTOR)

static void requests_are_parsed_from_the_header_alone(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint64_t out_bytes, in_bytes;
		bool read_only;
		uint8_t status;
		struct blk_command command; /* when the status is OK */
	} cases[] = {
#define IN    VIRTIO_BLK_T_IN
#define OUT   VIRTIO_BLK_T_OUT
#define FLUSH VIRTIO_BLK_T_FLUSH
#define ID    VIRTIO_BLK_T_GET_ID
#define OK    VIRTIO_BLK_S_OK
#define IOERR VIRTIO_BLK_S_IOERR
		{ IN,
		  1,
		  0,
		  1024,
		  false,
		  OK,
		  { 0, BLOCK_READ, 512, 1024, false } },
		{ IN,
		  99,
		  0,
		  512,
		  true,
		  OK,
		  { 0, BLOCK_READ, 99 * 512, 512, false } },
		{ OUT,
		  0,
		  DISK,
		  0,
		  false,
		  OK,
		  { 0, BLOCK_WRITE, 0, DISK, false } },
		{ IN, 0, 0, 0, false, OK, { 0, BLOCK_READ, 0, 0, false } },
		/* Past the end, by a little and by an overflow. */
		{ IN, 99, 0, 1024, false, IOERR, { 0 } },
		{ IN, 100, 0, 512, false, IOERR, { 0 } },
		{ OUT, 100, 512, 0, false, IOERR, { 0 } },
		{ IN, UINT64_MAX, 0, 512, false, IOERR, { 0 } },
		{ IN, 1ull << 55, 0, 512, false, IOERR, { 0 } },
		{ OUT, UINT64_MAX / 512, 1024, 0, false, IOERR, { 0 } },
		/* Lengths that are no sectors. */
		{ IN, 0, 0, 511, false, IOERR, { 0 } },
		{ OUT, 0, 513, 0, false, IOERR, { 0 } },
		/* A read-only disk. */
		{ OUT, 0, 512, 0, true, IOERR, { 0 } },
		{ OUT, 0, 0, 0, true, IOERR, { 0 } },
		{ FLUSH, 0, 0, 0, true, OK, { 0, BLOCK_FLUSH, 0, 0, false } },
		{ FLUSH, 7, 0, 0, false, OK, { 0, BLOCK_FLUSH, 0, 0, false } },
		{ ID, 0, 0, 20, true, OK, { true, 0, 0, 0, false } },
		/* Types nobody knows, and some only others know. */
		{ 2, 0, 0, 512, false, VIRTIO_BLK_S_UNSUPP, { 0 } },
		{ 14, 0, 16, 0, false, VIRTIO_BLK_S_UNSUPP, { 0 } },
		{ 0x80000000, 0, 0, 512, false, VIRTIO_BLK_S_UNSUPP, { 0 } },
		{ UINT32_MAX, 0, 0, 512, false, VIRTIO_BLK_S_UNSUPP, { 0 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct virtio_blk_outhdr header = { .type = cases[i].type,
						    .sector = cases[i].sector };
		struct blk_context context = {
			.size = DISK,
			.read_only = cases[i].read_only,
			.discard = true,
			.out_bytes = cases[i].out_bytes,
			.in_bytes = cases[i].in_bytes,
		};
		struct blk_command command;

		if (blk_parse(&header, &context, &command) != cases[i].status)
			fail_msg("case %zu: wrong status", i);
		if (cases[i].status != VIRTIO_BLK_S_OK)
			continue;
		assert_int_equal(command.get_id, cases[i].command.get_id);
		assert_int_equal(command.op, cases[i].command.op);
		assert_int_equal(command.offset, cases[i].command.offset);
		assert_int_equal(command.length, cases[i].command.length);
	}
}

static void ranges_to_discard_or_zero_are_in_the_payload(void **state)
{
	static const struct {
		uint32_t type;
		struct virtio_blk_discard_write_zeroes range;
		uint64_t out_bytes;
		bool read_only;
		uint8_t status;
		struct blk_command command;
	} cases[] = {
#define DISCARD VIRTIO_BLK_T_DISCARD
#define ZEROES  VIRTIO_BLK_T_WRITE_ZEROES
#define UNSUPP  VIRTIO_BLK_S_UNSUPP
		{ DISCARD,
		  { 8, 16, 0 },
		  16,
		  false,
		  OK,
		  { 0, BLOCK_DISCARD, 8 * 512, 16 * 512, false } },
		{ ZEROES,
		  { 99, 1, 0 },
		  16,
		  false,
		  OK,
		  { 0, BLOCK_ZERO, 99 * 512, 512, false } },
		{ ZEROES,
		  { 0, 0, 1 },
		  16,
		  false,
		  OK,
		  { 0, BLOCK_ZERO, 0, 0, true } },
		/* Flags that are not known, or not for this type. */
		{ DISCARD, { 0, 1, 1 }, 16, false, UNSUPP, { 0 } },
		{ ZEROES, { 0, 1, 2 }, 16, false, UNSUPP, { 0 } },
		/* Past the end, by a little and by an overflow. */
		{ ZEROES, { 99, 2, 0 }, 16, false, IOERR, { 0 } },
		{ DISCARD, { UINT64_MAX, 1, 0 }, 16, false, IOERR, { 0 } },
		{ DISCARD, { 1ull << 55, 1, 0 }, 16, false, IOERR, { 0 } },
		{ DISCARD, { 0, UINT32_MAX, 0 }, 16, false, IOERR, { 0 } },
		/* No range, half a range, two ranges. */
		{ DISCARD, { 0, 1, 0 }, 0, false, IOERR, { 0 } },
		{ DISCARD, { 0, 1, 0 }, 15, false, IOERR, { 0 } },
		{ ZEROES, { 0, 1, 0 }, 32, false, IOERR, { 0 } },
		{ ZEROES, { 0, 1, 0 }, 16, true, IOERR, { 0 } },
		{ DISCARD, { 0, 1, 0 }, 16, true, IOERR, { 0 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		/* The header's own sector means nothing here. */
		struct virtio_blk_outhdr header = { .type = cases[i].type,
						    .sector = UINT64_MAX };
		struct blk_context context = {
			.size = DISK,
			.read_only = cases[i].read_only,
			.discard = true,
			.out_bytes = cases[i].out_bytes,
			.range = cases[i].range,
		};
		struct blk_command command;

		if (blk_parse(&header, &context, &command) != cases[i].status)
			fail_msg("case %zu: wrong status", i);
		if (cases[i].status != OK)
			continue;
		assert_int_equal(command.op, cases[i].command.op);
		assert_int_equal(command.offset, cases[i].command.offset);
		assert_int_equal(command.length, cases[i].command.length);
		assert_int_equal(command.unmap, cases[i].command.unmap);
	}
}

static void space_is_given_back_only_where_that_is_offered(void **state)
{
	struct virtio_blk_outhdr header = { .type = ZEROES };
	struct blk_context context = {
		.size = DISK,
		.out_bytes = 16,
		.range = { 0, 1, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP },
	};
	struct blk_command command;

	(void)state;
	/* The flag says that it may be, not that it must. */
	assert_int_equal(blk_parse(&header, &context, &command), OK);
	assert_int_equal(command.op, BLOCK_ZERO);
	assert_false(command.unmap);
	header.type = DISCARD;
	context.range.flags = 0;
	assert_int_equal(blk_parse(&header, &context, &command), UNSUPP);
}

static void a_request_ends_where_the_limits_told_to_the_driver_end(void **state)
{
	static const uint32_t types[] = { IN, OUT };
	struct blk_command command;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct virtio_blk_outhdr header = { .type = types[i] };
		struct blk_context context = {
			.size = 1ull << 40,
			.out_bytes = types[i] == OUT ? BLK_TRANSFER_MAX : 0,
			.in_bytes = types[i] == IN ? BLK_TRANSFER_MAX : 0,
		};

		assert_int_equal(blk_parse(&header, &context, &command), OK);
		assert_int_equal(command.length, 254ull << 20);
		context.out_bytes += types[i] == OUT ? 512 : 0;
		context.in_bytes += types[i] == IN ? 512 : 0;
		assert_int_equal(blk_parse(&header, &context, &command), IOERR);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(requests_are_parsed_from_the_header_alone),
	cmocka_unit_test(ranges_to_discard_or_zero_are_in_the_payload),
	cmocka_unit_test(space_is_given_back_only_where_that_is_offered),
	cmocka_unit_test(
		a_request_ends_where_the_limits_told_to_the_driver_end),
};

UNIT_MAIN(tests)
