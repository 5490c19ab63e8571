/*
 * A writer of AML, the byte code of ACPI's DSDT (ACPI 6.4, chapter 20).
 *
 * Caller's storage, pure. Writes into one bounded buffer; what does not fit is
 * dropped and remembered in @overflow, so that only the end needs a check.
 * Nested things are begun and ended: aml_end() patches the length in.
 */
#ifndef KVIST_FIRMWARE_AML_H
#define KVIST_FIRMWARE_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *buf; /* borrowed */
	size_t size;
	size_t len;
	bool overflow;
};

/* Where a length is to be patched in. */
struct aml_mark {
	size_t at;
};

/* Plain bytes; also how other tables are put together. */
void aml_bytes(struct aml *aml, const void *bytes, size_t len);
void aml_u8(struct aml *aml, uint8_t v);
void aml_u16(struct aml *aml, uint16_t v);
void aml_u32(struct aml *aml, uint32_t v);

/* A constant in its shortest form (20.2.3). */
void aml_int(struct aml *aml, uint64_t v);

/* Name(@path, ...): one data object must follow. Paths are segments of four
 * characters, alone ("_SB_") or after a backslash ("\\_SB_") (20.2.2). */
void aml_name(struct aml *aml, const char *path);
void aml_name_int(struct aml *aml, const char *path, uint64_t v);
/* Name(@path, EisaId(@id)): a compressed id such as "PNP0A08" (19.3.4). */
void aml_name_eisa(struct aml *aml, const char *path, const char *id);
void aml_name_string(struct aml *aml, const char *path, const char *string);

/* Scope, Device, and Package of @count elements (at most 255); each up to its
 * aml_end(). */
struct aml_mark aml_scope(struct aml *aml, const char *path);
struct aml_mark aml_device(struct aml *aml, const char *name);
struct aml_mark aml_package(struct aml *aml, uint8_t count);
void aml_end(struct aml *aml, struct aml_mark mark);

/* A ResourceTemplate (6.4) up to aml_resources_end(), and what goes into it.
 * Ranges are first address and length in bytes. */
struct aml_mark aml_resources(struct aml *aml);
void aml_resources_end(struct aml *aml, struct aml_mark mark);
void aml_io(struct aml *aml, uint16_t port, uint8_t len);
void aml_irq(struct aml *aml, unsigned isa_irq); /* edge, active high */
void aml_memory32(struct aml *aml, uint32_t start, uint32_t len);
/* A shared level-triggered interrupt, active high. */
void aml_interrupt(struct aml *aml, uint32_t gsi);
/* What a bridge passes on: buses, ports, and memory that is not prefetched. */
void aml_window_bus(struct aml *aml, uint8_t first, uint8_t last);
void aml_window_io(struct aml *aml, uint16_t start, uint32_t len);
void aml_window_memory(struct aml *aml, uint32_t start, uint32_t len);

#endif
