/*
 * What a disk offers besides reads and writes. Options: queues=N how many there
 * are, serial=TEXT what GET_ID answers, discard=SECTORS the alignment it tells
 * (0: it is not offered), unflushed=BYTE writes 64 KiB of it at 1 MiB with the
 * cache off, says so, and waits to be killed, grow=SECTORS waits until it has
 * that size, and writes the last sector.
 */
#include "guests/lib/blk.h"
#include "guests/lib/cpu.h"
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"

#define BIT(n) (1ul << (n))

#define QUEUES_MAX 8
#define VECTOR     48 /* that of queue 0 */
#define PLACE      2048
#define SIZE       65536

#define OUT ((uint8_t *)BUFFERS)
#define IN  ((uint8_t *)BUFFERS + 0x100000)

#define CONFIG(field) ((int)offsetof(struct virtio_blk_config, field))

static struct blk disks[QUEUES_MAX]; /* one for each queue of the same disk */
static volatile uint32_t interrupts[QUEUES_MAX];

static void interrupt(struct trap *trap)
{
	interrupts[trap->vector - VECTOR]++;
	apic_write(APIC_EOI, 0);
}

static uint32_t config16(int offset)
{
	return read16(disks[0].dev.config + (uint64_t)offset);
}

static void start(uint64_t features, uint32_t queues)
{
	vq_forget();
	CHECK(virtio_start(&disks[0].dev, features), "features are accepted");
	for (uint32_t i = 0; i < queues; i++) {
		disks[i].dev = disks[0].dev;
		vq_init(&disks[i].vq, &disks[0].dev, (int)i, 64);
	}
	virtio_driver_ok(&disks[0].dev);
	disks[0].sectors = virtio_config64(&disks[0].dev, 0);
}

/* A request in every queue at once, each answered in its own, with the
 * interrupt of its own where there are messages. */
static void test_queues(uint32_t queues)
{
	struct virtio *dev = &disks[0].dev;

	CHECK_EQ(!!(virtio_device_features(dev) & BIT(VIRTIO_BLK_F_MQ)),
		 queues > 1, "several queues are offered");
	start(BIT(VIRTIO_BLK_F_MQ) | BIT(VIRTIO_BLK_F_FLUSH), queues);
	if (queues > 1)
		CHECK_EQ(config16(CONFIG(num_queues)), queues,
			 "num_queues of the configuration");
	virtio_select(dev, (uint16_t)queues);
	CHECK_EQ(virtio_queue_max(dev), 0, "size of the queue after the last");
	if (dev->msix_cap) {
		for (uint32_t i = 0; i < queues; i++) {
			trap_set((int)(VECTOR + i), interrupt);
			virtio_msix_set(dev, (int)(1 + i), (int)(VECTOR + i),
					false);
			CHECK_EQ(virtio_msix_vector(dev, (int)i,
						    (uint16_t)(1 + i)),
				 1 + i, "MSI-X entry of a queue, read back");
		}
		virtio_msix_enable(dev, true);
	}
	for (uint32_t i = 0; i < queues; i++) {
		struct vq_buffer data = { (uint64_t)OUT + i * SECTOR, SECTOR,
					  false };

		memset(OUT + i * SECTOR, (int)(0x10 + i), SECTOR);
		blk_queue(&disks[i], VIRTIO_BLK_T_OUT, PLACE + i, &data, 1);
	}
	for (uint32_t i = 0; i < queues; i++)
		vq_kick(&disks[i].vq);
	for (uint32_t i = 0; i < queues; i++) {
		CHECK(vq_take(&disks[i].vq, NULL, NULL),
		      "each queue answers its request");
		CHECK_EQ(disks[i].status, 0, "status of a write");
	}
	for (uint32_t i = 0; i < queues; i++) {
		CHECK_EQ(
			blk_read(&disks[queues - 1 - i], PLACE + i, IN, SECTOR),
			0, "status of a read by another queue");
		CHECK(!memcmp(IN, OUT + i * SECTOR, SECTOR),
		      "a queue reads what another wrote");
	}
	if (!dev->msix_cap)
		return;
	__asm__ volatile("sti");
	for (uint32_t i = 0; i < queues; i++)
		CHECK(WAIT_FOR(interrupts[i] >= 1),
		      "each queue has its own interrupt");
	__asm__ volatile("cli");
	virtio_msix_enable(dev, false);
}

