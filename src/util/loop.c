#include "util/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

int loop_init(struct loop *loop)
{
	loop->stop = false;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return loop->epoll_fd < 0 ? -errno : 0;
}

void loop_fini(struct loop *loop)
{
	close(loop->epoll_fd);
}

static int loop_ctl(struct loop *loop, int op, struct watch *watch,
		    uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = watch };

	return epoll_ctl(loop->epoll_fd, op, watch->fd, &ev) ? -errno : 0;
}

int loop_add(struct loop *loop, struct watch *watch, uint32_t events)
{
	return loop_ctl(loop, EPOLL_CTL_ADD, watch, events);
}

int loop_change(struct loop *loop, struct watch *watch, uint32_t events)
{
	return loop_ctl(loop, EPOLL_CTL_MOD, watch, events);
}

void loop_remove(struct loop *loop, struct watch *watch)
{
	loop_ctl(loop, EPOLL_CTL_DEL, watch, 0);
}

int loop_run(struct loop *loop)
{
	loop->stop = false;
	while (!loop->stop) {
		/* One event a call: a watch removed by an earlier callback
		 * can then never be called by a stale entry. */
		struct epoll_event ev;
		int n = epoll_wait(loop->epoll_fd, &ev, 1, -1);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 1) {
			struct watch *watch = ev.data.ptr;

			watch->ready(watch, ev.events);
		}
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stop = true;
}
