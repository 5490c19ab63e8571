/*
 * A disk under a load that is to be killed: numbered writes of 4 KiB, several
 * at once, a flush now and then, and after each a line "flushed N": all writes
 * up to number N are safe. It never ends.
 *
 * With verify=N it wants to find what a run that said so has left: each sector
 * is whole, belongs where it is, and is of the last safe write there or a later
 * one. Where none was safe it may also be as before, blank=BYTE (0).
 */
#include "guests/lib/blk.h"
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"

#define SLOTS   512 /* a power of two */
#define STEP    37  /* odd: SLOTS writes in a row go to as many places */
#define STRIDE  (64 * 1024 / SECTOR)
#define SECTORS 8 /* of a write */
#define BATCH   8
#define MAGIC   0x7372656262726d6eul

/* What each sector says of itself. */
struct label {
	uint64_t magic, number, sector, sum;
	uint64_t filler[59];
	uint64_t number_again;
};

struct request {
	struct virtio_blk_outhdr header;
	uint8_t status;
	struct label data[SECTORS] __attribute__((aligned(512)));
};

static struct blk disk;
static struct request *requests = (void *)BUFFERS;

static uint64_t sum_of(uint64_t number, uint64_t sector)
{
	uint64_t x = (number ^ sector << 40) * 0x9e3779b97f4a7c15ul;

	return x ^ x >> 29;
}

/* Places in different clusters, and not always at their beginning. */
static uint64_t sector_of(uint64_t number)
{
	uint64_t slot = number * STEP % SLOTS;

	return slot * STRIDE + slot * 7 % (STRIDE / SECTORS) * SECTORS;
}

static void submit(struct request *request, uint32_t type, uint64_t number)
{
	struct vq_buffer buffers[] = {
		{ (uint64_t)&request->header, sizeof(request->header), false },
		{ (uint64_t)request->data, sizeof(request->data),
		  type == VIRTIO_BLK_T_IN },
		{ (uint64_t)&request->status, 1, true },
	};

	request->header = (struct virtio_blk_outhdr){
		.type = type,
		.sector = sector_of(number),
	};
	request->status = BLK_UNSET;
	for (uint64_t i = 0; i < SECTORS && type == VIRTIO_BLK_T_OUT; i++) {
		struct label *label = &request->data[i];

		label->magic = MAGIC;
		label->number = label->number_again = number;
		label->sector = request->header.sector + i;
		label->sum = sum_of(number, label->sector);
	}
	vq_add(&disk.vq, buffers, 3);
}

static void collect(uint32_t count)
{
	vq_kick(&disk.vq);
	for (uint32_t i = 0; i < count; i++)
		CHECK(vq_take(&disk.vq, NULL, NULL), "a request is answered");
	for (uint32_t i = 0; i < count; i++)
		CHECK_EQ(requests[i].status, 0, "status of a request");
}

static void load(void)
{
	uint64_t number = 0;

	for (uint64_t batch = 1;; batch++) {
		uint32_t count = 1 + sum_of(batch, 0) % BATCH;

		for (uint32_t i = 0; i < count; i++)
			submit(&requests[i], VIRTIO_BLK_T_OUT, ++number);
		collect(count);
		if (sum_of(batch, 1) % 3)
			continue;
		CHECK_EQ(blk_request(&disk, VIRTIO_BLK_T_FLUSH, 0, NULL, 0), 0,
			 "status of a flush");
		print("flushed %lu\n", number);
	}
}

/* The last write of at most @number to where @slot goes; 0: there is none. */
static uint64_t last_write(uint64_t slot, uint64_t number)
{
	uint64_t behind = (number - slot) % SLOTS;

	return number > behind ? number - behind : 0;
}

static void verify_sector(const struct label *label, uint64_t sector,
			  uint64_t last, uint64_t blank)
{
	const uint64_t *words = (const uint64_t *)label;

	if (!last && words[0] == blank && words[1] == blank &&
	    words[63] == blank)
		return;
	if (label->magic != MAGIC || label->sector != sector ||
	    label->number != label->number_again ||
	    label->sum != sum_of(label->number, sector))
		fail("sector %lu is damaged: word %lx, number %lu and %lu",
		     sector, label->magic, label->number, label->number_again);
	if (label->number < last)
		fail("sector %lu is of write %lu, but %lu was flushed", sector,
		     label->number, last);
}

static void verify(uint64_t number, uint64_t blank)
{
	for (uint64_t slot = 0; slot < SLOTS; slot += BATCH) {
		for (uint64_t i = 0; i < BATCH; i++)
			submit(&requests[i], VIRTIO_BLK_T_IN, slot + i);
		collect(BATCH);
		for (uint64_t i = 0; i < BATCH; i++)
			for (uint64_t k = 0; k < SECTORS; k++)
				verify_sector(&requests[i].data[k],
					      sector_of(slot + i) + k,
					      last_write(slot + i, number),
					      blank);
	}
	print("verified up to %lu\n", number);
}

int guest_main(void)
{
	CHECK(blk_find(&disk, 0), "the disk is there");
	blk_start(&disk, 1ul << VIRTIO_BLK_F_FLUSH, 0);
	CHECK(disk.sectors >= SLOTS * STRIDE, "the disk is large enough");
	if (!option("verify"))
		load();
	verify(option_number("verify", 0),
	       option_number("blank", 0) * 0x0101010101010101ul);
	return 0;
}
