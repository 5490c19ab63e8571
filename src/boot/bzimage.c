/*
 * Linux bzImage (Linux Documentation/arch/x86/boot.rst): a real-mode part of
 * some sectors, which is skipped, with a header in it; then the kernel.
 */
#include "boot/file.h"
#include "boot/linux.h"
#include "boot/protocol.h"
#include "boot/unpack.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>

enum {
	HEADER_AT = 0x1f1,
	HEADER_JUMP_AT = 0x200, /* a short jump to the header's end */
	SECTOR = 512,
	DEFAULT_SETUP_SECTS = 4,
	DEFAULT_LOAD = 0x100000,
	DEFAULT_INITRD_MAX = 0x37ffffff,
	DEFAULT_CMDLINE_SIZE = 255,
	ENTRY_64 = 0x200,
};

struct bzimage {
	struct setup_header hdr; /* fields its version lacks have defaults */
	uint64_t offset, size;   /* of the kernel in the file */
	uint64_t memory;         /* what it needs from its first byte on */
};

/* Fields that came with later versions of the protocol. */
static void set_defaults(struct setup_header *hdr)
{
	if (hdr->version < 0x0203 || !hdr->initrd_addr_max)
		hdr->initrd_addr_max = DEFAULT_INITRD_MAX;
	if (hdr->version < 0x0204)
		hdr->syssize = 0; /* not to be trusted */
	if (hdr->version < 0x0205)
		hdr->relocatable_kernel = 0;
	if (hdr->version < 0x0206)
		hdr->cmdline_size = DEFAULT_CMDLINE_SIZE;
	if (hdr->version < 0x0208)
		hdr->payload_offset = hdr->payload_length = 0;
	if (hdr->version < 0x020a) {
		hdr->pref_address = DEFAULT_LOAD;
		hdr->init_size = 0;
	}
	if (hdr->version < 0x020c)
		hdr->xloadflags = 0;
}

static int refuse(const struct boot *boot, const char *why)
{
	log_err("kernel %s: is a bzImage, but %s", boot->kernel.path, why);
	return -EINVAL;
}

/* 1, 0 when it is no bzImage, or -EINVAL, logged. */
static int bzimage_parse(const struct boot *boot, struct bzimage *bz)
{
	struct setup_header *hdr = &bz->hdr;
	uint64_t len, file_size = boot->kernel.size;

	memcpy(hdr, boot->head + HEADER_AT, sizeof(*hdr));
	if (hdr->header != LINUX_HEADER_MAGIC || hdr->boot_flag != 0xaa55)
		return 0;
	/* What lies past the header's end is code. */
	len = HEADER_JUMP_AT + 2 + boot->head[HEADER_JUMP_AT + 1] - HEADER_AT;
	if (len < sizeof(*hdr))
		memset((uint8_t *)hdr + len, 0, sizeof(*hdr) - len);
	if (hdr->version < 0x0202)
		return refuse(boot, "older than boot protocol 2.02");
	if (!(hdr->loadflags & LOADED_HIGH))
		return refuse(boot, "a zImage that wants to be loaded low");
	set_defaults(hdr);
	bz->offset = hdr->setup_sects ? hdr->setup_sects : DEFAULT_SETUP_SECTS;
	bz->offset = (bz->offset + 1) * SECTOR;
	if (file_size <= bz->offset)
		return refuse(boot, "truncated: it ends before the kernel");
	bz->size = file_size - bz->offset;
	len = hdr->syssize * 16ull; /* rounded up to 16 */
	if (len >= bz->size + 16) {
		log_err("kernel %s: is a truncated bzImage: its header says "
			"%llu bytes, the file has %llu",
			boot->kernel.path,
			(unsigned long long)(bz->offset + len),
			(unsigned long long)file_size);
		return -EINVAL;
	}
	if (len && len < bz->size)
		bz->size = len; /* a signature may follow */
	if (bz->size <= ENTRY_64)
		return refuse(boot, "without code at its entry point");
	if (hdr->relocatable_kernel && !is_power_of_two(hdr->kernel_alignment))
		return refuse(boot, "damaged: its alignment is not a power of "
				    "two");
	bz->memory = bz->size > hdr->init_size ? bz->size : hdr->init_size;
	return 1;
}

