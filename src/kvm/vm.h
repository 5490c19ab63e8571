/*
 * The virtual machine: memory slots, irqchip, two buses and its vCPUs.
 *
 * Owned by the machine; created, started, stopped and destroyed on the main
 * thread. The place where all vCPUs are stopped together.
 */
#ifndef KVIST_KVM_VM_H
#define KVIST_KVM_VM_H

#include "kvm/bus.h"
#include "kvm/irq.h"
#include "kvm/kvm.h"
#include "kvm/memory.h"
#include "kvm/vcpu.h"
#include "util/outcome.h"

struct vm {
	const struct kvm *kvm; /* borrowed */
	struct memory *memory; /* borrowed */
	int fd;
	struct bus ports, mmio;
	struct irqchip irqs;
	struct vcpu *vcpus;
	int nr_vcpus;

	/* V1: once vm_stop() has returned no vCPU runs before vm_start(). */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* stop is false, quit true, or running less */
	bool stop;              /* atomic, so that the run loop needs no lock */
	bool quit;
	int running; /* threads that are not parked */

	struct end_wire wire; /* lent to devices that end or reset it */
	int end_fd;           /* eventfd: ready when an end was requested */
	enum end end;         /* atomic; V2: the first request stays, but the
			       * host's own word replaces the guest's */
	uint32_t end_value;
};

/* The vm with its RAM, irqchip, empty buses and @nr_vcpus vCPUs, stopped. 0 or
 * -errno, logged. */
int vm_create(struct vm *vm, const struct kvm *kvm, struct memory *memory,
	      int nr_vcpus);
/* After the threads have ended. */
void vm_destroy(struct vm *vm);

/* Starts the threads of the vCPUs, parked. 0 or -errno, logged. */
int vm_start_threads(struct vm *vm);
/* Stops the vm for good and joins the threads. This, but not vm_stop(), may be
 * called again. */
void vm_join_threads(struct vm *vm);

/* Lets the vCPUs run; stops them, and waits until all stand still. */
void vm_start(struct vm *vm);
void vm_stop(struct vm *vm);

/* Any thread: asks for the end of the run (V2); does not wait for the vCPUs. */
void vm_end(struct vm *vm, enum end end, uint32_t value);
/* Forgets the end that was asked for, after a reset. Stopped vm. */
void vm_end_clear(struct vm *vm);

#endif
