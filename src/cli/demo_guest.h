/*
 * The guest of `kvist demo`, built from guests/demo.c: an ELF file with a PVH
 * note, in the program's read-only data. Needs 16 MiB of RAM, two CPUs and a
 * virtio-blk disk of at least 2 MiB over PCI; ends by ACPI S5.
 */
#ifndef KVIST_CLI_DEMO_GUEST_H
#define KVIST_CLI_DEMO_GUEST_H

#include <stdint.h>

extern const uint8_t demo_guest_start[], demo_guest_end[];

#endif