static void test_serial(void)
{
	char id[VIRTIO_BLK_ID_BYTES + 1] = { 0 };
	struct vq_buffer buffer = { (uint64_t)id, VIRTIO_BLK_ID_BYTES, true };

	start(0, 1);
	CHECK_EQ(blk_request(&disks[0], VIRTIO_BLK_T_GET_ID, 0, &buffer, 1), 0,
		 "status of GET_ID");
	if (!option_is("serial", id))
		fail("the serial number is %s", id);
}

/* Where the driver may switch the cache; it starts as the features say. */
static void test_cache(void)
{
	struct virtio *dev = &disks[0].dev;
	uint64_t wce = dev->config + (uint64_t)CONFIG(wce);

	start(BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_FLUSH), 1);
	CHECK(dev->features & BIT(VIRTIO_BLK_F_CONFIG_WCE),
	      "the cache can be switched");
	CHECK_EQ(read8(wce), 1, "the cache is on for a driver that flushes");
	write8(wce, 0);
	CHECK_EQ(read8(wce), 0, "the cache is off");
	CHECK_EQ(blk_write(&disks[0], PLACE, OUT, SECTOR), 0,
		 "status of a write with the cache off");
	start(BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_FLUSH), 1);
	CHECK_EQ(read8(wce), 1, "the cache is on again after a reset");
	start(BIT(VIRTIO_BLK_F_CONFIG_WCE), 1);
	CHECK_EQ(read8(wce), 0, "no cache for a driver that cannot flush");
	start(BIT(VIRTIO_BLK_F_FLUSH), 1);
	write8(wce, 0);
	CHECK_EQ(read8(wce), 1, "only a driver that said so may switch it");
}

static uint8_t range(uint32_t type, uint64_t sector, uint32_t sectors,
		     uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes where = {
		.sector = sector,
		.num_sectors = sectors,
		.flags = flags,
	};
	struct vq_buffer data = { (uint64_t)&where, sizeof(where), false };

	return blk_request(&disks[0], type, 0, &data, 1);
}

/* Of each sector a word, for the sake of time. */
static void expect_byte(uint64_t sector, uint32_t sectors, uint8_t byte)
{
	uint64_t word = 0x0101010101010101ul * byte;

	CHECK_EQ(blk_read(&disks[0], sector, IN, sectors * SECTOR), 0,
		 "status of a read");
	for (uint32_t i = 0; i < sectors; i++)
		CHECK_EQ(read64((uint64_t)IN + i * SECTOR), word,
			 "first word of a sector");
}

