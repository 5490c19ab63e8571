/*
 * Chains of buffers: where they point, how long they say they are, in which
 * order, and indirect tables.
 */
#include "guests/evil/evil.h"
#include "guests/lib/acpi.h"

#define WRITE    VRING_DESC_F_WRITE
#define NEXT     VRING_DESC_F_NEXT
#define INDIRECT VRING_DESC_F_INDIRECT

static struct vring_desc *const table = (void *)SCRATCH;

/* For each device a chain of its kind, whose data is [address, +length). */
static void give(struct target *t, uint64_t address, uint32_t length)
{
	static struct {
		uint32_t type, priority;
		uint64_t sector;
	} header;
	static uint8_t status;
	struct virtqueue *vq = &t->vq;

	status = 0xff;
	header.sector = 0;
	switch (t->type) {
	case VIRTIO_BLOCK:
		set_desc(t, 0, (uint64_t)&header, 16, NEXT, 1);
		set_desc(t, 1, address, length, NEXT | WRITE, 2);
		set_desc(t, 2, (uint64_t)&status, 1, WRITE, 0);
		break;
	case VIRTIO_NET:
		set_desc(t, 0, address, length, vq->index ? 0 : WRITE, 0);
		break;
	default:
		set_desc(t, 0, address, length, WRITE, 0);
	}
	vq_publish(vq, 0);
	strike(t);
	CHECK(*(volatile uint8_t *)&status != 0,
	      "a request for bytes outside RAM is not well done");
}

static void outside_ram(struct target *t)
{
	give(t, OUTSIDE, 512);
	CHECK(!fell_for_it(t), "bytes outside RAM are not used");
}

static void at_devices(struct target *t)
{
	uint64_t places[] = { 0xfee00000,  0xfec00000,    acpi.ecam,
			      t->dev.base, t->dev.notify, t->dev.msix_table };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		if (!places[i])
			continue;
		if (i) {
			virtio_reset(&t->dev);
			CHECK(virtio_start(&t->dev, 0), "features");
			vq_forget();
			vq_init(&t->vq, &t->dev, t->queue, 0);
			virtio_driver_ok(&t->dev);
		}
		give(t, places[i], 512);
		CHECK(!fell_for_it(t), "a device's registers are no buffer");
	}
}

static void far_away(struct target *t)
{
	give(t, 1ul << 52, 512);
}

static void across_the_end(struct target *t)
{
	give(t, t->ram_end - 256, 512);
	CHECK(!fell_for_it(t), "bytes across the end of RAM are not used");
}

static void address_wraps(struct target *t)
{
	give(t, ~0ul - 255, 512);
	CHECK(!fell_for_it(t), "bytes across 2^64 are not used");
}

static void huge_length(struct target *t)
{
	give(t, SCRATCH, 0xfffffe00);
}

static void huge_everywhere(struct target *t)
{
	int write = t->type == VIRTIO_NET && t->vq.index ? 0 : WRITE;

	for (int i = 0; i < t->vq.size; i++)
		set_desc(t, i, SCRATCH, 0xffffffff,
			 write | (i + 1 < t->vq.size ? NEXT : 0), i + 1);
	vq_publish(&t->vq, 0);
	strike(t);
}

/* Real RAM, in so many pieces that their sum is past 32 bits. */
static void huge_sum(struct target *t)
{
	uint32_t length = (uint32_t)t->ram_end - 0x100000;
	int write = t->type == VIRTIO_NET && t->vq.index ? 0 : WRITE;

	if (write) /* would overwrite this very program */
		return;
	for (int i = 0; i < t->vq.size; i++)
		set_desc(t, i, 0x100000, length, i + 1 < t->vq.size ? NEXT : 0,
			 i + 1);
	vq_publish(&t->vq, 0);
	strike(t);
}

static void writable_first(struct target *t)
{
	set_desc(t, 0, SCRATCH, 512, NEXT | WRITE, 1);
	set_desc(t, 1, SCRATCH + 512, 16, NEXT, 2);
	set_desc(t, 2, SCRATCH + 1024, 1, WRITE, 0);
	vq_publish(&t->vq, 0);
	strike(t);
}

