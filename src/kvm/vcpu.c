#include "kvm/vcpu.h"

#include "kvm/vm.h"
#include "util/exit_name.h"
#include "util/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* This thread's kvm_run page, for the handler of the kick. */
static __thread struct kvm_run *kick_run;

/*
 * A kick may come at any time. In KVM_RUN the signal itself ends the ioctl
 * with EINTR. Before KVM_RUN it would be lost: so the handler sets
 * immediate_exit, which makes the coming KVM_RUN return at once.
 */
static void kick_handler(int sig)
{
	(void)sig;
	if (kick_run)
		__atomic_store_n(&kick_run->immediate_exit, 1,
				 __ATOMIC_RELAXED);
}

void vcpu_kick_init(void)
{
	struct sigaction action = { .sa_handler = kick_handler };

	sigaddset(&action.sa_mask, SIGUSR1);
	sigaction(SIGUSR1, &action, NULL);
	/* Whoever started this process may have left it blocked. */
	pthread_sigmask(SIG_UNBLOCK, &action.sa_mask, NULL);
}

void vcpu_kick(struct vcpu *vcpu)
{
	pthread_kill(vcpu->thread, SIGUSR1);
}

int vcpu_create(struct vcpu *vcpu, struct vm *vm, int id)
{
	*vcpu = (struct vcpu){ .vm = vm, .id = id };
	vcpu->fd = kvm_ioctl_value(vm->fd, KVM_CREATE_VCPU, id);
	if (vcpu->fd < 0) {
		log_err("vcpu %d: KVM_CREATE_VCPU: %s", id,
			strerror(-vcpu->fd));
		return vcpu->fd;
	}
	vcpu->run = mmap(NULL, vm->kvm->run_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		int err = -errno;

		log_err("vcpu %d: mapping kvm_run: %s", id, strerror(-err));
		close(vcpu->fd);
		return err;
	}
	return 0;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	munmap(vcpu->run, vcpu->vm->kvm->run_size);
	close(vcpu->fd);
}

/* IN, OUT, and their string forms: run->io.count elements of io.size bytes,
 * all for one port, while the data advances within the kvm_run page. */
static void vcpu_port_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++) {
		bus_access(&vcpu->vm->ports, run->io.port, data, run->io.size,
			   run->io.direction == KVM_EXIT_IO_OUT);
		data += run->io.size;
	}
}

/* KVM met something it cannot run; the guest cannot go on. */
static void vcpu_failed(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint32_t reason = run->exit_reason;
	bool internal = reason == KVM_EXIT_INTERNAL_ERROR;
	unsigned long long detail =
		internal ? run->internal.suberror
		: reason == KVM_EXIT_FAIL_ENTRY
			? run->fail_entry.hardware_entry_failure_reason
			: 0;

	log_err("vcpu %d: KVM cannot go on: exit %u (%s), detail 0x%llx%s",
		vcpu->id, reason, exit_name(reason), detail,
		internal && detail == KVM_INTERNAL_ERROR_EMULATION
			? " (an instruction it cannot emulate; with VT-x or "
			  "AMD-V it rarely has to)"
			: "");
	vcpu_dump(vcpu);
	vm_end(vcpu->vm, END_KVM_ERROR, reason);
}

/* Answers one exit. The next KVM_RUN completes what it began: a value read
 * goes into the guest's register then. */
static void vcpu_dispatch(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint32_t reason = run->exit_reason;

	if (reason < VCPU_EXIT_REASONS)
		__atomic_store_n(&vcpu->exits[reason], vcpu->exits[reason] + 1,
				 __ATOMIC_RELAXED);
	switch (reason) {
	case KVM_EXIT_IO:
		vcpu_port_io(vcpu);
		break;
	case KVM_EXIT_MMIO:
		bus_access(&vcpu->vm->mmio, run->mmio.phys_addr, run->mmio.data,
			   run->mmio.len, run->mmio.is_write);
		break;
	case KVM_EXIT_SHUTDOWN:
		vm_end(vcpu->vm, END_TRIPLE_FAULT, 0);
		break;
	default:
		vcpu_failed(vcpu);
	}
}

/* Completes the instruction of the last exit: only then do the registers tell
 * where the guest stands. KVM_RUN gives 0 if that takes another exit (a string,
 * an access over two pages), and EINTR once it is done. No guest code runs. */
static void vcpu_settle(struct vcpu *vcpu)
{
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_RELAXED);
	while (!kvm_ioctl_value(vcpu->fd, KVM_RUN, 0))
		vcpu_dispatch(vcpu);
}

/* Not counted as running, waits while the vm is stopped. False: it quits. */
static bool vcpu_park(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	bool quit;

	pthread_mutex_lock(&vm->lock);
	vm->running--;
	pthread_cond_broadcast(&vm->changed);
	while (__atomic_load_n(&vm->stop, __ATOMIC_SEQ_CST) && !vm->quit)
		pthread_cond_wait(&vm->changed, &vm->lock);
	vm->running++;
	quit = vm->quit;
	pthread_mutex_unlock(&vm->lock);
	return !quit;
}

static void vcpu_run(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	for (;;) {
		int err;

		/* Clear, then look. Whoever stops us sets stop and then kicks:
		 * if this look misses stop, the kick is still to come. */
		__atomic_store_n(&vcpu->run->immediate_exit, 0,
				 __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&vm->stop, __ATOMIC_SEQ_CST))
			return;
		err = kvm_ioctl_value(vcpu->fd, KVM_RUN, 0);
		if (!err) {
			vcpu_dispatch(vcpu);
		} else if (err != -EINTR && err != -EAGAIN) {
			/* After EINTR the exit reason is a stale one. EAGAIN:
			 * an application processor was sent its SIPI. */
			log_err("vcpu %d: KVM_RUN: %s", vcpu->id,
				strerror(-err));
			vcpu_dump(vcpu);
			vm_end(vm, END_KVM_ERROR, 0);
		}
	}
}

void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	char name[16];

	snprintf(name, sizeof(name), "vcpu/%d", vcpu->id);
	pthread_setname_np(pthread_self(), name);
	kick_run = vcpu->run;
	while (vcpu_park(vcpu)) {
		vcpu_run(vcpu);
		vcpu_settle(vcpu);
	}
	kick_run = NULL;
	return NULL;
}
