/*
 * A boot sector and what follows it, as a PC's firmware would start it from
 * the first hard disk: at 0:7c00 with the drive's number in dl.
 */
#include "boot/protocol.h"
#include "util/bytes.h"
#include "util/log.h"

#include <errno.h>

enum {
	LOAD = 0x7c00,
	SECTOR = 512,
	SIGNATURE_AT = 510,
	/* All of the file, so that it need not call firmware to read the
	 * rest, up to the end of the first segment. */
	SIZE_MAX_BYTES = 0x10000 - LOAD,
	FIRST_HARD_DISK = 0x80,
};

static int bootsector_probe(const struct boot *boot)
{
	uint64_t size = boot->kernel.size;

	/* "MZ": a PE program, or a bzImage that was cut off. */
	if (size < SECTOR || get_le16(boot->head + SIGNATURE_AT) != 0xaa55 ||
	    !memcmp(boot->head, "MZ", 2))
		return 0;
	if (size <= SIZE_MAX_BYTES)
		return 1;
	log_err("kernel %s: starts with a boot sector but has %llu bytes, and "
		"%d are possible; a disk image is given by --disk",
		boot->kernel.path, (unsigned long long)size, SIZE_MAX_BYTES);
	return -EINVAL;
}

static int bootsector_load(const struct boot *boot, struct placer *placer,
			   struct vcpu_entry *entry)
{
	int err;

	if (boot->initrd.fd >= 0 || *placer->machine->cmdline) {
		log_err("kernel %s: is a boot sector, which takes no --initrd "
			"and no --append",
			boot->kernel.path);
		return -EINVAL;
	}
	err = placer_claim(placer, "the boot sector", LOAD, boot->kernel.size);
	if (err)
		return err;
	entry->mode = VCPU_REAL;
	entry->ip = LOAD;
	entry->sp = LOAD;
	entry->rdx = FIRST_HARD_DISK;
	return placer_load(placer, "its code", 0, boot->kernel.size, LOAD);
}

const struct boot_protocol boot_bootsector = {
	.name = "boot sector",
	.probe = bootsector_probe,
	.load = bootsector_load,
};
