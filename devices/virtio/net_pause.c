#include "devices/virtio/net_parts.h"

#include <sched.h>

#include "util/clock.h"
#include "util/counter.h"

/* After this many frames out and none in, nobody waits for an answer. */
#define UNANSWERED 128

/* The fewest frames for which a pause pays, the most to wait for, and the
 * longest pause. */
#define FRAMES_MIN 4
#define FRAMES_MAX 64
#define PAUSE_MAX  2000000 /* ns */

/* Somebody in the guest may be blocked until its buffers return, while others
 * send: they are held back no longer than this, plus one pause. */
#define QUIET_MAX 4000000 /* ns */

/* Their kind is judged by this many frames. They are long ones if they have at
 * least this many bytes on average: segments to be cut into packets have, even
 * with the acknowledgements between them. */
#define BULK_FRAMES 64
#define BULK_BYTES  4096

/* Frames that came in: an answer may come by another queue than its question
 * has left by. */
static uint64_t frames_received(const struct virtio_net *net)
{
	uint64_t frames = 0;

	for (unsigned i = 0; i < net->nr_pairs; i++)
		frames += counter_read(&net->pairs[i].received.packets);
	return frames;
}

bool net_pause(struct virtio_net *net, unsigned p)
{
	struct net_pair *pair = &net->pairs[p];
	struct tx_pause *pause = &pair->tx->pause;
	uint64_t sent = counter_read(&pair->sent.packets);
	uint64_t now, frames, ns, length;

	if (frames_received(net) != pause->received) {
		pause->received = frames_received(net);
		pause->sent_at_answer = sent;
	}
	if (sent - pause->sent_at_answer < UNANSWERED || net->limited)
		return false;
	now = clock_ns(CLOCK_MONOTONIC);
	frames = sent - pause->sent;
	ns = now - pause->looked;
	pause->sent = sent;
	pause->looked = now;
	if (!frames)
		return false;
	length = ns * FRAMES_MAX / frames;
	if (length > PAUSE_MAX)
		length = PAUSE_MAX;
	if (frames * length < ns * FRAMES_MIN)
		return false;
	pause->until = now + length;
	return true;
}

bool net_quiet(struct virtio_net *net, unsigned p)
{
	struct tx_pause *pause = &net->pairs[p].tx->pause;

	if (!pause->until)
		pause->quiet = 0; /* no pause: the interrupt comes now */
	else if (!pause->quiet)
		pause->quiet = pause->looked; /* it is owed from now on */
	else if (pause->looked - pause->quiet > QUIET_MAX)
		pause->quiet = 0; /* it was owed for too long */
	return pause->quiet;
}

/*
 * Where no CPU is free, a thread under SCHED_OTHER that wakes up preempts
 * another. Woken by each segment, the worker would preempt the guest, carry
 * that one, and interrupt the guest for one answer, after which the guest
 * notifies it of the next. Under SCHED_BATCH it preempts nobody: the guest, or
 * its peer, goes on until it waits or its time is over, and several segments
 * are there. With short frames somebody may wait for each one. A policy that
 * somebody else set stays.
 */
static void net_choose_policy(struct virtio_net *net)
{
	static const int policies[] = { SCHED_OTHER, SCHED_BATCH };
	static const struct sched_param none; /* neither has any */
	struct net_bulk *bulk = &net->bulk;
	uint64_t packets = 0, bytes = 0;
	bool on;

	for (unsigned i = 0; i < net->nr_pairs; i++) {
		const struct net_pair *pair = &net->pairs[i];

		packets += counter_read(&pair->received.packets) +
			   counter_read(&pair->sent.packets);
		bytes += counter_read(&pair->received.bytes) +
			 counter_read(&pair->sent.bytes);
	}
	packets -= bulk->packets;
	bytes -= bulk->bytes;
	if (packets < BULK_FRAMES)
		return;
	bulk->packets += packets;
	bulk->bytes += bytes;
	on = bytes >= packets * BULK_BYTES;
	if (on != bulk->on && sched_getscheduler(0) == policies[bulk->on] &&
	    !sched_setscheduler(0, policies[on], &none))
		bulk->on = on;
}

bool net_idle(struct virtio_device *virtio)
{
	struct virtio_net *net =
		container_of(virtio, struct virtio_net, virtio);
	bool again = false;

	net_choose_policy(net);
	virtio->sleep_ns = 0;
	for (unsigned i = 0; i < net->control.pairs; i++) {
		struct tx_pause *pause = &net->pairs[i].tx->pause;
		uint64_t now;

		if (!pause->until)
			continue;
		now = clock_ns(CLOCK_MONOTONIC);
		if (now >= pause->until ||
		    frames_received(net) != pause->received) {
			pause->until = 0;
			virtio->queues[net_tx_queue(i)].again = true;
			again = true;
		} else if (!virtio->sleep_ns ||
			   pause->until - now < virtio->sleep_ns) {
			virtio->sleep_ns = pause->until - now;
		}
	}
	return again;
}
