/*
 * Requests a disk must refuse, and odd ones it must not.
 */
#include "guests/lib/blk.h"
#include "guests/evil/evil.h"

#define WRITE VRING_DESC_F_WRITE
#define NEXT  VRING_DESC_F_NEXT

static struct virtio_blk_outhdr header;
static uint8_t status;

static uint8_t result(void)
{
	return *(volatile uint8_t *)&status;
}

static void prepare(uint32_t type, uint64_t sector)
{
	header = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
	status = BLK_UNSET;
}

/* Header and status as they should be around one data descriptor. */
static void request(struct target *t, uint32_t type, uint64_t sector,
		    uint32_t length, int flags)
{
	prepare(type, sector);
	set_desc(t, 0, (uint64_t)&header, 16, NEXT, 1);
	set_desc(t, 1, SCRATCH, length, flags | NEXT, 2);
	set_desc(t, 2, (uint64_t)&status, 1, WRITE, 0);
	vq_publish(&t->vq, 0);
	strike(t);
}

static void header_short(struct target *t)
{
	prepare(VIRTIO_BLK_T_IN, 0);
	set_desc(t, 0, (uint64_t)&header, 15, NEXT, 1);
	set_desc(t, 1, (uint64_t)&status, 1, WRITE, 0);
	vq_publish(&t->vq, 0);
	strike(t);
	CHECK(result() != VIRTIO_BLK_S_OK, "a header of 15 bytes is refused");
}

static void header_only(struct target *t)
{
	prepare(VIRTIO_BLK_T_OUT, 0);
	set_desc(t, 0, (uint64_t)&header, 16, 0, 0);
	vq_publish(&t->vq, 0);
	strike(t);
}

static void status_only(struct target *t)
{
	prepare(VIRTIO_BLK_T_IN, 0);
	set_desc(t, 0, (uint64_t)&status, 1, WRITE, 0);
	vq_publish(&t->vq, 0);
	strike(t);
	CHECK(result() != VIRTIO_BLK_S_OK, "a request without header");
}

static void status_empty(struct target *t)
{
	prepare(VIRTIO_BLK_T_IN, 0);
	set_desc(t, 0, (uint64_t)&header, 16, NEXT, 1);
	set_desc(t, 1, (uint64_t)&status, 0, WRITE, 0);
	vq_publish(&t->vq, 0);
	strike(t);
	CHECK_EQ(result(), BLK_UNSET, "a status of no bytes");
}

static void status_outside(struct target *t)
{
	prepare(VIRTIO_BLK_T_IN, 0);
	set_desc(t, 0, (uint64_t)&header, 16, NEXT, 1);
	set_desc(t, 1, SCRATCH, 512, WRITE | NEXT, 2);
	set_desc(t, 2, OUTSIDE, 1, WRITE, 0);
	vq_publish(&t->vq, 0);
	strike(t);
}

/* Legal: framing is the driver's choice (virtio 1.2, 2.7.4). */
static void header_in_pieces(struct target *t)
{
	prepare(VIRTIO_BLK_T_IN, 16);
	for (int i = 0; i < 16; i++)
		set_desc(t, i, (uint64_t)&header + (uint64_t)i, 1, NEXT, i + 1);
	set_desc(t, 16, SCRATCH, 513, WRITE, 0);
	((uint8_t *)SCRATCH)[512] = BLK_UNSET;
	vq_publish(&t->vq, 0);
	strike(t);
	CHECK(WAIT_FOR(vq_pending(&t->vq)), "odd framing is served");
	CHECK_EQ(read8(SCRATCH + 512), VIRTIO_BLK_S_OK,
		 "status behind the data, in one descriptor");
}

static void sectors(struct target *t)
{
	static const uint64_t places[] = { 1ul << 55, ~0ul, ~0ul >> 9,
					   (1ul << 55) - 1, 1ul << 63 };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		request(t, VIRTIO_BLK_T_IN, places[i], 512, WRITE);
		CHECK(WAIT_FOR(result() != BLK_UNSET), "an answer");
		CHECK_EQ(result(), VIRTIO_BLK_S_IOERR,
			 "status of a read far past the end");
		request(t, VIRTIO_BLK_T_OUT, places[i], 512, 0);
		CHECK(WAIT_FOR(result() != BLK_UNSET), "an answer");
		CHECK_EQ(result(), VIRTIO_BLK_S_IOERR,
			 "status of a write far past the end");
	}
}

static void odd_lengths(struct target *t)
{
	static const uint32_t lengths[] = { 1, 511, 513, 4095 };

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		request(t, VIRTIO_BLK_T_IN, 0, lengths[i], WRITE);
		CHECK(WAIT_FOR(result() != BLK_UNSET), "an answer");
		CHECK_EQ(result(), VIRTIO_BLK_S_IOERR,
			 "status of a read of part of a sector");
	}
}

static void directions(struct target *t)
{
	request(t, VIRTIO_BLK_T_IN, 0, 512, 0);
	CHECK(!vq_pending(&t->vq) || t->vq.used->ring[0].len <= 1,
	      "a read into what is not writable");
	strike(t);
}

static void write_of_writable(struct target *t)
{
	request(t, VIRTIO_BLK_T_OUT, 16, 512, WRITE);
}

