#include "devices/virtio/net_parts.h"

#include "util/clock.h"
#include "util/counter.h"

/* So many frames have left and none has come: nobody waits for an answer. */
#define UNANSWERED 128

/* What a pause shall bring, or it is not worth its end, what is enough, and how
 * long it may be. */
#define FRAMES_MIN 4
#define FRAMES_MAX 64
#define PAUSE_MAX  2000000 /* ns */

/* A frame came in. */
static bool answered(const struct net_pair *pair)
{
	return counter_read(&pair->received.packets) != pair->tx->pause.answers;
}

bool net_pause(struct virtio_net *net, unsigned p)
{
	struct net_pair *pair = &net->pairs[p];
	struct tx_pause *pause = &pair->tx->pause;
	uint64_t sent = counter_read(&pair->sent.packets);
	uint64_t now, frames, ns, length;

	if (answered(pair)) {
		pause->answers = counter_read(&pair->received.packets);
		pause->answered = sent;
	}
	if (sent - pause->answered < UNANSWERED || net->limited)
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

bool net_idle(struct virtio_device *virtio)
{
	struct virtio_net *net =
		container_of(virtio, struct virtio_net, virtio);
	bool again = false;

	virtio->sleep_ns = 0;
	for (unsigned i = 0; i < net->control.pairs; i++) {
		uint64_t until = net->pairs[i].tx->pause.until, now;

		if (!until)
			continue;
		now = clock_ns(CLOCK_MONOTONIC);
		if (now >= until || answered(&net->pairs[i])) {
			net->pairs[i].tx->pause.until = 0;
			virtio->queues[net_tx_queue(i)].again = true;
			again = true;
		} else if (!virtio->sleep_ns ||
			   until - now < virtio->sleep_ns) {
			virtio->sleep_ns = until - now;
		}
	}
	return again;
}
