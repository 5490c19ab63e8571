#include "kvm/vm.h"

#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int vm_failed(const char *what, int err)
{
	log_err("%s: %s", what, strerror(-err));
	return err;
}

/* Tells KVM where RAM is. Before the irqchip exists this is quick; afterwards
 * each slot waits for a grace period of the kernel. */
static int vm_set_memory(struct vm *vm)
{
	for (int i = 0; i < vm->memory->nr_regions; i++) {
		const struct memory_region *ram = &vm->memory->regions[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = ram->start,
			.memory_size = ram->size,
			.userspace_addr = (uintptr_t)ram->host,
		};
		int err = kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot);

		if (err)
			return vm_failed("KVM_SET_USER_MEMORY_REGION", err);
	}
	return 0;
}

static int vm_set_platform(struct vm *vm)
{
	uint64_t identity_map = MEMORY_KVM_START; /* one page of it */
	int err = kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);

	if (!err)
		err = kvm_ioctl_value(vm->fd, KVM_SET_TSS_ADDR,
				      MEMORY_KVM_START + 0x1000);
	if (!err)
		err = irqchip_create(&vm->irqs, vm->fd);
	return err ? vm_failed("interrupt controllers", err) : 0;
}

static void wire_request(struct end_wire *wire, enum end end, uint32_t value)
{
	vm_end(container_of(wire, struct vm, wire), end, value);
}

static int vm_create_vcpus(struct vm *vm, int count)
{
	vm->vcpus = calloc(count, sizeof(*vm->vcpus));
	if (!vm->vcpus)
		return vm_failed("vcpus", -ENOMEM);
	for (int i = 0; i < count; i++) {
		int err = vcpu_create(&vm->vcpus[i], vm, i);

		if (err)
			return err;
		vm->nr_vcpus++;
	}
	return 0;
}

static void vm_destroy_vcpus(struct vm *vm)
{
	for (int i = 0; i < vm->nr_vcpus; i++)
		vcpu_destroy(&vm->vcpus[i]);
	free(vm->vcpus);
}

int vm_create(struct vm *vm, const struct kvm *kvm, struct memory *memory,
	      int nr_vcpus)
{
	int err;

	*vm = (struct vm){ .kvm = kvm, .memory = memory, .stop = true };
	vm->wire.request = wire_request;
	vm->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->end_fd < 0)
		return vm_failed("eventfd", -errno);
	vm->fd = kvm_ioctl_value(kvm->fd, KVM_CREATE_VM, 0);
	if (vm->fd < 0) {
		err = vm_failed("KVM_CREATE_VM", vm->fd);
		goto close_end;
	}
	err = vm_set_memory(vm);
	if (!err)
		err = vm_set_platform(vm);
	if (err)
		goto close_vm;
	err = vm_create_vcpus(vm, nr_vcpus);
	if (err)
		goto destroy_vcpus;
	bus_init(&vm->ports, "port", vm->fd, true);
	bus_init(&vm->mmio, "address", vm->fd, false);
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->changed, NULL);
	return 0;
destroy_vcpus:
	vm_destroy_vcpus(vm);
	irqchip_destroy(&vm->irqs);
close_vm:
	close(vm->fd);
close_end:
	close(vm->end_fd);
	return err;
}

void vm_destroy(struct vm *vm)
{
	vm_destroy_vcpus(vm);
	irqchip_destroy(&vm->irqs);
	close(vm->fd);
	close(vm->end_fd);
}

void vm_start(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	__atomic_store_n(&vm->stop, false, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

/* Sets stop; the first caller makes every vCPU look at it. Does not wait. */
static void vm_ask_to_stop(struct vm *vm)
{
	if (__atomic_exchange_n(&vm->stop, true, __ATOMIC_SEQ_CST))
		return;
	for (int i = 0; i < vm->nr_vcpus; i++) {
		if (vm->vcpus[i].started)
			vcpu_kick(&vm->vcpus[i]);
	}
}

void vm_stop(struct vm *vm)
{
	vm_ask_to_stop(vm);
	pthread_mutex_lock(&vm->lock);
	while (vm->running)
		pthread_cond_wait(&vm->changed, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
}

void vm_end(struct vm *vm, enum end end, uint32_t value)
{
	pthread_mutex_lock(&vm->lock);
	if (vm->end == END_NONE || end >= END_TIMEOUT) {
		vm->end_value = value;
		__atomic_store_n(&vm->end, end, __ATOMIC_RELEASE);
		vm_ask_to_stop(vm);
		eventfd_write(vm->end_fd, 1);
	}
	pthread_mutex_unlock(&vm->lock);
}

void vm_end_clear(struct vm *vm)
{
	eventfd_t count;

	eventfd_read(vm->end_fd, &count);
	vm->end = END_NONE;
}

void vm_join_threads(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->quit = true;
	vm_ask_to_stop(vm);
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	for (int i = 0; i < vm->nr_vcpus; i++) {
		if (vm->vcpus[i].started)
			pthread_join(vm->vcpus[i].thread, NULL);
		vm->vcpus[i].started = false;
	}
}

static void vm_count_running(struct vm *vm, int more)
{
	pthread_mutex_lock(&vm->lock);
	vm->running += more;
	pthread_mutex_unlock(&vm->lock);
}

int vm_start_threads(struct vm *vm)
{
	vcpu_kick_init();
	for (int i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];
		int err;

		/* Counted here, so that a stop waits for a thread that has not
		 * run yet; the ones before it are parking meanwhile. */
		vm_count_running(vm, 1);
		err = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
		if (err) {
			vm_count_running(vm, -1);
			log_err("vcpu %d: starting its thread: %s", i,
				strerror(err));
			vm_join_threads(vm);
			return -err;
		}
		vcpu->started = true;
	}
	return 0;
}
