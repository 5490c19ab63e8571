/*
 * The SMBIOS tables.
 */
#include "firmware/tables.h"

#include "util/bytes.h"

/* DMTF DSP0134 3.0: the entry point (5.2.2) and the structures a guest asks
 * for to learn what it runs on. */
struct smbios_entry {
	char anchor[5];
	uint8_t checksum;
	uint8_t length;
	uint8_t major, minor, docrev;
	uint8_t revision;
	uint8_t reserved;
	uint32_t max_size; /* of all structures */
	uint64_t address;
} __attribute__((packed));

_Static_assert(sizeof(struct smbios_entry) == 24, "SMBIOS entry point");

enum { TYPE_BIOS = 0, TYPE_SYSTEM = 1, TYPE_END = 127 };

enum {
	BIOS_NO_CHARACTERISTICS = 1 << 3,
	BIOS_EXT_VIRTUAL_MACHINE = 1 << 4, /* of the second extension byte */
	WAKE_UP_POWER_SWITCH = 6,
};

static void structure(struct aml *out, uint8_t type, uint8_t length,
		      uint16_t handle)
{
	aml_u8(out, type);
	aml_u8(out, length);
	aml_u16(out, handle);
}

static void string(struct aml *out, const char *text)
{
	aml_bytes(out, text, strlen(text) + 1);
}

static void build_bios(struct aml *out)
{
	structure(out, TYPE_BIOS, 24, 0);
	aml_u8(out, 1);       /* vendor */
	aml_u8(out, 2);       /* version */
	aml_u16(out, 0xf000); /* segment */
	aml_u8(out, 3);       /* date */
	aml_u8(out, 0);       /* 64 KiB of ROM */
	aml_u32(out, BIOS_NO_CHARACTERISTICS);
	aml_u32(out, 0);
	aml_u8(out, 0);
	aml_u8(out, BIOS_EXT_VIRTUAL_MACHINE);
	aml_u8(out, 0); /* release: none is told */
	aml_u8(out, 0);
	aml_u16(out, 0xffff);
	string(out, "kvist");
	string(out, KVIST_VERSION);
	string(out, "01/01/2026");
	aml_u8(out, 0);
}

static uint64_t hash(const char *text, uint64_t state)
{
	while (*text)
		state = (state ^ (uint8_t)*text++) * 0x100000001b3; /* FNV-1a */
	return state;
}

/* The same name gives the same id on any host: a UUID of version 8, "vendor's
 * own" (RFC 9562, 5.8). All zeros, "not present", without a name. */
static void smbios_uuid(const char *name, uint8_t uuid[16])
{
	memset(uuid, 0, 16);
	if (!name)
		return;
	put_le64(uuid, hash(name, 0xcbf29ce484222325));
	put_le64(uuid + 8, hash(name, hash("kvist", 0xcbf29ce484222325)));
	/* SMBIOS keeps the first three fields little endian (7.2.1), so the
	 * version's nibble is in byte 7. */
	uuid[7] = 0x80 | (uuid[7] & 0xf);
	uuid[8] = 0x80 | (uuid[8] & 0x3f);
}

static void build_system(struct aml *out, const char *name)
{
	uint8_t uuid[16];

	smbios_uuid(name, uuid);
	structure(out, TYPE_SYSTEM, 27, 1);
	aml_u8(out, 1); /* manufacturer */
	aml_u8(out, 2); /* product */
	aml_u8(out, 3); /* version */
	aml_u8(out, 0); /* serial number */
	aml_bytes(out, uuid, sizeof(uuid));
	aml_u8(out, WAKE_UP_POWER_SWITCH);
	aml_u8(out, 0); /* SKU */
	aml_u8(out, 0); /* family */
	string(out, "kvist");
	string(out, "kvist");
	string(out, KVIST_VERSION);
	aml_u8(out, 0);
}

void smbios_build(struct aml *out, gpa_t base, const char *name)
{
	struct smbios_entry entry = {
		.anchor = { '_', 'S', 'M', '3', '_' },
		.length = sizeof(entry),
		.major = 3,
		.revision = 1,
	};
	size_t at = out->len, structures;
	const uint8_t *bytes = (const uint8_t *)&entry;
	uint8_t sum = 0;

	aml_bytes(out, &entry, sizeof(entry)); /* its place */
	structures = out->len;
	build_bios(out);
	build_system(out, name);
	structure(out, TYPE_END, 4, 2);
	aml_u16(out, 0); /* no strings: two zeros */
	if (out->overflow)
		return;
	entry.max_size = out->len - structures;
	entry.address = base + structures - at;
	for (size_t i = 0; i < sizeof(entry); i++)
		sum += bytes[i];
	entry.checksum = -sum;
	memcpy(out->buf + at, &entry, sizeof(entry));
}
