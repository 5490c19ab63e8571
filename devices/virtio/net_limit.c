/*
 * rate= of a network card: when a direction has used up its bytes, a timer says
 * when there are more.
 */
#include "devices/virtio/net_parts.h"

#include "util/clock.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* The timers are behind the backends of the pairs, in the order of enum
 * net_direction. */

int net_limit_init(struct virtio_net *net, uint64_t rate, uint64_t burst)
{
	struct limit_options options = { .bps = rate, .bps_burst = burst };

	if (!rate)
		return 0;
	for (int way = 0; way < NET_DIRECTIONS; way++) {
		int fd = timerfd_create(CLOCK_MONOTONIC,
					TFD_CLOEXEC | TFD_NONBLOCK);

		if (fd < 0)
			return -errno;
		limit_init(&net->limits[way], &options);
		virtio_watch(&net->virtio, fd);
	}
	net->limited = true;
	return 0;
}

bool net_limit_waits(struct virtio_net *net, enum net_direction way)
{
	struct itimerspec at = { 0 };
	uint64_t wait;

	if (!net->limited)
		return false;
	wait = limit_wait(&net->limits[way], clock_ns(CLOCK_MONOTONIC));
	if (!wait)
		return false;
	at.it_value.tv_sec = (time_t)(wait / 1000000000);
	at.it_value.tv_nsec = (long)(wait % 1000000000);
	timerfd_settime(net->virtio.watched[net->nr_pairs + way].fd, 0, &at,
			NULL);
	return true;
}

void net_limit_take(struct virtio_net *net, enum net_direction way,
		    uint32_t bytes)
{
	if (net->limited && bytes > NET_HEADER)
		limit_take(&net->limits[way], bytes - NET_HEADER,
			   clock_ns(CLOCK_MONOTONIC));
}

bool net_limit_over(struct virtio_net *net, unsigned backend)
{
	unsigned way = backend - net->nr_pairs;
	uint64_t count;

	if (!net->limited || backend < net->nr_pairs)
		return false;
	if (read(net->virtio.watched[backend].fd, &count, sizeof(count)) < 0)
		return true; /* another wait has begun meanwhile */
	for (unsigned i = 0; i < net->control.pairs; i++)
		net->virtio
			.queues[way == NET_RECEIVED ? net_rx_queue(i)
						    : net_tx_queue(i)]
			.again = true;
	return true;
}
