/*
 * The engine that is the kernel: io_uring, by its three system calls.
 *
 *   submit()  the io waits in a list
 *   kick()    list -> submission ring; one io_uring_enter() for each batch
 *   reap()    completion ring -> host_io_finish()
 *   wait()    all of these; the last io_uring_enter() waits
 *
 * An eventfd is readable when completions wait. (So should the ring be, but
 * under DEFER_TASKRUN a thread that polls it is woken late, by a tick.) The
 * ring is set up for one thread (SINGLE_ISSUER), in whose system calls the
 * completions' work is done (DEFER_TASKRUN), where the kernel knows these. It
 * belongs to the first thread that kicks; for another one, which -EEXIST
 * tells, a new ring takes its place.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "devices/block/engine.h"
#include "util/checked.h"
#include "util/io_ring.h"

#define RING_ENTRIES 256
/* The most direct requests for one system call. Given three or more, the kernel
 * holds them all back until it has the last, and meanwhile the disk idles. */
#define BATCH        2

/* The better ones first; the last works with any kernel. */
static const unsigned ring_flags[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
		IORING_SETUP_R_DISABLED,
	IORING_SETUP_COOP_TASKRUN,
	0,
};

struct uring {
	struct engine engine; /* event_fd: an eventfd */
	struct io_ring ring;
	struct host_io_list queued;
	unsigned in_flight;
	bool disabled; /* until a thread makes the ring its own */
	bool lost;     /* no ring could be had any more: all at once */
};

static struct uring *to_uring(struct engine *engine)
{
	return container_of(engine, struct uring, engine);
}

/* Makes the ring, or one in the place of another thread's. */
static int ring_make(struct uring *u)
{
	int err = -EINVAL;

	io_ring_close(&u->ring);
	for (size_t i = 0; err == -EINVAL && i < ARRAY_SIZE(ring_flags); i++) {
		err = io_ring_open(&u->ring, RING_ENTRIES, ring_flags[i]);
		u->disabled = ring_flags[i] & IORING_SETUP_R_DISABLED;
	}
	/* It came with READ, WRITE and FALLOCATE (Linux 5.6). */
	if (!err && !(u->ring.features & IORING_FEAT_RW_CUR_POS))
		err = -ENOSYS;
	if (!err && syscall(SYS_io_uring_register, u->ring.fd,
			    IORING_REGISTER_EVENTFD, &u->engine.event_fd, 1))
		err = -errno;
	return err;
}

static void uring_submit(struct engine *engine, struct host_io *io)
{
	host_io_append(&to_uring(engine)->queued, io);
}

static void sqe_fill(struct io_uring_sqe *sqe, struct host_io *io)
{
	const struct iovec *iov;
	int iovcnt;

	sqe->fd = io->fd;
	sqe->user_data = (uintptr_t)io;
	sqe->off = io->offset;
	switch (io->op) {
	case HOST_READ:
	case HOST_WRITE:
		iov = host_io_iov(io, &iovcnt);
		sqe->addr = (uintptr_t)iov;
		sqe->len = iovcnt;
		sqe->opcode = io->op == HOST_READ ? IORING_OP_READV
						  : IORING_OP_WRITEV;
		if (iovcnt != 1)
			break;
		/* One piece: no list that the kernel has to copy in. */
		sqe->opcode = io->op == HOST_READ ? IORING_OP_READ
						  : IORING_OP_WRITE;
		sqe->addr = (uintptr_t)iov->iov_base;
		sqe->len = iov->iov_len;
		break;
	case HOST_SYNC:
		sqe->opcode = IORING_OP_FSYNC;
		sqe->off = 0;
		sqe->fsync_flags = IORING_FSYNC_DATASYNC;
		break;
	case HOST_PUNCH:
		sqe->opcode = IORING_OP_FALLOCATE;
		sqe->addr = io->length;
		sqe->len = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		break;
	}
}

/* Fills the submission ring as far as the list and a batch go; how much of it
 * the kernel has not taken. */
static unsigned sq_fill(struct uring *u)
{
	struct io_uring_sqe *sqe;
	unsigned direct = 0;

	while (u->queued.first && direct < BATCH &&
	       (sqe = io_ring_next(&u->ring))) {
		struct host_io *io = host_io_take(&u->queued);

		direct += io->direct;
		sqe_fill(sqe, io);
	}
	return io_ring_show(&u->ring);
}

/* Takes back what the kernel has not taken: the last of it first. */
static void sq_take_back(struct uring *u)
{
	const struct io_uring_sqe *sqe;

	while ((sqe = io_ring_take_back(&u->ring)))
		host_io_prepend(&u->queued,
				(struct host_io *)(uintptr_t)sqe->user_data);
}

