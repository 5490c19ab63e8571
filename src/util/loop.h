/*
 * The main thread's epoll loop: signals, console, timers, the end of the run, a
 * disk that pauses the guest, the host's network links, the control socket.
 *
 * One loop, owned by the machine; only the main thread runs it and adds or
 * removes watches. Any thread wakes it by making a watched descriptor ready.
 */
#ifndef KVIST_UTIL_LOOP_H
#define KVIST_UTIL_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop {
	int epoll_fd;
	bool stop;
};

/* One watched descriptor. Caller's storage; must outlive its loop_add(). */
struct watch {
	int fd;
	void (*ready)(struct watch *watch, uint32_t events); /* EPOLL* bits */
};

/* 0 or -errno. */
int loop_init(struct loop *loop);
void loop_fini(struct loop *loop);

/* Watches watch->fd for @events (EPOLLIN, EPOLLOUT; level triggered). The
 * descriptor stays the caller's. 0 or -errno (EPERM: a regular file, which is
 * always ready and cannot be watched). */
int loop_add(struct loop *loop, struct watch *watch, uint32_t events);
int loop_change(struct loop *loop, struct watch *watch, uint32_t events);
void loop_remove(struct loop *loop, struct watch *watch);

/* Calls the watches that become ready until one calls loop_stop(). 0 or
 * -errno. A watch may remove itself and others: events come one at a time. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

#endif
