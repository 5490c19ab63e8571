/*
 * What is in memory before the first instruction: kernel, initrd, tables. A
 * thread of its own reads what is large, while the machine is made.
 */
#include "machine.h"
#include "machine_parts.h"

#include "firmware/firmware.h"

/* Bytes of kernel and initrd. */
#define LARGE (1u << 20)

/* Needs no more of the machine than its memory, and what the user said. */
static int machine_fill_memory(struct machine *m)
{
	const struct machine_config *config = m->config;
	struct firmware_config tables = {
		.nr_cpus = config->cpus,
		.pci = config->transport == TRANSPORT_PCI,
		.nr_virtio_mmio = config->nr_disks + config->nr_nets + 1,
		.name = config->name,
	};
	struct firmware firmware;
	struct boot_machine machine = { .memory = &m->memory };

	if (firmware_install(&tables, &m->memory, &firmware))
		return EXIT_CODE_INTERNAL;
	machine.e820 = &firmware.e820;
	machine.rsdp = firmware.rsdp;
	machine.unpack = !config->unpack_in_guest;
	machine.cmdline = config->append;
	if (!machine.cmdline)
		machine.cmdline = !boot_is_linux(&m->boot) ? ""
				  : config->initrd
					  ? "console=ttyS0"
					  : "console=ttyS0 root=/dev/vda rw";
	return boot_load(&m->boot, &machine, &m->loader.entry) ? EXIT_CODE_INPUT
							       : 0;
}

static void *loader_thread(void *arg)
{
	struct machine *m = arg;

	m->loader.code = machine_fill_memory(m);
	return NULL;
}

/* To read and unpack large files takes longer than all other stages together,
 * so a thread begins with it here. Small ones are in memory before a thread for
 * them would run: machine_finish_load() does that. */
int machine_begin_load(struct machine *m)
{
	m->loader.running =
		boot_size(&m->boot) >= LARGE &&
		!pthread_create(&m->loader.thread, NULL, loader_thread, m);
	return 0;
}

void machine_end_load(struct machine *m)
{
	if (m->loader.running)
		pthread_join(m->loader.thread, NULL);
	m->loader.running = false;
}

int machine_finish_load(struct machine *m)
{
	if (m->loader.running)
		machine_end_load(m);
	else
		m->loader.code = machine_fill_memory(m);
	if (m->loader.code)
		return m->loader.code;
	return vcpu_enter(&m->vm.vcpus[0], &m->loader.entry)
		       ? EXIT_CODE_INTERNAL
		       : 0;
}
