/*
 * When to interrupt a driver that has several requests under way.
 *
 * Each interrupt makes the driver's processor leave what it was doing. Where no
 * hardware delivers interrupts this is expensive: a driver that is interrupted
 * for each request does little else. If more requests are coming, an interrupt
 * may be sent a bit later. If the driver waits for this one, it must be sent at
 * once. Nothing in a ring tells the two apart, so the worker tries: now and
 * then it owes the interrupt and goes on looking at the ring.
 *
 *   told at once    request  I . . . request  I . . . request  I
 *   a try           request  .request.request.request.request. . . I
 *
 * A try continues only while requests come at least twice as fast as they did
 * with interrupts: interrupts were then the bottleneck. Requests that do not
 * depend on completions come no faster. After each try that failed, twice as
 * many interrupts go out at once before the next try.
 *
 * On the worker; pure except for the struct. Times are CLOCK_MONOTONIC, in ns.
 */
#ifndef KVIST_VIRTIO_PATIENCE_H
#define KVIST_VIRTIO_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

/* A driver that takes longer than this for its next request has other things
 * to do. */
#define PATIENCE_MAX_NS   1000000
/* The most requests that an interrupt waits for (those found by one look count
 * as one), the fewest for which a try is not a failure, and the most interrupts
 * that go out at once between two tries. */
#define PATIENCE_MORE_MAX 16
#define PATIENCE_MORE_MIN 4
#define PATIENCE_SKIP_MAX 255

/* All zero is the beginning. */
struct patience {
	uint64_t pause; /* from an interrupt to the next request; 0: too long */
	/* Of the present try. */
	uint64_t last;   /* since when the worker has nothing left */
	uint64_t waited; /* how long it had nothing before that, in all */
	unsigned more;   /* how often requests came */
	/* Of later ones. */
	unsigned skip;  /* interrupts that go out at once before the next try */
	unsigned tried; /* what skip was set to after the last try */
};

/* An interrupt is wanted: true if it is to go out at once, false if it is owed
 * from now on. */
bool patience_at_once(struct patience *p);

/* The driver's next request came @ns after the worker had nothing left. */
void patience_paused(struct patience *p, uint64_t ns);

/* While an interrupt is owed: the worker begins to look on at @now; it found
 * requests at @from and had served them at @to; whether it may look on at
 * @now. */
void patience_begin(struct patience *p, uint64_t now);
void patience_more(struct patience *p, uint64_t from, uint64_t to);
bool patience_lasts(const struct patience *p, uint64_t now);

/* What is owed goes out. */
void patience_end(struct patience *p);

#endif
