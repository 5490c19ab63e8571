/*
 * `kvist demo`: a tiny guest on two vCPUs, and below each of its lines what
 * happens on the host. The guest's serial line ends in a pipe that the main
 * loop reads; what the host says is read from /proc, where ps(1) reads it too.
 */
#include "cli/commands.h"
#include "cli/demo_guest.h"
#include "cli/stats.h"
#include "devices/block/qcow2_create.h"
#include "machine.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/clock.h"
#include "util/exit_code.h"
#include "util/exit_name.h"
#include "util/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEMO_MEMORY (16ull << 20)
#define DEMO_DISK   (64ull << 20)
#define DEMO_CPUS   2
#define DEMO_LIMIT  30 /* seconds; a run takes a fraction of one */

/* A thread of ours, and the host CPU it last ran on. */
struct sight {
	const char *name; /* as ps -L shows it */
	pid_t tid;        /* 0: not met yet */
	int cpu;
};

struct demo {
	struct machine machine;
	struct watch lines; /* the read end of the guest's serial line */
	char line[256];
	size_t len;
	const char *bold, *dim, *plain;      /* escape sequences, or nothing */
	struct sight threads[DEMO_CPUS + 1]; /* vCPUs and the disk's worker */
};

/* The host CPU a thread of ours last ran on (proc(5), stat, field 39), -1 if
 * the thread is gone. */
static int thread_cpu(pid_t tid)
{
	char path[64], text[1024], *field;
	int cpu = -1;
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	stat = fopen(path, "re");
	if (!stat)
		return -1;
	if (fgets(text, sizeof(text), stat)) {
		field = strrchr(text, ')'); /* the end of field 2 */
		for (int i = 2; field && i < 39; i++)
			field = strchr(field + 1, ' ');
		if (field)
			cpu = atoi(field + 1);
	}
	fclose(stat);
	return cpu;
}

/* True if @name is that of our thread @tid, as ps -L shows it. */
static bool thread_is_called(pid_t tid, const char *name)
{
	char path[64], text[20] = "";
	FILE *comm;

	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", tid);
	comm = fopen(path, "re");
	if (!comm)
		return false;
	if (fgets(text, sizeof(text), comm))
		text[strcspn(text, "\n")] = '\0';
	fclose(comm);
	return !strcmp(text, name);
}

/* The thread of ours that is called @name, or 0. */
static pid_t thread_find(const char *name)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	pid_t found = 0;

	while (tasks && !found && (entry = readdir(tasks))) {
		pid_t tid = atoi(entry->d_name);

		if (thread_is_called(tid, name))
			found = tid;
	}
	if (tasks)
		closedir(tasks);
	return found;
}

/* What stands behind a line of the guest: a thread of the host, by its name. */
static const struct {
	const char *line; /* how the guest's line begins */
	const char *thread;
	const char *role;
} notes[] = {
	{ "vcpu 0: hello", "vcpu/0",
	  "a loop around ioctl(KVM_RUN): vcpu_run()" },
	{ "vcpu 1: hello", "vcpu/1",
	  "the same; KVM itself passed on INIT and SIPI" },
	{ "disk: virtio", "blk0",
	  "the disk's worker: sleeps until a doorbell" },
	{ "disk: wrote", "blk0",
	  "woken by an ioeventfd, not by a vCPU's exit" },
	{ "disk: read", "blk0", "done: the irqfd interrupts the guest" },
	{ "timer:", "vcpu/0", "slept inside KVM_RUN: the PIT is KVM's" },
	{ "power:", "kvist", "woken by vm_end(): stops vCPUs, closes disks" },
};

/*
 * Looks where the threads are. The guest goes on meanwhile: when its last lines
 * are read here its vCPUs may have ended, and what was seen last is what
 * counts.
 */
static void look(struct demo *demo)
{
	for (size_t i = 0; i < ARRAY_SIZE(demo->threads); i++) {
		struct sight *thread = &demo->threads[i];
		pid_t tid = thread_find(thread->name);
		int cpu = tid ? thread_cpu(tid) : -1;

		if (cpu >= 0) {
			thread->tid = tid;
			thread->cpu = cpu;
		}
	}
}

