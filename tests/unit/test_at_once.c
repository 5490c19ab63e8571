/*
 * Small writes to the page cache are done when they are submitted, until one
 * has to wait: then the engine does them for a while. The clock is the test's.
 */
#include "disk_test.h"

#include <sys/syscall.h>
#include <time.h>

/* From one look at the clock to the next, and what it shows: nanoseconds. */
static uint64_t step, shown = 1000000000;

/* In place of the C library's, for all of this program. */
int clock_gettime(clockid_t id, struct timespec *now)
{
	uint64_t time;

	if (id != CLOCK_MONOTONIC)
		return (int)syscall(SYS_clock_gettime, id, now);
	/* The engine's threads may look, too. */
	time = __atomic_add_fetch(&shown, step, __ATOMIC_RELAXED);
	now->tv_sec = (time_t)(time / 1000000000);
	now->tv_nsec = (long)(time % 1000000000);
	return 0;
}

static const struct way {
	const char *name;
	enum block_io io;
	enum block_cache cache;
	uint64_t length;
	bool at_once; /* while nothing takes long */
} ways[] = {
	{ "threads", BLOCK_IO_THREADS, BLOCK_CACHE_WRITEBACK, 4096, true },
	{ "uring", BLOCK_IO_URING, BLOCK_CACHE_WRITEBACK, 4096, true },
	{ "unsafe", BLOCK_IO_THREADS, BLOCK_CACHE_UNSAFE, 65536, true },
	{ "large", BLOCK_IO_THREADS, BLOCK_CACHE_WRITEBACK, 66048, false },
	{ "direct", BLOCK_IO_THREADS, BLOCK_CACHE_NONE, 4096, false },
};

static struct block *open_way(const struct way *way)
{
	return new_raw(way->name, way->io, way->cache, 1 << 20);
}

/* Whether a write of @byte was done when it was submitted. In any case it is
 * done once, and is in the file. */
static bool written_at_once(struct block *block, const struct way *way,
			    uint8_t byte)
{
	uint8_t *bytes = aligned_alloc(4096, 131072);
	struct iovec iov = { .iov_base = bytes, .iov_len = way->length };
	struct answer answer = { .request = { .op = BLOCK_WRITE,
					      .length = way->length,
					      .iov = &iov,
					      .iovcnt = 1,
					      .done = answer_done } };
	bool at_once;

	assert_non_null(bytes);
	memset(bytes, byte, way->length);
	block_submit(block, &answer.request);
	at_once = answer.times;
	block_kick(block);
	while (!answer.times)
		block_wait(block);
	assert_int_equal(answer.times, 1);
	assert_int_equal(answer.err, 0);
	must("head -c %llu disk.raw | tail -c 1 | grep -qx %c",
	     (unsigned long long)way->length, byte);
	free(bytes);
	return at_once;
}

static void a_slow_write_sends_the_next_to_the_engine(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		const struct way *way = &ways[i];
		struct block *block = open_way(way);

		step = 499999;
		assert_true(written_at_once(block, way, 'a') == way->at_once);
		assert_true(written_at_once(block, way, 'b') == way->at_once);
		step = 500001; /* this one is slow ... */
		assert_true(written_at_once(block, way, 'c') == way->at_once);
		step = 0; /* ... and nobody tries again */
		assert_false(written_at_once(block, way, 'd'));
		shown += 99999999;
		assert_false(written_at_once(block, way, 'e'));
		shown += 1; /* before a tenth of a second is over */
		assert_true(written_at_once(block, way, 'f') == way->at_once);
		assert_true(written_at_once(block, way, 'g') == way->at_once);
		assert_int_equal(block_close(block), 0);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_write_sends_the_next_to_the_engine),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
