#include "firmware/aml.h"

#include "util/bytes.h"

/* Opcodes and descriptor tags (ACPI 6.4, 20.3 and 6.4.2, 6.4.3). */
enum {
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_QWORD = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_EXT = 0x5b,
	OP_EXT_DEVICE = 0x82,

	TAG_IRQ_NO_FLAGS = 0x22,
	TAG_IO = 0x47,
	TAG_END = 0x79,
	TAG_MEMORY32_FIXED = 0x86,
	TAG_ADDRESS32 = 0x87,
	TAG_ADDRESS16 = 0x88,
	TAG_INTERRUPT = 0x89,
};

/* Address space descriptors (6.4.3.5): resource type and flags. */
enum {
	SPACE_MEMORY = 0,
	SPACE_IO = 1,
	SPACE_BUS = 2,
	SPACE_FIXED = 0x0c, /* producer, positive decode, both ends fixed */
};

void aml_bytes(struct aml *aml, const void *bytes, size_t len)
{
	if (aml->overflow || len > aml->size - aml->len) {
		aml->overflow = true;
		return;
	}
	memcpy(aml->buf + aml->len, bytes, len);
	aml->len += len;
}

void aml_u8(struct aml *aml, uint8_t v)
{
	aml_bytes(aml, &v, 1);
}

void aml_u16(struct aml *aml, uint16_t v)
{
	uint8_t b[2];

	put_le16(b, v);
	aml_bytes(aml, b, sizeof(b));
}

void aml_u32(struct aml *aml, uint32_t v)
{
	uint8_t b[4];

	put_le32(b, v);
	aml_bytes(aml, b, sizeof(b));
}

void aml_int(struct aml *aml, uint64_t v)
{
	uint8_t b[8];

	put_le64(b, v);
	if (v <= 1) {
		aml_u8(aml, v); /* ZeroOp and OneOp are their own values */
	} else if (v <= UINT8_MAX) {
		aml_u8(aml, OP_BYTE);
		aml_bytes(aml, b, 1);
	} else if (v <= UINT16_MAX) {
		aml_u8(aml, OP_WORD);
		aml_bytes(aml, b, 2);
	} else if (v <= UINT32_MAX) {
		aml_u8(aml, OP_DWORD);
		aml_bytes(aml, b, 4);
	} else {
		aml_u8(aml, OP_QWORD);
		aml_bytes(aml, b, 8);
	}
}

void aml_name(struct aml *aml, const char *path)
{
	aml_u8(aml, OP_NAME);
	aml_bytes(aml, path, strlen(path));
}

void aml_name_int(struct aml *aml, const char *path, uint64_t v)
{
	aml_name(aml, path);
	aml_int(aml, v);
}

