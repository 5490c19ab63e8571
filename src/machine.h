/*
 * One machine: everything between a struct machine_config and an outcome.
 *
 * The only place that knows all parts. Owned by the command that runs it; main
 * thread only, except @loader, whose thread fills memory during the set-up.
 * The parts stand below roughly in the order in which they are made, which is
 * that of stages[] in machine.c; they go in the reverse order.
 */
#ifndef KVIST_MACHINE_H
#define KVIST_MACHINE_H

#include "boot/boot.h"
#include "control.h"
#include "cpu.h"
#include "devices/block/block.h"
#include "devices/console.h"
#include "devices/debug_exit.h"
#include "devices/net/net.h"
#include "devices/pci.h"
#include "devices/power.h"
#include "devices/reset.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/virtio.h"
#include "firmware/platform.h"
#include "kvm/vm.h"
#include "util/loop.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define MACHINE_CPUS_MAX    255 /* APIC ids of 8 bits; 255 is the broadcast */
#define MACHINE_DEVICES_MAX PLATFORM_DEVICES_MAX /* disks, NICs and the rng */

enum machine_transport { TRANSPORT_PCI, TRANSPORT_MMIO };

struct disk_config {
	struct block_options image;
	/* queues 0: one per vCPU, at most 4; serial NULL: blk0, blk1, ... */
	struct virtio_blk_options device;
};

/* What the user asked for. Pointers are borrowed and outlive the machine. */
struct machine_config {
	const char *name;     /* shown to the guest */
	const char *identity; /* what MAC addresses are derived from */
	const char *kernel;
	const char *initrd; /* or NULL */
	const char *append; /* or NULL: the protocol's default */
	uint64_t memory;    /* bytes */
	uint64_t cpus;
	struct disk_config disks[MACHINE_DEVICES_MAX];
	int nr_disks;
	struct net_options nets[MACHINE_DEVICES_MAX];
	int nr_nets;
	enum machine_transport transport;
	struct console_options console;
	const char *control; /* path of a socket, or NULL */
	uint64_t timeout;    /* seconds, 0: none */
	bool no_reboot;
	bool debug_exit_qemu; /* exit port: (v << 1) | 1, as QEMU does */
	bool nested;
	bool unpack_in_guest; /* a bzImage unpacks itself */
};

struct machine {
	const struct machine_config *config; /* borrowed */
	struct loop loop;
	struct watch signals; /* SIGINT and others: see machine_events.c */
	struct watch timeout;
	struct watch settled; /* a timer: the guest has started */
	struct console console;
	struct control control;
	struct boot boot;

	struct kvm kvm;
	struct memory memory;
	struct {
		pthread_t thread; /* fills memory, while @running */
		bool running;
		int code; /* 0, or the exit code of what failed */
		struct vcpu_entry entry;
	} loader;
	struct vm vm;
	struct cpu_model cpu;

	struct rtc rtc;
	struct serial serial;
	struct power power;
	struct reset reset;
	struct debug_exit debug_exit;
	struct pci_host pci;
	struct virtio_device *virtio[MACHINE_DEVICES_MAX];
	int nr_virtio;
	struct watch disk_stopped; /* eventfd */
	bool paused;               /* by a disk */
	struct watch links;        /* the host's network interfaces */

	struct watch end; /* vm.end_fd */
	struct guest_error triple_faults;
};

/*
 * Builds the machine @config describes, ready to run. 0, or the exit code of
 * what failed (util/exit_code.h), logged, with everything given back.
 */
int machine_create(struct machine *m, const struct machine_config *config);

/* Runs the guest until it ends, over its resets, and shows its last words. */
void machine_run(struct machine *m);

/* How the run ended, as an exit code of the process; an end that the user did
 * not ask for is logged. */
int machine_exit_code(const struct machine *m);

/* Stops everything and gives it back. */
void machine_destroy(struct machine *m);

#endif