static void test_discard(uint32_t unit)
{
	struct virtio *dev = &disks[0].dev;
	uint64_t offered = virtio_device_features(dev);
	uint32_t limit;

	start(BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES) |
		      BIT(VIRTIO_BLK_F_FLUSH),
	      1);
	CHECK_EQ(!!(offered & BIT(VIRTIO_BLK_F_DISCARD)), unit != 0,
		 "DISCARD is offered");
	CHECK(offered & BIT(VIRTIO_BLK_F_WRITE_ZEROES),
	      "WRITE_ZEROES is offered");
	CHECK_EQ(virtio_config32(dev, CONFIG(discard_sector_alignment)), unit,
		 "alignment of discards, sectors");
	CHECK_EQ(read8(dev->config + (uint64_t)CONFIG(write_zeroes_may_unmap)),
		 unit != 0, "zeroing may give space back");
	limit = virtio_config32(dev, CONFIG(max_write_zeroes_sectors));
	memset(OUT, 0x77, SIZE);
	CHECK_EQ(blk_write(&disks[0], PLACE, OUT, SIZE), 0, "a write");
	CHECK_EQ(range(VIRTIO_BLK_T_WRITE_ZEROES, PLACE, 1, 0), 0,
		 "status of zeroing a sector");
	expect_byte(PLACE, 1, 0);
	expect_byte(PLACE + 1, 1, 0x77);
	CHECK_EQ(range(VIRTIO_BLK_T_WRITE_ZEROES, PLACE, 128, 1), 0,
		 "status of zeroing and giving back");
	expect_byte(PLACE, 128, 0);
	CHECK_EQ(range(VIRTIO_BLK_T_WRITE_ZEROES, PLACE, limit + 1, 0),
		 VIRTIO_BLK_S_IOERR, "status of zeroing more than the limit");
	CHECK_EQ(range(VIRTIO_BLK_T_DISCARD, PLACE, 128, 0),
		 unit ? 0 : VIRTIO_BLK_S_UNSUPP, "status of a discard");
	CHECK_EQ(range(VIRTIO_BLK_T_DISCARD, PLACE, 128, 1),
		 VIRTIO_BLK_S_UNSUPP, "status of a discard with a flag");
	expect_byte(PLACE, 128, 0);
}

static void unflushed(uint8_t byte)
{
	uint64_t wce = disks[0].dev.config + (uint64_t)CONFIG(wce);

	start(BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_FLUSH), 1);
	write8(wce, 0);
	memset(OUT, byte, SIZE);
	CHECK_EQ(blk_write(&disks[0], PLACE, OUT, SIZE), 0,
		 "status of a write with the cache off");
	print("written\n");
	for (;;)
		cpu_halt();
}

static void config_interrupt(struct trap *trap)
{
	(void)trap;
	interrupts[0]++;
	apic_write(APIC_EOI, 0);
}

/* The host makes the disk larger, and an interrupt says so. */
static void grow(uint64_t sectors)
{
	struct virtio *dev = &disks[0].dev;

	start(BIT(VIRTIO_BLK_F_FLUSH), 1);
	CHECK(disks[0].sectors < sectors, "the disk is smaller at first");
	trap_set(VECTOR, config_interrupt);
	if (dev->msix_cap) {
		virtio_msix_set(dev, 0, VECTOR, false);
		CHECK_EQ(virtio_msix_vector(dev, -1, 0), 0,
			 "MSI-X entry of the configuration, read back");
		virtio_msix_enable(dev, true);
	} else {
		ioapic_route((int)dev->gsi, VECTOR, false);
	}
	print("ready\n");
	__asm__ volatile("sti");
	while (!interrupts[0])
		cpu_pause();
	__asm__ volatile("cli");
	if (!dev->msix_cap)
		CHECK_EQ(virtio_isr(dev), 2, "the reason of the interrupt");
	CHECK_EQ(virtio_config64(dev, 0), sectors, "the new size");
	memset(OUT, 0x99, SECTOR);
	CHECK_EQ(blk_write(&disks[0], sectors - 1, OUT, SECTOR), 0,
		 "status of a write at the new end");
	CHECK_EQ(blk_write(&disks[0], sectors, OUT, SECTOR), VIRTIO_BLK_S_IOERR,
		 "status of a write past the new end");
	print("grown\n");
}

int guest_main(void)
{
	CHECK(blk_find(&disks[0], 0), "the disk is there");
	apic_init();
	pic_init(VECTOR_FIRST, 0);
	if (option("unflushed"))
		unflushed((uint8_t)option_number("unflushed", 0));
	if (option("grow")) {
		grow(option_number("grow", 0));
		return 0;
	}
	test_queues((uint32_t)option_number("queues", 1));
	if (option("serial"))
		test_serial();
	test_cache();
	test_discard((uint32_t)option_number("discard", 128));
	print("disk: ok\n");
	return 0;
}
