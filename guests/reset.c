/*
 * Resets the machine and starts again. Option how=cf9, kbd, acpi or triple;
 * cpus starts the other CPUs first, disk leaves the disk running. RAM outside
 * the image keeps its contents, and so tells one boot from the next.
 */
#include "guests/lib/acpi.h"
#include "guests/lib/cpu.h"
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"
#include "guests/lib/pci.h"
#include "guests/lib/virtio.h"

#define MARK     (BUFFERS_END - 16)
#define MAGIC    0x6b76697374626f6ful
#define VECTOR   48
#define UART_IER 0x3f9

static volatile uint32_t up;
static struct virtio disk;
static struct virtqueue vq;

static void ap_main(uint32_t id)
{
	(void)id;
	__atomic_fetch_add(&up, 1, __ATOMIC_RELEASE);
	for (;;)
		cpu_halt();
}

static void start_cpus(void)
{
	apic_init();
	CHECK(acpi.nr_cpus > 1, "there is more than one CPU");
	for (int i = 1; i < acpi.nr_cpus; i++)
		CHECK(cpu_start(acpi.cpus[i], ap_main), "a CPU comes up");
	CHECK(WAIT_FOR(up == (uint32_t)acpi.nr_cpus - 1), "all CPUs are up");
}

static void start_disk(void)
{
	CHECK(virtio_find(&disk, VIRTIO_BLOCK, 0), "there is a disk");
	CHECK_EQ(virtio_status(&disk), 0, "status of the disk at a boot");
	if (!disk.pci)
		CHECK_EQ(read32(disk.base + 0x44), 0,
			 "QueueReady of the disk at a boot");
	CHECK(virtio_start(&disk, 0), "features are accepted");
	vq_init(&vq, &disk, 0, 0);
	virtio_driver_ok(&disk);
}

static void reset(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) no_idt = { 0, 0 };

	if (option_is("how", "cf9")) {
		outb(0xcf9, 2);
		outb(0xcf9, 6);
	} else if (option_is("how", "kbd")) {
		outb(0x64, 0xfe);
	} else if (option_is("how", "acpi")) {
		CHECK(acpi.reset_port, "the FADT has a reset register");
		outb(acpi.reset_port, acpi.reset_value);
	} else if (option_is("how", "triple")) {
		/* A page fault that nobody can take. */
		__asm__ volatile("lidt %0; movb (%1), %%al" ::"m"(no_idt),
				 "r"(1ul << 46)
				 : "rax");
	} else {
		fail("%s:%d no such way to reset", __FILE__, __LINE__);
	}
	clock_spin(clock_ms(1000));
	fail("%s:%d still running a second after the reset", __FILE__,
	     __LINE__);
}

int guest_main(void)
{
	uint64_t boots = option_number("boots", 2), count = 0;

	acpi_init();
	if (read64(MARK) == MAGIC)
		count = read64(MARK + 8);
	count++;
	print("boot %lu\n", count);
	CHECK_EQ(up, 0, "data of the image is as it was loaded");
	CHECK_EQ(inb(UART_IER), 0, "the UART's interrupts at a boot");
	if (option("cpus"))
		start_cpus();
	if (option("disk"))
		start_disk();
	if (count >= boots) {
		write64(MARK, 0);
		return 0;
	}
	write64(MARK, MAGIC);
	write64(MARK + 8, count);
	outb(UART_IER, 4);
	reset();
	return 1;
}
