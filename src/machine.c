#include "machine.h"
#include "machine_parts.h"

#include "util/checked.h"
#include "util/exit_code.h"
#include "util/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

int machine_code(enum exit_code code, int err)
{
	switch (err) {
	case 0:
		return EXIT_CODE_OK;
	case -EMFILE:
		log_err("raise the limit of open files (ulimit -n)");
		return EXIT_CODE_HOST;
	case -ENFILE:
	case -ENOMEM:
		return EXIT_CODE_HOST;
	}
	return code;
}

int machine_stage_failed(const char *what, enum exit_code code, int err)
{
	log_err("%s: %s", what, strerror(-err));
	return machine_code(code, err);
}

/*
 * What the main thread waits for.
 */

/* True if the run goes on with a reset machine. */
static bool machine_restart(struct machine *m)
{
	enum end end = __atomic_load_n(&m->vm.end, __ATOMIC_ACQUIRE);

	if (m->config->no_reboot ||
	    (end != END_RESET && end != END_TRIPLE_FAULT))
		return false;
	vm_stop(&m->vm);
	if (end == END_TRIPLE_FAULT)
		log_guest(&m->triple_faults,
			  "the guest reset itself by a triple fault");
	bus_reset(&m->vm.ports);
	bus_reset(&m->vm.mmio);
	if (!cpu_reset(&m->cpu, &m->vm) && !machine_finish_load(m)) {
		vm_end_clear(&m->vm);
		m->paused = false; /* no disk holds a request any more */
		vm_start(&m->vm);
		return true;
	}
	m->vm.end = END_KVM_ERROR;
	return false;
}

/* Somebody asked for the end of the run: vm.end says why. */
static void machine_ended(struct watch *watch, uint32_t events)
{
	struct machine *m = container_of(watch, struct machine, end);

	(void)events;
	if (!machine_restart(m))
		loop_stop(&m->loop);
}

static void machine_power_key(void *arg)
{
	power_button(arg);
}

/*
 * The stages. Each create function returns 0, or the exit code of what failed.
 */

static int machine_create_loop(struct machine *m)
{
	int err = loop_init(&m->loop);

	return err ? machine_stage_failed("event loop", EXIT_CODE_HOST, err)
		   : 0;
}

static void machine_destroy_loop(struct machine *m)
{
	loop_fini(&m->loop);
}

static int machine_open_console(struct machine *m)
{
	return machine_code(EXIT_CODE_HOST,
			    console_open(&m->console, &m->loop, &m->vm.wire,
					 &m->config->console));
}

static void machine_close_console(struct machine *m)
{
	console_close(&m->console);
}

static int machine_open_boot(struct machine *m)
{
	return machine_code(
		EXIT_CODE_INPUT,
		boot_open(&m->boot, m->config->kernel, m->config->initrd));
}

static void machine_close_boot(struct machine *m)
{
	boot_close(&m->boot);
}

static int machine_open_kvm(struct machine *m)
{
	int err = kvm_open(&m->kvm, "/dev/kvm");

	if (err)
		return EXIT_CODE_HOST;
	if (m->config->cpus <= (uint64_t)m->kvm.max_vcpus)
		return 0;
	log_err("--cpus %" PRIu64 ": this host's KVM runs at most %d vCPUs",
		m->config->cpus, m->kvm.max_vcpus);
	kvm_close(&m->kvm);
	return EXIT_CODE_HOST;
}

static void machine_close_kvm(struct machine *m)
{
	kvm_close(&m->kvm);
}

static int machine_create_memory(struct machine *m)
{
	int err = memory_create(&m->memory, m->config->memory);

	if (!err)
		return 0;
	log_err("--memory: cannot map %" PRIu64 " MiB: %s; give less",
		m->config->memory >> 20, strerror(-err));
	return EXIT_CODE_HOST;
}

static void machine_destroy_memory(struct machine *m)
{
	memory_destroy(&m->memory);
}

static int machine_create_vm(struct machine *m)
{
	return machine_code(
		EXIT_CODE_INTERNAL,
		vm_create(&m->vm, &m->kvm, &m->memory, m->config->cpus));
}

