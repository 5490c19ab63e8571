/*
 * The core on the real /dev/kvm: a few bytes of guest code, no loader.
 */
#include "unit.h"

#include "cpu.h"
#include "kvm/vm.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

struct bench {
	struct kvm kvm;
	struct memory memory;
	struct vm vm;
	struct cpu_model cpu;
	struct device exit_port; /* 0xf4: ends the run with its value */
	uint64_t counted;        /* atomic: writes to port 0x80 */
	struct device counter;
};

static uint64_t no_read(struct device *dev, unsigned range, uint64_t offset,
			unsigned len)
{
	(void)dev, (void)range, (void)offset, (void)len;
	return 0;
}

static void exit_write(struct device *dev, unsigned range, uint64_t offset,
		       unsigned len, uint64_t value)
{
	struct bench *b = (struct bench *)((char *)dev -
					   offsetof(struct bench, exit_port));

	(void)range, (void)offset, (void)len;
	vm_end(&b->vm, END_EXIT_PORT, value);
}

static void counter_write(struct device *dev, unsigned range, uint64_t offset,
			  unsigned len, uint64_t value)
{
	struct bench *b =
		(struct bench *)((char *)dev - offsetof(struct bench, counter));

	(void)range, (void)offset, (void)len, (void)value;
	__atomic_fetch_add(&b->counted, 1, __ATOMIC_RELAXED);
}

static const struct device_ops exit_ops = { no_read, exit_write, NULL };
static const struct device_ops counter_ops = { no_read, counter_write, NULL };

static void bench_create(struct bench *b, int cpus)
{
	need_kvm();
	memset(b, 0, sizeof(*b));
	assert_int_equal(kvm_open(&b->kvm, "/dev/kvm"), 0);
	assert_int_equal(memory_create(&b->memory, 1 << 20), 0);
	assert_int_equal(vm_create(&b->vm, &b->kvm, &b->memory, cpus), 0);
	assert_int_equal(cpu_model_init(&b->cpu, &b->kvm, false), 0);
	assert_int_equal(cpu_set_up(&b->cpu, &b->vm), 0);
	device_init(&b->exit_port, "exit", &exit_ops, 1 | 2 | 4);
	device_init(&b->counter, "counter", &counter_ops, 1);
	assert_int_equal(bus_add(&b->vm.ports, &b->exit_port, 0, 0xf4, 4), 0);
	assert_int_equal(bus_add(&b->vm.ports, &b->counter, 0, 0x80, 1), 0);
}

static void bench_destroy(struct bench *b)
{
	vm_join_threads(&b->vm);
	cpu_model_fini(&b->cpu);
	vm_destroy(&b->vm);
	memory_destroy(&b->memory);
	kvm_close(&b->kvm);
}

/* @code at 0x1000, entered in real mode. */
static void bench_start(struct bench *b, const void *code, size_t len)
{
	struct vcpu_entry entry = { .mode = VCPU_REAL, .ip = 0x1000 };

	assert_true(memory_write(&b->memory, 0x1000, code, len));
	assert_int_equal(vcpu_enter(&b->vm.vcpus[0], &entry), 0);
	assert_int_equal(vm_start_threads(&b->vm), 0);
	vm_start(&b->vm);
}

static void wait_for_end(struct bench *b)
{
	struct pollfd end = { b->vm.end_fd, POLLIN, 0 };

	assert_int_equal(poll(&end, 1, 10000), 1);
	vm_stop(&b->vm);
}

static const uint8_t exit_with_42[] = {
	0xb0, 42,   /* mov $42, %al */
	0xe6, 0xf4, /* out %al, $0xf4 */
	0xeb, 0xfe, /* jmp . */
};

static void a_guest_ends_through_a_port(void **state)
{
	struct bench b;

	(void)state;
	bench_create(&b, 1);
	bench_start(&b, exit_with_42, sizeof(exit_with_42));
	wait_for_end(&b);
	assert_int_equal(b.vm.end, END_EXIT_PORT);
	assert_int_equal(b.vm.end_value, 42);
	assert_int_equal(b.vm.vcpus[0].exits[KVM_EXIT_IO], 1);
	bench_destroy(&b);
}

static void the_same_guest_runs_again_after_a_reset(void **state)
{
	struct vcpu_entry entry = { .mode = VCPU_REAL, .ip = 0x1000 };
	struct bench b;

	(void)state;
	bench_create(&b, 2);
	bench_start(&b, exit_with_42, sizeof(exit_with_42));
	for (int i = 0; i < 3; i++) {
		wait_for_end(&b);
		assert_int_equal(b.vm.end_value, 42);
		assert_int_equal(cpu_reset(&b.cpu, &b.vm), 0);
		assert_int_equal(vcpu_enter(&b.vm.vcpus[0], &entry), 0);
		vm_end_clear(&b.vm);
		vm_start(&b.vm);
	}
	wait_for_end(&b);
	bench_destroy(&b);
}

static void a_triple_fault_is_seen(void **state)
{
	/* An exception without an IDT. */
	static const uint8_t code[] = { 0x0f, 0x0b }; /* ud2 */
	struct vcpu_entry entry = { .mode = VCPU_PROTECTED, .ip = 0x1000 };
	struct bench b;

	(void)state;
	bench_create(&b, 1);
	assert_true(memory_write(&b.memory, 0x1000, code, sizeof(code)));
	assert_int_equal(vcpu_enter(&b.vm.vcpus[0], &entry), 0);
	assert_int_equal(vm_start_threads(&b.vm), 0);
	vm_start(&b.vm);
	wait_for_end(&b);
	assert_int_equal(b.vm.end, END_TRIPLE_FAULT);
	bench_destroy(&b);
}

