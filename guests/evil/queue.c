/*
 * Setting up: sizes, addresses, selectors, features and status in an order no
 * driver would choose.
 */
#include "guests/evil/evil.h"

#define ACKNOWLEDGE VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER      VIRTIO_CONFIG_S_DRIVER
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK

#define NOBODY 0x1234 /* a queue that does not exist */

/* Reset, features accepted, the queue selected but not set up. */
static void restart(struct target *t)
{
	CHECK(virtio_start(&t->dev, 0), "features are accepted");
	virtio_select(&t->dev, (uint16_t)t->queue);
}

static void go(struct target *t)
{
	virtio_queue_ready(&t->dev, true);
	virtio_driver_ok(&t->dev);
	t->vq.notify_at = virtio_notify_address(&t->dev, (uint16_t)t->queue);
	vq_notify(&t->vq);
	clock_spin(clock_ms(1));
}

static void bad_sizes(struct target *t)
{
	static const uint16_t sizes[] = { 0,      3,      100,    0x1000,
					  0x4000, 0x8000, 0x8001, 0xffff };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		restart(t);
		virtio_queue_size(&t->dev, sizes[i]);
		virtio_queue_addresses(&t->dev, SCRATCH, SCRATCH + 0x40000,
				       SCRATCH + 0x80000);
		memset((void *)SCRATCH, 0, 0x1000);
		write32(SCRATCH + 0x40000, 0x10000); /* one chain, head 0 */
		go(t);
	}
}

static void bad_addresses(struct target *t)
{
	const uint64_t places[] = {
		OUTSIDE, ~0ul, ~0ul - 4095, 1ul << 52,      0xfee00000,
		0,       1,    SCRATCH + 1, t->ram_end - 8, t->dev.base,
	};

	for (size_t i = 0; i < 3 * ARRAY_SIZE(places); i++) {
		uint64_t bad = places[i / 3], good = SCRATCH;

		if (!bad && i % 3 == 2)
			continue; /* a used ring at 0 is a good one */
		memset((void *)SCRATCH, 0, 0x2000);
		restart(t);
		virtio_queue_size(&t->dev, 64);
		virtio_queue_addresses(&t->dev, i % 3 == 0 ? bad : good,
				       i % 3 == 1 ? bad : good + 0x1000,
				       i % 3 == 2 ? bad : good + 0x1800);
		write32(SCRATCH + 0x1000, 0x10000);
		go(t);
	}
}

static void rings_overlap(struct target *t)
{
	memset((void *)SCRATCH, 0, 0x2000);
	restart(t);
	virtio_queue_size(&t->dev, 64);
	virtio_queue_addresses(&t->dev, SCRATCH, SCRATCH, SCRATCH);
	write32(SCRATCH, 0x200000);
	go(t);
}

/* What is fixed once the queue is ready stays as it is. */
static void frozen_queue(struct target *t)
{
	virtio_select(&t->dev, (uint16_t)t->queue);
	virtio_queue_addresses(&t->dev, OUTSIDE, OUTSIDE, OUTSIDE);
	virtio_queue_size(&t->dev, 2);
	t->vq.desc[0] = (struct vring_desc){ SCRATCH, 64, 0, 0 };
	vq_publish(&t->vq, 0);
	strike(t);
}

static void stop_while_running(struct target *t)
{
	vq_publish(&t->vq, 0);
	vq_notify(&t->vq);
	virtio_select(&t->dev, (uint16_t)t->queue);
	virtio_queue_ready(&t->dev, false);
	strike(t);
	virtio_queue_ready(&t->dev, true);
	strike(t);
}

static void no_such_queue(struct target *t)
{
	virtio_select(&t->dev, NOBODY);
	CHECK_EQ(virtio_queue_max(&t->dev), 0, "size of no queue");
	virtio_queue_size(&t->dev, 8);
	virtio_queue_addresses(&t->dev, OUTSIDE, OUTSIDE, OUTSIDE);
	virtio_queue_ready(&t->dev, true);
	CHECK(!virtio_queue_is_ready(&t->dev), "no queue is never ready");
	if (t->dev.pci) {
		write16(t->dev.notify, NOBODY);
		write32(t->dev.notify, ~0u);
		write8(t->dev.notify, 0xff);
	} else {
		write32(t->dev.base + 0x50, NOBODY);
		write32(t->dev.base + 0x50, ~0u);
	}
	strike(t);
}

