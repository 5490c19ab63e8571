/*
 * The rings themselves: indices, heads, loops, and what changes meanwhile.
 */
#include "guests/evil/evil.h"
#include "guests/lib/acpi.h"
#include "guests/lib/cpu.h"

#define WRITE VRING_DESC_F_WRITE
#define NEXT  VRING_DESC_F_NEXT

static volatile bool scribbling, stop_scribbling, scribbler_up;
static volatile struct vring_desc *scribbled;

static int direction(const struct target *target)
{
	return target->type == VIRTIO_RNG || target->vq.index == 0 ? WRITE : 0;
}

static void avail_jumps(struct target *t)
{
	set_desc(t, 0, SCRATCH, 64, direction(t), 0);
	t->vq.avail->idx = 40000;
	strike(t);
	CHECK(needs_reset(t) || !vq_pending(&t->vq),
	      "more chains than entries are not served");
}

static void avail_steps_back(struct target *t)
{
	t->vq.avail->idx = 0xffff;
	strike(t);
}

static void head_beyond(struct target *t)
{
	static const uint16_t heads[] = { 0x8000, 0xffff };

	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		vq_publish(&t->vq, heads[i]);
		strike(t);
	}
	CHECK(!fell_for_it(t), "a head beyond the table is not served");
}

static void head_just_beyond(struct target *t)
{
	/* What stands behind the table looks like a good descriptor. */
	set_desc(t, t->vq.size, SCRATCH, 64, direction(t), 0);
	vq_publish(&t->vq, t->vq.size);
	strike(t);
	CHECK(!fell_for_it(t), "the head after the last is not served");
}

static void next_beyond(struct target *t)
{
	set_desc(t, 0, SCRATCH, 64, NEXT | direction(t), 0xffff);
	vq_publish(&t->vq, 0);
	strike(t);
	CHECK(!fell_for_it(t), "a chain that leaves the table is not served");
}

static void self_loop(struct target *t)
{
	set_desc(t, 0, SCRATCH, 64, NEXT | direction(t), 0);
	vq_publish(&t->vq, 0);
	strike(t);
	CHECK(!fell_for_it(t), "a chain that is a loop is not served");
}

static void long_loop(struct target *t)
{
	for (int i = 0; i < t->vq.size; i++)
		set_desc(t, i, SCRATCH, 1, NEXT | direction(t),
			 (i + 1) % t->vq.size);
	vq_publish(&t->vq, 0);
	strike(t);
	CHECK(!fell_for_it(t), "a loop through all entries is not served");
}

static void same_head_often(struct target *t)
{
	set_desc(t, 0, SCRATCH, 64, direction(t), 0);
	for (int i = 0; i < t->vq.size; i++)
		vq_publish(&t->vq, 0);
	strike(t);
}

/* Legal: all entries in one chain, all of them empty. */
static void empty_chain(struct target *t)
{
	for (int i = 0; i < t->vq.size; i++)
		set_desc(t, i, SCRATCH, 0,
			 (i + 1 < t->vq.size ? NEXT : 0) | direction(t), i + 1);
	vq_publish(&t->vq, 0);
	strike(t);
}

static void all_flags(struct target *t)
{
	set_desc(t, 0, SCRATCH, 64, 0xffff, 1);
	set_desc(t, 1, SCRATCH, 64, 0xfff8, 0);
	vq_publish(&t->vq, 0);
	strike(t);
}

/* What the device writes lands in its own rings. */
static void buffer_is_ring(struct target *t)
{
	set_desc(t, 0, (uint64_t)t->vq.desc, 16u * t->vq.size, WRITE, 0);
	set_desc(t, 1, (uint64_t)t->vq.avail, 6u + 2u * t->vq.size, WRITE, 0);
	set_desc(t, 2, (uint64_t)t->vq.used, 6u + 8u * t->vq.size, WRITE, 0);
	for (uint16_t head = 0; head < 3; head++)
		vq_publish(&t->vq, head);
	strike(t);
	clock_spin(clock_ms(1));
}

static void kick_storm(struct target *t)
{
	for (int i = 0; i < 200; i++)
		vq_notify(&t->vq);
	strike(t);
}

static void fill_queue(struct target *t)
{
	for (int i = 0; i < t->vq.size; i++) {
		set_desc(t, i, SCRATCH + 4096 * (uint64_t)(i % 16), 4096,
			 direction(t), 0);
		vq_publish(&t->vq, (uint16_t)i);
	}
}

