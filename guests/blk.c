/*
 * virtio-blk as a driver uses it. Options: disk=N (0), disks=N how many there
 * are, sectors=N its size, readonly, stamp=BYTE writes 64 KiB of it at 1 MiB,
 * expect=BYTE wants 64 KiB of it there, full: writes until the host has no
 * more room, whole: writes all of it, gsi=N the disk's interrupt on another
 * hypervisor.
 */
#include "guests/lib/blk.h"
#include "guests/lib/acpi.h"
#include "guests/lib/cpu.h"
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"

#define BIT(n)      (1ul << (n))
#define VECTOR_DISK 48
#define PLACE       64 /* sector where the tests write */
#define STAMP       2048
#define STAMP_SIZE  65536

#define OUT ((uint8_t *)BUFFERS)
#define IN  ((uint8_t *)BUFFERS + 0x100000)

static struct blk disk;
static volatile uint32_t interrupts;

/* Words that tell their place and @seed. */
static void pattern(void *to, uint32_t size, uint64_t seed)
{
	uint64_t *words = to;

	for (uint32_t i = 0; i < size / 8; i++)
		words[i] = (i + seed) * 0x9e3779b97f4a7c15ul;
}

static bool equal(const void *a, const void *b, uint32_t size)
{
	const uint64_t *x = a, *y = b;

	for (uint32_t i = 0; i < size / 8; i++)
		if (x[i] != y[i])
			return false;
	return true;
}

static void test_data(void)
{
	/* Uneven pieces, in another cut for reading. */
	struct vq_buffer out[] = {
		{ (uint64_t)OUT, 512, false },
		{ (uint64_t)OUT + 512, 3072, false },
		{ (uint64_t)OUT + 3584, 512, false },
	};
	struct vq_buffer in[] = {
		{ (uint64_t)IN, 100, true },
		{ (uint64_t)IN + 100, 1, true },
		{ (uint64_t)IN + 101, 4096 - 101, true },
	};

	pattern(OUT, 4096, 1);
	CHECK_EQ(blk_request(&disk, VIRTIO_BLK_T_OUT, PLACE, out, 3), 0,
		 "status of a write in three pieces");
	CHECK_EQ(disk.used_length, 1, "used length of a write");
	CHECK_EQ(blk_request(&disk, VIRTIO_BLK_T_FLUSH, 0, NULL, 0), 0,
		 "status of a flush");
	memset(IN, 0, 4096);
	CHECK_EQ(blk_request(&disk, VIRTIO_BLK_T_IN, PLACE, in, 3), 0,
		 "status of a read in three pieces");
	CHECK_EQ(disk.used_length, 4097, "used length of a read");
	CHECK(equal(IN, OUT, 4096), "what is read is what was written");

	pattern(OUT, STAMP_SIZE, 2);
	CHECK_EQ(blk_write(&disk, PLACE + 3, OUT, STAMP_SIZE), 0,
		 "status of a write of 64 KiB");
	CHECK_EQ(blk_read(&disk, PLACE + 3, IN, STAMP_SIZE), 0,
		 "status of a read of 64 KiB");
	CHECK(equal(IN, OUT, STAMP_SIZE), "64 KiB are read as written");
	CHECK_EQ(blk_write(&disk, disk.sectors - 1, OUT, 512), 0,
		 "status of a write of the last sector");
	CHECK_EQ(blk_read(&disk, disk.sectors - 1, IN, 512), 0,
		 "status of a read of the last sector");
	CHECK(equal(IN, OUT, 512), "the last sector is read as written");
}

