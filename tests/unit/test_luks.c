/* LUKS: headers by table, and images that QEMU's tools made or judge. */
#include <errno.h>
#include <fcntl.h>

#include "devices/block/secret.h"
#include "disk_luks.h"
#include "util/bytes.h"

#define SIZE (2u << 20)

/* Makes luks.qcow2 and its key; QEMU takes seconds to, so it is done once. */
static int make_images(void **state)
{
	if (disk_folder_make(state))
		return -1;
	/* QEMU measures how fast it is, and now and then fails at that. */
	must("printf 'correct horse' >key && printf 'wrong' >other && "
	     ": >empty && n=0 && until qemu-img create -q -f qcow2 --object "
	     "secret,id=s,file=key -o encrypt.format=luks,"
	     "encrypt.key-secret=s,encrypt.iter-time=10 luks.qcow2 %u; "
	     "do n=$((n + 1)) && test $n -lt 50 || exit 1; done",
	     SIZE);
	return 0;
}

static int open_with(const char *path, const char *key,
		     enum block_format format, struct block **block)
{
	struct block_options options = { .path = path,
					 .format = format,
					 .key_file = key };

	return block_open(&options, block);
}

static struct block *unlocked(const char *path)
{
	struct block *block = NULL;

	assert_int_equal(open_with(path, "key", BLOCK_QCOW2, &block), 0);
	return block;
}

static void a_key_that_is_split_merges_to_itself(void **state)
{
	static uint8_t material[LUKS_MATERIAL_MAX];
	uint8_t key[XTS_KEY_MAX], merged[XTS_KEY_MAX];
	uint64_t seed = 5;

	(void)state;
	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = rnd(&seed);
	for (unsigned i = 0; i < 2 * HASH_KINDS; i++) {
		struct luks_kind kind = { .hash = i / 2,
					  .key_len = i % 2 ? 32 : 64 };

		for (unsigned j = 0; j < LUKS_MATERIAL_MAX; j++)
			material[j] = rnd(&seed);
		luks_split(&kind, key, material);
		luks_merge(&kind, material, merged);
		assert_memory_equal(key, merged, kind.key_len);
		/* Any bit of it is needed. */
		material[rnd_below(&seed,
				   luks_material(&kind) - kind.key_len)] ^= 4;
		luks_merge(&kind, material, merged);
		assert_memory_not_equal(key, merged, kind.key_len);
	}
}

static void a_new_header_is_opened_by_its_passphrase(void **state)
{
	static uint8_t area[LUKS_AREA];
	struct luks_header header;
	char why[LUKS_WHY_LEN] = "";
	struct xts *xts;
	struct luks_area at = { .length = sizeof(area), .name = "area" };
	const struct luks_secret abc = { (const uint8_t *)"abc", 3 };
	const struct luks_secret abd = { (const uint8_t *)"abd", 3 };

	(void)state;
	assert_int_equal(luks_create(area, &luks_usual, &abc, 1), 0);
	assert_int_equal(luks_header_parse(area, sizeof(area), &header, why,
					   sizeof(why)),
			 0);
	assert_true(header.slot[0].active && !header.slot[7].active);
	assert_in_range(header.slot[0].iterations, 1000, 10000000);
	assert_int_equal(header.slot[7].material, LUKS_AREA - 258048);
	disk_save("area", area, sizeof(area));
	at.file = host_file_create(open("area", O_RDONLY));
	assert_non_null(at.file);
	assert_int_equal(luks_open(&at, &abd, &xts), -EACCES);
	assert_int_equal(luks_open(&at, &abc, &xts), 0);
	secret_free(xts, sizeof(*xts));
	at.file->ops->close(at.file);
	if (sh("cryptsetup --version"))
		return;
	must("cryptsetup luksDump area | grep -q 'Key Slot 0: ENABLED' && "
	     "printf abc | cryptsetup luksOpen --test-passphrase area");
}

static void only_the_passphrase_opens_the_image(void **state)
{
	struct block *block;

	(void)state;
	assert_int_equal(open_with("luks.qcow2", NULL, BLOCK_QCOW2, &block),
			 -EACCES);
	assert_int_equal(open_with("luks.qcow2", "other", BLOCK_QCOW2, &block),
			 -EACCES);
	assert_int_equal(open_with("luks.qcow2", "empty", BLOCK_QCOW2, &block),
			 -EINVAL);
	assert_int_equal(open_with("luks.qcow2", "none", BLOCK_QCOW2, &block),
			 -ENOENT);
	assert_int_equal(block_close(unlocked("luks.qcow2")), 0);
}