/* Nothing is written to the rings, once a reset has been acknowledged. */
static void reset_in_flight(struct target *t)
{
	for (int round = 0; round < 8; round++) {
		fill_queue(t);
		vq_notify(&t->vq);
		virtio_reset(&t->dev);
		memset(t->vq.used, 0xee, 8ul * t->vq.size);
		clock_spin(clock_ms(1));
		for (uint64_t i = 0; i < t->vq.size; i++)
			CHECK_EQ(read64((uint64_t)t->vq.used + 8 * i),
				 0xeeeeeeeeeeeeeeee,
				 "the used ring after a reset");
		vq_forget();
		CHECK(virtio_start(&t->dev, 0), "features are accepted");
		vq_init(&t->vq, &t->dev, t->queue, 0);
		virtio_driver_ok(&t->dev);
	}
}

/* Runs @function on the second CPU until the caller says stop. */
static bool second_cpu(void (*function)(uint32_t id))
{
	if (acpi.nr_cpus < 2)
		return false;
	scribbler_up = stop_scribbling = false;
	CHECK(cpu_start(acpi.cpus[1], function), "the second CPU comes up");
	CHECK(WAIT_FOR(scribbler_up), "the second CPU runs");
	return true;
}

static void scribbler(uint32_t id)
{
	uint32_t seed = id;

	scribbler_up = true;
	while (!stop_scribbling) {
		while (scribbling) {
			seed = seed * 1664525 + 1013904223;
			/* Never below SCRATCH, where this program is. */
			scribbled[seed >> 8 & 15].addr =
				seed & 1 ? SCRATCH : OUTSIDE + (seed >> 12);
			scribbled[seed >> 8 & 15].len = seed >> 4;
			scribbled[seed >> 8 & 15].flags = seed >> 28;
			scribbled[seed >> 8 & 15].next = seed >> 8 & 31;
		}
		cpu_pause();
	}
}

/* Another CPU rewrites descriptors while the device reads them. */
static void race(struct target *t)
{
	scribbled = t->vq.desc;
	scribbling = true;
	if (!second_cpu(scribbler))
		return;
	for (int round = 0; round < 10; round++) {
		for (uint16_t head = 0; head < 16; head++)
			vq_publish(&t->vq, head);
		strike(t);
	}
	scribbling = false;
	stop_scribbling = true;
	clock_spin(clock_ms(1));
}

static struct target *disturbed;

/* Registers from two CPUs: one starts and stops what the other one uses. */
static void disturber(uint32_t id)
{
	struct virtio dev = disturbed->dev;

	(void)id;
	scribbler_up = true;
	while (!stop_scribbling) {
		virtio_set_status(&dev, 0);
		virtio_set_status(&dev, 3);
		virtio_driver_features(&dev, BIT(VIRTIO_F_VERSION_1));
		virtio_set_status(&dev, 0xb);
		virtio_select(&dev, (uint16_t)disturbed->queue);
		virtio_queue_addresses(&dev, (uint64_t)disturbed->vq.desc,
				       (uint64_t)disturbed->vq.avail,
				       (uint64_t)disturbed->vq.used);
		virtio_queue_ready(&dev, true);
		virtio_set_status(&dev, 0xf);
	}
	scribbler_up = false;
}

static void two_drivers(struct target *t)
{
	disturbed = t;
	if (!second_cpu(disturber))
		return;
	for (int round = 0; round < 100; round++) {
		set_desc(t, round % 16, SCRATCH, 512, direction(t), 0);
		vq_publish(&t->vq, (uint16_t)(round % 16));
		vq_notify(&t->vq);
		virtio_isr(&t->dev);
		if (!(round % 10))
			virtio_set_status(&t->dev, 0);
	}
	stop_scribbling = true;
	CHECK(WAIT_FOR(!scribbler_up), "the second CPU gets through");
}

const struct attack ring_attacks[] = {
	{ "avail-jumps", 0, avail_jumps },
	{ "avail-steps-back", 0, avail_steps_back },
	{ "head-beyond", 0, head_beyond },
	{ "head-just-beyond", 0, head_just_beyond },
	{ "next-beyond", 0, next_beyond },
	{ "self-loop", 0, self_loop },
	{ "long-loop", 0, long_loop },
	{ "same-head-often", 0, same_head_often },
	{ "empty-chain", 0, empty_chain },
	{ "all-flags", 0, all_flags },
	{ "buffer-is-ring", 0, buffer_is_ring },
	{ "buffer-is-ring-event", BIT(VIRTIO_RING_F_EVENT_IDX),
	  buffer_is_ring },
	{ "kick-storm", 0, kick_storm },
	{ "reset-in-flight", 0, reset_in_flight },
	{ "race", 0, race },
	{ "two-drivers", 0, two_drivers },
	{ NULL, 0, NULL },
};