static void test_errors(void)
{
	uint8_t id[VIRTIO_BLK_ID_BYTES];
	struct vq_buffer buffer = { (uint64_t)id, sizeof(id), true };

	CHECK_EQ(blk_read(&disk, disk.sectors, IN, 512), VIRTIO_BLK_S_IOERR,
		 "status of a read past the end");
	CHECK_EQ(blk_read(&disk, disk.sectors - 1, IN, 1024),
		 VIRTIO_BLK_S_IOERR, "status of a read across the end");
	CHECK_EQ(blk_read(&disk, ~0ul, IN, 512), VIRTIO_BLK_S_IOERR,
		 "status of a read at sector 2^64 - 1");
	CHECK_EQ(blk_read(&disk, ~0ul / 512, IN, 1024), VIRTIO_BLK_S_IOERR,
		 "status of a read where bytes overflow");
	CHECK_EQ(blk_write(&disk, disk.sectors, OUT, 512), VIRTIO_BLK_S_IOERR,
		 "status of a write past the end");
	CHECK_EQ(blk_write(&disk, PLACE, OUT, 100), VIRTIO_BLK_S_IOERR,
		 "status of a write of 100 bytes");
	CHECK_EQ(blk_request(&disk, 77, 0, NULL, 0), VIRTIO_BLK_S_UNSUPP,
		 "status of an unknown request");
	CHECK_EQ(blk_request(&disk, VIRTIO_BLK_T_GET_ID, 0, &buffer, 1), 0,
		 "status of GET_ID");
	CHECK_EQ(blk_read(&disk, PLACE, IN, 512), 0,
		 "status of a read after all the errors");
}

static void test_read_only(void)
{
	CHECK(virtio_device_features(&disk.dev) & BIT(VIRTIO_BLK_F_RO),
	      "a read-only disk says so");
	blk_start(&disk, BIT(VIRTIO_BLK_F_RO) | BIT(VIRTIO_BLK_F_FLUSH), 0);
	CHECK_EQ(blk_read(&disk, PLACE, IN, 512), 0, "status of a read");
	pattern(OUT, 512, *(uint64_t *)IN + 1);
	CHECK_EQ(blk_write(&disk, PLACE, OUT, 512), VIRTIO_BLK_S_IOERR,
		 "status of a write to a read-only disk");
	CHECK_EQ(blk_read(&disk, PLACE, OUT, 512), 0, "status of a read");
	CHECK(equal(IN, OUT, 512), "a read-only disk keeps its bytes");
}

static void test_indirect(void)
{
	static struct vring_desc table[4] __attribute__((aligned(16)));
	struct vq_buffer buffers[] = {
		{ (uint64_t)&disk.header, sizeof(disk.header), false },
		{ (uint64_t)IN, 512, true },
		{ (uint64_t)IN + 512, 512, true },
		{ (uint64_t)&disk.status, 1, true },
	};

	blk_start(&disk, BIT(VIRTIO_RING_F_INDIRECT_DESC), 32);
	CHECK(disk.dev.features & BIT(VIRTIO_RING_F_INDIRECT_DESC),
	      "indirect descriptors are offered");
	pattern(OUT, 1024, 3);
	CHECK_EQ(blk_write(&disk, PLACE, OUT, 1024), 0, "status of a write");
	memset(IN, 0, 1024);
	/* More of them than the queue has entries: it wraps. */
	for (int i = 0; i < 2 * disk.vq.size; i++) {
		disk.header = (struct virtio_blk_outhdr){ .sector = PLACE };
		disk.status = BLK_UNSET;
		vq_add_indirect(&disk.vq, table, buffers, 4);
		vq_kick(&disk.vq);
		CHECK(vq_take(&disk.vq, NULL, NULL), "indirect request");
		CHECK_EQ(disk.status, 0, "status of an indirect request");
	}
	CHECK(equal(IN, OUT, 1024), "an indirect request reads as written");
}

