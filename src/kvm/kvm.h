/*
 * /dev/kvm itself: opened once, checked once, closed last.
 *
 * Owned by the machine. After kvm_open() it is read-only: any thread.
 * Linux Documentation/virt/kvm/api.rst, section 4.1 to 4.5.
 */
#ifndef KVIST_KVM_KVM_H
#define KVIST_KVM_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kvm {
	int fd;
	size_t run_size;   /* bytes of one vCPU's shared kvm_run page */
	int max_vcpus;     /* the host's limit */
	bool tsc_deadline; /* the in-kernel APIC has a TSC deadline timer */
};

/*
 * Opens @path ("/dev/kvm") and checks the API version and every capability
 * kvist relies on. 0; -ENOENT, -EACCES and the like from open(2); -ENOTSUP
 * when a capability is missing. Every failure has been logged with its cure.
 */
int kvm_open(struct kvm *kvm, const char *path);
void kvm_close(struct kvm *kvm);

/*
 * ioctl(2) that returns -errno. The macro refuses at compile time an argument
 * whose size is not the one encoded in @cmd; kvm_ioctl_value() is for the
 * commands that take a number instead of a pointer.
 */
int kvm_ioctl_raw(int fd, unsigned long cmd, void *arg);
#define kvm_ioctl_value(fd, cmd, value)                                        \
	kvm_ioctl_raw(fd, cmd, (void *)(uintptr_t)(value))
#define kvm_ioctl(fd, cmd, arg)                                                \
	({                                                                     \
		_Static_assert(sizeof(*(arg)) == _IOC_SIZE(cmd),               \
			       "argument does not fit " #cmd);                 \
		kvm_ioctl_raw(fd, cmd, arg);                                   \
	})

#endif
