#include "kvm/kvm.h"

#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int kvm_ioctl_raw(int fd, unsigned long cmd, void *arg)
{
	int ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

/* What kvist cannot do without, with the name a user can search for. */
static const struct {
	int cap;
	const char *name;
} required[] = {
	{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
	{ KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP" },
	{ KVM_CAP_PIT2, "KVM_CAP_PIT2" },
	{ KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING" },
	{ KVM_CAP_IRQFD, "KVM_CAP_IRQFD" },
	{ KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD" },
	{ KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
	{ KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE" },
	{ KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR" },
	{ KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR" },
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
};

static int kvm_check(struct kvm *kvm, const char *path)
{
	int version = kvm_ioctl_value(kvm->fd, KVM_GET_API_VERSION, 0);

	if (version != KVM_API_VERSION) {
		log_err("%s: is not a KVM device of API version %d; give the "
			"host's /dev/kvm",
			path, KVM_API_VERSION);
		return -ENOTSUP;
	}
	for (size_t i = 0; i < ARRAY_SIZE(required); i++) {
		if (kvm_ioctl_value(kvm->fd, KVM_CHECK_EXTENSION,
				    required[i].cap) > 0)
			continue;
		log_err("%s: this kernel's KVM lacks %s; a kernel of Linux 4.12"
			" or later on x86-64 has it",
			path, required[i].name);
		return -ENOTSUP;
	}
	return 0;
}

static const char *open_advice(int err)
{
	if (err == -EACCES || err == -EPERM)
		return "join its group: sudo usermod -aG kvm $USER, then log "
		       "in again";
	if (err == -EMFILE || err == -ENFILE)
		return "raise ulimit -n, or the host's fs.file-max";
	return "load kvm_intel or kvm_amd, with VT-x or AMD-V enabled in the "
	       "firmware";
}

int kvm_open(struct kvm *kvm, const char *path)
{
	int err;

	*kvm = (struct kvm){ .fd = open(path, O_RDWR | O_CLOEXEC) };
	if (kvm->fd < 0) {
		err = -errno;
		log_err("%s: %s; %s", path, strerror(-err), open_advice(err));
		return err;
	}
	err = kvm_check(kvm, path);
	if (err) {
		close(kvm->fd);
		return err;
	}
	kvm->run_size = kvm_ioctl_value(kvm->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	kvm->max_vcpus = kvm_ioctl_value(kvm->fd, KVM_CHECK_EXTENSION,
					 KVM_CAP_MAX_VCPUS);
	kvm->tsc_deadline = kvm_ioctl_value(kvm->fd, KVM_CHECK_EXTENSION,
					    KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	return 0;
}

void kvm_close(struct kvm *kvm)
{
	close(kvm->fd);
}