static void wrong_direction(struct target *t)
{
	bool readable = t->type == VIRTIO_NET && t->vq.index;

	set_desc(t, 0, SCRATCH, 512, readable ? WRITE : 0, 0);
	vq_publish(&t->vq, 0);
	strike(t);
	CHECK(!fell_for_it(t), "a chain of the wrong direction is not used");
}

static void empty_buffer(struct target *t)
{
	set_desc(t, 0, SCRATCH, 0, WRITE, 0);
	set_desc(t, 1, SCRATCH, 0, 0, 0);
	vq_publish(&t->vq, 0);
	vq_publish(&t->vq, 1);
	strike(t);
	CHECK(!fell_for_it(t), "nothing is written into no bytes");
}

/* Offers one indirect table of @length bytes at @address. */
static void give_table(struct target *t, uint64_t address, uint32_t length,
		       int flags)
{
	set_desc(t, 0, address, length, INDIRECT | flags, 1);
	set_desc(t, 1, SCRATCH + 0x8000, 64, WRITE, 0);
	vq_publish(&t->vq, 0);
	strike(t);
	CHECK(!fell_for_it(t), "a bad indirect table is not used");
}

static void entry(int index, int flags, int next)
{
	table[index] = (struct vring_desc){
		.addr = SCRATCH + 0x8000,
		.len = 512,
		.flags = (uint16_t)flags,
		.next = (uint16_t)next,
	};
}

static void indirect_unasked(struct target *t)
{
	entry(0, WRITE, 0);
	give_table(t, SCRATCH, 16, 0);
}

static void indirect_empty(struct target *t)
{
	give_table(t, SCRATCH, 0, 0);
}

static void indirect_odd(struct target *t)
{
	entry(0, WRITE, 0);
	give_table(t, SCRATCH, 17, 0);
}

static void indirect_nested(struct target *t)
{
	table[0] = (struct vring_desc){ SCRATCH, 16, INDIRECT, 0 };
	give_table(t, SCRATCH, 16, 0);
}

static void indirect_and_next(struct target *t)
{
	entry(0, WRITE, 0);
	give_table(t, SCRATCH, 16, NEXT);
}

static void indirect_loop(struct target *t)
{
	entry(0, WRITE | NEXT, 1);
	entry(1, WRITE | NEXT, 0);
	give_table(t, SCRATCH, 32, 0);
}

static void indirect_next_beyond(struct target *t)
{
	entry(0, WRITE | NEXT, 2);
	entry(2, WRITE, 0);
	give_table(t, SCRATCH, 32, 0);
}

static void indirect_outside(struct target *t)
{
	give_table(t, OUTSIDE, 64, 0);
}

static void indirect_across(struct target *t)
{
	give_table(t, t->ram_end - 16, 64, 0);
}

static void indirect_huge(struct target *t)
{
	memset(table, 0, 65536);
	give_table(t, SCRATCH, 0xfffffff0, 0);
}

#define INDIRECT_DESC BIT(VIRTIO_RING_F_INDIRECT_DESC)

const struct attack chain_attacks[] = {
	{ "outside-ram", 0, outside_ram },
	{ "at-devices", 0, at_devices },
	{ "far-away", 0, far_away },
	{ "across-the-end", 0, across_the_end },
	{ "address-wraps", 0, address_wraps },
	{ "huge-length", 0, huge_length },
	{ "huge-everywhere", 0, huge_everywhere },
	{ "huge-sum", 0, huge_sum },
	{ "writable-first", 0, writable_first },
	{ "wrong-direction", 0, wrong_direction },
	{ "empty-buffer", 0, empty_buffer },
	{ "indirect-unasked", 0, indirect_unasked },
	{ "indirect-empty", INDIRECT_DESC, indirect_empty },
	{ "indirect-odd", INDIRECT_DESC, indirect_odd },
	{ "indirect-nested", INDIRECT_DESC, indirect_nested },
	{ "indirect-and-next", INDIRECT_DESC, indirect_and_next },
	{ "indirect-loop", INDIRECT_DESC, indirect_loop },
	{ "indirect-next-beyond", INDIRECT_DESC, indirect_next_beyond },
	{ "indirect-outside", INDIRECT_DESC, indirect_outside },
	{ "indirect-across", INDIRECT_DESC, indirect_across },
	{ "indirect-huge", INDIRECT_DESC, indirect_huge },
	{ NULL, 0, NULL },
};