/* Where it was linked to run, which saves it from moving; elsewhere only if
 * that is not free and it says that it can. */
static int bzimage_place(struct placer *placer, const struct bzimage *bz,
			 gpa_t *gpa)
{
	struct placement elsewhere = {
		.what = "the kernel",
		.size = bz->memory,
		.align = bz->hdr.kernel_alignment,
		.min = DEFAULT_LOAD,
		.end = MEMORY_HOLE_START,
	};

	*gpa = bz->hdr.pref_address;
	if (bz->hdr.relocatable_kernel &&
	    !placer_fits(placer, *gpa, bz->memory)) {
		/* Linux for x86-64 never runs below its preferred address. */
		if (*gpa > elsewhere.min && *gpa < elsewhere.end)
			elsewhere.min = *gpa;
		if (!placer_try_find(placer, &elsewhere, gpa))
			return 0;
	}
	return placer_claim(placer, elsewhere.what, *gpa, bz->memory);
}

/* As unpack_kernel(). */
static int bzimage_unpack(struct placer *placer, const struct bzimage *bz,
			  gpa_t *gpa, struct vcpu_entry *entry)
{
	const struct setup_header *hdr = &bz->hdr;
	struct packed_kernel kernel = {
		.offset = bz->offset + hdr->payload_offset,
		.size = hdr->payload_length,
		.linked = hdr->pref_address,
		.memory = bz->memory,
		.align = hdr->kernel_alignment,
		.relocatable = hdr->relocatable_kernel,
	};

	if (!placer->machine->unpack ||
	    !range_within(hdr->payload_offset, hdr->payload_length, bz->size))
		return 0;
	return unpack_kernel(placer, &kernel, gpa, entry);
}

static int bzimage_load(const struct boot *boot, struct placer *placer,
			struct vcpu_entry *entry, bool long_mode)
{
	struct bzimage bz;
	gpa_t gpa;
	int err = bzimage_parse(boot, &bz);

	if (err < 0)
		return err;
	err = bzimage_place(placer, &bz, &gpa);
	if (err)
		return err;
	bz.hdr.code32_start = gpa;
	err = linux_setup(placer, &bz.hdr, long_mode, entry);
	if (!err && long_mode)
		err = bzimage_unpack(placer, &bz, &gpa, entry);
	if (err)
		return err < 0 ? err : 0;
	entry->ip = long_mode ? gpa + ENTRY_64 : gpa;
	return placer_load(placer, "its code", bz.offset, bz.size, gpa);
}

static int bzimage64_probe(const struct boot *boot)
{
	struct bzimage bz;
	int found = bzimage_parse(boot, &bz);

	return found == 1 ? !!(bz.hdr.xloadflags & XLF_KERNEL_64) : found;
}

static int bzimage32_probe(const struct boot *boot)
{
	struct bzimage bz;

	return bzimage_parse(boot, &bz);
}

static int bzimage64_load(const struct boot *boot, struct placer *placer,
			  struct vcpu_entry *entry)
{
	return bzimage_load(boot, placer, entry, true);
}

static int bzimage32_load(const struct boot *boot, struct placer *placer,
			  struct vcpu_entry *entry)
{
	return bzimage_load(boot, placer, entry, false);
}

const struct boot_protocol boot_bzimage64 = {
	.name = "bzImage, 64-bit entry",
	.is_linux = true,
	.probe = bzimage64_probe,
	.load = bzimage64_load,
};

const struct boot_protocol boot_bzimage32 = {
	.name = "bzImage, 32-bit entry",
	.is_linux = true,
	.probe = bzimage32_probe,
	.load = bzimage32_load,
};
