#include "devices/virtio/limit.h"

#define SECOND 1000000000ull

static void bucket_init(struct bucket *bucket, uint64_t rate, uint64_t burst)
{
	__uint128_t ns = 0;

	if (rate && !burst)
		burst = rate / 10 ? rate / 10 : 1;
	if (rate)
		ns = (__uint128_t)burst * SECOND / rate;
	/* A burst that takes centuries to fill is no limit to anybody. */
	*bucket = (struct bucket){
		.rate = rate,
		.burst_ns = ns > INT64_MAX ? INT64_MAX
			    : ns           ? ns
					   : 1,
	};
}

void limit_init(struct limit *limit, const struct limit_options *options)
{
	bucket_init(&limit->requests, options->iops, options->iops_burst);
	bucket_init(&limit->bytes, options->bps, options->bps_burst);
}

/* Time stands for tokens: as many are missing as come until full_at, and the
 * last one is taken when that is burst_ns away. */
static uint64_t bucket_wait(const struct bucket *bucket, uint64_t now)
{
	uint64_t missing = bucket->full_at > now ? bucket->full_at - now : 0;

	if (!bucket->rate || missing < bucket->burst_ns)
		return 0;
	return missing - bucket->burst_ns + 1;
}

static void bucket_take(struct bucket *bucket, uint64_t tokens, uint64_t now)
{
	uint64_t time;

	if (!bucket->rate)
		return;
	if (bucket->full_at < now) {
		bucket->full_at = now;
		bucket->rest = 0;
	}
	time = tokens * SECOND + bucket->rest;
	bucket->full_at += time / bucket->rate;
	bucket->rest = time % bucket->rate;
}

uint64_t limit_wait(const struct limit *limit, uint64_t now)
{
	uint64_t requests = bucket_wait(&limit->requests, now);
	uint64_t bytes = bucket_wait(&limit->bytes, now);

	return requests > bytes ? requests : bytes;
}

void limit_take(struct limit *limit, uint64_t bytes, uint64_t now)
{
	bucket_take(&limit->requests, 1, now);
	bucket_take(&limit->bytes, bytes, now);
}
