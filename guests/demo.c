/*
 * The guest of `kvist demo`: what a virtual machine does, in a tenth of a
 * second. Each CPU says hello, the first one writes a disk and reads it back,
 * sleeps until the timer wakes it, and turns the machine off. Needs two CPUs
 * and a virtio-blk disk over PCI.
 */
#include "guests/lib/acpi.h"
#include "guests/lib/cpu.h"
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"
#include "guests/lib/virtio.h"

#include <linux/virtio_blk.h>

#define SECTOR      2048 /* where on the disk: 1 MiB */
#define SIZE        4096
#define TICKS       3
#define VECTOR_DISK 48
#define VECTOR_TICK 49

struct request {
	struct virtio_blk_outhdr header;
	uint8_t status;
};

static struct virtio disk;
static struct virtqueue vq;
static volatile uint32_t disk_interrupts, ticks, hellos;

static void disk_interrupt(struct trap *trap)
{
	(void)trap;
	disk_interrupts++;
	apic_write(APIC_EOI, 0);
}

static void tick(struct trap *trap)
{
	(void)trap;
	ticks++;
	apic_write(APIC_EOI, 0);
}

static void hello(uint32_t id)
{
	print("vcpu %u: hello from ring 0, APIC id %u%s\n", id, apic_id(),
	      id ? ", woken by INIT and SIPI" : "");
	__atomic_fetch_add(&hellos, 1, __ATOMIC_RELEASE);
}

static void start_disk(void)
{
	uint64_t sectors;

	CHECK(virtio_find(&disk, VIRTIO_BLOCK, 0), "there is a disk");
	CHECK(virtio_start(&disk, 1ul << VIRTIO_BLK_F_FLUSH), "features");
	vq_init(&vq, &disk, 0, 16);
	trap_set(VECTOR_DISK, disk_interrupt);
	virtio_msix_set(&disk, 0, VECTOR_DISK, false);
	virtio_msix_enable(&disk, true);
	CHECK_EQ(virtio_msix_vector(&disk, 0, 0), 0, "MSI-X of the queue");
	virtio_driver_ok(&disk);
	sectors = virtio_config64(&disk, 0);
	CHECK(sectors >= SECTOR + SIZE / 512, "the disk is large enough");
	print("disk: virtio-blk in PCI slot %d, %lu MiB\n", disk.slot,
	      sectors >> 11);
}

/* The CPU halts until the disk's interrupt. */
static void transfer(uint32_t type, void *data)
{
	static struct request request;
	uint32_t before = disk_interrupts;
	struct vq_buffer buffers[] = {
		{ (uint64_t)&request.header, sizeof(request.header), false },
		{ (uint64_t)data, SIZE, type == VIRTIO_BLK_T_IN },
		{ (uint64_t)&request.status, 1, true },
	};

	request.header.type = type;
	request.header.sector = data ? SECTOR : 0;
	request.status = 0xff;
	if (!data)
		buffers[1] = buffers[2];
	vq_add(&vq, buffers, data ? 3 : 2);
	vq_kick(&vq);
	while (disk_interrupts == before)
		cpu_halt();
	CHECK(vq_take(&vq, NULL, NULL), "the request is used");
	CHECK_EQ(request.status, VIRTIO_BLK_S_OK, "status of the request");
}

static void use_disk(void)
{
	uint64_t *out = (void *)BUFFERS, *in = (void *)(BUFFERS + SIZE);

	for (uint64_t i = 0; i < SIZE / 8; i++)
		out[i] = i * 0x9e3779b97f4a7c15ul;
	transfer(VIRTIO_BLK_T_OUT, out);
	transfer(VIRTIO_BLK_T_FLUSH, NULL);
	print("disk: wrote %d bytes at 1 MiB and flushed them\n", SIZE);
	transfer(VIRTIO_BLK_T_IN, in);
	CHECK(!memcmp(in, out, SIZE), "what is read is what was written");
	print("disk: read them back, all equal\n");
}

/* The PIT at 200 Hz, by the IOAPIC. */
static void sleep_some(void)
{
	uint16_t divisor = 1193182 / 200;

	trap_set(VECTOR_TICK, tick);
	ioapic_route((int)acpi.irq0_gsi, VECTOR_TICK, false);
	outb(0x43, 0x34);
	outb(0x40, (uint8_t)divisor);
	outb(0x40, (uint8_t)(divisor >> 8));
	while (ticks < TICKS)
		cpu_halt();
	ioapic_mask((int)acpi.irq0_gsi);
	print("timer: slept in HLT, woken %d times by the PIT\n", TICKS);
}

int guest_main(void)
{
	acpi_init();
	apic_init();
	pic_init(VECTOR_FIRST, 0);
	hello(0);
	for (int i = 1; i < acpi.nr_cpus; i++) {
		CHECK(cpu_start(acpi.cpus[i], hello), "a CPU comes up");
		CHECK(WAIT_FOR(hellos == (uint32_t)i + 1), "it says hello");
	}
	start_disk();
	use_disk();
	sleep_some();
	print("power: off, by ACPI S5\n");
	acpi_poweroff();
	clock_spin(clock_ms(1000));
	return 1;
}