static void machine_destroy_vm(struct machine *m)
{
	vm_destroy(&m->vm);
}

static int machine_create_cpus(struct machine *m)
{
	int err = cpu_model_init(&m->cpu, &m->kvm, m->config->nested);

	if (!err) {
		err = cpu_set_up(&m->cpu, &m->vm);
		if (err)
			cpu_model_fini(&m->cpu);
	}
	return machine_code(EXIT_CODE_INTERNAL, err);
}

static void machine_destroy_cpus(struct machine *m)
{
	cpu_model_fini(&m->cpu);
}

/* What every PC has, and at which ports. The ranges cannot overlap and fit
 * into the table: a failure would be a bug of ours. */
static int machine_create_platform(struct machine *m)
{
	const struct {
		struct device *dev;
		unsigned range, port, count;
	} ports[] = {
		{ &m->serial.dev, 0, PLATFORM_SERIAL_PORT, SERIAL_PORTS },
		{ &m->rtc.dev, 0, PLATFORM_RTC_PORT, RTC_PORTS },
		{ &m->power.dev, POWER_EVENT, PLATFORM_PM1_EVENT, 4 },
		{ &m->power.dev, POWER_CONTROL, PLATFORM_PM1_CONTROL, 2 },
		{ &m->power.dev, POWER_TIMER, PLATFORM_PM_TIMER, 4 },
		{ &m->reset.dev, RESET_KEYBOARD, PLATFORM_KBD_PORT, 1 },
		{ &m->debug_exit.dev, 0, PLATFORM_EXIT_PORT, DEBUG_EXIT_PORTS },
	};
	struct irqchip *irqs = &m->vm.irqs;
	struct end_wire *wire = &m->vm.wire;
	int err = rtc_init(&m->rtc, irqs, PLATFORM_RTC_IRQ, &m->loop);

	if (err)
		return machine_code(EXIT_CODE_HOST, err);
	serial_init(&m->serial, irqs, PLATFORM_SERIAL_IRQ, &m->console);
	power_init(&m->power, irqs, PLATFORM_SCI_IRQ, wire);
	m->console.power_button = machine_power_key;
	m->console.power_arg = &m->power;
	reset_init(&m->reset, wire);
	debug_exit_init(&m->debug_exit, wire);
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
		err = bus_add(&m->vm.ports, ports[i].dev, ports[i].range,
			      ports[i].port, ports[i].count);
		assert(!err);
		(void)err;
	}
	return 0;
}

static void machine_destroy_platform(struct machine *m)
{
	debug_exit_fini(&m->debug_exit);
	reset_fini(&m->reset);
	power_fini(&m->power);
	serial_fini(&m->serial);
	rtc_fini(&m->rtc);
}

/* The PCI bus; or, without one, the reset control register by itself, which
 * else is reached through the bridge (it lies within its address port). */
static int machine_create_pci(struct machine *m)
{
	static const struct pci_layout layout = {
		.address_port = PLATFORM_PCI_ADDRESS,
		.data_port = PLATFORM_PCI_DATA,
		.ecam = PLATFORM_ECAM,
		.window = PLATFORM_PCI_WINDOW,
		.window_size = PLATFORM_PCI_WINDOW_SIZE,
	};
	struct vm *vm = &m->vm;
	int err;

	if (m->config->transport == TRANSPORT_PCI)
		err = pci_host_init(&m->pci, &vm->ports, &vm->mmio, &vm->irqs,
				    &layout, &m->reset.dev);
	else
		err = bus_add(&vm->ports, &m->reset.dev, RESET_CONTROL,
			      PLATFORM_RESET_PORT, 1);
	return err ? machine_stage_failed("PCI host bridge", EXIT_CODE_INTERNAL,
					  err)
		   : 0;
}

static void machine_destroy_pci(struct machine *m)
{
	if (m->config->transport == TRANSPORT_PCI)
		pci_host_fini(&m->pci);
}

