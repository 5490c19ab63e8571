/*
 * A packed kernel, for tests: a bzImage around an ELF that any of the formats
 * packs, with what is odd about it up to the test.
 */
#ifndef KVIST_TESTS_PACKED_KERNEL_H
#define KVIST_TESTS_PACKED_KERNEL_H

#include "boot_world.h"
#include "unit.h"

#include <elf.h>

/*
 * The packed kernel: an ELF with its first segment 2 MiB into the file, a
 * second one that moves down when it is loaded, and relocations after it.
 */
#define LINKED  (16 * MIB)
#define VIRTUAL 0xffffffff81000000ull
#define HEADERS 0x200ull
#define TEXT    0x200000ull /* in the file */
#define DATA    0x203000ull
#define DATA_AT 0x2000ull /* in memory, from the kernel's start on */
#define ELF_END 0x204000ull
#define TABLE   (5 * 4)
#define IMAGE   (ELF_END + TABLE)
#define MEMORY  (4 * MIB)
#define LEAD    (2 * MIB) /* taken below it, to unpack */
#define ENTRY   0x40

#define BEFORE 0x400 /* bytes of code before the payload */

struct kernel {
	uint8_t image[IMAGE];
	uint8_t file[BZ_SETUP + BEFORE + 2 * IMAGE];
	uint64_t payload; /* bytes of it, so far */
};

static inline Elf64_Ehdr *elf(struct kernel *k)
{
	return (Elf64_Ehdr *)k->image;
}

static inline Elf64_Phdr *segment(struct kernel *k, int i)
{
	return (Elf64_Phdr *)(k->image + sizeof(Elf64_Ehdr)) + i;
}

static inline struct setup_header *header(struct kernel *k)
{
	return bz_header(k->file);
}

static inline void put(struct kernel *k, const void *bytes, uint64_t len)
{
	memcpy(k->file + BZ_SETUP + BEFORE + k->payload, bytes, len);
	k->payload += len;
}

static inline void put32(struct kernel *k, uint32_t value)
{
	uint8_t bytes[4];

	put_le32(bytes, value);
	put(k, bytes, 4);
}

/* The rest of a length, after the 15 in the token. */
static inline void put_length(struct kernel *k, uint64_t len)
{
	for (len -= 15; len >= 255; len -= 255)
		put(k, "\xff", 1);
	put(k, &(uint8_t){ len }, 1);
}

/* One block of LZ4: the headers, a run of zeros, and the rest. */
static inline void pack_lz4(struct kernel *k)
{
	uint64_t from = k->payload;

	put32(k, 0x184c2102);
	put32(k, 0);
	put(k, "\xff", 1);
	put_length(k, HEADERS);
	put(k, k->image, HEADERS);
	put(k, "\1\0", 2);
	put_length(k, TEXT - HEADERS - 4);
	put(k, "\xf0", 1);
	put_length(k, IMAGE - TEXT);
	put(k, k->image + TEXT, IMAGE - TEXT);
	put_le32(k->file + BZ_SETUP + BEFORE + from + 4, k->payload - from - 8);
	put32(k, IMAGE);
}

#define ZSTD_BLOCK 0x20000u
enum zstd_block { ZSTD_RAW, ZSTD_RLE };

static inline void put_zstd_block(struct kernel *k, enum zstd_block type,
				  uint32_t len, bool last)
{
	uint32_t block = len << 3 | type << 1 | last;

	put(k, &(uint8_t[3]){ block, block >> 8, block >> 16 }, 3);
}

/* A frame of which the content size is not known, in raw blocks, with so many
 * blocks of zeros behind the image. */
static inline void pack_zstd_and(struct kernel *k, unsigned zeros)
{
	put(k, "\x28\xb5\x2f\xfd\x00\x88", 6);
	for (uint64_t at = 0; at < IMAGE; at += ZSTD_BLOCK) {
		uint32_t len = IMAGE - at < ZSTD_BLOCK ? IMAGE - at
						       : ZSTD_BLOCK;

		put_zstd_block(k, ZSTD_RAW, len, !zeros && at + len == IMAGE);
		put(k, k->image + at, len);
	}
	for (unsigned i = 1; i <= zeros; i++) {
		put_zstd_block(k, ZSTD_RLE, ZSTD_BLOCK, i == zeros);
		put(k, "", 1);
	}
	put32(k, IMAGE + zeros * ZSTD_BLOCK);
}

