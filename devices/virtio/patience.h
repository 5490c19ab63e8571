/*
 * When to interrupt a driver that has several requests under way.
 *
 * Each interrupt has the driver's processor leave what it was at, and where
 * that is dear, as in a guest without hardware to deliver it, a driver that is
 * told of each request by itself does little else. What the worker has done at
 * once it may as well tell a bit later, if more is coming; but a driver that
 * waits for it must not wait. Nothing in a ring tells the two apart, so the
 * worker tries: now and then it owes an interrupt and looks on.
 *
 *   told at once    request  I . . . request  I . . . request  I
 *   a try           request  .request.request.request.request. . . I
 *
 * It stays so only while requests come twice as quickly as they did with
 * interrupts: then these were what kept the driver busy. Requests that come by
 * themselves, whoever waits for them, do not. After each try in vain twice as
 * many interrupts go out at once before the next.
 *
 * On the worker; pure but for the struct. Times are CLOCK_MONOTONIC, in ns.
 */
#ifndef KVIST_VIRTIO_PATIENCE_H
#define KVIST_VIRTIO_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

/* A driver that takes longer than this for its next request has other things
 * to do. */
#define PATIENCE_MAX_NS   1000000
/* An interrupt waits for so many requests at most, and for so few a try was in
 * vain; so many interrupts at most are between two tries. */
#define PATIENCE_MORE_MAX 16
#define PATIENCE_MORE_MIN 4
#define PATIENCE_SKIP_MAX 255

/* All zero is the beginning. */
struct patience {
	uint64_t pause; /* from an interrupt to the next request; 0: too long */
	uint64_t last;  /* since when the worker has nothing left, */
	uint64_t waited; /* how long it had nothing before that, */
	unsigned more;   /* and how often something came, while it looks on */
	unsigned skip;   /* interrupts to go out at once */
	unsigned tried;  /* what skip was set to after the last try */
};

/* An interrupt is wanted: true if it is to go out at once, false if it is owed
 * from now on. */
bool patience_at_once(struct patience *p);

/* The driver's next request came @ns after the worker had nothing left. */
void patience_paused(struct patience *p, uint64_t ns);

/* While an interrupt is owed: the worker begins to look on; it saw more come
 * @from then, and has served it by @to; and whether it may look on at @now. */
void patience_begin(struct patience *p, uint64_t now);
void patience_more(struct patience *p, uint64_t from, uint64_t to);
bool patience_lasts(const struct patience *p, uint64_t now);

/* What is owed goes out. */
void patience_end(struct patience *p);

#endif