static unsigned hex_digit(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

void aml_name_eisa(struct aml *aml, const char *path, const char *id)
{
	/* Three letters of five bits, then four hex digits, big endian. */
	uint16_t letters = (id[0] & 31) << 10 | (id[1] & 31) << 5 |
			   (id[2] & 31);
	uint16_t digits = hex_digit(id[3]) << 12 | hex_digit(id[4]) << 8 |
			  hex_digit(id[5]) << 4 | hex_digit(id[6]);
	uint8_t b[4];

	put_be16(b, letters);
	put_be16(b + 2, digits);
	aml_name(aml, path);
	aml_u8(aml, OP_DWORD);
	aml_bytes(aml, b, sizeof(b));
}

void aml_name_string(struct aml *aml, const char *path, const char *string)
{
	aml_name(aml, path);
	aml_u8(aml, OP_STRING);
	aml_bytes(aml, string, strlen(string) + 1);
}

/* A PkgLength (20.2.4), always of three bytes: it counts itself, and its size
 * must be known before its value is. */
static struct aml_mark aml_length(struct aml *aml)
{
	struct aml_mark mark = { aml->len };

	aml_bytes(aml, "\0\0", 3);
	return mark;
}

void aml_end(struct aml *aml, struct aml_mark mark)
{
	size_t len = aml->len - mark.at;

	if (len >= 1 << 20)
		aml->overflow = true;
	if (aml->overflow)
		return;
	aml->buf[mark.at] = 2 << 6 | (len & 0xf);
	aml->buf[mark.at + 1] = len >> 4;
	aml->buf[mark.at + 2] = len >> 12;
}

struct aml_mark aml_scope(struct aml *aml, const char *path)
{
	struct aml_mark mark;

	aml_u8(aml, OP_SCOPE);
	mark = aml_length(aml);
	aml_bytes(aml, path, strlen(path));
	return mark;
}

struct aml_mark aml_device(struct aml *aml, const char *name)
{
	struct aml_mark mark;

	aml_u8(aml, OP_EXT);
	aml_u8(aml, OP_EXT_DEVICE);
	mark = aml_length(aml);
	aml_bytes(aml, name, strlen(name));
	return mark;
}

struct aml_mark aml_package(struct aml *aml, uint8_t count)
{
	struct aml_mark mark;

	aml_u8(aml, OP_PACKAGE);
	mark = aml_length(aml);
	aml_u8(aml, count);
	return mark;
}

/* Bytes between a buffer's PkgLength and its contents: WordConst, size. */
#define BUFFER_HEAD 3

struct aml_mark aml_resources(struct aml *aml)
{
	struct aml_mark mark;

	aml_u8(aml, OP_BUFFER);
	mark = aml_length(aml);
	aml_u8(aml, OP_WORD);
	aml_u16(aml, 0);
	return mark;
}

void aml_resources_end(struct aml *aml, struct aml_mark mark)
{
	aml_u8(aml, TAG_END);
	aml_u8(aml, 0); /* a checksum of 0 means: do not check */
	if (!aml->overflow)
		put_le16(aml->buf + mark.at + 4,
			 aml->len - mark.at - 3 - BUFFER_HEAD);
	aml_end(aml, mark);
}

void aml_io(struct aml *aml, uint16_t port, uint8_t len)
{
	aml_u8(aml, TAG_IO);
	aml_u8(aml, 1); /* 16 address lines are decoded */
	aml_u16(aml, port);
	aml_u16(aml, port);
	aml_u8(aml, 1);
	aml_u8(aml, len);
}

void aml_irq(struct aml *aml, unsigned isa_irq)
{
	aml_u8(aml, TAG_IRQ_NO_FLAGS);
	aml_u16(aml, 1 << isa_irq);
}

void aml_memory32(struct aml *aml, uint32_t start, uint32_t len)
{
	aml_u8(aml, TAG_MEMORY32_FIXED);
	aml_u16(aml, 9);
	aml_u8(aml, 1); /* read and write */
	aml_u32(aml, start);
	aml_u32(aml, len);
}

void aml_interrupt(struct aml *aml, uint32_t gsi)
{
	aml_u8(aml, TAG_INTERRUPT);
	aml_u16(aml, 6);
	aml_u8(aml, 0x09); /* consumer, shared; level, active high */
	aml_u8(aml, 1);
	aml_u32(aml, gsi);
}

static void aml_window16(struct aml *aml, uint8_t type, uint8_t type_flags,
			 uint16_t start, uint32_t len)
{
	aml_u8(aml, TAG_ADDRESS16);
	aml_u16(aml, 13);
	aml_u8(aml, type);
	aml_u8(aml, SPACE_FIXED);
	aml_u8(aml, type_flags);
	aml_u16(aml, 0); /* granularity */
	aml_u16(aml, start);
	aml_u16(aml, start + len - 1);
	aml_u16(aml, 0); /* translation */
	aml_u16(aml, len);
}

void aml_window_bus(struct aml *aml, uint8_t first, uint8_t last)
{
	aml_window16(aml, SPACE_BUS, 0, first, last - first + 1u);
}

void aml_window_io(struct aml *aml, uint16_t start, uint32_t len)
{
	aml_window16(aml, SPACE_IO, 3, start, len); /* the entire range */
}

void aml_window_memory(struct aml *aml, uint32_t start, uint32_t len)
{
	aml_u8(aml, TAG_ADDRESS32);
	aml_u16(aml, 23);
	aml_u8(aml, SPACE_MEMORY);
	aml_u8(aml, SPACE_FIXED);
	aml_u8(aml, 1); /* read and write, not cacheable */
	aml_u32(aml, 0);
	aml_u32(aml, start);
	aml_u32(aml, start + len - 1);
	aml_u32(aml, 0);
	aml_u32(aml, len);
}