static inline void pack_zstd(struct kernel *k)
{
	pack_zstd_and(k, 0);
}

/* With a name and a comment, in stored blocks. */
static inline void pack_gzip(struct kernel *k)
{
	put(k, "\x1f\x8b\x08\x18\0\0\0\0\0\3vmlinux\0a comment", 28);
	for (uint64_t at = 0; at < IMAGE; at += 0x8000) {
		uint32_t len = IMAGE - at < 0x8000 ? IMAGE - at : 0x8000;

		put(k, at + len == IMAGE ? "\1" : "\0", 1);
		put32(k, len | (~len & 0xffff) << 16);
		put(k, k->image + at, len);
	}
	put32(k, 0x12345678); /* the CRC, which Linux does not look at either */
	put32(k, IMAGE);
}

static inline void make_image(struct kernel *k)
{
	static const uint32_t table[5] = { 0, 0x81000100, 0, 0, 0x81002000 };

	*elf(k) = (Elf64_Ehdr){
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_entry = LINKED + ENTRY,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
		.e_shoff = ELF_END - 128,
		.e_shentsize = 64,
		.e_shnum = 2,
	};
	*segment(k, 0) = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = TEXT,
		.p_vaddr = VIRTUAL,
		.p_paddr = LINKED,
		.p_filesz = 0x1000,
		.p_memsz = 0x1000,
	};
	*segment(k, 1) = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = DATA,
		.p_vaddr = VIRTUAL + DATA_AT,
		.p_paddr = LINKED + DATA_AT,
		.p_filesz = 0x800,
		.p_memsz = 0x1000,
	};
	memset(k->image + TEXT, 0x90, 0x1000);
	put_le64(k->image + TEXT + 0x100, VIRTUAL + DATA_AT);
	memset(k->image + DATA, 0xda, 0x800);
	put_le32(k->image + DATA, (uint32_t)VIRTUAL);
	memcpy(k->image + ELF_END, table, sizeof(table));
}

static inline struct input make_file(struct kernel *k,
				     void (*pack)(struct kernel *))
{
	uint64_t size;

	pack(k);
	size = align_up(BZ_SETUP + BEFORE + k->payload, 16);
	memset(k->file + BZ_SETUP, 0xcc, BEFORE);
	bz_init(k->file, size);
	header(k)->payload_offset = BEFORE;
	header(k)->payload_length = k->payload;
	header(k)->pref_address = LINKED;
	header(k)->init_size = MEMORY;
	return (struct input){ .kernel = k->file,
			       .kernel_size = size,
			       .cmdline = "quiet",
			       .unpack = true };
}

static inline struct kernel *kernel_new(void)
{
	struct kernel *k = calloc(1, sizeof(*k));

	assert_non_null(k);
	make_image(k);
	return k;
}

/* The bzImage's own code would start at this byte of it. */
static inline bool unpacks_itself(const struct world *w)
{
	return *(uint8_t *)at(w, w->entry.ip, 1) == 0xcc &&
	       !(params(w)->hdr.loadflags & KASLR_FLAG);
}

/* How far the kernel that was unpacked is from its virtual address; all of it
 * agrees. */
static inline uint64_t check_kernel(const struct world *w)
{
	uint64_t start = w->entry.ip - ENTRY, distance;

	assert_int_equal(w->err, 0);
	assert_int_equal(w->entry.mode, VCPU_LONG);
	assert_int_equal(start % (2 * MIB), 0);
	assert_true(start >= LINKED);
	assert_filled(w, start, 0x100, 0x90);
	assert_filled(w, start + 0x108, 0xef8, 0x90);
	assert_filled(w, start + DATA_AT + 4, 0x7fc, 0xda);
	distance = *(uint64_t *)at(w, start + 0x100, 8) - VIRTUAL - DATA_AT;
	assert_int_equal(distance % (2 * MIB), 0);
	assert_true(distance + LINKED + MEMORY <= 1024 * MIB);
	assert_int_equal(*(uint32_t *)at(w, start + DATA_AT, 4),
			 (uint32_t)(VIRTUAL + distance));
	return distance;
}

#endif
