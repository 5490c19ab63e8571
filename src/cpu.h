/*
 * The CPU the guest sees, and its state when the power comes on: CPUID, MSRs,
 * local APIC, interrupt controllers. What KVM offers, without what kvist hides.
 *
 * Owned by the machine; used on the main thread while the vm is stopped. Each
 * function returns 0 or -errno, logged.
 */
#ifndef KVIST_CPU_H
#define KVIST_CPU_H

#include "kvm/vm.h"

#include <stdbool.h>

struct cpu_model {
	bool nested;                  /* VMX and SVM stay visible */
	struct kvm_cpuid2 *cpuid;     /* what the host can offer; owned */
	struct kvm_lapic_state lapic; /* of a vCPU that never ran */
};

int cpu_model_init(struct cpu_model *model, const struct kvm *kvm, bool nested);
void cpu_model_fini(struct cpu_model *model);

/* Makes all vCPUs of @vm, which are new, into CPUs of @model: one package,
 * one core a vCPU, APIC id = vCPU number. */
int cpu_set_up(struct cpu_model *model, struct vm *vm);

/* All vCPUs and the interrupt controllers of @vm back to the state after
 * power-on (SDM 3, table 10-1). */
int cpu_reset(const struct cpu_model *model, struct vm *vm);

#endif