static void a_key_for_an_image_that_is_not_encrypted_is_refused(void **state)
{
	struct block *block;

	(void)state;
	must("qemu-img create -q -f qcow2 plain.qcow2 1M");
	must("truncate -s 1M plain.raw");
	assert_int_equal(open_with("plain.qcow2", "key", BLOCK_QCOW2, &block),
			 -EINVAL);
	assert_int_equal(open_with("plain.raw", "key", BLOCK_RAW, &block),
			 -EINVAL);
}

static void what_qemu_encrypts_is_read(void **state)
{
	struct block *block;
	uint8_t *model = calloc(1, SIZE);

	(void)state;
	assert_non_null(model);
	must("cp luks.qcow2 q.qcow2");
	must("qemu-io -c 'write -P 1 0 64k' -c 'write -P 2 100k 300k' "
	     "-c 'write -P 3 2096640 512' -c 'write -z 128k 64k' " LUKS_NAMED
	     "q.qcow2");
	memset(model, 1, 64 << 10);
	memset(model + (100 << 10), 2, 300 << 10);
	memset(model + SIZE - 512, 3, 512);
	memset(model + (128 << 10), 0, 64 << 10);
	block = unlocked("q.qcow2");
	assert_disk(block, model);
	assert_int_equal(block_close(block), 0);
	free(model);
}

/* Writes, zeros and discards of any size and place; a snapshot in between
 * makes clusters shared, so that old contents are encrypted anew. */
static void stream(struct block *block, uint64_t *seed, uint8_t *model)
{
	static uint8_t buf[200 << 10];

	for (unsigned i = 0; i < 60; i++) {
		uint64_t offset = rnd_below(seed, SIZE / 512) * 512;
		uint64_t len = (1 + rnd_below(seed, 400)) * 512;
		unsigned kind = rnd_below(seed, 8);

		if (len > SIZE - offset)
			len = SIZE - offset;
		if (kind == 0) {
			assert_int_equal(request(block, BLOCK_ZERO, NULL,
						 offset, len, false),
					 0);
			memset(model + offset, 0, len);
			continue;
		}
		for (uint64_t at = 0; at < len; at++)
			buf[at] = rnd(seed);
		assert_int_equal(request(block, BLOCK_WRITE, buf, offset, len,
					 kind == 1),
				 0);
		memcpy(model + offset, buf, len);
	}
	assert_disk(block, model);
}

static void judge(const uint8_t *model)
{
	disk_save("model", model, SIZE);
	must("qemu-img check " LUKS_NAMED "w.qcow2");
	must("qemu-img convert -O raw " LUKS_NAMED "w.qcow2"
	     " back");
	must("cmp model back");
}

static void what_is_written_qemu_decrypts(void **state)
{
	uint8_t *model = calloc(1, SIZE), *first = malloc(SIZE);
	uint64_t seed = 3;
	struct block *block;

	(void)state;
	assert_non_null(model);
	assert_non_null(first);
	must("cp luks.qcow2 w.qcow2");
	block = unlocked("w.qcow2");
	stream(block, &seed, model);
	assert_int_equal(block_close(block), 0);
	judge(model);
	memcpy(first, model, SIZE);
	must("qemu-img snapshot -c one " LUKS_NAMED "w.qcow2");
	block = unlocked("w.qcow2");
	stream(block, &seed, model);
	assert_int_equal(block_close(block), 0);
	judge(model);
	must("qemu-img snapshot -a one " LUKS_NAMED "w.qcow2");
	judge(first);
	free(model);
	free(first);
}

/* Whatever was written, none of it is in the file as it was. */
static void no_sector_is_written_in_clear(void **state)
{
	uint8_t secret[1024];
	struct block *block;

	(void)state;
	must("cp luks.qcow2 c.qcow2");
	for (unsigned i = 0; i < sizeof(secret); i++)
		secret[i] = "attack at dawn. "[i % 16];
	block = unlocked("c.qcow2");
	assert_int_equal(disk_write(block, secret, 4096, sizeof(secret)), 0);
	assert_int_equal(block_close(block), 0);
	assert_int_equal(sh("grep -q 'attack at dawn' c.qcow2"), 1);
}