static void types(struct target *t)
{
	static const uint32_t unknown[] = { 2,  3,  5,  11,   12, 13,
					    14, 99, 16, 1024, ~0u };

	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		request(t, unknown[i], 16, 512, WRITE);
		CHECK(WAIT_FOR(result() != BLK_UNSET), "an answer");
		CHECK(result() != VIRTIO_BLK_S_OK,
		      "a type nobody offered is not well done");
	}
}

static void id_sizes(struct target *t)
{
	static const uint32_t lengths[] = { 1, 5, 19, 20, 21, 512 };

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		memset((void *)SCRATCH, 0xee, 1024);
		request(t, VIRTIO_BLK_T_GET_ID, 0, lengths[i], WRITE);
		CHECK(WAIT_FOR(result() != BLK_UNSET), "an answer");
		CHECK_EQ(read8(SCRATCH + lengths[i]), 0xee,
			 "the byte behind the buffer for the id");
	}
}

static void flush_with_data(struct target *t)
{
	request(t, VIRTIO_BLK_T_FLUSH, ~0ul, 512, 0);
	CHECK(WAIT_FOR(result() != BLK_UNSET), "an answer");
}

static void no_data(struct target *t)
{
	request(t, VIRTIO_BLK_T_IN, 0, 0, WRITE);
	CHECK(WAIT_FOR(result() != BLK_UNSET), "an answer");
	request(t, VIRTIO_BLK_T_OUT, 0, 0, 0);
	CHECK(WAIT_FOR(result() != BLK_UNSET), "an answer");
}

#define QUEUES_MAX 8

/* One wrong chain in each queue: a loop, a length, an end that is missing. */
static void wrong_chain(struct virtqueue *vq, int kind)
{
	uint16_t last = kind == 0 ? 0 : 2;

	prepare(VIRTIO_BLK_T_OUT, 16);
	vq->desc[0] = (struct vring_desc){ (uint64_t)&header, 16, NEXT, 1 };
	vq->desc[1] = (struct vring_desc){
		kind == 1 ? OUTSIDE : SCRATCH,
		kind == 2 ? ~0u : 511,
		NEXT,
		kind == 3 ? vq->size : 2,
	};
	vq->desc[2] = (struct vring_desc){ (uint64_t)&status, kind != 4,
					   kind ? WRITE : NEXT, last };
	vq_publish(vq, 0);
}

/* Every queue that the disk has, broken in every way, one of them alone or all
 * at once; and the doorbells of those it does not have. */
static void all_queues(struct target *t)
{
	for (int kind = 0; kind < 5; kind++) {
		for (int only = -1; only < QUEUES_MAX; only++) {
			struct virtqueue vqs[QUEUES_MAX];
			int count = 0;

			vq_forget();
			CHECK(virtio_start(&t->dev, BIT(VIRTIO_BLK_F_MQ)),
			      "features are accepted");
			for (; count < QUEUES_MAX; count++) {
				virtio_select(&t->dev, (uint16_t)count);
				if (!virtio_queue_max(&t->dev))
					break;
				vq_init(&vqs[count], &t->dev, count, 16);
			}
			if (only >= count)
				break;
			virtio_driver_ok(&t->dev);
			for (int i = 0; i < count; i++)
				if (only < 0 || only == i)
					wrong_chain(&vqs[i], kind);
			for (int i = 0; i < count; i++)
				vq_notify(&vqs[i]);
			vqs[0].notify_at += t->dev.pci ? 4 * (uint64_t)count
						       : 0;
			vqs[0].index += t->dev.pci ? 0 : count;
			vq_notify(&vqs[0]);
			WAIT_FOR_MS(needs_reset(t), 1);
		}
	}
}

/* The configuration is the device's, except one byte. */
static void configuration(struct target *t)
{
	uint64_t capacity = virtio_config64(&t->dev, 0);

	CHECK(virtio_start(&t->dev, BIT(VIRTIO_BLK_F_CONFIG_WCE)),
	      "features are accepted");
	for (uint64_t i = 0; i < 256; i++)
		write8(t->dev.config + i, 0xff);
	for (uint64_t i = 0; i < 256; i += 4)
		write32(t->dev.config + i, ~0u);
	CHECK_EQ(virtio_config64(&t->dev, 0), capacity,
		 "the capacity after writes to it");
	CHECK_EQ(read8(t->dev.config + 32), 1, "the cache's byte is 0 or 1");
}

const struct attack blk_attacks[] = {
	{ "header-short", 0, header_short },
	{ "header-only", 0, header_only },
	{ "status-only", 0, status_only },
	{ "status-empty", 0, status_empty },
	{ "status-outside", 0, status_outside },
	{ "header-in-pieces", 0, header_in_pieces },
	{ "sectors", 0, sectors },
	{ "odd-lengths", 0, odd_lengths },
	{ "directions", 0, directions },
	{ "write-of-writable", 0, write_of_writable },
	{ "types", 0, types },
	{ "id-sizes", 0, id_sizes },
	{ "flush-with-data", 0, flush_with_data },
	{ "no-data", 0, no_data },
	{ "all-queues", 0, all_queues },
	{ "configuration", 0, configuration },
	{ NULL, 0, NULL },
};
