/*
 * Attacks nobody thought of: random registers, descriptors and resets. Option
 * seed=N begins the stream; a failure's seed stands in what it printed.
 */
#include "guests/evil/evil.h"
#include "guests/lib/pci.h"

#define ROUNDS 4
#define STEPS  120

static uint64_t state;

/* xorshift64* */
static uint32_t draw(uint32_t limit)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32_t)((state * 0x2545f4914f6cdd1dul) >> 32) % limit;
}

/* Values that have meant trouble before; none points at this program. */
static uint64_t value(const struct target *t)
{
	const uint64_t values[] = {
		0,           1,         2,
		3,           15,        0x80,
		0xffff,      0x8000,    ~0ul,
		OUTSIDE,     SCRATCH,   SCRATCH + 0x1000,
		SCRATCH + 4, 1ul << 32, t->ram_end - 16,
		0xffffffff,
	};

	return draw(4) ? values[draw(ARRAY_SIZE(values))]
		       : SCRATCH + draw(SCRATCH_SIZE / 2);
}

static void poke(struct target *t)
{
	uint64_t at = t->dev.base + draw(t->dev.pci ? 64 : 0x100);
	uint64_t what = value(t);

	switch (draw(6)) {
	case 0:
		write8(at, (uint8_t)what);
		break;
	case 1:
		write16(at & ~1ul, (uint16_t)what);
		break;
	case 2:
		write64(at & ~7ul, what);
		break;
	case 3:
		read32(at & ~3ul);
		break;
	default:
		write32(at & ~3ul, (uint32_t)what);
	}
}

static void describe(struct target *t)
{
	uint32_t size = t->vq.size;
	uint64_t at = value(t);

	if (at < SCRATCH)
		at = SCRATCH;
	set_desc(t, (int)draw(size), at,
		 draw(3) ? draw(70000) : (uint32_t)value(t), (int)draw(8),
		 (int)draw(size + 2));
	if (draw(2))
		vq_publish(&t->vq, (uint16_t)draw(size + 1));
	if (!draw(20))
		t->vq.avail->idx = (uint16_t)draw(65536);
	if (!draw(8))
		*vq_used_event(&t->vq) = (uint16_t)draw(65536);
}

/* As a driver would, so that the next steps meet a device that runs. */
static void begin(struct target *t)
{
	vq_forget();
	if (!virtio_start(&t->dev, draw(2) ? ~0ul : 0))
		return;
	vq_init(&t->vq, &t->dev, t->queue, (uint16_t)(16u << draw(3)));
	virtio_driver_ok(&t->dev);
}

static void step(struct target *t)
{
	switch (draw(16)) {
	case 0:
		begin(t);
		break;
	case 1:
		virtio_set_status(&t->dev, (uint8_t)draw(256));
		break;
	case 2:
	case 3:
		poke(t);
		break;
	case 4:
		virtio_queue_addresses(&t->dev, value(t), value(t), value(t));
		virtio_queue_ready(&t->dev, draw(4));
		break;
	case 5:
		if (t->dev.msix_cap)
			virtio_msix_vector(&t->dev, (int)draw(3) - 1,
					   (uint16_t)draw(5));
		break;
	case 6:
	case 7:
	case 8:
		vq_notify(&t->vq);
		break;
	default:
		describe(t);
	}
}

static void random_steps(struct target *t)
{
	state = option_number("seed", 1) * 0x9e3779b97f4a7c15ul + t->type;
	for (int round = 0; round < ROUNDS; round++) {
		begin(t);
		for (int i = 0; i < STEPS; i++)
			step(t);
		virtio_reset(&t->dev);
		vq_forget();
		t->prove(t);
	}
}

const struct attack random_attacks[] = {
	{ "random", 0, random_steps },
	{ NULL, 0, NULL },
};
