/*
 * The engines under a raw disk, each with and without the page cache: what is
 * submitted is done once, whatever the memory's alignment, whoever waits.
 */
#include "disk_test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "devices/block/lock.h"

#define SIZE     (1u << 20)
#define REQUESTS 600 /* more than a ring of the kernel's holds */

static const struct way {
	const char *name;
	enum block_io io;
	enum block_cache cache;
} ways[] = {
	{ "at once", BLOCK_IO_NOW, BLOCK_CACHE_WRITEBACK },
	{ "at once, direct", BLOCK_IO_NOW, BLOCK_CACHE_NONE },
	{ "threads", BLOCK_IO_THREADS, BLOCK_CACHE_WRITEBACK },
	{ "threads, direct", BLOCK_IO_THREADS, BLOCK_CACHE_NONE },
	{ "uring", BLOCK_IO_URING, BLOCK_CACHE_WRITEBACK },
	{ "uring, direct", BLOCK_IO_URING, BLOCK_CACHE_NONE },
	{ "uring, unsafe", BLOCK_IO_URING, BLOCK_CACHE_UNSAFE },
};

static struct block *open_way(const struct way *way, uint64_t size)
{
	return new_raw(way->name, way->io, way->cache, size);
}

/* Every request moves one sector to or from its place in @buf. */
static void submit_all(struct block *block, enum block_op op, uint8_t *buf)
{
	struct answer *answers = calloc(REQUESTS, sizeof(*answers));
	struct iovec *iov = calloc(REQUESTS, sizeof(*iov));
	unsigned done = 0;

	assert_non_null(answers);
	assert_non_null(iov);
	for (unsigned i = 0; i < REQUESTS; i++) {
		iov[i] = (struct iovec){ .iov_base = buf + i * 512,
					 .iov_len = 512 };
		answers[i].request = (struct block_request){
			.op = op,
			.offset = i * 1024ull,
			.length = 512,
			.iov = &iov[i],
			.iovcnt = 1,
			.done = answer_done,
		};
		block_submit(block, &answers[i].request);
	}
	block_kick(block);
	for (;;) {
		done = 0;
		for (unsigned i = 0; i < REQUESTS; i++)
			done += answers[i].times;
		if (done >= REQUESTS)
			break;
		block_wait(block);
	}
	for (unsigned i = 0; i < REQUESTS; i++) {
		assert_int_equal(answers[i].times, 1);
		assert_int_equal(answers[i].err, 0);
	}
	free(answers);
	free(iov);
}

static void write_and_read_back(struct block *block, unsigned skew)
{
	uint8_t *wrote = malloc(REQUESTS * 512 + skew);
	uint8_t *read = malloc(REQUESTS * 512 + skew);

	assert_non_null(wrote);
	assert_non_null(read);
	for (unsigned i = 0; i < REQUESTS * 512; i++)
		wrote[skew + i] = (uint8_t)(i / 512 + i * skew);
	submit_all(block, BLOCK_WRITE, wrote + skew);
	assert_int_equal(disk_flush(block), 0);
	submit_all(block, BLOCK_READ, read + skew);
	assert_memory_equal(read + skew, wrote + skew, REQUESTS * 512);
	free(wrote);
	free(read);
}

static void many_requests_are_each_done_once(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct block *block = open_way(&ways[i], SIZE);

		write_and_read_back(block, 0);
		write_and_read_back(block, 1);
		write_and_read_back(block, 17);
		assert_int_equal(block_close(block), 0);
	}
}

static void *use(void *arg)
{
	write_and_read_back(arg, 3);
	return NULL;
}

static void one_thread_after_another_may_use_a_disk(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct block *block = open_way(&ways[i], SIZE);

		for (int n = 0; n < 3; n++) {
			pthread_t thread;

			assert_int_equal(
				pthread_create(&thread, NULL, use, block), 0);
			pthread_join(thread, NULL);
		}
		use(block);
		assert_int_equal(block_close(block), 0);
	}
}

