#include "cpu.h"

#include "util/checked.h"
#include "util/log.h"

#include <asm/kvm_para.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* CPUID bits kvist decides about itself (SDM 2A, CPUID; AMD APM 3, E). */
#define CPUID1_ECX_VMX          (1u << 5)
#define CPUID1_ECX_TSC_DEADLINE (1u << 24)
#define CPUID1_ECX_HYPERVISOR   (1u << 31)
#define CPUID1_EDX_HTT          (1u << 28)
#define CPUID_80000001_ECX_SVM  (1u << 2)

static int cpu_failed(const struct vcpu *vcpu, const char *what, int err)
{
	log_err("vcpu %d: %s: %s", vcpu->id, what, strerror(-err));
	return err;
}

/* KVM_GET_SUPPORTED_CPUID wants to be told how much room there is, and says
 * E2BIG when that is too little. */
int cpu_model_init(struct cpu_model *model, const struct kvm *kvm, bool nested)
{
	int err = -E2BIG;

	*model = (struct cpu_model){ .nested = nested };
	for (unsigned room = 128; room <= 4096 && err == -E2BIG; room *= 2) {
		free(model->cpuid);
		model->cpuid = calloc(
			1, sizeof(*model->cpuid) +
				   room * sizeof(*model->cpuid->entries));
		if (!model->cpuid)
			return -ENOMEM;
		model->cpuid->nent = room;
		err = kvm_ioctl(kvm->fd, KVM_GET_SUPPORTED_CPUID, model->cpuid);
	}
	if (err) {
		log_err("KVM_GET_SUPPORTED_CPUID: %s", strerror(-err));
		cpu_model_fini(model);
	}
	return err;
}

void cpu_model_fini(struct cpu_model *model)
{
	free(model->cpuid);
}

/* Bits needed to number @count things. */
static unsigned width_of(unsigned count)
{
	return count > 1 ? 32 - __builtin_clz(count - 1) : 0;
}

/* One entry of the guest's CPUID, changed from what the host offers. */
static void cpuid_adjust(struct kvm_cpuid_entry2 *e, const struct vcpu *vcpu,
			 unsigned count, bool nested)
{
	switch (e->function) {
	case 1:
		e->ebx = (e->ebx & 0xffff) | count << 16 | vcpu->id << 24;
		e->ecx |= CPUID1_ECX_HYPERVISOR;
		if (vcpu->vm->kvm->tsc_deadline)
			e->ecx |= CPUID1_ECX_TSC_DEADLINE;
		if (!nested)
			e->ecx &= ~CPUID1_ECX_VMX;
		if (count > 1)
			e->edx |= CPUID1_EDX_HTT;
		else
			e->edx &= ~CPUID1_EDX_HTT;
		break;
	case 4: /* Intel's caches: only the third level is shared */
		e->eax &= 0x3fff;
		e->eax |= (count - 1) << 26;
		if ((e->eax >> 5 & 7) == 3)
			e->eax |= (count - 1) << 14;
		break;
	case 0x80000001:
		if (!nested)
			e->ecx &= ~CPUID_80000001_ECX_SVM;
		break;
	case 0x80000008:
		e->ecx = width_of(count) << 12 | (count - 1);
		break;
	case 0x8000001d: /* AMD's caches */
		e->eax &= 0x3fff;
		if ((e->eax >> 5 & 7) == 3)
			e->eax |= (count - 1) << 14;
		break;
	case 0x8000001e:
		e->eax = vcpu->id;
		e->ebx = vcpu->id & 0xff; /* one thread a core */
		e->ecx = 0;               /* one node */
		break;
	}
}

/* The extended topology leaves, of one thread a core in one package. */
static void cpuid_topology(struct kvm_cpuid2 *cpuid, uint32_t function, int id,
			   unsigned count)
{
	for (uint32_t level = 0; level < 3; level++) {
		cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2){
			.function = function,
			.index = level,
			.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			.eax = level == 1 ? width_of(count) : 0,
			.ebx = level == 0   ? 1
			       : level == 1 ? count
					    : 0,
			/* Level types: 1 thread, 2 core, 0 no further level. */
			.ecx = level | (level < 2 ? (level + 1) << 8 : 0),
			.edx = id,
		};
	}
}

