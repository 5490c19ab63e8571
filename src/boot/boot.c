#include "boot/boot.h"

#include "boot/file.h"
#include "boot/protocol.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <string.h>

/* In the order in which they are asked. */
static const struct boot_protocol *const protocols[] = {
	&boot_bzimage64, &boot_bzimage32, &boot_pvh,
	&boot_multiboot, &boot_vmlinux,   &boot_bootsector,
};

static int boot_probe(struct boot *boot)
{
	uint64_t len = boot->kernel.size;
	const char *cure;
	char found[96];

	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		int mine = protocols[i]->probe(boot);

		if (mine < 0)
			return mine;
		if (mine) {
			boot->protocol = protocols[i];
			return 0;
		}
	}
	if (len > BOOT_HEAD)
		len = BOOT_HEAD;
	cure = boot_identify(boot->head, len, found, sizeof(found));
	log_err("kernel %s: is %s; %s", boot->kernel.path, found, cure);
	return -EINVAL;
}

int boot_open(struct boot *boot, const char *kernel, const char *initrd)
{
	uint64_t len;
	int err;

	memset(boot, 0, sizeof(*boot));
	boot->kernel.fd = boot->initrd.fd = -1;
	err = boot_file_open(&boot->kernel, "kernel", kernel);
	if (err)
		return err;
	len = boot->kernel.size < BOOT_HEAD ? boot->kernel.size : BOOT_HEAD;
	err = boot_file_read(&boot->kernel, "its header", 0, boot->head, len);
	if (!err)
		err = boot_probe(boot);
	if (!err && initrd)
		err = boot_file_open(&boot->initrd, "initrd", initrd);
	if (err)
		boot_close(boot);
	return err;
}

void boot_close(struct boot *boot)
{
	boot_file_close(&boot->kernel);
	boot_file_close(&boot->initrd);
}

bool boot_is_linux(const struct boot *boot)
{
	return boot->protocol->is_linux;
}

uint64_t boot_size(const struct boot *boot)
{
	return boot->kernel.size +
	       (boot->initrd.fd < 0 ? 0 : boot->initrd.size);
}

const char *boot_protocol_name(const struct boot *boot)
{
	return boot->protocol->name;
}

int boot_load(const struct boot *boot, const struct boot_machine *machine,
	      struct vcpu_entry *entry)
{
	struct placer placer;

	placer_init(&placer, boot, machine);
	memset(entry, 0, sizeof(*entry));
	return boot->protocol->load(boot, &placer, entry);
}
