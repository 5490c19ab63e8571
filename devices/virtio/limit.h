/*
 * How fast a disk or a network card may be: token buckets for requests and for
 * bytes. Pure: the caller says what time it is.
 *
 * A bucket holds as many tokens as its burst, is full at first, and gets `rate`
 * new ones a second. A request may begin while there is a token, and takes as
 * many as it costs. It may take more than there are; later requests then wait.
 * So no request is too large, and the mean is exact.
 *
 * Owned by the device; its worker only.
 */
#ifndef KVIST_VIRTIO_LIMIT_H
#define KVIST_VIRTIO_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#define LIMIT_RATE_MAX 1000000000000000ull

/* As the user says it. A rate of 0 is none, a burst of 0 a tenth of a second's
 * worth. Rates and bursts are at most LIMIT_RATE_MAX. */
struct limit_options {
	uint64_t iops, iops_burst; /* requests */
	uint64_t bps, bps_burst;   /* bytes */
};

struct bucket {
	uint64_t rate;     /* tokens a second; 0: no limit */
	uint64_t burst_ns; /* that it takes to fill */
	uint64_t full_at;  /* ns: when it is full, if nobody takes any more */
	uint64_t rest;     /* below rate: what full_at is short of, ns * rate */
};

struct limit {
	struct bucket requests, bytes;
};

void limit_init(struct limit *limit, const struct limit_options *options);

static inline bool limit_exists(const struct limit *limit)
{
	return limit->requests.rate || limit->bytes.rate;
}

/* Nanoseconds from @now until a request may begin; 0: at once. */
uint64_t limit_wait(const struct limit *limit, uint64_t now);
/* A request that moves @bytes, less than 2^32, begins at @now, as limit_wait()
 * allows. */
void limit_take(struct limit *limit, uint64_t bytes, uint64_t now);

#endif
