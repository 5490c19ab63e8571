/*
 * The engine of threads: each takes an io that waits and does it with preadv()
 * and its kind. They are started as they are needed, up to THREADS_MAX, and
 * end with the engine.
 *
 *   submit()  the io waits with its user
 *   kick()    all of them -> the pool's list, under the lock; threads wake
 *   reap()    the pool's finished ones -> host_io_finish(), without the lock
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/block/engine.h"
#include "util/checked.h"

#define THREADS_MAX 16
#define STACK_BYTES (256u << 10) /* sanitizers need some of it */

struct pool {
	struct engine engine; /* event_fd: an eventfd */
	/* The user's. */
	struct host_io_list queued;
	unsigned in_flight;

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t work;
	struct host_io_list waiting, finished;
	unsigned threads, idle, backlog; /* backlog: length of waiting */
	bool stop;
	pthread_t thread[THREADS_MAX];
};

static struct pool *to_pool(struct engine *engine)
{
	return container_of(engine, struct pool, engine);
}

static ssize_t perform(const struct host_io *io)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	const struct iovec *iov;
	ssize_t n = -1;
	int iovcnt;

	iov = host_io_iov(io, &iovcnt);
	switch (io->op) {
	case HOST_READ:
		n = preadv(io->fd, iov, iovcnt, io->offset);
		break;
	case HOST_WRITE:
		n = pwritev(io->fd, iov, iovcnt, io->offset);
		break;
	case HOST_SYNC:
		n = fdatasync(io->fd);
		break;
	case HOST_PUNCH:
		n = fallocate(io->fd, mode, io->offset, io->length);
		break;
	}
	return n < 0 ? -errno : n;
}

static void announce(struct pool *pool)
{
	uint64_t one = 1;

	if (write(pool->engine.event_fd, &one, sizeof(one)) < 0)
		return; /* only when it is readable already */
}

static void *pool_thread(void *arg)
{
	struct pool *pool = arg;

	pthread_mutex_lock(&pool->lock);
	while (!pool->stop) {
		struct host_io *io = host_io_take(&pool->waiting);
		bool first;

		if (!io) {
			pool->idle++;
			pthread_cond_wait(&pool->work, &pool->lock);
			pool->idle--;
			continue;
		}
		pool->backlog--;
		pthread_mutex_unlock(&pool->lock);
		io->result = perform(io);
		pthread_mutex_lock(&pool->lock);
		first = !pool->finished.first;
		host_io_append(&pool->finished, io);
		if (first)
			announce(pool);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* Under the lock. */
static void start_thread(struct pool *pool)
{
	pthread_t *thread = &pool->thread[pool->threads];
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	if (pthread_attr_init(&attr))
		return;
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(thread, &attr, pool_thread, pool);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (err)
		return;
	pthread_setname_np(*thread, "disk-io");
	pool->threads++;
}

static void threads_submit(struct engine *engine, struct host_io *io)
{
	host_io_append(&to_pool(engine)->queued, io);
}

static void threads_kick(struct engine *engine)
{
	struct pool *pool = to_pool(engine);
	struct host_io *io;
	unsigned added = 0;

	if (!pool->queued.first)
		return;
	pthread_mutex_lock(&pool->lock);
	while ((io = host_io_take(&pool->queued))) {
		host_io_append(&pool->waiting, io);
		added++;
	}
	pool->in_flight += added;
	pool->backlog += added;
	for (unsigned i = 0; i < added && i < pool->idle; i++)
		pthread_cond_signal(&pool->work);
	while (pool->backlog > pool->idle && pool->threads < THREADS_MAX) {
		unsigned before = pool->threads;

		start_thread(pool);
		if (pool->threads == before || pool->threads >= pool->backlog)
			break;
	}
	pthread_mutex_unlock(&pool->lock);
	if (pool->threads)
		return;
	/* The host has no thread for us: done here, at the next reap(). */
	while ((io = host_io_take(&pool->waiting))) {
		io->result = perform(io);
		host_io_append(&pool->finished, io);
	}
	pool->backlog = 0;
	announce(pool);
}

static void threads_reap(struct engine *engine)
{
	struct pool *pool = to_pool(engine);
	struct host_io_list list;
	struct host_io *io;
	uint64_t count;

	if (!pool->in_flight || read(engine->event_fd, &count, 8) < 0)
		return;
	pthread_mutex_lock(&pool->lock);
	list = pool->finished;
	pool->finished.first = NULL;
	pthread_mutex_unlock(&pool->lock);
	if (!list.first)
		return;
	while ((io = host_io_take(&list))) {
		pool->in_flight--;
		host_io_finish(io);
	}
}

static void threads_destroy(struct engine *engine)
{
	struct pool *pool = to_pool(engine);

	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->threads; i++)
		pthread_join(pool->thread[i], NULL);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	close(engine->event_fd);
	free(pool);
}

static const struct engine_ops threads_ops = {
	.submit = threads_submit,
	.kick = threads_kick,
	.reap = threads_reap,
	.destroy = threads_destroy,
};

int threads_create(struct engine **engine)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return -ENOMEM;
	pool->engine.ops = &threads_ops;
	pool->engine.users = 1;
	pool->engine.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->engine.event_fd < 0) {
		int err = -errno;

		free(pool);
		return err;
	}
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	*engine = &pool->engine;
	return 0;
}
