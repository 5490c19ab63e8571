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

#define VCPU_EXIT_REASONS 64 /* KVM_EXIT_* below this are counted */

struct vm;

struct vcpu {
	struct vm *vm; /* owner */
	int id;        /* also the APIC id */
	int fd;
	struct kvm_run *run; /* shared with the kernel */
	pthread_t thread;
	bool started;                      /* the thread exists */
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

/* Creates the descriptor and maps kvm_run. 0 or -errno, logged. Main thread. */
int vcpu_create(struct vcpu *vcpu, struct vm *vm, int id);
void vcpu_destroy(struct vcpu *vcpu);

/* The thread's function, @arg its vcpu: names itself vcpu/ID, parks, and then
 * runs the guest whenever the vm is not stopped, until the vm quits. */
void *vcpu_thread(void *arg);
/* Sets what a kick does, and unblocks its signal, for all threads made later. */
void vcpu_kick_init(void);

/* Makes the thread leave KVM_RUN and look at vm->stop. Any thread. */
void vcpu_kick(struct vcpu *vcpu);

/*
 * vcpu_x86.c: how a processor mode looks in registers. The main thread, while
 * the vm is stopped.
 */

/* Segment and control registers after INIT (SDM 3, table 10-1). */
void vcpu_sregs_init(const struct vcpu *vcpu, struct kvm_sregs *sregs);
/* The boot processor's first instruction; the vCPU is as after power-on. 0 or
 * -errno, logged. */
int vcpu_enter(struct vcpu *vcpu, const struct vcpu_entry *entry);
/* Logs the registers, after a failure. The vCPU's own thread. */
void vcpu_dump(const struct vcpu *vcpu);

#endif