static void host_says(const struct demo *demo, const char *name,
		      const char *role)
{
	/* The main thread has the process's number, and the program's name. */
	struct sight who = { "kvist", getpid(), thread_cpu(getpid()) };

	for (size_t i = 0; i < ARRAY_SIZE(demo->threads); i++) {
		if (!strcmp(demo->threads[i].name, name))
			who = demo->threads[i];
	}
	printf("%s  host |   %-7s ", demo->dim, who.name);
	if (who.tid)
		printf("%7d %4d", who.tid, who.cpu);
	else
		printf("%7s %4s", "ended", "");
	printf("  %s%s\n", role, demo->plain);
}

/* Prints a line of the guest, and below it what carries it. */
static void demo_line(struct demo *demo, const char *line)
{
	look(demo);
	printf("%s guest | %s%s\n", demo->bold, line, demo->plain);
	for (size_t i = 0; i < ARRAY_SIZE(notes); i++) {
		if (!strncmp(line, notes[i].line, strlen(notes[i].line)))
			host_says(demo, notes[i].thread, notes[i].role);
	}
	fflush(stdout);
}

static void demo_ready(struct watch *watch, uint32_t events)
{
	struct demo *demo = container_of(watch, struct demo, lines);
	char bytes[512];
	ssize_t n = read(watch->fd, bytes, sizeof(bytes));

	(void)events;
	for (ssize_t i = 0; i < n; i++) {
		if (bytes[i] != '\n') {
			if (bytes[i] != '\r' &&
			    demo->len < sizeof(demo->line) - 1)
				demo->line[demo->len++] = bytes[i];
			continue;
		}
		demo->line[demo->len] = '\0';
		demo->len = 0;
		demo_line(demo, demo->line);
	}
}

/* A file in memory that is gone with the process; its name in *path. */
static int memory_file(const char *name, char path[64])
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0) {
		int err = -errno;

		log_err("demo: memfd_create: %s", strerror(-err));
		return err;
	}
	snprintf(path, 64, "/proc/self/fd/%d", fd);
	return fd;
}

static int demo_kernel(char path[64])
{
	size_t size = demo_guest_end - demo_guest_start;
	int fd = memory_file("demo-kernel", path);

	if (fd >= 0 && write(fd, demo_guest_start, size) != (ssize_t)size) {
		log_err("demo: writing the guest: %s", strerror(errno));
		close(fd);
		return -EIO;
	}
	return fd;
}

static int demo_disk(char path[64])
{
	struct qcow2_shape shape = qcow2_shape_default;
	int fd = memory_file("demo-disk", path);
	struct host_file *file = NULL;
	int own, err;

	if (fd < 0)
		return fd;
	/* A host_file owns its descriptor: it gets one of its own. */
	own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own >= 0)
		file = host_file_create(own);
	shape.size = DEMO_DISK;
	err = file ? qcow2_create(file, &shape) : -ENOMEM;
	if (file)
		file->ops->close(file);
	else if (own >= 0)
		close(own);
	if (err) {
		log_err("demo: making the disk: %s", strerror(-err));
		close(fd);
		return err;
	}
	return fd;
}

static const char *exit_meaning(unsigned reason)
{
	switch (reason) {
	case KVM_EXIT_IO:
		return "IN or OUT: serial port, ACPI timer, power";
	case KVM_EXIT_MMIO:
		return "an address without RAM: PCI, virtio registers";
	default:
		return "";
	}
}

static void demo_summary(const struct demo *demo, double ms)
{
	const struct vm *vm = &demo->machine.vm;

	printf("\n%sWhy the vCPU threads came back from ioctl(KVM_RUN)%s\n\n"
	       "  %sexit        vcpu/0   vcpu/1   what the guest did%s\n",
	       demo->bold, demo->plain, demo->dim, demo->plain);
	for (unsigned reason = 0; reason < VCPU_EXIT_REASONS; reason++) {
		if (!stats_exits(vm, reason))
			continue;
		printf("  %-9s %8" PRIu64 " %8" PRIu64 "   %s\n",
		       exit_name(reason), vm->vcpus[0].exits[reason],
		       vm->vcpus[1].exits[reason], exit_meaning(reason));
	}
	printf("\nKVM answered the rest in the kernel: HLT, timers, INIT and "
	       "SIPI, and the disk's\ndoorbell and interrupt "
	       "(docs/exit-path.md). The guest was off after %.0f ms.\n\n"
	       "Next: docs/tour.md, the code in order; kvist run -k KERNEL "
	       "--log trace.\n",
	       ms);
}

