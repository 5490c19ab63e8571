#include "boot/placer.h"

#include "boot/file.h"
#include "firmware/e820.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* Below are the real-mode vectors and what habit keeps free. */
#define SMALL_MIN 0x10000u

#define MIB (1ull << 20)
#define BIG (4 * MIB)

void placer_init(struct placer *placer, const struct boot *boot,
		 const struct boot_machine *machine)
{
	placer->boot = boot;
	placer->machine = machine;
	placer->pending = boot->initrd.fd >= 0 ? boot->initrd.size : 0;
	placer->count = 0;
}

static const struct placed *placer_conflict(const struct placer *placer,
					    gpa_t gpa, uint64_t size)
{
	for (int i = 0; i < placer->count; i++) {
		const struct placed *placed = &placer->placed[i];

		if (ranges_overlap(gpa, size, placed->start, placed->size))
			return placed;
	}
	return NULL;
}

/* P1: the part of map entry @i that things may be placed in. False: none. */
static bool usable(const struct placer *placer, int i, gpa_t *start, gpa_t *end)
{
	const struct e820_entry *e = &placer->machine->e820->entries[i];

	*start = e->start;
	*end = e->start + e->size;
	if (*end > MEMORY_HOLE_START)
		*end = MEMORY_HOLE_START;
	return e->type == E820_RAM && *start < *end;
}

static bool in_ram(const struct placer *placer, gpa_t gpa, uint64_t size)
{
	gpa_t start, end;

	for (int i = 0; i < placer->machine->e820->count; i++) {
		if (usable(placer, i, &start, &end) && gpa >= start &&
		    range_within(gpa - start, size, end - start))
			return memory_at(placer->machine->memory, gpa, size);
	}
	return false;
}

bool placer_fits(const struct placer *placer, gpa_t gpa, uint64_t size)
{
	return placer->count < PLACER_MAX && in_ram(placer, gpa, size) &&
	       !placer_conflict(placer, gpa, size);
}

/* A kernel of some size uses its memory widely: with huge pages it loads and
 * runs quicker, also where the host gives them only on request. A tiny guest
 * gets none: the host would zero 2 MiB for each page that it touches. All
 * of RAM, so that it stays one mapping. */
static void want_huge_pages(const struct placer *placer, uint64_t size)
{
	const struct memory *memory = placer->machine->memory;

	if (size >= BIG)
		madvise(memory->host, memory->size, MADV_HUGEPAGE);
}

static void placer_add(struct placer *placer, const char *what, gpa_t gpa,
		       uint64_t size)
{
	want_huge_pages(placer, size);
	placer->placed[placer->count++] =
		(struct placed){ .what = what, .start = gpa, .size = size };
}

static uint64_t page_up(uint64_t n)
{
	return align_up(n, 4096);
}

/* The --memory in MiB with which [.., end) would be RAM; 0: none would do. */
static uint64_t enough_memory(const struct placer *placer, gpa_t end)
{
	uint64_t have = placer->machine->memory->size;

	if (end > MEMORY_HOLE_START || end <= have)
		return 0;
	return align_up(end, MIB) / MIB;
}

int placer_claim(struct placer *placer, const char *what, gpa_t gpa,
		 uint64_t size)
{
	const struct boot_file *kernel = &placer->boot->kernel;
	const struct placed *other;
	uint64_t end, need;

	if (size == 0)
		return 0;
	if (!checked_add(gpa, size, &end) || end > MEMORY_HOLE_START) {
		log_err("kernel %s: %s asks for 0x%llx bytes at 0x%llx, which "
			"is not below 3 GiB",
			kernel->path, what, (unsigned long long)size,
			(unsigned long long)gpa);
		return -EINVAL;
	}
	other = placer_conflict(placer, gpa, size);
	if (other) {
		log_err("kernel %s: %s at 0x%llx would overlap %s at 0x%llx",
			kernel->path, what, (unsigned long long)gpa,
			other->what, (unsigned long long)other->start);
		return -EINVAL;
	}
	if (!in_ram(placer, gpa, size)) {
		need = gpa < MIB ? 0
				 : enough_memory(
					   placer,
					   page_up(end) +
						   page_up(placer->pending));
		if (need) {
			log_err("kernel %s: does not fit into memory: needs at "
				"least %lluM, give --memory %lluM",
				kernel->path, (unsigned long long)need,
				(unsigned long long)need);
			return -E2BIG;
		}
		log_err("kernel %s: %s asks for 0x%llx bytes at 0x%llx, where "
			"no usable RAM is",
			kernel->path, what, (unsigned long long)size,
			(unsigned long long)gpa);
		return -EINVAL;
	}
	if (placer->count == PLACER_MAX) {
		log_err("kernel %s: has too many segments", kernel->path);
		return -EINVAL;
	}
	placer_add(placer, what, gpa, size);
	return 0;
}

