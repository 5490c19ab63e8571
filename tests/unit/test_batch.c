#include "devices/net/batch.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define PAGE 4096

/* A pipe of one page: what is short goes behind what is in it, what is as long
 * as a page has to wait. */
static void open_pipe(int fds[2])
{
	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(fcntl(fds[1], F_SETPIPE_SZ, PAGE), PAGE);
	assert_int_equal(write(fds[1], "first", 5), 5);
}

static void a_frame_that_was_overtaken_does_not_wait_to_be_sent(void **state)
{
	static uint8_t bytes[PAGE];
	struct iovec iov[] = { { bytes, PAGE },
			       { bytes, 10 },
			       { bytes, PAGE } };
	struct net_frame frames[] = { { iov, 1, 0 },
				      { iov + 1, 1, 0 },
				      { iov + 2, 1, 0 },
				      { iov + 2, 1, 0 } };
	struct batch *batch;
	int fds[2];

	(void)state;
	open_pipe(fds);
	batch = batch_create(fds[1]);
	assert_non_null(batch);
	batch_write(batch, frames, 4);
	assert_int_equal(frames[0].result, -ENOBUFS);
	assert_int_equal(frames[1].result, 10);
	assert_int_equal(frames[2].result, -EAGAIN);
	assert_int_equal(frames[3].result, -EAGAIN);
	batch_destroy(batch);
	close(fds[0]);
	close(fds[1]);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_frame_that_was_overtaken_does_not_wait_to_be_sent),
};

UNIT_MAIN(tests)