static const uint8_t count_for_ever[] = {
	0xe6, 0x80, /* out %al, $0x80 */
	0xeb, 0xfc, /* jmp back */
};

/* A kick that is lost would hang the test, an access that is done twice or
 * not at all would show in the guest; both are races that need many tries. */
static void a_running_guest_stops_and_goes_on_many_times(void **state)
{
	struct bench b;
	uint64_t before;

	(void)state;
	bench_create(&b, 1);
	bench_start(&b, count_for_ever, sizeof(count_for_ever));
	for (int i = 0; i < 1000; i++) {
		vm_stop(&b.vm);
		before = __atomic_load_n(&b.counted, __ATOMIC_RELAXED);
		vm_start(&b.vm);
	}
	/* It still runs. */
	while (__atomic_load_n(&b.counted, __ATOMIC_RELAXED) == before)
		usleep(100);
	vm_stop(&b.vm);
	before = b.counted;
	usleep(1000);
	assert_int_equal(b.counted, before);
	bench_destroy(&b);
}

static void a_halted_guest_stops_as_well(void **state)
{
	static const uint8_t code[] = { 0xf4, 0xeb, 0xfd }; /* hlt; again */
	struct bench b;

	(void)state;
	bench_create(&b, 3); /* two of which wait for INIT for ever */
	bench_start(&b, code, sizeof(code));
	for (int i = 0; i < 50; i++) {
		vm_stop(&b.vm);
		vm_start(&b.vm);
	}
	bench_destroy(&b);
}

/* As a lost kick above, this would hang. */
static void a_kick_that_was_blocked_at_the_start_arrives(void **state)
{
	static const uint8_t code[] = {
		0xe6, 0x80, /* out %al, $0x80 */
		0xeb, 0xfe, /* jmp . */
	};
	sigset_t kick;
	struct bench b;

	(void)state;
	sigemptyset(&kick);
	sigaddset(&kick, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &kick, NULL);
	bench_create(&b, 1);
	bench_start(&b, code, sizeof(code));
	while (!__atomic_load_n(&b.counted, __ATOMIC_RELAXED))
		usleep(100);
	usleep(1000); /* back in the guest, where only a kick reaches it */
	vm_stop(&b.vm);
	bench_destroy(&b);
}

static void an_access_that_was_answered_is_complete_when_stopped(void **state)
{
	struct kvm_regs regs;
	struct bench b;

	(void)state;
	bench_create(&b, 1);
	bench_start(&b, exit_with_42, sizeof(exit_with_42));
	wait_for_end(&b);
	assert_int_equal(kvm_ioctl(b.vm.vcpus[0].fd, KVM_GET_REGS, &regs), 0);
	assert_int_equal(regs.rip, 0x1004); /* past the OUT */
	bench_destroy(&b);
}

static uint64_t end_read(struct device *dev, unsigned range, uint64_t offset,
			 unsigned len)
{
	struct bench *b = (struct bench *)((char *)dev -
					   offsetof(struct bench, exit_port));

	(void)range, (void)offset, (void)len;
	vm_end(&b->vm, END_RESET, 0);
	return 0;
}

/* KVM cuts it in two; the stop comes with the first half. */
static void an_access_across_pages_is_complete_when_stopped(void **state)
{
	static const struct device_ops end_ops = { .read = end_read };
	static const uint8_t code[] = {
		0xb8, 0xff, 0xff,       /* mov $0xffff, %ax */
		0x8e, 0xd8,             /* mov %ax, %ds */
		0x66, 0xa1, 0x0e, 0x10, /* mov 0x100e, %eax: at 0x100ffe */
		0xeb, 0xfe,             /* jmp . */
	};
	struct kvm_regs regs;
	struct bench b;

	(void)state;
	bench_create(&b, 1);
	b.exit_port.ops = &end_ops;
	assert_int_equal(bus_add(&b.vm.mmio, &b.exit_port, 1, 0x100ffe, 2), 0);
	bench_start(&b, code, sizeof(code));
	wait_for_end(&b);
	assert_int_equal(kvm_ioctl(b.vm.vcpus[0].fd, KVM_GET_REGS, &regs), 0);
	assert_int_equal(regs.rip, 0x1009);
	assert_int_equal(regs.rax, 0xffff0000); /* no one had the rest */
	bench_destroy(&b);
}

static void the_first_word_stays_but_the_hosts_wins(void **state)
{
	struct bench b;

	(void)state;
	bench_create(&b, 1);
	vm_end(&b.vm, END_RESET, 1);
	vm_end(&b.vm, END_POWEROFF, 2);
	assert_int_equal(b.vm.end, END_RESET);
	vm_end(&b.vm, END_SIGNAL, 15);
	assert_int_equal(b.vm.end, END_SIGNAL);
	assert_int_equal(b.vm.end_value, 15);
	bench_destroy(&b);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_guest_ends_through_a_port),
	cmocka_unit_test(the_same_guest_runs_again_after_a_reset),
	cmocka_unit_test(a_triple_fault_is_seen),
	cmocka_unit_test(a_running_guest_stops_and_goes_on_many_times),
	cmocka_unit_test(a_halted_guest_stops_as_well),
	cmocka_unit_test(a_kick_that_was_blocked_at_the_start_arrives),
	cmocka_unit_test(an_access_that_was_answered_is_complete_when_stopped),
	cmocka_unit_test(an_access_across_pages_is_complete_when_stopped),
	cmocka_unit_test(the_first_word_stays_but_the_hosts_wins),
};

UNIT_MAIN(tests)
