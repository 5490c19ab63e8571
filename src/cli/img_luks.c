/*
 * How an image is encrypted, for `kvist img info`.
 */
#include <stdio.h>

#include "cli/img.h"
#include "devices/block/luks.h"
#include "util/checked.h"
#include "util/json.h"

/* Of an image that kvist can open: there is but one kind. */
static const struct {
	const char *name, *key, *value; /* value NULL: the UUID */
} texts[] = {
	{ "ivgen alg", "ivgen-alg", "plain64" },
	{ "hash alg", "hash-alg", "sha256" },
	{ "cipher alg", "cipher-alg", "aes-256" },
	{ "uuid", "uuid", NULL },
	{ "format", "format", "luks" },
	{ "cipher mode", "cipher-mode", "xts" },
};

static const char *text_of(size_t i, const struct luks_header *luks)
{
	return texts[i].value ? texts[i].value : luks->uuid;
}

void img_print_luks(const struct luks_header *luks)
{
	puts("    encrypt:");
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		printf("        %s: %s\n", texts[i].name, text_of(i, luks));
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
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		json_string(json, texts[i].key, text_of(i, luks));
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