/* A full queue by one kick, each request with a header of its own. */
static void test_many(void)
{
	struct request {
		struct virtio_blk_outhdr header;
		uint8_t status;
	} *requests = (void *)(BUFFERS + 0x200000);
	uint32_t count, head;
	uint32_t seen = 0;

	blk_start(&disk, BIT(VIRTIO_RING_F_EVENT_IDX), 0);
	count = disk.vq.size / 3 < 32 ? disk.vq.size / 3 : 32;
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < count; i++) {
			uint8_t *data = (round ? IN : OUT) + i * 512;
			struct vq_buffer buffers[] = {
				{ (uint64_t)&requests[i].header, 16, false },
				{ (uint64_t)data, 512, round },
				{ (uint64_t)&requests[i].status, 1, true },
			};

			if (!round)
				pattern(data, 512, i + 100);
			requests[i].header = (struct virtio_blk_outhdr){
				.type = round ? VIRTIO_BLK_T_IN
					      : VIRTIO_BLK_T_OUT,
				.sector = PLACE + i,
			};
			requests[i].status = BLK_UNSET;
			vq_add(&disk.vq, buffers, 3);
		}
		vq_kick(&disk.vq);
		for (uint32_t i = 0; i < count; i++, seen++)
			CHECK(vq_take(&disk.vq, &head, NULL),
			      "each of many requests is used");
		for (uint32_t i = 0; i < count; i++)
			CHECK_EQ(requests[i].status, 0,
				 "status of one of many requests");
	}
	clock_spin(clock_ms(2));
	CHECK(!vq_pending(&disk.vq), "no request is used twice");
	CHECK(equal(IN, OUT, count * 512), "many requests read as written");
}

static void disk_interrupt(struct trap *trap)
{
	(void)trap;
	/* Reading it lowers the pin. One that finds nothing is not counted: a
	 * shared or late level is nobody's mistake. */
	interrupts += virtio_isr(&disk.dev) & 1;
	apic_write(APIC_EOI, 0);
}

static void msix_interrupt(struct trap *trap)
{
	(void)trap;
	interrupts++;
	apic_write(APIC_EOI, 0);
}

static void expect_interrupts(uint32_t want, const char *what)
{
	__asm__ volatile("sti");
	WAIT_FOR_MS(interrupts >= want, 1000);
	clock_spin(clock_ms(2));
	__asm__ volatile("cli");
	CHECK_EQ(interrupts, want, what);
}

/* One request with interrupts wanted, one without, and one again. */
static void try_interrupts(const char *name)
{
	bool event_idx = disk.vq.event_idx;

	interrupts = 0;
	CHECK_EQ(blk_read(&disk, PLACE, IN, 512), 0, name);
	expect_interrupts(1, name);
	if (event_idx)
		*vq_used_event(&disk.vq) = (uint16_t)(disk.vq.last_used + 100);
	else
		disk.vq.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	CHECK_EQ(blk_read(&disk, PLACE, IN, 512), 0, name);
	expect_interrupts(1, "interrupts, none wanted");
	if (event_idx)
		*vq_used_event(&disk.vq) = (uint16_t)(disk.vq.last_used);
	else
		disk.vq.avail->flags = 0;
	CHECK_EQ(blk_read(&disk, PLACE, IN, 512), 0, name);
	expect_interrupts(2, "interrupts, wanted again");
}

static void test_interrupts(void)
{
	struct virtio *dev = &disk.dev;
	int gsi = (int)option_number("gsi", dev->gsi);

	apic_init();
	pic_init(VECTOR_FIRST, 0);
	for (int event_idx = 0; event_idx < 2; event_idx++) {
		uint64_t features = event_idx ? BIT(VIRTIO_RING_F_EVENT_IDX)
					      : 0;

		trap_set(VECTOR_DISK, disk_interrupt);
		blk_start(&disk, features, 0);
		ioapic_route(gsi, VECTOR_DISK, true);
		try_interrupts("interrupts by the pin");
		ioapic_mask(gsi);
		if (!dev->msix_cap)
			continue;
		trap_set(VECTOR_DISK, msix_interrupt);
		blk_start(&disk, features, 0);
		virtio_msix_set(dev, 0, VECTOR_DISK, false);
		virtio_msix_enable(dev, true);
		CHECK_EQ(virtio_msix_vector(dev, 0, 0), 0,
			 "MSI-X entry of the queue, read back");
		CHECK_EQ(virtio_msix_vector(dev, 0, 9999), 0xffff,
			 "MSI-X entry that does not exist");
		virtio_msix_vector(dev, 0, 0);
		try_interrupts("interrupts by MSI-X");
		/* Masked: kept pending until it is unmasked. */
		virtio_msix_set(dev, 0, VECTOR_DISK, true);
		*vq_used_event(&disk.vq) = disk.vq.last_used;
		CHECK_EQ(blk_read(&disk, PLACE, IN, 512), 0, "masked");
		expect_interrupts(2, "interrupts while masked");
		virtio_msix_set(dev, 0, VECTOR_DISK, false);
		expect_interrupts(3, "interrupts after unmasking");
		virtio_msix_enable(dev, false);
	}
}

