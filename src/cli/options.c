#include "cli/options.h"

#include "cli/options_disk.h"
#include "cli/options_net.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum {
	OPT_KERNEL,
	OPT_INITRD,
	OPT_APPEND,
	OPT_MEMORY,
	OPT_CPUS,
	OPT_DISK,
	OPT_NET,
	OPT_TRANSPORT,
	OPT_SERIAL,
	OPT_CONTROL,
	OPT_TIMEOUT,
	OPT_NO_REBOOT,
	OPT_DEBUG_EXIT,
	OPT_NAME,
	OPT_NESTED,
	OPT_UNPACK,
	OPT_STATS,
	OPT_LOG,
	OPT_HELP,
};

static const struct arg_option run_flags[] = {
	[OPT_KERNEL] = { "kernel", 'k', "FILE",
			 "bzImage, vmlinux, PVH or multiboot ELF, or a boot\n"
			 "sector" },
	[OPT_INITRD] = { "initrd", 'i', "FILE",
			 "initial RAM disk, or the first multiboot module" },
	[OPT_APPEND] = { "append", 'a', "TEXT",
			 "kernel command line; for a Linux without it:\n"
			 "console=ttyS0, and root=/dev/vda rw if no initrd" },
	[OPT_MEMORY] = { "memory", 'm', "SIZE", "RAM, as 512M or 2G [256M]" },
	[OPT_CPUS] = { "cpus", 'c', "N", "vCPUs, one thread each [1]" },
	[OPT_DISK] = { "disk", 'd', DISK_OPTIONS_SYNOPSIS, DISK_OPTIONS_HELP },
	[OPT_NET] = { "net", 'n', NET_OPTIONS_SYNOPSIS, NET_OPTIONS_HELP },
	[OPT_TRANSPORT] = { "transport", 'T', "pci|mmio",
			    "how virtio devices are found [pci]" },
	[OPT_SERIAL] = { "serial", 's', "stdio|none|file:PATH|pty|unix:PATH",
			 "where the serial line goes [stdio];\n"
			 "on a terminal: Ctrl-A x ends, Ctrl-A h helps" },
	[OPT_CONTROL] = { "control", 'C', "unix:PATH",
			  "a socket for commands, in a subset of QMP" },
	[OPT_TIMEOUT] = { "timeout", 't', "SECONDS",
			  "end the run with code 124 after that time" },
	[OPT_NO_REBOOT] = { "no-reboot", 'R', NULL,
			    "a reset ends the run with code 102, a triple\n"
			    "fault with 101" },
	[OPT_DEBUG_EXIT] = { "debug-exit", 'e', "code|qemu",
			     "a guest's write of v to port 0xf4 ends the run\n"
			     "with v, or with (v << 1) | 1 [code]" },
	[OPT_NAME] = { "name", 'N', "NAME",
		       "name of the machine; MAC addresses derive from it" },
	[OPT_NESTED] = { "nested", 'x', NULL, "let the guest see VMX or SVM" },
	[OPT_UNPACK] = { "unpack", 'u', "host|guest",
			 "who unpacks a bzImage, and moves the kernel to a\n"
			 "random place [host]" },
	[OPT_STATS] = { "stats", 'S', NULL,
			"print at the end the exits by reason, and the\n"
			"counters of each queue of a device" },
	[OPT_LOG] = { "log", 'l', "err|warn|info|debug|trace",
		      "how much kvist says on standard error [warn]" },
	[OPT_HELP] = { "help", 'h', NULL, "print this" },
};

void run_options_help(FILE *to)
{
	fputs("usage: kvist run --kernel FILE [OPTION]...\n"
	      "Boots a guest; the exit code says how it ended: see kvist(1).\n"
	      "\n",
	      to);
	args_print_help(run_flags, ARRAY_SIZE(run_flags), to);
}

static int wrong(int option, const char *value, const char *why)
{
	log_err("--%s %s %s", run_flags[option].name, value, why);
	return -EINVAL;
}

static int parse_memory(struct machine_config *config, const char *value)
{
	if (parse_size(value, &config->memory))
		return wrong(OPT_MEMORY, value,
			     "is not a size; write 512M or 2G");
	if (config->memory < MEMORY_MIN)
		return wrong(OPT_MEMORY, value,
			     "is too small; give 1M or more");
	if (config->memory % 4096)
		return wrong(OPT_MEMORY, value, "is no multiple of 4K");
	return 0;
}

static int parse_cpus(struct machine_config *config, const char *value)
{
	if (!parse_number(value, 1, MACHINE_CPUS_MAX, &config->cpus))
		return 0;
	return wrong(OPT_CPUS, value, "is not a number from 1 to 255");
}

static int parse_timeout(struct machine_config *config, const char *value)
{
	if (!parse_number(value, 1, 1000000000, &config->timeout))
		return 0;
	return wrong(OPT_TIMEOUT, value,
		     "is not a number of seconds from 1 to 1000000000");
}

static int parse_serial(struct machine_config *config, const char *value)
{
	if (!console_parse(value, &config->console))
		return 0;
	return wrong(OPT_SERIAL, value,
		     "is not one of stdio, none, file:PATH, pty, unix:PATH");
}