static int cpu_set_cpuid(const struct cpu_model *model, struct vcpu *vcpu)
{
	const struct kvm_cpuid2 *offer = model->cpuid;
	unsigned count = vcpu->vm->nr_vcpus;
	struct kvm_cpuid2 *cpuid;
	int err;

	/* Room for two topology leaves of three levels. */
	cpuid = calloc(1, sizeof(*cpuid) +
				  (offer->nent + 6) * sizeof(*offer->entries));
	if (!cpuid)
		return cpu_failed(vcpu, "CPUID", -ENOMEM);
	for (uint32_t i = 0; i < offer->nent; i++) {
		struct kvm_cpuid_entry2 e = offer->entries[i];

		if (e.function == 0xb || e.function == 0x1f) {
			if (e.index == 0)
				cpuid_topology(cpuid, e.function, vcpu->id,
					       count);
			continue;
		}
		cpuid_adjust(&e, vcpu, count, model->nested);
		cpuid->entries[cpuid->nent++] = e;
	}
	err = kvm_ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid);
	free(cpuid);
	return err ? cpu_failed(vcpu, "KVM_SET_CPUID2", err) : 0;
}

struct msr {
	uint32_t index;
	uint64_t value;
};

/* Sets MSRs one by one: KVM refuses those the host's CPU does not have. */
static void cpu_set_msrs(struct vcpu *vcpu, const struct msr *table, int count)
{
	for (int i = 0; i < count; i++) {
		/* A struct kvm_msrs with room for one. */
		struct {
			uint32_t nmsrs, pad;
			struct kvm_msr_entry entry;
		} msrs = {
			.nmsrs = 1,
			.entry = { .index = table[i].index,
				   .data = table[i].value },
		};

		kvm_ioctl_raw(vcpu->fd, KVM_SET_MSRS, &msrs);
	}
}

/* What firmware leaves behind. */
static const struct msr firmware_msrs[] = {
	{ 0x1a0, 1 },     /* IA32_MISC_ENABLE: fast strings */
	{ 0x2ff, 0xc06 }, /* IA32_MTRR_DEF_TYPE: on, write-back */
};

#define LAPIC_ID        0x20
#define LAPIC_LVT_LINT0 0x350
#define LAPIC_LVT_LINT1 0x360
#define LVT_NMI         0x400
#define LVT_EXTINT      0x700

/* Firmware leaves the boot processor with the PIC's output at LINT0 and with
 * NMI at LINT1. */
static int cpu_set_lapic(const struct cpu_model *model, struct vcpu *vcpu)
{
	static const uint32_t lint0 = LVT_EXTINT, lint1 = LVT_NMI;
	struct kvm_lapic_state lapic = model->lapic;
	uint32_t id = vcpu->id << 24;
	int err;

	memcpy(&lapic.regs[LAPIC_ID], &id, sizeof(id));
	if (vcpu->id == 0) {
		memcpy(&lapic.regs[LAPIC_LVT_LINT0], &lint0, sizeof(lint0));
		memcpy(&lapic.regs[LAPIC_LVT_LINT1], &lint1, sizeof(lint1));
	}
	err = kvm_ioctl(vcpu->fd, KVM_SET_LAPIC, &lapic);
	return err ? cpu_failed(vcpu, "KVM_SET_LAPIC", err) : 0;
}

int cpu_set_up(struct cpu_model *model, struct vm *vm)
{
	int err = kvm_ioctl(vm->vcpus[0].fd, KVM_GET_LAPIC, &model->lapic);

	if (err)
		return cpu_failed(&vm->vcpus[0], "KVM_GET_LAPIC", err);
	for (int i = 0; i < vm->nr_vcpus; i++) {
		err = cpu_set_cpuid(model, &vm->vcpus[i]);
		if (err)
			return err;
		cpu_set_msrs(&vm->vcpus[i], firmware_msrs,
			     ARRAY_SIZE(firmware_msrs));
	}
	return cpu_set_lapic(model, &vm->vcpus[0]);
}

/* What a guest may have set and the next one must not inherit: above all the
 * pages of its memory that KVM itself writes to. */
