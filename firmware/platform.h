/*
 * The addresses of the machine: what machine.c builds and what the firmware
 * tables tell the guest, in one place.
 */
#ifndef KVIST_FIRMWARE_PLATFORM_H
#define KVIST_FIRMWARE_PLATFORM_H

/* Ports. */
#define PLATFORM_RTC_PORT    0x70  /* 2 */
#define PLATFORM_KBD_PORT    0x64  /* 1: only the reset command of an i8042 */
#define PLATFORM_EXIT_PORT   0xf4  /* 4 */
#define PLATFORM_SERIAL_PORT 0x3f8 /* 8 */
#define PLATFORM_PCI_ADDRESS 0xcf8 /* 4 (a 1-byte access at 0xcf9: reset) */
#define PLATFORM_RESET_PORT  0xcf9 /* 1; also the ACPI reset register */
#define PLATFORM_PCI_DATA    0xcfc /* 4 */
#define PLATFORM_PM1_EVENT   0x600 /* 4: status, enable */
#define PLATFORM_PM1_CONTROL 0x604 /* 2 */
#define PLATFORM_PM_TIMER    0x608 /* 4 */

/* Values a guest writes there. */
#define PLATFORM_RESET_VALUE 6 /* to the reset port */
#define PLATFORM_S5_TYPE     5 /* SLP_TYP of power-off, to PM1 control */

/* Interrupts (GSI). */
#define PLATFORM_SERIAL_IRQ 4
#define PLATFORM_RTC_IRQ    8
#define PLATFORM_SCI_IRQ    9  /* level, active high */
#define PLATFORM_INTX_FIRST 16 /* device d of bus 0, or virtio-mmio d, has */
#define PLATFORM_INTX_COUNT 8  /* GSI FIRST + d % COUNT, level, active high */

/* MMIO: all within the hole below 4 GiB (kvm/memory.h). */
#define PLATFORM_PCI_WINDOW       0xc0000000u /* BARs */
#define PLATFORM_PCI_WINDOW_SIZE  0x20000000u
#define PLATFORM_ECAM             0xe0000000u /* bus 0 only */
#define PLATFORM_ECAM_SIZE        0x00100000u
#define PLATFORM_VIRTIO_MMIO      0xfea00000u /* device d at + d * STEP */
#define PLATFORM_VIRTIO_MMIO_STEP 0x1000u
#define PLATFORM_VIRTIO_MMIO_SIZE 0x200u
#define PLATFORM_IOAPIC           0xfec00000u
#define PLATFORM_LAPIC            0xfee00000u

#define PLATFORM_DEVICES_MAX 31 /* PCI slots 1..31, or virtio-mmio 0..30 */

/* Low RAM the firmware owns; the boot loaders stay out of it. */
#define PLATFORM_EBDA        0x9fc00u /* end of usable low RAM, as on a PC */
#define PLATFORM_TABLES      0xe0000u /* ACPI and SMBIOS, to 1 MiB */
#define PLATFORM_TABLES_SIZE 0x20000u
#define PLATFORM_RESET_STUB  0xffff0u /* the last 16 bytes of them */

#endif
