/*
 * One virtual CPU: a KVM descriptor, its shared kvm_run page, and the one
 * thread that runs it.
 *
 * Owned by the vm. Only the vCPU's own thread enters KVM_RUN and reads the
 * kvm_run page. While the vm is stopped the thread is parked, and the main
 * thread may set registers.
 */
#ifndef KVIST_KVM_VCPU_H
#define KVIST_KVM_VCPU_H

#include "kvm/kvm.h"
#include "kvm/memory.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define VCPU_EXIT_REASONS 64 /* KVM_EXIT_* below this are counted */

struct vm;

struct vcpu {
	struct vm *vm; /* owner */
	int id;        /* also the APIC id */
	int fd;
	struct kvm_run *run; /* shared with the kernel */
	pthread_t thread;
	pid_t tid;                         /* of the thread, once it has run */
	uint64_t exits[VCPU_EXIT_REASONS]; /* own thread; atomic to read */
};

/* The processor mode a guest is entered in, as its boot protocol asks. */
enum vcpu_mode {
	VCPU_REAL,      /* 16-bit; ip below 64 KiB, all segments 0 */
	VCPU_PROTECTED, /* 32-bit, flat segments, no paging */
	VCPU_LONG,      /* 64-bit, flat segments, paging by cr3 */
};

/*
 * The state in which the boot processor starts. Segment selectors are 0x10
 * (code) and 0x18 (data), as the Linux boot protocol wants; a protocol that
 * promises a GDT puts one with these at @gdt.
 */
struct vcpu_entry {
	enum vcpu_mode mode;
	uint64_t ip, sp, cr3;
	gpa_t gdt; /* four 8-byte descriptors, or 0 */
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp;
};

/* Creates the descriptor, maps kvm_run and sets CPUID and the state after
 * power-on; @count is the number of vCPUs of the machine, for the topology,
 * and @nested leaves VMX and SVM visible. 0 or -errno, logged. Main thread. */
int vcpu_create(struct vcpu *vcpu, struct vm *vm, int id, int count,
		bool nested);
void vcpu_destroy(struct vcpu *vcpu);

/* Starts the thread, named vcpu/ID; it parks until vm_start(). 0 or -errno. */
int vcpu_thread_start(struct vcpu *vcpu);

/* Makes the thread leave KVM_RUN and look at vm->stop. Any thread. */
void vcpu_kick(struct vcpu *vcpu);

/*
 * vcpu_x86.c: everything about registers. The main thread, while the vm is
 * stopped. Each 0 or -errno, logged.
 */

/* The CPUID a guest sees: the host's offer, with this vCPU's APIC id, the
 * topology of @count vCPUs in one package, and nesting masked. */
int vcpu_set_cpuid(struct vcpu *vcpu, int count, bool nested);
/* The state after power-on (SDM 3, table 10-1): also how a reset ends. An
 * application processor then waits for INIT and SIPI. */
int vcpu_reset(struct vcpu *vcpu);
/* The boot processor's first instruction. After vcpu_reset(). */
int vcpu_enter(struct vcpu *vcpu, const struct vcpu_entry *entry);
/* Logs the registers at @level, after a failure. */
void vcpu_dump(struct vcpu *vcpu);

/* "IO", "MMIO" ... for KVM_EXIT_IO, KVM_EXIT_MMIO ...; never NULL. */
const char *vcpu_exit_name(unsigned reason);

#endif