static const struct msr reset_msrs[] = {
	{ MSR_KVM_SYSTEM_TIME, 0 },
	{ MSR_KVM_SYSTEM_TIME_NEW, 0 },
	{ MSR_KVM_ASYNC_PF_EN, 0 },
	{ MSR_KVM_STEAL_TIME, 0 },
	{ MSR_KVM_PV_EOI_EN, 0 },
	{ MSR_KVM_POLL_CONTROL, 1 },
	{ 0x174, 0 },                  /* IA32_SYSENTER_CS */
	{ 0x175, 0 },                  /* IA32_SYSENTER_ESP */
	{ 0x176, 0 },                  /* IA32_SYSENTER_EIP */
	{ 0x277, 0x0007040600070406 }, /* IA32_PAT */
	{ 0x6e0, 0 },                  /* IA32_TSC_DEADLINE */
	{ 0xc0000081, 0 },             /* STAR */
	{ 0xc0000082, 0 },             /* LSTAR */
	{ 0xc0000083, 0 },             /* CSTAR */
	{ 0xc0000084, 0 },             /* FMASK */
	{ 0xc0000102, 0 },             /* KERNEL_GS_BASE */
	{ 0xc0000103, 0 },             /* TSC_AUX */
	{ 0xda0, 0 },                  /* IA32_XSS */
};

static int cpu_reset_vcpu(const struct cpu_model *model, struct vcpu *vcpu)
{
	struct kvm_mp_state mp = { vcpu->id == 0 ? KVM_MP_STATE_RUNNABLE
						 : KVM_MP_STATE_UNINITIALIZED };
	struct kvm_regs regs = { .rip = 0xfff0, .rflags = 2 };
	struct kvm_fpu fpu = { .fcw = 0x37f, .mxcsr = 0x1f80 };
	struct kvm_debugregs debug = { .dr6 = 0xffff0ff0, .dr7 = 0x400 };
	struct kvm_vcpu_events events = { 0 };
	struct kvm_sregs sregs;
	int err;

	cpu_set_msrs(vcpu, reset_msrs, ARRAY_SIZE(reset_msrs));
	cpu_set_msrs(vcpu, firmware_msrs, ARRAY_SIZE(firmware_msrs));
	vcpu_sregs_init(vcpu, &sregs);
	err = kvm_ioctl(vcpu->fd, KVM_SET_SREGS, &sregs);
	if (!err)
		err = kvm_ioctl(vcpu->fd, KVM_SET_REGS, &regs);
	if (!err)
		err = kvm_ioctl(vcpu->fd, KVM_SET_FPU, &fpu);
	if (!err)
		err = kvm_ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &debug);
	if (!err)
		err = kvm_ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &events);
	if (!err)
		err = kvm_ioctl(vcpu->fd, KVM_SET_MP_STATE, &mp);
	if (err)
		return cpu_failed(vcpu, "reset", err);
	return cpu_set_lapic(model, vcpu);
}

static int cpu_reset_irqchip(const struct irqchip *chip)
{
	struct kvm_irqchip state = { .chip_id = KVM_IRQCHIP_PIC_MASTER };
	struct kvm_pit_state2 pit = { 0 };
	int err;

	/* Which PIC inputs may be level triggered: not those of ISA's own. */
	state.chip.pic.elcr_mask = 0xf8;
	err = kvm_ioctl(chip->vm_fd, KVM_SET_IRQCHIP, &state);
	if (err)
		return err;
	state.chip_id = KVM_IRQCHIP_PIC_SLAVE;
	state.chip.pic.elcr_mask = 0xde;
	err = kvm_ioctl(chip->vm_fd, KVM_SET_IRQCHIP, &state);
	if (err)
		return err;
	state = (struct kvm_irqchip){ .chip_id = KVM_IRQCHIP_IOAPIC };
	state.chip.ioapic.base_address = 0xfec00000;
	for (int pin = 0; pin < IRQ_PINS; pin++)
		state.chip.ioapic.redirtbl[pin].fields.mask = 1;
	err = kvm_ioctl(chip->vm_fd, KVM_SET_IRQCHIP, &state);
	if (err)
		return err;
	for (int channel = 0; channel < 3; channel++) {
		pit.channels[channel].mode = 0xff; /* not programmed */
		pit.channels[channel].gate = channel != 2;
	}
	return kvm_ioctl(chip->vm_fd, KVM_SET_PIT2, &pit);
}

int cpu_reset(const struct cpu_model *model, struct vm *vm)
{
	int err = cpu_reset_irqchip(&vm->irqs);

	if (err)
		log_err("interrupt controllers: reset: %s", strerror(-err));
	for (int i = 0; i < vm->nr_vcpus && !err; i++)
		err = cpu_reset_vcpu(model, &vm->vcpus[i]);
	return err;
}
