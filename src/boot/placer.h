/*
 * The placer: what a boot protocol puts into guest memory, and where.
 *
 * One placer lives as long as one boot_load(), on its stack. Everything goes
 * through it, so these hold for every protocol:
 *
 *   P1  what is placed lies whole in RAM that the memory map calls usable,
 *       below the PCI hole, and so away from the firmware's tables
 *   P2  no two things that were placed share a byte
 *
 * Every failure has been logged: -EINVAL when the kernel asks for the
 * impossible, -E2BIG when more memory would do: the message says how much.
 */
#ifndef KVIST_BOOT_PLACER_H
#define KVIST_BOOT_PLACER_H

#include "boot/boot.h"

#define PLACER_MAX 160 /* pieces: the segments of an ELF and a few more */

struct placed {
	const char *what;
	gpa_t start;
	uint64_t size;
};

struct placer {
	const struct boot *boot;
	const struct boot_machine *machine;
	uint64_t pending; /* of the initrd, while it has no place yet */
	int count;
	struct placed placed[PLACER_MAX];
};

/* Wishes for a place: @align is a power of two, and the place lies within
 * [@min, @end), at its upper end if @high. */
struct placement {
	const char *what;
	uint64_t size, align;
	gpa_t min, end;
	bool high;
};

void placer_init(struct placer *placer, const struct boot *boot,
		 const struct boot_machine *machine);

/* True if [gpa, gpa+size) could be claimed. */
bool placer_fits(const struct placer *placer, gpa_t gpa, uint64_t size);

/* Takes [gpa, gpa+size) for @what ("its code"). An empty range takes nothing.
 */
int placer_claim(struct placer *placer, const char *what, gpa_t gpa,
		 uint64_t size);

/* Finds a free place, takes it and stores it. */
int placer_find(struct placer *placer, const struct placement *want,
		gpa_t *gpa);
/* As placer_find(), but -ENOSPC without a message. */
int placer_try_find(struct placer *placer, const struct placement *want,
		    gpa_t *gpa);

/*
 * Moves what was placed at *@gpa to a place that fits @want, whose what and
 * high are not used, and that has @lead free bytes below it. The random number
 * @choice picks one of all such places, its own included. False, and not moved,
 * when there is none.
 */
bool placer_move(struct placer *placer, gpa_t *gpa,
		 const struct placement *want, uint64_t lead, uint64_t choice);

/* The place for something small that the loader itself hands over (GDT, boot
 * parameters, ...): the lowest that is free, from 64 KiB on. */
int placer_find_small(struct placer *placer, const char *what, uint64_t size,
		      uint64_t align, gpa_t *gpa);
/* The same, and puts the command line there, after @name and a space if @name
 * is not NULL. */
int placer_put_cmdline(struct placer *placer, const char *name, gpa_t *gpa);

/* Finds a place for the initrd within @want, whose what and size are not
 * used, and reads it in. Without an initrd *gpa is 0. */
int placer_load_initrd(struct placer *placer, const struct placement *want,
		       gpa_t *gpa);

/* Reads @len bytes at @offset of the kernel to @gpa, inside a claimed range.
 */
int placer_load(struct placer *placer, const char *what, uint64_t offset,
		uint64_t len, gpa_t gpa);

/* Makes a range that was placed read as zeros; its whole pages go back to the
 * host, so that what was never used stays untouched. */
void placer_zero(const struct placer *placer, gpa_t gpa, uint64_t len);

#endif