static void features_not_offered(struct target *t)
{
	virtio_reset(&t->dev);
	virtio_set_status(&t->dev, ACKNOWLEDGE);
	virtio_set_status(&t->dev, ACKNOWLEDGE | DRIVER);
	virtio_driver_features(&t->dev, ~0ul);
	virtio_set_status(&t->dev, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	CHECK(!(virtio_status(&t->dev) & FEATURES_OK),
	      "features that were not offered are refused");
	virtio_driver_ok(&t->dev);
	vq_notify(&t->vq);
}

static void features_changed(struct target *t)
{
	virtio_driver_features(&t->dev,
			       BIT(VIRTIO_F_VERSION_1) |
				       BIT(VIRTIO_RING_F_EVENT_IDX) |
				       BIT(VIRTIO_RING_F_INDIRECT_DESC));
	/* Still without: EVENT_IDX would read behind the ring. */
	t->vq.desc[0] = (struct vring_desc){ SCRATCH, 64, 4, 0 };
	vq_publish(&t->vq, 0);
	strike(t);
	CHECK(!fell_for_it(t), "features are fixed once they are accepted");
}

static void no_features(struct target *t)
{
	virtio_reset(&t->dev);
	virtio_set_status(&t->dev, ACKNOWLEDGE | DRIVER | DRIVER_OK);
	vq_notify(&t->vq);
	virtio_set_status(&t->dev, DRIVER_OK);
	vq_notify(&t->vq);
}

static void legacy_driver(struct target *t)
{
	virtio_reset(&t->dev);
	virtio_set_status(&t->dev, ACKNOWLEDGE | DRIVER);
	virtio_driver_features(&t->dev, 0); /* without VERSION_1 */
	virtio_set_status(&t->dev, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	CHECK(!(virtio_status(&t->dev) & FEATURES_OK),
	      "a driver that knows no virtio 1 is refused");
}

static void no_queues(struct target *t)
{
	restart(t);
	virtio_driver_ok(&t->dev);
	vq_notify(&t->vq);
	clock_spin(clock_ms(1));
}

static void ready_without_addresses(struct target *t)
{
	restart(t);
	go(t);
}

/* Driver OK again and again: one worker, not many. */
static void many_starts(struct target *t)
{
	for (int i = 0; i < 50; i++) {
		virtio_set_status(&t->dev, DRIVER_OK | ACKNOWLEDGE | DRIVER |
						   FEATURES_OK);
		vq_notify(&t->vq);
	}
	for (int i = 0; i < 20; i++) {
		CHECK(virtio_start(&t->dev, 0), "features are accepted");
		virtio_driver_ok(&t->dev);
		virtio_set_status(&t->dev, 0);
		virtio_set_status(&t->dev, 0);
	}
}

static void status_goes_back(struct target *t)
{
	virtio_set_status(&t->dev, ACKNOWLEDGE);
	vq_notify(&t->vq);
	virtio_set_status(&t->dev, 0xff);
	vq_notify(&t->vq);
}

const struct attack queue_attacks[] = {
	{ "bad-sizes", 0, bad_sizes },
	{ "bad-addresses", 0, bad_addresses },
	{ "rings-overlap", 0, rings_overlap },
	{ "frozen-queue", 0, frozen_queue },
	{ "stop-while-running", 0, stop_while_running },
	{ "no-such-queue", 0, no_such_queue },
	{ "features-not-offered", 0, features_not_offered },
	{ "features-changed", 0, features_changed },
	{ "no-features", 0, no_features },
	{ "legacy-driver", 0, legacy_driver },
	{ "no-queues", 0, no_queues },
	{ "ready-without-addresses", 0, ready_without_addresses },
	{ "many-starts", 0, many_starts },
	{ "status-goes-back", 0, status_goes_back },
	{ NULL, 0, NULL },
};