static void stamp(uint8_t byte)
{
	memset(OUT, byte, STAMP_SIZE);
	CHECK_EQ(blk_write(&disk, STAMP, OUT, STAMP_SIZE), 0,
		 "status of the stamp's write");
	CHECK_EQ(blk_request(&disk, VIRTIO_BLK_T_FLUSH, 0, NULL, 0), 0,
		 "status of the stamp's flush");
}

static void expect(uint8_t byte)
{
	memset(OUT, byte, STAMP_SIZE);
	CHECK_EQ(blk_read(&disk, STAMP, IN, STAMP_SIZE), 0,
		 "status of reading what is expected");
	CHECK(equal(IN, OUT, STAMP_SIZE), "the disk has the expected bytes");
}

/* The host's disk fills up: an error for the guest, and no more than that. */
static void fill(void)
{
	uint8_t status = 0;
	uint64_t sector;

	memset(OUT, 0x5a, STAMP_SIZE);
	for (sector = 0; sector < disk.sectors && !status; sector += 128)
		status = blk_write(&disk, sector, OUT, STAMP_SIZE);
	CHECK_EQ(status, VIRTIO_BLK_S_IOERR,
		 "status with the host's disk full");
	CHECK_EQ(blk_read(&disk, 0, IN, STAMP_SIZE), 0,
		 "status of a read with the host's disk full");
	CHECK(equal(IN, OUT, STAMP_SIZE), "what was written is there");
	print("full after %lu KiB\n", (sector - 128) / 2);
}

/* The same, and the host makes room: the guest sees nothing of it. */
static void write_whole(void)
{
	memset(OUT, 0x5a, STAMP_SIZE);
	for (uint64_t at = 0; at < disk.sectors; at += 128) {
		uint32_t head;

		blk_queue(
			&disk, VIRTIO_BLK_T_OUT, at,
			&(struct vq_buffer){ (uint64_t)OUT, STAMP_SIZE, false },
			1);
		vq_kick(&disk.vq);
		/* It takes as long as the host needs. */
		while (!vq_pending(&disk.vq))
			cpu_pause();
		vq_take(&disk.vq, &head, NULL);
		CHECK_EQ(disk.status, 0, "status of a write of the whole disk");
	}
	CHECK_EQ(blk_request(&disk, VIRTIO_BLK_T_FLUSH, 0, NULL, 0), 0,
		 "status of a flush of the whole disk");
	print("whole\n");
}

int guest_main(void)
{
	int disks = 0, index = (int)option_number("disk", 0);

	while (blk_find(&disk, disks))
		disks++;
	CHECK_EQ(disks, option_number("disks", (uint64_t)disks),
		 "how many disks there are");
	CHECK(blk_find(&disk, index), "the disk is there");
	if (option("readonly")) {
		test_read_only();
		print("blk: ok\n");
		return 0;
	}
	blk_start(&disk, BIT(VIRTIO_BLK_F_FLUSH), 0);
	CHECK_EQ(disk.sectors, option_number("sectors", disk.sectors),
		 "sectors of the disk");
	if (option("expect"))
		expect((uint8_t)option_number("expect", 0));
	if (option("stamp"))
		stamp((uint8_t)option_number("stamp", 0));
	if (option("full")) {
		fill();
	} else if (option("whole")) {
		write_whole();
	} else if (!option("expect") && !option("stamp")) {
		test_data();
		test_errors();
		test_indirect();
		test_many();
		test_interrupts();
	}
	print("blk: ok\n");
	return 0;
}