/* The first free place within [lo, hi), going up, then the last, going down.
 * Each step moves past one thing that was placed, so both end. */
static bool find_up(const struct placer *placer, const struct placement *want,
		    gpa_t lo, gpa_t hi, gpa_t *gpa)
{
	gpa_t at;

	while (checked_align_up(lo, want->align, &at) && at <= hi &&
	       want->size <= hi - at) {
		const struct placed *other =
			placer_conflict(placer, at, want->size);

		if (!other) {
			*gpa = at;
			return true;
		}
		lo = other->start + other->size;
	}
	return false;
}

static bool find_down(const struct placer *placer, const struct placement *want,
		      gpa_t lo, gpa_t hi, gpa_t *gpa)
{
	while (hi > lo && want->size <= hi - lo) {
		gpa_t at = align_down(hi - want->size, want->align);
		const struct placed *other;

		if (at < lo)
			break;
		other = placer_conflict(placer, at, want->size);
		if (!other) {
			*gpa = at;
			return true;
		}
		hi = other->start;
	}
	return false;
}

int placer_try_find(struct placer *placer, const struct placement *want,
		    gpa_t *gpa)
{
	int count = placer->machine->e820->count;

	if (placer->count == PLACER_MAX)
		return -ENOSPC;
	for (int n = 0; n < count; n++) {
		gpa_t lo, hi;

		if (!usable(placer, want->high ? count - 1 - n : n, &lo, &hi))
			continue;
		if (lo < want->min)
			lo = want->min;
		if (hi > want->end)
			hi = want->end;
		if (want->high ? find_down(placer, want, lo, hi, gpa)
			       : find_up(placer, want, lo, hi, gpa)) {
			placer_add(placer, want->what, *gpa, want->size);
			return 0;
		}
	}
	return -ENOSPC;
}

/* The place number *@left of those that @want allows; or false, and *@left is
 * less by the number of places. */
static bool find_nth(const struct placer *placer, const struct placement *want,
		     uint64_t lead, uint64_t *left, gpa_t *gpa)
{
	gpa_t at;

	if (!checked_align_up(want->min, want->align, &at))
		return false;
	for (; range_within(at, want->size, want->end); at += want->align) {
		if (at < lead ||
		    !placer_fits(placer, at - lead, lead + want->size))
			continue;
		if (!(*left)--) {
			*gpa = at;
			return true;
		}
	}
	return false;
}

bool placer_move(struct placer *placer, gpa_t *gpa,
		 const struct placement *want, uint64_t lead, uint64_t choice)
{
	struct placed *placed = placer->placed;
	uint64_t left = UINT64_MAX, count;
	gpa_t unused;

	while (placed->start != *gpa || !placed->size)
		placed++;
	/* An empty piece takes no room. */
	placed->size = 0;
	find_nth(placer, want, lead, &left, &unused);
	count = UINT64_MAX - left;
	if (count) {
		left = choice % count;
		find_nth(placer, want, lead, &left, gpa);
	}
	*placed = (struct placed){ placed->what, *gpa, want->size };
	return count;
}

/* The --memory in MiB with which @want would fit above everything placed so
 * far; 0 when none would. */
