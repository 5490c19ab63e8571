/*
 * Guest physical memory: RAM regions, and the only ways to a guest pointer.
 *
 * Owned by the machine. The layout is frozen by memory_create(); any thread may
 * translate. The bytes always race with the guest: copy before you decide.
 *
 *   0 ............ RAM ............ low end    (at most MEMORY_HOLE_START)
 *   MEMORY_HOLE_START .. 4 GiB      the PCI hole: BARs, ECAM, APICs
 *   4 GiB ........ the rest of RAM
 */
#ifndef KVIST_KVM_MEMORY_H
#define KVIST_KVM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

typedef uint64_t gpa_t; /* guest physical address */

#define MEMORY_HOLE_START 0xc0000000ull /* 3 GiB */
#define MEMORY_HIGH_START 0x100000000ull
#define MEMORY_KVM_START  0xfffbc000ull /* in the hole: pages that KVM needs */
#define MEMORY_KVM_SIZE   0x4000ull     /* for itself on VT-x */
#define MEMORY_MIN        (1ull << 20)
#define MEMORY_REGIONS    2

struct memory_region {
	gpa_t start;
	uint64_t size;
	uint8_t *host;
};

struct memory {
	uint64_t size; /* bytes of RAM in all regions */
	uint8_t *host; /* one mapping holds all regions, end to end */
	int nr_regions;
	struct memory_region regions[MEMORY_REGIONS];
};

/* Maps @size bytes of RAM (whole pages, at least MEMORY_MIN) and lays out the
 * regions. Nothing is told to KVM: vm_create() does that. 0 or -errno. */
int memory_create(struct memory *mem, uint64_t size);
void memory_destroy(struct memory *mem);

/* Host bytes for guest physical [gpa, gpa+len), or NULL unless all of it lies
 * in one RAM region; a @len of 0 still needs a @gpa inside RAM. Borrowed until
 * memory_destroy(). */
void *memory_at(const struct memory *mem, gpa_t gpa, uint64_t len);

/*
 * As memory_at() for a range that may straddle regions (with the hole between
 * them none does): appends its host pieces to @iov, which has room for @max.
 * The number appended (0 for an empty range), -EFAULT when part of it is not
 * RAM, -E2BIG when @max is too small. MEMORY_REGIONS are always enough.
 */
int memory_iov(const struct memory *mem, gpa_t gpa, uint64_t len,
	       struct iovec *iov, int max);

/* Copies out of or into guest memory. False, and nothing copied, when part of
 * the range is not RAM. */
bool memory_read(const struct memory *mem, gpa_t gpa, void *to, uint64_t len);
bool memory_write(const struct memory *mem, gpa_t gpa, const void *from,
		  uint64_t len);

#endif