static int parse_control(struct machine_config *config, const char *value)
{
	struct console_options socket;

	if (console_parse(value, &socket) || socket.kind != CONSOLE_UNIX)
		return wrong(OPT_CONTROL, value, "is not unix:PATH");
	config->control = socket.path;
	return 0;
}

static int parse_disk(struct machine_config *config, char *value)
{
	return disk_option_parse(value, &config->disks[config->nr_disks++]);
}

static int parse_choice(int option, const char *value, const char *const *names,
			int count)
{
	for (int i = 0; i < count; i++) {
		if (!strcmp(value, names[i]))
			return i;
	}
	log_err("--%s %s is not one of %s", run_flags[option].name, value,
		run_flags[option].value);
	return -EINVAL;
}

static int parse_log(const char *value)
{
	int level = log_level_parse(value);

	if (level < 0)
		return wrong(OPT_LOG, value,
			     "is not a level; give err, warn, "
			     "info, debug or trace");
	log_set_level(level);
	return 0;
}

/* The devices of one machine are numbered, and the numbers end; the rng has
 * one of them. */
static int check_room(const struct machine_config *config)
{
	if (config->nr_disks + config->nr_nets < MACHINE_DEVICES_MAX - 1)
		return 0;
	log_err("run: a machine has at most %d disks and network cards",
		MACHINE_DEVICES_MAX - 1);
	return -EINVAL;
}

/* The flags that choose one of two words. */
static int run_choice(struct machine_config *config, int option,
		      const char *value)
{
	static const char *const transports[] = { "pci", "mmio" };
	static const char *const exits[] = { "code", "qemu" };
	static const char *const unpackers[] = { "host", "guest" };
	int choice;

	choice = parse_choice(option, value,
			      option == OPT_TRANSPORT    ? transports
			      : option == OPT_DEBUG_EXIT ? exits
							 : unpackers,
			      2);
	if (choice < 0)
		return choice;
	if (option == OPT_TRANSPORT)
		config->transport = choice ? TRANSPORT_MMIO : TRANSPORT_PCI;
	else if (option == OPT_DEBUG_EXIT)
		config->debug_exit_qemu = choice;
	else
		config->unpack_in_guest = choice;
	return 0;
}

static int run_option(struct run_options *options, int option, char *value)
{
	struct machine_config *config = &options->machine;

	switch (option) {
	case OPT_KERNEL:
		config->kernel = value;
		return 0;
	case OPT_INITRD:
		config->initrd = value;
		return 0;
	case OPT_APPEND:
		config->append = value;
		return 0;
	case OPT_MEMORY:
		return parse_memory(config, value);
	case OPT_CPUS:
		return parse_cpus(config, value);
	case OPT_DISK:
		return check_room(config) ? -EINVAL : parse_disk(config, value);
	case OPT_NET:
		return check_room(config) ? -EINVAL
					  : net_options_parse(config, value);
	case OPT_TRANSPORT:
	case OPT_DEBUG_EXIT:
	case OPT_UNPACK:
		return run_choice(config, option, value);
	case OPT_SERIAL:
		return parse_serial(config, value);
	case OPT_CONTROL:
		return parse_control(config, value);
	case OPT_TIMEOUT:
		return parse_timeout(config, value);
	case OPT_NO_REBOOT:
		config->no_reboot = true;
		return 0;
	case OPT_NAME:
		config->name = config->identity = value;
		return 0;
	case OPT_NESTED:
		config->nested = true;
		return 0;
	case OPT_STATS:
		options->stats = true;
		return 0;
	case OPT_LOG:
		return parse_log(value);
	default:
		options->help = true;
		return 0;
	}
}

/* Without a name two machines must still not have the same MACs, and one
 * machine should keep its own: the first disk tells machines apart. */
static void default_identity(struct run_options *options)
{
	struct machine_config *config = &options->machine;
	uint64_t number;

	if (config->identity)
		return;
	config->identity = options->identity;
	if (config->nr_disks &&
	    realpath(config->disks[0].image.path, options->identity))
		return;
	/* Not the pid if it can be: in every container that is the same. */
	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number))
		number = getpid();
	snprintf(options->identity, sizeof(options->identity), "kvist-%" PRIx64,
		 number);
}

int run_options_parse(struct run_options *options, int argc, char **argv)
{
	struct args args = {
		.command = "run",
		.options = run_flags,
		.nr_options = ARRAY_SIZE(run_flags),
		.argc = argc,
		.argv = argv,
	};
	char *value;
	int i;

	*options = (struct run_options){
		.machine = { .name = "kvist", .memory = 256 << 20, .cpus = 1 },
	};
	while ((i = args_next(&args, &value)) != ARGS_END) {
		if (i == ARGS_FREE) {
			log_err("run: what is %s? A kernel is given as "
				"--kernel %s",
				value, value);
			return -EINVAL;
		}
		if (i < 0 || run_option(options, i, value))
			return -EINVAL;
		if (options->help)
			return 0;
	}
	if (!options->machine.kernel) {
		log_err("run: no kernel given; say --kernel FILE");
		return -EINVAL;
	}
	default_identity(options);
	return 0;
}
