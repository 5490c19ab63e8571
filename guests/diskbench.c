/*
 * How fast a disk is, driven from ring 3 by polling, so that the guest itself
 * costs as little as can be. Options: ms=N how long each case takes (1000),
 * repeat=N how often each is done (1), write: writes as well, fill: fills the
 * disk, each block with where it is, and no more, verify: looks whether each
 * block that is read says so.
 *
 * A line for each case: its name, operations a second, and nanoseconds that
 * one took if they were done one after another.
 */
#include "guests/lib/blk.h"
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"
#include "guests/lib/user.h"

#define DEPTH_MAX 32
#define DATA_MAX  65536
#define BLOCK     4096

#define FILL 0 /* which case */

/* How long the TSC is compared with the PM timer. */
#define CALIBRATE_MS 50

struct request {
	struct virtio_blk_outhdr header;
	uint8_t status;
	uint8_t unused[47];
};

static struct {
	const char *name;
	uint32_t type, size, depth;
	bool random;
} cases[] = {
	{ "fill", VIRTIO_BLK_T_OUT, 65536, 8, false },
	{ "randread-4k-1", VIRTIO_BLK_T_IN, 4096, 1, true },
	{ "randread-4k-32", VIRTIO_BLK_T_IN, 4096, 32, true },
	{ "read-64k-1", VIRTIO_BLK_T_IN, 65536, 1, false },
	{ "read-64k-8", VIRTIO_BLK_T_IN, 65536, 8, false },
	{ "randwrite-4k-1", VIRTIO_BLK_T_OUT, 4096, 1, true },
	{ "randwrite-4k-32", VIRTIO_BLK_T_OUT, 4096, 32, true },
};

static struct blk disk;
static struct request *requests = (void *)BUFFERS;
static uint8_t *data = (void *)(BUFFERS + 0x10000);
static uint64_t seed = 88172645463325252ul, next_sector, tsc_hz, wrong;

static uint64_t random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* Request number @slot has the descriptors from 3 * slot on. */
static void prepare(uint32_t slot, uint32_t type, uint32_t size)
{
	struct vring_desc *desc = &disk.vq.desc[3 * slot];
	uint16_t write = type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0;

	requests[slot].header.type = type;
	desc[0] = (struct vring_desc){ (uint64_t)&requests[slot].header, 16,
				       VRING_DESC_F_NEXT,
				       (uint16_t)(3 * slot + 1) };
	desc[1] = (struct vring_desc){ (uint64_t)data + slot * DATA_MAX, size,
				       VRING_DESC_F_NEXT | write,
				       (uint16_t)(3 * slot + 2) };
	desc[2] = (struct vring_desc){ (uint64_t)&requests[slot].status, 1,
				       VRING_DESC_F_WRITE, 0 };
}

static void submit(int which, uint32_t slot)
{
	uint32_t size = cases[which].size;
	uint64_t sectors = size / SECTOR, blocks = disk.sectors / sectors;

	if (cases[which].random) {
		next_sector = random() % blocks * sectors;
	} else {
		next_sector += sectors;
		if (next_sector + sectors > disk.sectors)
			next_sector = 0;
	}
	for (uint32_t i = 0; cases[which].type == VIRTIO_BLK_T_OUT && i < size;
	     i += BLOCK)
		*(uint64_t *)(data + slot * DATA_MAX + i) =
			(next_sector * SECTOR + i) / BLOCK;
	requests[slot].header.sector = next_sector;
	requests[slot].status = BLK_UNSET;
	vq_publish(&disk.vq, (uint16_t)(3 * slot));
}

static void finish(uint32_t slot, bool verify)
{
	volatile struct request *request = &requests[slot];
	uint64_t first = *(uint64_t *)(data + slot * DATA_MAX);

	if (request->status != 0 ||
	    (verify && first != request->header.sector * SECTOR / BLOCK))
		wrong++;
}

static void look_at_clock(void *arg)
{
	*(uint64_t *)arg = clock_now();
}

static uint64_t clock(void)
{
	uint64_t now;

	user_call(look_at_clock, &now);
	return now;
}

static void calibrate(void)
{
	uint64_t from = clock(), tsc = rdtsc(), now;

	do {
		now = clock();
	} while (now - from < clock_ms(CALIBRATE_MS));
	tsc_hz = (rdtsc() - tsc) * CLOCK_HZ / (now - from);
}

struct result {
	const char *name;
	uint64_t done, ticks;
};

static void report(void *arg)
{
	struct result *result = arg;

	CHECK_EQ(wrong, 0, "requests with a wrong status or data");
	print("%s %lu iops %lu ns\n", result->name,
	      result->done * 1000 / (result->ticks * 1000 / tsc_hz),
	      result->ticks / result->done * 1000 / (tsc_hz / 1000000));
}

/* Keeps requests in flight until @ticks of the TSC have passed, and @least of
 * them are done. */
static void measure(int which, uint64_t ticks, uint64_t least, bool verify)
{
	uint32_t type = cases[which].type;
	uint32_t in_flight = cases[which].depth;
	uint64_t start = rdtsc(), now = start;
	struct result result = { .name = cases[which].name };

	for (uint32_t i = 0; i < in_flight; i++) {
		prepare(i, type, cases[which].size);
		submit(which, i);
	}
	vq_kick(&disk.vq);
	while (in_flight) {
		uint32_t head, more = 0;

		while (!vq_pending(&disk.vq))
			cpu_pause();
		now = rdtsc();
		while (vq_pending(&disk.vq)) {
			vq_take(&disk.vq, &head, NULL);
			finish(head / 3, verify && type == VIRTIO_BLK_T_IN);
			in_flight--;
			result.done++;
			if (now - start >= ticks && result.done >= least)
				continue;
			submit(which, head / 3);
			more++;
		}
		in_flight += more;
		if (more)
			vq_kick(&disk.vq);
	}
	result.ticks = now - start;
	user_call(report, &result);
}

static void end(void *arg)
{
	(void)arg;
	guest_exit(0);
}

int guest_main(void)
{
	uint64_t repeat = option_number("repeat", 1);
	uint64_t ms = option_number("ms", 1000);
	bool write = option("write"), verify = option("verify");

	CHECK(blk_find(&disk, 0), "the disk is there");
	blk_start(&disk, 1ul << VIRTIO_BLK_F_FLUSH, 128);
	next_sector = disk.sectors; /* sequences begin at 0 */
	disk.vq.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	user_enter();
	calibrate();
	if (option("fill")) {
		measure(FILL, 0, disk.sectors * SECTOR / DATA_MAX, false);
		repeat = 0;
	}
	for (uint64_t i = 0; i < repeat; i++)
		for (int k = FILL + 1; k < (int)ARRAY_SIZE(cases); k++)
			if (cases[k].type == VIRTIO_BLK_T_IN || write)
				measure(k, ms * (tsc_hz / 1000), 1, verify);
	user_call(end, NULL);
	return 0;
}
