/*
 * floor: the least a program must do to run a virtual machine of kvist's shape
 * (one vCPU, in-kernel irqchip and PIT, 256 MiB), and so the measure for how
 * quickly kvist starts and ends. The guest prints one byte to the serial port,
 * waits for 2^29 cycles of its time-stamp counter, prints another, and writes 0
 * to the exit port. What it prints is shown as kvist's trace shows it.
 *
 *	floor [-n] [-m MIB] [-s ORDER] [-e ORDER]
 *
 * -n leaves the vCPU without CPUID. Such a guest cannot enter 64-bit mode, so
 * no Linux boots in it: CPUID belongs to what is needed. On a host that is
 * itself a guest each of the many CPUID instructions behind it is an exit to
 * the host's host, and costs accordingly.
 * -s names the order of setting up (memory slot before or after the irqchip):
 *	first	memory, irqchip, PIT, vCPU (the default, and the cheapest)
 *	last	irqchip, PIT, memory, vCPU
 * -e lists what is done, in order, before _exit(2), in search of the cheapest
 * end. What is not named is left to the kernel; leaving it the kvm_run page
 * takes three times as long as unmapping that and closing the vCPU first ("rc",
 * the default).
 *	r	unmap the kvm_run page
 *	c	close the vCPU
 *	v	close the VM
 *	k	close /dev/kvm
 *	m	unmap the guest's memory
 *	s	delete the memory slot
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define CODE_AT 0x1000

/* 16-bit code: the third instruction already leaves the guest. */
static const uint8_t code[] = {
	0xba, 0xf8, 0x03,                   /* mov dx, 0x3f8 */
	0xb0, '!',                          /* mov al, '!' */
	0xee,                               /* out dx, al */
	0x0f, 0x31,                         /* rdtsc */
	0x66, 0x89, 0xc3,                   /* mov ebx, eax */
	0x0f, 0x31,                         /* wait: rdtsc */
	0x66, 0x29, 0xd8,                   /* sub eax, ebx */
	0x66, 0x3d, 0x00, 0x00, 0x00, 0x20, /* cmp eax, 1 << 29 */
	0x72, 0xf3,                         /* jb wait */
	0xba, 0xf8, 0x03,                   /* mov dx, 0x3f8 */
	0xb0, '.',                          /* mov al, '.' */
	0xee,                               /* out dx, al */
	0x31, 0xc0,                         /* xor ax, ax */
	0xe6, 0xf4,                         /* out 0xf4, al */
	0xf4,                               /* hlt */
};

struct floor {
	int kvm, vm, vcpu;
	int no_cpuid;
	uint8_t *ram;
	size_t size;
	struct kvm_run *run;
	size_t run_size;
};

static long check(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
		exit(1);
	}
	return result;
}

static void set_memory(struct floor *f, uint64_t size)
{
	struct kvm_userspace_memory_region region = {
		.memory_size = size,
		.userspace_addr = (uintptr_t)f->ram,
	};

	check(ioctl(f->vm, KVM_SET_USER_MEMORY_REGION, &region), "memory");
}

static void set_chips(struct floor *f)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	check(ioctl(f->vm, KVM_SET_TSS_ADDR, 0xfffbd000UL), "tss");
	check(ioctl(f->vm, KVM_CREATE_IRQCHIP, 0), "irqchip");
	check(ioctl(f->vm, KVM_CREATE_PIT2, &pit), "pit");
}

/* The guest's CPU is the host's, as far as KVM supports it. */
static void set_cpuid(struct floor *f)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[256];
	} cpuid = { .head.nent = 256 };

	check(ioctl(f->kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "get cpuid");
	check(ioctl(f->vcpu, KVM_SET_CPUID2, &cpuid), "set cpuid");
}

static void start(struct floor *f, int memory_first)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rip = CODE_AT, .rflags = 2 };

	f->kvm = (int)check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	f->vm = (int)check(ioctl(f->kvm, KVM_CREATE_VM, 0), "vm");
	f->ram = mmap(NULL, f->size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	check(f->ram == MAP_FAILED ? -1 : 0, "mmap");
	memcpy(f->ram + CODE_AT, code, sizeof(code));
	if (memory_first)
		set_memory(f, f->size);
	set_chips(f);
	if (!memory_first)
		set_memory(f, f->size);
	f->vcpu = (int)check(ioctl(f->vm, KVM_CREATE_VCPU, 0), "vcpu");
	if (!f->no_cpuid)
		set_cpuid(f);
	f->run_size = (size_t)check(ioctl(f->kvm, KVM_GET_VCPU_MMAP_SIZE, 0),
				    "mmap size");
	f->run = mmap(NULL, f->run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      f->vcpu, 0);
	check(f->run == MAP_FAILED ? -1 : 0, "mmap vcpu");
	check(ioctl(f->vcpu, KVM_GET_SREGS, &sregs), "get sregs");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	check(ioctl(f->vcpu, KVM_SET_SREGS, &sregs), "set sregs");
	check(ioctl(f->vcpu, KVM_SET_REGS, &regs), "set regs");
}

/* Runs until the guest writes the exit port; prints its serial bytes. */
static int run(struct floor *f)
{
	for (;;) {
		const uint8_t *data;

		check(ioctl(f->vcpu, KVM_RUN, 0), "run");
		if (f->run->exit_reason != KVM_EXIT_IO) {
			fprintf(stderr, "floor: exit reason %u\n",
				f->run->exit_reason);
			return 1;
		}
		data = (uint8_t *)f->run + f->run->io.data_offset;
		if (f->run->io.port == 0xf4)
			return *data;
		check(dprintf(STDERR_FILENO, "write port 0x3f8: 0x%02x\n",
			      *data),
		      "write");
	}
}

/* One letter a step, so that every order can be tried. */
static void end(struct floor *f, const char *order)
{
	for (; *order; order++) {
		if (*order == 'r')
			munmap(f->run, f->run_size);
		else if (*order == 'c')
			close(f->vcpu);
		else if (*order == 'v')
			close(f->vm);
		else if (*order == 'k')
			close(f->kvm);
		else if (*order == 'm')
			munmap(f->ram, f->size);
		else if (*order == 's')
			set_memory(f, 0);
	}
}

int main(int argc, char **argv)
{
	struct floor f = { .size = 256UL << 20 };
	const char *first = "first", *last = "rc";
	int opt, status;

	while ((opt = getopt(argc, argv, "nm:s:e:")) != -1) {
		if (opt == 'n')
			f.no_cpuid = 1;
		else if (opt == 'm')
			f.size = strtoul(optarg, NULL, 0) << 20;
		else if (opt == 's')
			first = optarg;
		else if (opt == 'e')
			last = optarg;
		else
			return 64;
	}
	start(&f, !strcmp(first, "first"));
	status = run(&f);
	end(&f, last);
	_exit(status);
}