static void the_end_of_a_file_that_is_no_sector_reads_as_zeros(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct block *block = open_way(&ways[i], 4096 + 100);
		uint8_t buf[1024], model[1024] = { 0 };

		memset(buf, 1, sizeof(buf));
		assert_int_equal(block->size, 4096 + 512);
		must("printf abc | dd of=disk.raw bs=1 seek=4150 conv=notrunc");
		memcpy(model + 512 + 54, "abc", 3);
		assert_int_equal(disk_read(block, buf, 3584, 1024), 0);
		assert_memory_equal(buf, model, sizeof(buf));
		memset(model, 7, sizeof(model));
		assert_int_equal(disk_write(block, model, 3584, 1024), 0);
		assert_int_equal(disk_read(block, buf, 3584, 1024), 0);
		assert_memory_equal(buf, model, sizeof(buf));
		assert_int_equal(block_close(block), 0);
	}
}

static void zeroed_and_discarded_ranges_read_as_zeros(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct block *block = open_way(&ways[i], 65536);
		uint8_t model[65536];

		memset(model, 5, sizeof(model));
		assert_int_equal(disk_write(block, model, 0, 65536), 0);
		memset(model + 512, 0, 8192);
		memset(model + 32768, 0, 16384);
		assert_int_equal(
			request(block, BLOCK_ZERO, NULL, 512, 8192, false), 0);
		assert_int_equal(request(block, BLOCK_DISCARD, NULL, 32768,
					 16384, false),
				 0);
		assert_disk(block, model);
		assert_int_equal(block_close(block), 0);
	}
}

static void a_file_that_shrinks_reads_as_zeros_and_takes_writes(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct block *block = open_way(&ways[i], SIZE);
		uint8_t buf[512] = { 0 };
		int fd = open("disk.raw", O_RDONLY | O_CLOEXEC);

		/* The file shrinks under the disk: what is gone is zeros. */
		assert_true(fd >= 0);
		must("truncate -s 1024 disk.raw");
		assert_int_equal(disk_read(block, buf, 8192, 512), 0);
		assert_int_equal(
			request(block, BLOCK_READ, buf, SIZE, 512, false),
			-EINVAL);
		assert_int_equal(disk_write(block, buf, 0, 512), 0);
		assert_int_equal(disk_flush(block), 0);
		assert_int_equal(block_close(block), 0);
		close(fd);
	}
}

/* A write and then a flush, alone: each way a wait may take. */
static void whoever_waits_need_not_kick(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct block *block = open_way(&ways[i], SIZE);
		uint8_t buf[512] = { 7 };
		struct iovec iov = { .iov_base = buf, .iov_len = 512 };

		for (int n = 0; n < 20; n++) {
			bool write = n % 3;
			struct answer answer = {
				.request = { .op = write ? BLOCK_WRITE
							 : BLOCK_FLUSH,
					     .offset = write ? n * 1024ull : 0,
					     .length = write ? 512 : 0,
					     .iov = write ? &iov : NULL,
					     .iovcnt = write,
					     .done = answer_done }
			};

			block_submit(block, &answer.request);
			while (!answer.times)
				block_wait(block);
			assert_int_equal(answer.times, 1);
			assert_int_equal(answer.err, 0);
		}
		assert_int_equal(block_close(block), 0);
	}
}

/* How often a write of so many bytes is done when block_submit() returns. */
static int done_at_once(struct block *block, size_t length)
{
	uint8_t *buf = calloc(1, length);
	struct iovec iov = { .iov_base = buf, .iov_len = length };
	struct answer answer = { .request = { .op = BLOCK_WRITE,
					      .length = length,
					      .iov = &iov,
					      .iovcnt = 1,
					      .done = answer_done } };
	int times;

	assert_non_null(buf);
	block_submit(block, &answer.request);
	times = answer.times;
	while (!answer.times)
		block_wait(block);
	assert_int_equal(answer.times, 1);
	assert_int_equal(answer.err, 0);
	free(buf);
	return times;
}

