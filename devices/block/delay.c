/* The delayer of fault.h: every order of what is in flight at once. */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/block/fault.h"
#include "util/checked.h"

/* What is in flight to one file, or to several that share it. */
struct delay {
	uint64_t *seed;
	int event_fd;         /* readable while anything is held */
	struct host_io *held; /* fd: DONE_NOT or DONE */
	unsigned count, users;
};

struct delay_file {
	struct host_file file;
	struct host_file *below;
	struct delay *delay;
};

enum { DONE_NOT, DONE };

static struct delay_file *to_delay(struct host_file *file)
{
	return container_of(file, struct delay_file, file);
}

/* xorshift64*, as in the tests. */
static uint64_t choose(struct delay *d, uint64_t limit)
{
	uint64_t seed = *d->seed | 1;

	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	*d->seed = seed;
	return (seed * 2685821657736338717ull >> 16) % limit;
}

static void perform(struct host_io *io)
{
	if (io->fd == DONE)
		return;
	io->file = to_delay(io->file)->below;
	io->result = host_io_now(io);
	io->fd = DONE;
}

/* Some of what is held happens on the disk now, and nobody is told yet. */
static void disturb(struct delay *d)
{
	for (struct host_io *io = d->held; io; io = io->next) {
		if (!choose(d, 4))
			perform(io);
	}
}

static void delay_submit(struct host_file *file, struct host_io *io)
{
	struct delay *d = to_delay(file)->delay;
	uint64_t one = 1;

	disturb(d);
	io->fd = DONE_NOT;
	io->next = d->held;
	d->held = io;
	if (!d->count++ && write(d->event_fd, &one, sizeof(one)) < 0)
		abort();
}

static struct host_io *take(struct delay *d, unsigned which)
{
	struct host_io **link = &d->held, *io;
	uint64_t count;

	while (which--)
		link = &(*link)->next;
	io = *link;
	*link = io->next;
	if (!--d->count && read(d->event_fd, &count, sizeof(count)) < 0)
		abort();
	return io;
}

static void delay_reap(struct host_file *file)
{
	struct delay *d = to_delay(file)->delay;
	unsigned n = d->count ? 1 + choose(d, d->count) : 0;

	while (n-- && d->count) {
		struct host_io *io = take(d, choose(d, d->count));

		perform(io);
		disturb(d);
		io->done(io, io->result);
	}
}

static int delay_event_fd(struct host_file *file)
{
	return to_delay(file)->delay->event_fd;
}

static ssize_t delay_preadv(struct host_file *file, const struct iovec *iov,
			    int iovcnt, uint64_t offset)
{
	struct host_file *below = to_delay(file)->below;

	disturb(to_delay(file)->delay);
	return below->ops->preadv(below, iov, iovcnt, offset);
}

static ssize_t delay_pwritev(struct host_file *file, const struct iovec *iov,
			     int iovcnt, uint64_t offset)
{
	struct host_file *below = to_delay(file)->below;

	disturb(to_delay(file)->delay);
	return below->ops->pwritev(below, iov, iovcnt, offset);
}

static int delay_sync(struct host_file *file)
{
	struct host_file *below = to_delay(file)->below;

	disturb(to_delay(file)->delay);
	return below->ops->sync(below);
}

static int delay_punch(struct host_file *file, uint64_t offset, uint64_t length)
{
	struct host_file *below = to_delay(file)->below;

	return below->ops->punch(below, offset, length);
}

static int delay_allocate(struct host_file *file, uint64_t offset,
			  uint64_t length)
{
	struct host_file *below = to_delay(file)->below;

	return below->ops->allocate(below, offset, length);
}

static int delay_truncate(struct host_file *file, uint64_t size)
{
	struct host_file *below = to_delay(file)->below;

	return below->ops->truncate(below, size);
}

static int delay_size(struct host_file *file, uint64_t *size)
{
	struct host_file *below = to_delay(file)->below;

	return below->ops->size(below, size);
}

static void delay_close(struct host_file *file)
{
	struct delay_file *d = to_delay(file);

	d->below->ops->close(d->below);
	if (!--d->delay->users) {
		close(d->delay->event_fd);
		free(d->delay);
	}
	free(d);
}

static const struct host_file_ops delay_ops = {
	.preadv = delay_preadv,
	.pwritev = delay_pwritev,
	.sync = delay_sync,
	.punch = delay_punch,
	.allocate = delay_allocate,
	.truncate = delay_truncate,
	.size = delay_size,
	.close = delay_close,
	.submit = delay_submit,
	.reap = delay_reap,
	.event_fd = delay_event_fd,
};

static struct host_file *create(struct host_file *below, struct delay *delay)
{
	struct delay_file *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->file.ops = &delay_ops;
	d->below = below;
	d->delay = delay;
	delay->users++;
	return &d->file;
}

struct host_file *delay_file_create(struct host_file *below, uint64_t *seed)
{
	struct delay *delay = calloc(1, sizeof(*delay));
	struct host_file *file;

	if (!delay)
		return NULL;
	delay->seed = seed;
	delay->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	file = delay->event_fd < 0 ? NULL : create(below, delay);
	if (!file) {
		if (delay->event_fd >= 0)
			close(delay->event_fd);
		free(delay);
	}
	return file;
}

struct host_file *delay_file_beside(struct host_file *below,
				    struct host_file *other)
{
	return create(below, to_delay(other)->delay);
}
