/*
 * The thread of a running device: waits for the driver, the backends and the
 * end, and serves what has something to do.
 */
#include "devices/virtio/virtio.h"

#include "util/counter.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* What a worker waits for, in this order: stop, queue 0, 1 ..., the backend's
 * descriptors. */
enum { WAIT_STOP, WAIT_QUEUES };
#define WAIT_MAX (WAIT_QUEUES + VIRTIO_QUEUES_MAX + VIRTIO_WATCHED_MAX)

static void eventfd_signal(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return; /* only when it is signalled 2^64 - 2 times already */
}

static void eventfd_clear(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		return; /* it was not signalled */
}

static bool worker_stopped(const struct virtio_device *virtio)
{
	return __atomic_load_n(&virtio->stop, __ATOMIC_ACQUIRE);
}

/* Fills @fds; true if there is work that no descriptor announces. A device
 * that needs a reset waits for nothing else. */
static bool worker_watch(struct virtio_device *virtio, struct pollfd *fds)
{
	bool dead = virtio_status_read(virtio) & VIRTIO_CONFIG_S_NEEDS_RESET;
	bool again = false;

	*fds++ = (struct pollfd){ virtio->stop_fd, POLLIN, 0 };
	for (unsigned i = 0; i < virtio->nr_queues; i++) {
		struct virtio_queue *queue = &virtio->queues[i];
		bool watch = !dead && queue->enabled && !queue->in_kernel;

		*fds++ = (struct pollfd){ .fd = watch ? queue->kick_fd : -1,
					  .events = POLLIN };
		again |= watch && queue->again;
	}
	for (unsigned i = 0; i < virtio->nr_watched; i++) {
		short events = dead ? 0 : virtio->watched[i].events;

		/* An error would be reported even for no events. */
		*fds++ = (struct pollfd){ .fd = events ? virtio->watched[i].fd
						       : -1,
					  .events = events };
	}
	return again;
}

static void worker_serve(struct virtio_device *virtio, const struct pollfd *fds)
{
	const struct pollfd *watched = fds + WAIT_QUEUES + virtio->nr_queues;

	for (unsigned i = 0; i < virtio->nr_watched; i++) {
		if (watched[i].revents)
			virtio->ops->ready(virtio, i, watched[i].revents);
	}
	for (unsigned i = 0; i < virtio->nr_queues; i++) {
		struct virtio_queue *queue = &virtio->queues[i];
		const struct pollfd *kick = &fds[WAIT_QUEUES + i];

		if (kick->fd < 0 || (!kick->revents && !queue->again))
			continue;
		/* Cleared first: a kick during queue() counts for the next. */
		if (kick->revents) {
			eventfd_clear(queue->kick_fd);
			counter_add(&queue->kicks, 1);
		}
		queue->again = virtio->ops->queue(virtio, i);
	}
}

/* Until something happens, or for as long as idle() has said. */
static int worker_sleep(const struct virtio_device *virtio, struct pollfd *fds,
			bool again)
{
	struct timespec limit = { .tv_nsec = again ? 0
						   : (long)virtio->sleep_ns };

	return ppoll(fds, WAIT_QUEUES + virtio->nr_queues + virtio->nr_watched,
		     again || virtio->sleep_ns ? &limit : NULL, NULL);
}

static void *worker_main(void *arg)
{
	struct virtio_device *virtio = arg;
	struct pollfd fds[WAIT_MAX];

	/* Here as well: its first trace lines may come before the other call. */
	pthread_setname_np(pthread_self(), virtio->name);
	/* The driver may have filled queues before there was a worker. */
	for (unsigned i = 0; i < virtio->nr_queues; i++)
		virtio->queues[i].again = true;
	while (!worker_stopped(virtio)) {
		bool again = worker_watch(virtio, fds);
		int n;

		if (!again && virtio->ops->idle)
			again = virtio->ops->idle(virtio);
		n = worker_sleep(virtio, fds, again);
		if (n < 0 && errno != EINTR)
			virtio_needs_reset(virtio);
		if (n >= 0 && !worker_stopped(virtio))
			worker_serve(virtio, fds);
	}
	if (virtio->ops->drain)
		virtio->ops->drain(virtio);
	return NULL;
}

int virtio_worker_start(struct virtio_device *virtio)
{
	sigset_t all, old;
	int err;

	eventfd_clear(virtio->stop_fd);
	__atomic_store_n(&virtio->stop, false, __ATOMIC_RELEASE);
	/* Signals are for the main thread, and a kick for its own vCPU. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&virtio->thread, NULL, worker_main, virtio);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		log_err("%s: cannot start its thread: %s", virtio->name,
			strerror(err));
		return -err;
	}
	/* By us, not by the thread: it has its name when the driver goes on. */
	pthread_setname_np(virtio->thread, virtio->name);
	virtio->has_worker = true;
	return 0;
}

void virtio_worker_stop(struct virtio_device *virtio)
{
	if (!virtio->has_worker)
		return;
	__atomic_store_n(&virtio->stop, true, __ATOMIC_RELEASE);
	eventfd_signal(virtio->stop_fd);
	pthread_join(virtio->thread, NULL);
	virtio->has_worker = false;
}
