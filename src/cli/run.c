/*
 * `kvist run`: a machine from the options to its exit code.
 */
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/stats.h"
#include "util/exit_code.h"
#include "util/exit_name.h"

#include <inttypes.h>
#include <stdio.h>

/* One line a reason, on standard error: "exit IO 1234". */
static void print_exits(const struct vm *vm)
{
	for (unsigned reason = 0; reason < VCPU_EXIT_REASONS; reason++) {
		uint64_t count = stats_exits(vm, reason);

		if (count)
			fprintf(stderr, "exit %s %" PRIu64 "\n",
				exit_name(reason), count);
	}
}

/* One line a queue: "net0 0 packets 12 bytes 3456 ...". */
static void print_counters(struct machine *machine)
{
	struct virtio_counter counters[VIRTIO_COUNTERS_MAX];

	for (int d = 0; d < machine->nr_virtio; d++) {
		struct virtio_device *virtio = machine->virtio[d];

		for (unsigned q = 0; q < virtio->nr_queues; q++) {
			int n = virtio_counters(virtio, q, counters);

			fprintf(stderr, "%s %u", virtio->name, q);
			for (int i = 0; i < n; i++)
				fprintf(stderr, " %s %" PRIu64,
					counters[i].name, counters[i].value);
			fputc('\n', stderr);
		}
	}
}

int cmd_run(int argc, char **argv)
{
	struct run_options options;
	struct machine machine;
	int code;

	if (run_options_parse(&options, argc, argv))
		return EXIT_CODE_USAGE;
	if (options.help) {
		run_options_help(stdout);
		return EXIT_CODE_OK;
	}
	code = machine_create(&machine, &options.machine);
	if (code)
		return code;
	machine_run(&machine);
	code = machine_exit_code(&machine);
	if (options.stats) {
		print_exits(&machine.vm);
		print_counters(&machine);
	}
	machine_destroy(&machine);
	return code;
}