/* Does what waits, and all that follows, at once on this thread: slow, but it
 * is done. */
static void do_queued(struct uring *u)
{
	struct host_io *io;

	while ((io = host_io_take(&u->queued))) {
		io->result = -EAGAIN;
		host_io_finish(io);
	}
}

/* True when there was something. */
static bool cq_reap(struct uring *u)
{
	const struct io_uring_cqe *cqe;
	bool some = false;

	while (!u->lost && (cqe = io_ring_done(&u->ring))) {
		struct host_io *io =
			(struct host_io *)(uintptr_t)cqe->user_data;

		io->result = cqe->res;
		/* Before done(), which may kick, and that reaps. */
		io_ring_seen(&u->ring);
		u->in_flight--;
		some = true;
		host_io_finish(io);
	}
	return some;
}

/* One system call: submits @n, does the completions' work, and waits for @wait
 * completions. 0 or -errno. */
static int ring_enter(struct uring *u, unsigned n, unsigned wait)
{
	int taken;

	if (u->disabled) {
		syscall(SYS_io_uring_register, u->ring.fd,
			IORING_REGISTER_ENABLE_RINGS, NULL, 0);
		u->disabled = false;
	}
	taken = io_ring_enter(&u->ring, n, wait);
	if (taken < 0)
		return taken;
	u->in_flight += taken;
	return 0;
}

static void uring_reap(struct engine *engine)
{
	struct uring *u = to_uring(engine);

	uint64_t count;

	if (read(engine->event_fd, &count, sizeof(count)) < 0 || !u->in_flight)
		return;
	ring_enter(u, 0, 0);
	cq_reap(u);
}

/* The kernel refused: what to do about it. */
static void kick_failed(struct uring *u, int err)
{
	/* Short of memory, or of room for completions, which give both back.
	 * A call that submits in vain leaves out their work, which only calls
	 * of this thread do (DEFER_TASKRUN): one that submits nothing waits
	 * for the first of them. */
	if ((err == -EAGAIN || err == -EBUSY) && u->in_flight)
		err = ring_enter(u, 0, 1);
	if (!err || err == -EINTR)
		return;
	sq_take_back(u);
	/* This thread is not the ring's. */
	if (err == -EEXIST && !u->in_flight)
		u->lost = ring_make(u);
	if (err != -EEXIST || u->in_flight || u->lost)
		do_queued(u);
}

static void uring_kick(struct engine *engine)
{
	struct uring *u = to_uring(engine);
	unsigned n;
	int err;

	if (u->lost) {
		do_queued(u);
		return;
	}
	while (!u->lost && (n = sq_fill(u))) {
		err = ring_enter(u, n, 0);
		if (err)
			kick_failed(u, err);
		cq_reap(u);
	}
}

/* True when all there is to wait for is a sync that has not begun. The ring has
 * a kernel thread do it, which is woken for it and then wakes us: this thread,
 * which only waits, does it sooner. */
static bool only_a_sync(struct uring *u)
{
	const struct host_io *io = u->queued.first;

	return !u->in_flight && io && !io->next && io->op == HOST_SYNC &&
	       !io_ring_show(&u->ring);
}

/* What signals event_fd meanwhile makes one reap() more later on. */
static void uring_wait(struct engine *engine)
{
	struct uring *u = to_uring(engine);
	bool some = false;

	if (u->lost || only_a_sync(u)) {
		do_queued(u);
		return;
	}
	do {
		unsigned n = sq_fill(u);
		int err;

		if (!n && !u->in_flight)
			return;
		err = ring_enter(u, n, !some && !u->queued.first);
		if (err)
			kick_failed(u, err);
		some |= cq_reap(u);
	} while (!u->lost && u->queued.first);
}

static void uring_destroy(struct engine *engine)
{
	struct uring *u = to_uring(engine);

	io_ring_close(&u->ring);
	if (engine->event_fd >= 0)
		close(engine->event_fd);
	free(u);
}

static const struct engine_ops uring_ops = {
	.submit = uring_submit,
	.kick = uring_kick,
	.reap = uring_reap,
	.wait = uring_wait,
	.destroy = uring_destroy,
};

int uring_create(struct engine **engine)
{
	struct uring *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	u->engine.ops = &uring_ops;
	u->engine.users = 1;
	u->ring.fd = -1;
	u->engine.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = u->engine.event_fd < 0 ? -errno : ring_make(u);
	if (err) {
		uring_destroy(&u->engine);
		return err;
	}
	*engine = &u->engine;
	return 0;
}