static void only_a_small_write_to_the_page_cache_is_done_at_once(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		bool now = ways[i].io == BLOCK_IO_NOW;
		bool cached = ways[i].cache != BLOCK_CACHE_NONE;
		struct block *block = open_way(&ways[i], SIZE);
		int small = 0;

		/* One that took long has the engine do the next ones. */
		for (int n = 0; n < 100 && cached && !small; n++) {
			small = done_at_once(block, 4096);
			usleep(small ? 0 : 10000);
		}
		assert_int_equal(small, cached);
		assert_int_equal(done_at_once(block, 512 * 1024), now);
		assert_int_equal(block_close(block), 0);
	}
}

/* Emptying a file closes it once more, which must not let go of its locks. */
static void a_file_that_is_emptied_stays_locked(void **state)
{
	int fd = open("empty.raw", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int other = open("empty.raw", O_RDWR | O_CLOEXEC);
	struct host_file *file;
	uint64_t size = 1;

	(void)state;
	assert_true(fd >= 0 && other >= 0);
	assert_int_equal(image_lock(fd, true), 0);
	file = host_file_create(fd);
	assert_non_null(file);
	assert_int_equal(host_write(file, "abc", 3, 0), 0);
	assert_int_equal(file->ops->truncate(file, 0), 0);
	assert_int_equal(file->ops->size(file, &size), 0);
	assert_int_equal(size, 0);
	assert_int_equal(image_lock(other, true), -EBUSY);
	file->ops->close(file);
	assert_int_equal(image_lock(other, true), 0);
	close(other);
}

/* What the kernel saw happen to the file since it was last asked. */
static uint32_t happened(int watch)
{
	char buf[4096] __attribute__((aligned(8)));
	ssize_t n = read(watch, buf, sizeof(buf));
	uint32_t mask = 0;

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *event = (void *)(buf + at);

		mask |= event->mask;
		at += sizeof(*event) + event->len;
	}
	return mask;
}

/* The next close of such a file has ext4 write out all that is in it: the one
 * that comes at once, when there is nothing. */
static void a_file_cut_to_nothing_is_closed_once_by_another(void **state)
{
	int fd = open("cut.raw", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	struct host_file *file;

	(void)state;
	assert_true(fd >= 0 && watch >= 0);
	assert_int_equal(write(fd, "bytes", 5), 5);
	assert_true(inotify_add_watch(watch, "cut.raw",
				      IN_MODIFY | IN_OPEN | IN_CLOSE) >= 0);
	file = host_file_create(fd);
	assert_non_null(file);
	assert_int_equal(file->ops->truncate(file, 512), 0);
	assert_int_equal(happened(watch), IN_MODIFY);
	assert_int_equal(file->ops->truncate(file, 0), 0);
	assert_int_equal(happened(watch),
			 IN_MODIFY | IN_OPEN | IN_CLOSE_NOWRITE);
	file->ops->close(file);
	close(watch);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_requests_are_each_done_once),
		cmocka_unit_test(one_thread_after_another_may_use_a_disk),
		cmocka_unit_test(
			the_end_of_a_file_that_is_no_sector_reads_as_zeros),
		cmocka_unit_test(zeroed_and_discarded_ranges_read_as_zeros),
		cmocka_unit_test(
			a_file_that_shrinks_reads_as_zeros_and_takes_writes),
		cmocka_unit_test(whoever_waits_need_not_kick),
		cmocka_unit_test(
			only_a_small_write_to_the_page_cache_is_done_at_once),
		cmocka_unit_test(a_file_that_is_emptied_stays_locked),
		cmocka_unit_test(
			a_file_cut_to_nothing_is_closed_once_by_another),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