/* Runs the machine that @config describes, whose console ends in @pipe_fd. */
static int demo_run(struct demo *demo, const struct machine_config *config,
		    int pipe_fd)
{
	uint64_t start = clock_ns(CLOCK_MONOTONIC);
	int code = machine_create(&demo->machine, config);

	if (code)
		return code;
	demo->lines = (struct watch){ .fd = pipe_fd, .ready = demo_ready };
	loop_add(&demo->machine.loop, &demo->lines, EPOLLIN);
	printf("%skvist demo%s: process %d is a machine: %d vCPUs, %llu MiB of "
	       "RAM, a qcow2 disk.\nThe guest prints on its serial port; below "
	       "each line, the host thread behind it.\n\n"
	       "%s           thread      tid  CPU%s\n",
	       demo->bold, demo->plain, getpid(), DEMO_CPUS, DEMO_MEMORY >> 20,
	       demo->dim, demo->plain);
	host_says(demo, "kvist", "the main thread: one epoll loop");
	machine_run(&demo->machine);
	demo_ready(&demo->lines, EPOLLIN); /* what came with the end */
	code = machine_exit_code(&demo->machine);
	if (code == EXIT_CODE_OK)
		demo_summary(demo,
			     (double)(clock_ns(CLOCK_MONOTONIC) - start) / 1e6);
	machine_destroy(&demo->machine);
	return code;
}

static void demo_colours(struct demo *demo)
{
	const char *term = getenv("TERM");
	bool colours = isatty(STDOUT_FILENO) && !getenv("NO_COLOR") && term &&
		       strcmp(term, "dumb");

	demo->bold = colours ? "\033[1m" : "";
	demo->dim = colours ? "\033[36m" : "";
	demo->plain = colours ? "\033[0m" : "";
}

static const char demo_help[] =
	"usage: kvist demo\n"
	"Boots a tiny guest that is part of the program on 2 vCPUs, and shows "
	"which\n"
	"threads of the host carry it and why they come back from KVM_RUN.";

int cmd_demo(int argc, char **argv)
{
	struct machine_config config = {
		.name = "demo",
		.identity = "demo",
		.memory = DEMO_MEMORY,
		.cpus = DEMO_CPUS,
		.nr_disks = 1,
		.console.kind = CONSOLE_FILE,
		.timeout = DEMO_LIMIT,
		.no_reboot = true,
	};
	char kernel[64], disk[64], console[64];
	int kernel_fd, disk_fd, pipes[2];
	struct demo demo = {
		.threads = { { .name = "vcpu/0" },
			     { .name = "vcpu/1" },
			     { .name = "blk0" } },
	};
	int code = EXIT_CODE_HOST;
	int go_on = args_none("demo", demo_help, argc, argv);

	if (go_on <= 0)
		return go_on ? EXIT_CODE_USAGE : EXIT_CODE_OK;
	demo_colours(&demo);
	kernel_fd = demo_kernel(kernel);
	if (kernel_fd < 0)
		return code;
	disk_fd = demo_disk(disk);
	if (disk_fd < 0)
		goto close_kernel;
	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK)) {
		log_err("demo: pipe: %s", strerror(errno));
		goto close_disk;
	}
	snprintf(console, sizeof(console), "/proc/self/fd/%d", pipes[1]);
	config.kernel = kernel;
	config.disks[0] = (struct disk_config){ .image.path = disk };
	config.console.path = console;
	code = demo_run(&demo, &config, pipes[0]);
	close(pipes[0]);
	close(pipes[1]);
close_disk:
	close(disk_fd);
close_kernel:
	close(kernel_fd);
	return code;
}
