/*
 * How an image is encrypted, for `kvist img info`.
 */
#include <stdio.h>
#include <string.h>

#include "cli/img.h"
#include "devices/block/luks.h"
#include "util/checked.h"
#include "util/json.h"

/* The human form of a name has a space for its "-". */
static const char *const names[] = { "ivgen-alg", "hash-alg", "cipher-alg",
				     "uuid",      "format",   "cipher-mode" };

static const char *text_of(const char *name, const struct luks_header *luks)
{
	if (!strcmp(name, "uuid"))
		return luks->uuid;
	if (!strcmp(name, "format"))
		return "luks";
	return luks_chosen(&luks->kind, name);
}

void img_print_luks(const struct luks_header *luks)
{
	puts("    encrypt:");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		fputs("        ", stdout);
		for (const char *c = names[i]; *c; c++)
			putchar(*c == '-' ? ' ' : *c);
		printf(": %s\n", text_of(names[i], luks));
	}
	puts("        slots:");
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		const struct luks_slot *slot = &luks->slot[i];

		printf("            [%u]:\n                active: %s\n", i,
		       slot->active ? "true" : "false");
		if (slot->active)
			printf("                iters: %u\n", slot->iterations);
		printf("                key offset: %llu\n",
		       (unsigned long long)slot->material);
		if (slot->active)
			printf("                stripes: %u\n", LUKS_STRIPES);
	}
	printf("        payload offset: %llu\n        master key iters: %u\n",
	       (unsigned long long)luks->payload, luks->digest_iterations);
}

void img_json_luks(struct json *json, const struct luks_header *luks)
{
	json_object(json, "encrypt");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		json_string(json, names[i], text_of(names[i], luks));
	json_array(json, "slots");
	for (unsigned i = 0; i < LUKS_SLOTS; i++) {
		const struct luks_slot *slot = &luks->slot[i];

		json_object(json, NULL);
		json_bool(json, "active", slot->active);
		if (slot->active) {
			json_number(json, "iters", slot->iterations);
			json_number(json, "stripes", LUKS_STRIPES);
		}
		json_number(json, "key-offset", slot->material);
		json_end(json);
	}
	json_end(json);
	json_number(json, "payload-offset", luks->payload);
	json_number(json, "master-key-iters", luks->digest_iterations);
	json_end(json);
}