static int machine_start_threads(struct machine *m)
{
	int err;

	m->end = (struct watch){ .fd = m->vm.end_fd, .ready = machine_ended };
	err = loop_add(&m->loop, &m->end, EPOLLIN);
	if (err)
		return machine_stage_failed("event loop", EXIT_CODE_HOST, err);
	return vm_start_threads(&m->vm) ? EXIT_CODE_HOST : 0;
}

static void machine_end_threads(struct machine *m)
{
	vm_join_threads(&m->vm);
}

/* The machine, in the order in which it is made. The console and the kernel
 * come early: what is wrong with their files is said before more is built. */
static const struct {
	int (*create)(struct machine *m);
	void (*destroy)(struct machine *m); /* or NULL */
} stages[] = {
	{ machine_create_loop, machine_destroy_loop },
	{ machine_open_console, machine_close_console },
	{ machine_open_control, machine_close_control },
	{ machine_open_boot, machine_close_boot },
	{ machine_open_kvm, machine_close_kvm },
	{ machine_create_memory, machine_destroy_memory },
	{ machine_begin_load, machine_end_load },
	{ machine_create_vm, machine_destroy_vm },
	{ machine_create_cpus, machine_destroy_cpus },
	{ machine_create_platform, machine_destroy_platform },
	{ machine_create_pci, machine_destroy_pci },
	{ machine_watch_disks, machine_ignore_disks },
	{ machine_add_devices, machine_remove_devices },
	{ machine_finish_load, NULL },
	{ machine_watch_events, machine_ignore_events },
	{ machine_start_threads, machine_end_threads },
};

static void machine_destroy_stages(struct machine *m, size_t count)
{
	while (count--) {
		if (stages[count].destroy)
			stages[count].destroy(m);
	}
}

int machine_create(struct machine *m, const struct machine_config *config)
{
	memset(m, 0, sizeof(*m));
	m->config = config;
	for (size_t i = 0; i < ARRAY_SIZE(stages); i++) {
		int code = stages[i].create(m);

		if (code) {
			machine_destroy_stages(m, i);
			return code;
		}
	}
	return 0;
}

void machine_destroy(struct machine *m)
{
	machine_destroy_stages(m, ARRAY_SIZE(stages));
}

void machine_run(struct machine *m)
{
	int err;

	console_begin(&m->console);
	vm_start(&m->vm);
	err = loop_run(&m->loop);
	if (err) {
		log_err("event loop: %s", strerror(-err));
		vm_end(&m->vm, END_KVM_ERROR, 0);
	}
	vm_join_threads(&m->vm);
	console_end(&m->console);
}

/* What the guest wrote to the exit port, as an exit code. */
static int exit_port_code(const struct machine *m)
{
	uint32_t value = m->vm.end_value;
	uint64_t code = m->config->debug_exit_qemu ? (uint64_t)value << 1 | 1
						   : value;

	if (code <= EXIT_CODE_GUEST_MAX)
		return code;
	log_warn("the guest wrote %" PRIu32 " to the exit port: exit code %d "
		 "stands for all above it",
		 value, EXIT_CODE_GUEST_MAX);
	return EXIT_CODE_GUEST_MAX;
}

int machine_exit_code(const struct machine *m)
{
	switch (m->vm.end) {
	case END_POWEROFF:
	case END_USER:
		return EXIT_CODE_OK;
	case END_EXIT_PORT:
		return exit_port_code(m);
	case END_RESET:
		log_err("the guest asked for a reset, which --no-reboot ends");
		return EXIT_CODE_RESET;
	case END_TRIPLE_FAULT:
		log_err("the guest ended in a triple fault");
		return EXIT_CODE_TRIPLE_FAULT;
	case END_TIMEOUT:
		log_err("the guest did not end within %" PRIu64 " s",
			m->config->timeout);
		return EXIT_CODE_TIMEOUT;
	case END_SIGNAL:
		return EXIT_CODE_SIGNAL + m->vm.end_value;
	case END_NONE:
	case END_KVM_ERROR:
		break;
	}
	return EXIT_CODE_INTERNAL;
}
