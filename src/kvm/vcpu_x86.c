#include "kvm/vcpu.h"

#include "util/log.h"

#include <asm/processor-flags.h>
#include <string.h>

/* Types of segment descriptors, accessed (SDM 3, 3.4.5.1). */
enum { LDT = 2, DATA = 3, CODE = 11, TSS = 11 };
#define APIC_BASE 0xfee00000u
enum { APIC_BSP = 1 << 8, APIC_ON = 1 << 11 }; /* in the same register */
enum { EFER_LME = 1 << 8, EFER_LMA = 1 << 10 };

static struct kvm_segment segment(uint8_t type, uint32_t limit, bool system)
{
	return (struct kvm_segment){
		.limit = limit, .type = type, .present = 1, .s = !system
	};
}

void vcpu_sregs_init(const struct vcpu *vcpu, struct kvm_sregs *sregs)
{
	*sregs = (struct kvm_sregs){
		.gdt.limit = 0xffff,
		.idt.limit = 0xffff,
		.cr0 = X86_CR0_ET | X86_CR0_NW | X86_CR0_CD,
		.apic_base = APIC_BASE | APIC_ON | (vcpu->id ? 0 : APIC_BSP),
	};
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss =
		segment(DATA, 0xffff, false);
	sregs->cs = segment(CODE, 0xffff, false);
	sregs->cs.base = 0xffff0000;
	sregs->cs.selector = 0xf000;
	sregs->ldt = segment(LDT, 0xffff, true);
	sregs->tr = segment(TSS, 0xffff, true);
}

/* Flat segments with the selectors that the boot protocols promise. */
static void sregs_enter_protected(struct kvm_sregs *sregs, gpa_t gdt)
{
	struct kvm_segment data = segment(DATA, 0xffffffff, false);

	data.db = data.g = 1;
	data.selector = 0x18;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->cs = data;
	sregs->cs.selector = 0x10;
	sregs->cs.type = CODE;
	sregs->gdt.base = gdt;
	sregs->gdt.limit = gdt ? 4 * 8 - 1 : 0;
	sregs->idt.base = sregs->idt.limit = 0;
	sregs->cr0 = X86_CR0_ET | X86_CR0_PE;
}

static void sregs_enter_long(struct kvm_sregs *sregs, gpa_t gdt, gpa_t cr3)
{
	sregs_enter_protected(sregs, gdt);
	sregs->cs.db = 0;
	sregs->cs.l = 1;
	sregs->cr0 |= X86_CR0_PG;
	sregs->cr3 = cr3;
	sregs->cr4 = X86_CR4_PAE;
	sregs->efer = EFER_LME | EFER_LMA;
}

int vcpu_enter(struct vcpu *vcpu, const struct vcpu_entry *entry)
{
	struct kvm_regs regs = {
		.rip = entry->ip,
		.rsp = entry->sp,
		.rflags = 2,
		.rax = entry->rax,
		.rbx = entry->rbx,
		.rcx = entry->rcx,
		.rdx = entry->rdx,
		.rsi = entry->rsi,
		.rdi = entry->rdi,
		.rbp = entry->rbp,
	};
	struct kvm_sregs sregs;
	int err;

	vcpu_sregs_init(vcpu, &sregs);
	switch (entry->mode) {
	case VCPU_REAL:
		sregs.cs.base = sregs.cs.selector = 0;
		break;
	case VCPU_PROTECTED:
		sregs_enter_protected(&sregs, entry->gdt);
		break;
	case VCPU_LONG:
		sregs_enter_long(&sregs, entry->gdt, entry->cr3);
		break;
	}
	err = kvm_ioctl(vcpu->fd, KVM_SET_SREGS, &sregs);
	if (!err)
		err = kvm_ioctl(vcpu->fd, KVM_SET_REGS, &regs);
	if (err)
		log_err("vcpu %d: entry state: %s", vcpu->id, strerror(-err));
	return err;
}

void vcpu_dump(const struct vcpu *vcpu)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (kvm_ioctl(vcpu->fd, KVM_GET_REGS, &r) ||
	    kvm_ioctl(vcpu->fd, KVM_GET_SREGS, &s))
		return;
	log_err("vcpu %d: rip %04x:%llx rsp %llx rflags %llx cr0 %llx cr2 %llx "
		"cr3 %llx cr4 %llx efer %llx",
		vcpu->id, s.cs.selector, r.rip, r.rsp, r.rflags, s.cr0, s.cr2,
		s.cr3, s.cr4, s.efer);
}