static uint64_t memory_for(const struct placer *placer,
			   const struct placement *want)
{
	uint64_t top = want->min > MIB ? want->min : MIB, end;

	for (int i = 0; i < placer->count; i++) {
		const struct placed *placed = &placer->placed[i];

		if (placed->start < want->end &&
		    placed->start + placed->size > top)
			top = placed->start + placed->size;
	}
	if (!checked_align_up(top, want->align, &top) ||
	    !checked_add(top, want->size, &end) || end > want->end)
		return 0;
	return enough_memory(placer, end);
}

static int complain(const struct placer *placer, const struct boot_file *file,
		    const struct placement *want)
{
	uint64_t need = memory_for(placer, want);

	if (need)
		log_err("%s %s: does not fit into memory: needs at least "
			"%lluM, give --memory %lluM",
			file->noun, file->path, (unsigned long long)need,
			(unsigned long long)need);
	else
		log_err("%s %s: no free memory for %s: 0x%llx bytes below "
			"0x%llx are needed, whatever --memory is given",
			file->noun, file->path, want->what,
			(unsigned long long)want->size,
			(unsigned long long)want->end);
	return -E2BIG;
}

int placer_find(struct placer *placer, const struct placement *want, gpa_t *gpa)
{
	if (placer_try_find(placer, want, gpa))
		return complain(placer, &placer->boot->kernel, want);
	return 0;
}

int placer_find_small(struct placer *placer, const char *what, uint64_t size,
		      uint64_t align, gpa_t *gpa)
{
	struct placement want = {
		.what = what,
		.size = size,
		.align = align,
		.min = SMALL_MIN,
		.end = MEMORY_HOLE_START,
	};

	return placer_find(placer, &want, gpa);
}

int placer_put_cmdline(struct placer *placer, const char *name, gpa_t *gpa)
{
	const struct memory *memory = placer->machine->memory;
	const char *cmdline = placer->machine->cmdline;
	size_t before = name ? strlen(name) + 1 : 0;
	size_t len = strlen(cmdline) + 1;
	int err = placer_find_small(placer, "the command line", before + len, 1,
				    gpa);

	if (err)
		return err;
	if (name) {
		memory_write(memory, *gpa, name, before - 1);
		memory_write(memory, *gpa + before - 1, " ", 1);
	}
	memory_write(memory, *gpa + before, cmdline, len);
	return 0;
}

int placer_load_initrd(struct placer *placer, const struct placement *want,
		       gpa_t *gpa)
{
	const struct boot_file *initrd = &placer->boot->initrd;
	struct placement place = *want;

	*gpa = 0;
	if (initrd->fd < 0)
		return 0;
	place.what = "the initrd";
	place.size = initrd->size;
	if (placer_try_find(placer, &place, gpa))
		return complain(placer, initrd, &place);
	placer->pending = 0;
	return boot_file_read(
		initrd, "its end", 0,
		memory_at(placer->machine->memory, *gpa, initrd->size),
		initrd->size);
}

int placer_load(struct placer *placer, const char *what, uint64_t offset,
		uint64_t len, gpa_t gpa)
{
	return boot_kernel_read(placer->boot, what, offset,
				memory_at(placer->machine->memory, gpa, len),
				len);
}

void placer_zero(const struct placer *placer, gpa_t gpa, uint64_t len)
{
	struct iovec iov[MEMORY_REGIONS];
	int n = memory_iov(placer->machine->memory, gpa, len, iov,
			   MEMORY_REGIONS);

	for (int i = 0; i < n; i++) {
		uint8_t *start = iov[i].iov_base, *end = start + iov[i].iov_len;
		uint8_t *first = (uint8_t *)align_up((uintptr_t)start, 4096);
		uint8_t *last = (uint8_t *)align_down((uintptr_t)end, 4096);

		/* A private anonymous page that is dropped comes back as
		 * zeros. */
		if (first >= last ||
		    madvise(first, last - first, MADV_DONTNEED))
			first = last = end;
		memset(start, 0, first - start);
		memset(last, 0, end - last);
	}
}