static void the_repair_of_a_dirty_image_keeps_the_key(void **state)
{
	uint8_t buf[512];
	struct block *block;

	(void)state;
	must("cp luks.qcow2 d.qcow2");
	must("qemu-io -c 'write -P 5 64k 64k' " LUKS_NAMED "d.qcow2");
	must("printf '\\1' | dd of=d.qcow2 bs=1 seek=79 conv=notrunc");
	block = unlocked("d.qcow2");
	assert_int_equal(disk_read(block, buf, 64 << 10, 512), 0);
	assert_int_equal(buf[511], 5);
	assert_int_equal(disk_write(block, buf, 1 << 20, 512), 0);
	assert_int_equal(block_close(block), 0);
	must("qemu-io -r -c 'read -P 5 1M 512' " LUKS_NAMED "d.qcow2");
	must("qemu-img check " LUKS_NAMED "d.qcow2");
}

struct bad {
	size_t at;
	unsigned width; /* 0: the text */
	uint32_t value;
	const char *text;
	int err;
	const char *says;
};

static void a_bad_header_is_refused_with_a_reason(void **state)
{
	static const struct bad cases[] = {
		{ 0, 0, 0, "LUKX", -EINVAL, "no signature" },
		{ 6, 2, 2, "", -ENOTSUP, "version 2" },
		{ 8, 0, 0, "serpent", -ENOTSUP, "with serpent-xts" },
		{ 8, 0, 0, "aes\033[", -ENOTSUP, "with aes?[" },
		{ 40, 0, 0, "cbc-essiv:sha256", -ENOTSUP, "cbc-essiv:sha256" },
		{ 40, 0, 0, "xts-plain64x", -ENOTSUP, "xts-plain64x" },
		{ 40, 0, 0, "cbc-plain64", -ENOTSUP, "aes-cbc-plain64" },
		{ 40, 0, 0, "xts-", -ENOTSUP, "xts-" },
		{ 72, 0, 0, "md5", -ENOTSUP, "md5" },
		{ 72, 0, 0, "sha512-256", -ENOTSUP, "sha512-256" },
		{ 108, 4, 0, "", -ENOTSUP, "0 bytes" },
		{ 108, 4, 48, "", -ENOTSUP, "48 bytes" },
		{ 108, 4, 256 + 32, "", -ENOTSUP, "288 bytes" },
		{ 164, 4, 0, "", -EINVAL, "0 iterations" },
		{ 164, 4, 0xffffffff, "", -EINVAL, "iterations" },
		{ 212, 4, 0, "", -EINVAL, "key slot 0" },
		{ 212, 4, 1 << 27, "", -EINVAL, "key slot 0" },
		{ 248, 4, 0, "", -EINVAL, "key slot 0" },
		{ 248, 4, 0xffffffff, "", -EINVAL, "key slot 0" },
		{ 252, 4, 3999, "", -EINVAL, "key slot 0" },
	};
	uint8_t good[LUKS_HEADER_LEN];
	struct luks_header header;
	char why[LUKS_WHY_LEN];
	FILE *file;

	(void)state;
	file = fopen("luks.qcow2", "r");
	assert_non_null(file);
	assert_int_equal(fseek(file, 4 * 65536, SEEK_SET), 0);
	assert_int_equal(fread(good, 1, sizeof(good), file), sizeof(good));
	fclose(file);
	assert_int_equal(
		luks_header_parse(good, 2068480, &header, why, sizeof(why)), 0);
	assert_true(header.slot[0].active);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct bad *bad = &cases[i];
		uint8_t b[LUKS_HEADER_LEN];
		int err;

		memcpy(b, good, sizeof(b));
		if (bad->width == 0)
			memcpy(b + bad->at, bad->text, strlen(bad->text) + 1);
		else if (bad->width == 2)
			put_be16(b + bad->at, bad->value);
		else
			put_be32(b + bad->at, bad->value);
		err = luks_header_parse(b, 2068480, &header, why, sizeof(why));
		if (err != bad->err || !strstr(why, bad->says))
			fail_msg("case %zu: %d, %s", i, err, why);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_that_is_split_merges_to_itself),
		cmocka_unit_test(a_new_header_is_opened_by_its_passphrase),
		cmocka_unit_test(only_the_passphrase_opens_the_image),
		cmocka_unit_test(
			a_key_for_an_image_that_is_not_encrypted_is_refused),
		cmocka_unit_test(what_qemu_encrypts_is_read),
		cmocka_unit_test(what_is_written_qemu_decrypts),
		cmocka_unit_test(no_sector_is_written_in_clear),
		cmocka_unit_test(the_repair_of_a_dirty_image_keeps_the_key),
		cmocka_unit_test(a_bad_header_is_refused_with_a_reason),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, make_images, disk_folder_remove);
}
