/*
 * Ports and addresses of the machine: everywhere, in every width, by string
 * instructions too. What ends the run by intention is left out.
 */
#include "guests/evil/evil.h"
#include "guests/lib/acpi.h"
#include "guests/lib/pci.h"

static void attack(const char *name)
{
	print("machine: %s\n", name);
}

static bool ends_the_run(uint32_t port)
{
	return (port >= 0xf1 && port <= 0xf7) || port == 0x64 || port == 0x92 ||
	       (port >= 0xcf6 && port <= 0xcf9) ||
	       (port + 3 >= acpi.pm1_control &&
		port <= acpi.pm1_control + 1u) ||
	       (port >= 0x61 && port <= 0x64);
}

static void ports(void)
{
	/* The PC's own, then samples of all. */
	for (uint32_t port = 0; port < 0x10000; port += port < 0xd00 ? 1 : 61) {
		if (port >= 0x40 && port < 0x44)
			continue; /* the PIT latches */
		inb((uint16_t)port);
		inw((uint16_t)port);
		inl((uint16_t)port);
	}
	for (uint32_t port = 0x400; port < 0x10000; port += 37) {
		if (ends_the_run(port))
			continue;
		outb((uint16_t)port, 0xff);
		outw((uint16_t)port, 0xffff);
		outl((uint16_t)port, ~0u);
	}
}

static void pci_ports(void)
{
	static const uint32_t addresses[] = { 0x80fffffc, 0xffffffff,
					      0x80000003, 0x7fffffff };

	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		outl(0xcf8, addresses[i]);
		inb(0xcf8);
		inw(0xcfa);
		for (uint16_t port = 0xcfc; port < 0xd00; port++) {
			inb(port);
			inw(port);
			inl(port);
		}
		outl(0xcfe, ~0u);
		outw(0xcff, 0xffff);
	}
	outb(0xcf8, 0xff);
	outw(0xcfa, 0xffff);
	outl(0xcf8, 0);
	CHECK_EQ(inl(0xcfc), ~0u, "PCI data without the enable bit");
}

static void strings(void)
{
	static const uint16_t ports[] = { 0x3fd, 0x3ff, 0x71,  0x70,
					  0xcf8, 0xcfc, 0x608, 0x80 };

	memset((void *)SCRATCH, 0, SCRATCH_SIZE);
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
		insb(ports[i], (void *)SCRATCH, 5000);
		if (ports[i] == 0x608)
			continue;
		memset((void *)SCRATCH, 0, 8192);
		outsb(ports[i], (void *)SCRATCH, 5000);
	}
}

/* String instructions between RAM, devices and nothing. */
static void mmio_strings(void)
{
	memcpy((void *)OUTSIDE, (void *)SCRATCH, 300);
	memcpy((void *)SCRATCH, (void *)OUTSIDE, 300);
	CHECK_EQ(read64(SCRATCH), ~0ul, "bytes copied from nothing");
	if (acpi.ecam)
		memcpy((void *)SCRATCH, (void *)acpi.ecam, 4096);
	for (int i = 0; i < acpi.nr_mmio; i++)
		memcpy((void *)SCRATCH, (void *)acpi.mmio[i].base, 0x200);
}

static void clock_chip(void)
{
	for (int reg = 0; reg < 256; reg++) {
		outb(0x70, (uint8_t)reg);
		inb(0x71);
		if ((reg & 0x7f) < 0x0a || (reg & 0x7f) > 0x0d)
			outb(0x71, 0xff);
	}
	outb(0x70, 0x0a);
	outb(0x71, 0xff);
	outb(0x70, 0x0b);
	outb(0x71, 0xff); /* all interrupts on */
	inb(0x71);
	outb(0x70, 0x0c);
	inb(0x71);
	outb(0x70, 0x0b);
	outb(0x71, 0x02);
}

static void power(void)
{
	outw(acpi.pm1_event, 0xffff);
	outw(acpi.pm1_event + 2, 0xffff);
	inl(acpi.pm1_event);
	/* Sleep types that are not S5's. */
	for (uint16_t type = 0; type < 8; type++)
		if (type != acpi.s5_type)
			outw(acpi.pm1_control, (uint16_t)(type << 10 | 0x2000));
	outw(acpi.pm1_event + 2, 0);
	outb(0xcf9, 0);
	outb(0x64, 0xaa);
	outb(0x64, 0x00);
}

void machine_attacks(void)
{
	acpi_init();
	attack("ports");
	ports();
	attack("pci-ports");
	pci_ports();
	attack("strings");
	strings();
	attack("mmio-strings");
	mmio_strings();
	attack("clock");
	clock_chip();
	attack("power");
	power();
}
