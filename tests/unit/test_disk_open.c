/*
 * Opening a disk: what is refused, with which words; locks against QEMU's
 * tools; which backing files an image may name.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "devices/block/lock.h"
#include "disk_test.h"
#include "said.h"

/* Opens a disk that has to be refused, and looks for @says in the one line
 * that is logged. */
static void refused(const char *path, enum block_format format, int err,
		    const char *says)
{
	char line[2048];
	struct block *block;
	struct said said = said_begin();
	int got = try_open(path, format, false, &block);

	said_end(said, line, sizeof(line));
	if (got != err || !strstr(line, says) || !strstr(line, "disk ") ||
	    !strchr(line, '\n') || strchr(line, '\n')[1])
		fail_msg("%s: %d instead of %d, and not \"%s\" but: %s", path,
			 got, err, says, line);
}

static void opens(const char *path, bool read_only)
{
	struct block *block = NULL;

	assert_int_equal(try_open(path, BLOCK_QCOW2, read_only, &block), 0);
	assert_int_equal(block_close(block), 0);
}

static void what_is_no_disk_is_refused_in_one_line(void **state)
{
	(void)state;
	must("mkdir dir; mkfifo fifo; : > empty; "
	     "head -c 5000 /dev/zero > zeros; "
	     "printf 'QFI\\373' > short");
	refused("missing", BLOCK_QCOW2, -ENOENT, "No such file");
	refused("dir", BLOCK_QCOW2, -EISDIR, "a disk must be");
	refused("dir", BLOCK_RAW, -EISDIR, "a disk must be");
	refused("fifo", BLOCK_RAW, -EINVAL, "special file");
	refused("/dev/null", BLOCK_RAW, -EINVAL, "special file");
	refused("empty", BLOCK_QCOW2, -EINVAL, "format=raw");
	refused("zeros", BLOCK_QCOW2, -EINVAL, "format=raw");
	refused("short", BLOCK_QCOW2, -EINVAL, "version 0");
}

static void a_feature_that_is_not_supported_is_named(void **state)
{
	(void)state;
	must("qemu-img create -q -f qcow2 -o compression_type=zstd zstd.qcow2 "
	     "1M && "
	     "printf '\\2' | dd of=zstd.qcow2 bs=1 seek=104 conv=notrunc");
	refused("zstd.qcow2", BLOCK_QCOW2, -ENOTSUP, "compression type 2");
	must("qemu-img create -q -f qcow2 luks.qcow2 1M && "
	     "printf '\\1' | dd of=luks.qcow2 bs=1 seek=35 conv=notrunc");
	refused("luks.qcow2", BLOCK_QCOW2, -ENOTSUP, "AES");
}

static void a_data_file_is_found_by_the_rules_for_backing_files(void **state)
{
	struct block *block;

	(void)state;
	must("mkdir -p in out && cd in && qemu-img create -q -f qcow2 "
	     "-o data_file=d.raw data.qcow2 1M && "
	     "qemu-io -c 'write -P 7 0 64k' data.qcow2");
	/* Its name counts from the image's folder. */
	opens("in/data.qcow2", true);
	/* But it could be anybody's: only the user may say that it is not. */
	refused("in/data.qcow2", BLOCK_QCOW2, -EACCES,
		"its data file in/d.raw would be written to");
	disk_data_dir = "out";
	refused("in/data.qcow2", BLOCK_QCOW2, -EACCES, "would be written to");
	disk_data_dir = "in";
	opens("in/data.qcow2", false);
	block = open_disk("in/data.qcow2");
	assert_int_not_equal(sh("qemu-io -f raw -c 'write 0 512' in/d.raw"), 0);
	assert_int_equal(block_close(block), 0);
	must("mv in/d.raw out && ln -s ../out/d.raw in/d.raw");
	refused("in/data.qcow2", BLOCK_QCOW2, -EACCES,
		"its data file in/d.raw lies outside");
	must("rm in/d.raw");
	refused("in/data.qcow2", BLOCK_QCOW2, -ENOENT, "data file in/d.raw");
	must("ln in/data.qcow2 in/d.raw");
	refused("in/data.qcow2", BLOCK_QCOW2, -ELOOP, "comes back");
	must("rm in/d.raw && mkfifo in/d.raw");
	refused("in/data.qcow2", BLOCK_QCOW2, -EINVAL, "neither a regular");
	must("rm in/d.raw && qemu-img amend --image-opts -o data_file= "
	     "driver=qcow2,file.filename=in/data.qcow2,"
	     "data-file.filename=out/d.raw");
	refused("in/data.qcow2", BLOCK_QCOW2, -EINVAL, "does not name it");
	disk_data_dir = NULL;
}

static void an_entry_of_a_data_file_that_is_elsewhere_is_damage(void **state)
{
	uint8_t buf[512];
	struct block *block;

	(void)state;
	must("qemu-img create -q -f qcow2 -o data_file=e.raw e.qcow2 1M && "
	     "qemu-io -c 'write -P 7 0 192k' e.qcow2 && "
	     /* The second entry of the L2 table leads to the third cluster. */
	     "printf '\\2' | dd of=e.qcow2 bs=1 seek=$((4 * 65536 + 8 + 5)) "
	     "conv=notrunc");
	assert_int_equal(try_open("e.qcow2", BLOCK_QCOW2, true, &block), 0);
	assert_int_equal(disk_read(block, buf, 0, 512), 0);
	assert_int_equal(buf[0], 7);
	assert_int_equal(disk_read(block, buf, 65536, 512), -EIO);
	assert_int_equal(block_close(block), 0);
}

static void subclusters_below_a_sector_are_refused(void **state)
{
	(void)state;
	must("qemu-img create -q -f qcow2 -o cluster_size=8k sub.qcow2 1M && "
	     "printf '\\20' | dd of=sub.qcow2 bs=1 seek=79 conv=notrunc");
	refused("sub.qcow2", BLOCK_QCOW2, -EINVAL,
		"clusters of 8192 bytes, below 16384");
}

static void a_corrupt_image_opens_read_only(void **state)
{
	(void)state;
	must("qemu-img create -q -f qcow2 bad.qcow2 1M && "
	     "printf '\\2' | dd of=bad.qcow2 bs=1 seek=79 conv=notrunc");
	refused("bad.qcow2", BLOCK_QCOW2, -EINVAL, "corrupt");
	opens("bad.qcow2", true);
}

static void qemu_cannot_write_what_is_open_here(void **state)
{
	struct block *block;

	(void)state;
	must("qemu-img create -q -f qcow2 lock.qcow2 1M");
	block = open_disk("lock.qcow2");
	assert_int_not_equal(sh("qemu-io -c 'write 0 512' lock.qcow2"), 0);
	assert_int_not_equal(sh("qemu-io -r -c 'read 0 512' lock.qcow2"), 0);
	refused("lock.qcow2", BLOCK_QCOW2, -EBUSY, "in use");
	assert_int_equal(block_close(block), 0);
	must("qemu-io -c 'write 0 512' lock.qcow2");
	/* Readers share. */
	assert_int_equal(try_open("lock.qcow2", BLOCK_QCOW2, true, &block), 0);
	must("qemu-io -r -c 'read 0 512' lock.qcow2");
	assert_int_not_equal(sh("qemu-io -c 'write 0 512' lock.qcow2"), 0);
	opens("lock.qcow2", true);
	refused("lock.qcow2", BLOCK_QCOW2, -EBUSY, "in use");
	assert_int_equal(block_close(block), 0);
}

/* Runs qemu-io, with held.qcow2 open, until its input ends. */
static FILE *hold(const char *how)
{
	char command[160];
	FILE *file;

	snprintf(command, sizeof(command), "qemu-io %s held.qcow2 >held 2>&1",
		 how);
	file = popen(command, "w");
	assert_non_null(file);
	for (int i = 0, err = 0; i < 2000 && err != -EBUSY; i++) {
		int fd = open("held.qcow2", O_RDWR);

		usleep(5000);
		err = image_lock(fd, true);
		close(fd);
	}
	return file;
}

static void what_qemu_has_open_cannot_be_written_here(void **state)
{
	FILE *other;

	(void)state;
	must("qemu-img create -q -f qcow2 held.qcow2 1M");
	other = hold("");
	refused("held.qcow2", BLOCK_QCOW2, -EBUSY, "in use");
	assert_int_equal(pclose(other), 0);
	other = hold("-r");
	refused("held.qcow2", BLOCK_QCOW2, -EBUSY, "in use");
	opens("held.qcow2", true);
	assert_int_equal(pclose(other), 0);
	opens("held.qcow2", false);
}

static void whoever_looks_without_a_lock_writes_with_one(void **state)
{
	struct block_options options = { .path = "held.qcow2",
					 .unlocked = true,
					 .backing_dir = "." };
	struct block *block;
	FILE *other;

	(void)state;
	must("rm -f held.qcow2; "
	     "qemu-img create -q -f qcow2 -o data_file=h.raw held.qcow2 1M");
	other = hold("");
	assert_int_equal(block_open(&options, &block), -EBUSY);
	options.read_only = true;
	assert_int_equal(block_open(&options, &block), 0);
	assert_int_equal(block_close(block), 0);
	assert_int_equal(pclose(other), 0);
	options.read_only = false;
	assert_int_equal(block_open(&options, &block), 0);
	assert_int_not_equal(sh("qemu-io -c 'write 0 512' held.qcow2"), 0);
	assert_int_not_equal(sh("qemu-io -f raw -c 'write 0 512' h.raw"), 0);
	assert_int_equal(block_close(block), 0);
}

static void a_backing_file_is_locked_for_reading(void **state)
{
	struct block *block, *second;

	(void)state;
	must("qemu-img create -q -f qcow2 base.qcow2 1M; for i in 1 2; do "
	     "qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 t$i.qcow2; "
	     "done");
	block = open_disk("t1.qcow2");
	assert_int_not_equal(sh("qemu-io -c 'write 0 512' base.qcow2"), 0);
	refused("base.qcow2", BLOCK_QCOW2, -EBUSY, "in use");
	second = open_disk("t2.qcow2");
	assert_int_equal(block_close(second), 0);
	assert_int_equal(block_close(block), 0);
	must("qemu-io -c 'write 0 512' base.qcow2");
}

/* Makes in/top.qcow2 with any backing file and format in its header. QEMU's
 * tools insist on a format: where none is wanted, the extension that says it,
 * the first after the header of 112 bytes, becomes an unknown one. */
static void name_backing(const char *name, const char *format)
{
	must("mkdir -p in; qemu-img create -q -f qcow2 in/top.qcow2 1M && "
	     "qemu-img rebase -u -F %s -b '%s' in/top.qcow2",
	     *format ? format : "raw", name);
	if (!*format)
		must("printf '\\1\\2\\3\\4' | "
		     "dd of=in/top.qcow2 bs=1 seek=112 conv=notrunc");
}

static void a_backing_file_outside_the_folder_needs_permission(void **state)
{
	struct block_options options = { .path = "in/top.qcow2" };
	struct block *block;
	char cwd[200], outside[256];

	(void)state;
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	must("rm -rf in; mkdir -p in/sub far; truncate -s 1M far/b.raw "
	     "in/sub/b.raw in/b.raw; ln -s ../far/b.raw in/link.raw; "
	     "ln -s sub/b.raw in/good.raw");
	name_backing("b.raw", "raw");
	opens("in/top.qcow2", false);
	name_backing("sub/b.raw", "raw");
	opens("in/top.qcow2", false);
	name_backing("good.raw", "raw");
	opens("in/top.qcow2", false);
	name_backing("../far/b.raw", "raw");
	refused("in/top.qcow2", BLOCK_QCOW2, -EACCES, "backing-dir");
	name_backing("link.raw", "raw");
	refused("in/top.qcow2", BLOCK_QCOW2, -EACCES, "backing-dir");
	name_backing("/etc/passwd", "raw");
	refused("in/top.qcow2", BLOCK_QCOW2, -EACCES, "backing-dir");
	snprintf(outside, sizeof(outside), "%s/in-not/b.raw", cwd);
	must("mkdir in-not; truncate -s 1M in-not/b.raw");
	name_backing(outside, "raw");
	refused("in/top.qcow2", BLOCK_QCOW2, -EACCES, "backing-dir");
	options.backing_dir = "in-not";
	assert_int_equal(block_open(&options, &block), 0);
	assert_int_equal(block_close(block), 0);
}

/* Its folder would be /dev, with every disk of the host in it. */
static void an_image_on_a_device_has_no_folder_of_its_own(void **state)
{
	struct block_options options = { .path = NULL };
	struct block *block = NULL;
	char device[64] = "";
	int without, with;
	FILE *file;

	(void)state;
	/* The test's own folder is below /dev as a rule. */
	if (sh("test $(id -u) = 0 && pwd | grep -q ^/dev/shm/"))
		skip();
	must("truncate -s 1M b.raw; "
	     "qemu-img create -q -f qcow2 -F raw -b $PWD/b.raw lo.qcow2; "
	     "truncate -s 2M lo.qcow2; "
	     "losetup -f --show lo.qcow2 > device ||:");
	file = fopen("device", "r");
	if (!file || fscanf(file, "%63s", device) != 1)
		skip();
	fclose(file);
	options.path = device;
	without = block_open(&options, &block);
	if (!without)
		block_close(block);
	options.backing_dir = "/dev/shm";
	with = block_open(&options, &block);
	if (!with)
		block_close(block);
	must("losetup -d %s", device);
	assert_int_equal(without, -EACCES);
	assert_int_equal(with, 0);
}

static void a_backing_file_is_a_plain_local_file_of_a_stated_format(void **s)
{
	(void)s;
	must("mkdir -p in/dir; truncate -s 1M in/b.raw; mkfifo in/fifo");
	name_backing("nbd://127.0.0.1:1/x", "raw");
	refused("in/top.qcow2", BLOCK_QCOW2, -EINVAL, "only a local file");
	name_backing("json:{\"driver\":\"null-co\"}", "raw");
	refused("in/top.qcow2", BLOCK_QCOW2, -EINVAL, "only a local file");
	name_backing("fat:rw:dir", "raw");
	refused("in/top.qcow2", BLOCK_QCOW2, -EINVAL, "only a local file");
	name_backing("missing.raw", "raw");
	refused("in/top.qcow2", BLOCK_QCOW2, -ENOENT, "missing.raw");
	name_backing("dir", "raw");
	refused("in/top.qcow2", BLOCK_QCOW2, -EINVAL, "regular file");
	name_backing("fifo", "raw");
	refused("in/top.qcow2", BLOCK_QCOW2, -EINVAL, "regular file");
	name_backing("b.raw", "vmdk");
	refused("in/top.qcow2", BLOCK_QCOW2, -EINVAL, "vmdk");
	name_backing("b.raw", "");
	refused("in/top.qcow2", BLOCK_QCOW2, -EINVAL, "rebase -u -F");
	name_backing("b.raw", "qcow2");
	refused("in/top.qcow2", BLOCK_QCOW2, -EINVAL, "not a qcow2 image");
}

static void a_chain_that_comes_back_to_itself_is_refused(void **state)
{
	(void)state;
	name_backing("top.qcow2", "qcow2");
	refused("in/top.qcow2", BLOCK_QCOW2, -ELOOP, "comes back");
	must("qemu-img create -q -f qcow2 in/a.qcow2 1M; ln in/top.qcow2 "
	     "in/other.qcow2; "
	     "qemu-img rebase -u -F qcow2 -b other.qcow2 in/a.qcow2; "
	     "qemu-img rebase -u -F qcow2 -b a.qcow2 in/top.qcow2");
	refused("in/top.qcow2", BLOCK_QCOW2, -ELOOP, "comes back");
}

static void a_deep_chain_is_read_to_its_end(void **state)
{
	struct block *block;
	uint8_t buf[1024];

	(void)state;
	must("qemu-img create -q -f qcow2 c0.qcow2 1M; "
	     "qemu-io -c 'write -P 5 0 64k' c0.qcow2; for i in $(seq 1 40); do "
	     "qemu-img create -q -u -f qcow2 -b c$((i-1)).qcow2 -F qcow2 "
	     "c$i.qcow2 1M; done");
	block = open_disk("c40.qcow2");
	assert_int_equal(disk_read(block, buf, 512, 1024), 0);
	assert_int_equal(buf[0], 5);
	assert_int_equal(buf[1023], 5);
	assert_int_equal(block_close(block), 0);
}

static void a_chain_without_end_is_refused(void **state)
{
	(void)state;
	/* 201 images, each a copy with another number in its backing name. */
	must("qemu-img create -q -u -f qcow2 -b n000 -F qcow2 t.qcow2 1M; "
	     "for i in $(seq 100 301); do "
	     "LC_ALL=C sed \"s/n000/n$((i+1))/\" t.qcow2 > n$i; done");
	refused("n100", BLOCK_QCOW2, -ELOOP, "more than 200");
}

static void a_raw_disk_is_its_files_bytes(void **state)
{
	struct block *block;
	uint8_t buf[1024], zeros[512] = { 0 };

	(void)state;
	must("head -c 700 /dev/zero | tr '\\0' x > odd.raw");
	assert_int_equal(try_open("odd.raw", BLOCK_RAW, false, &block), 0);
	assert_int_equal(block->size, 1024);
	assert_int_equal(disk_read(block, buf, 0, 1024), 0);
	assert_int_equal(buf[699], 'x');
	assert_memory_equal(buf + 700, zeros, 324);
	memset(buf, 'y', 1024);
	assert_int_equal(disk_write(block, buf, 512, 512), 0);
	assert_int_equal(request(block, BLOCK_ZERO, NULL, 0, 512, false), 0);
	assert_int_equal(disk_flush(block), 0);
	assert_int_equal(disk_read(block, buf, 0, 1024), 0);
	assert_memory_equal(buf, zeros, 512);
	assert_int_equal(buf[1023], 'y');
	assert_int_equal(block_close(block), 0);
	must("test $(stat -c %%s odd.raw) = 1024");
}

/* A disk that grew to this under its guest must open again. */
static void the_largest_file_is_a_disk(void **state)
{
	uint64_t largest = INT64_MAX - 511;
	struct block *block;

	(void)state;
	must("truncate -s 1M huge.raw");
	assert_int_equal(try_open("huge.raw", BLOCK_RAW, false, &block), 0);
	if (block->ops->resize(block, largest) == -EFBIG)
		largest = block->size; /* the file system ends before that */
	assert_int_equal(block->ops->refresh(block), 0);
	assert_int_equal(block->size, largest);
	assert_int_equal(block_close(block), 0);
	assert_int_equal(try_open("huge.raw", BLOCK_RAW, true, &block), 0);
	assert_int_equal(block->size, largest);
	assert_int_equal(block_close(block), 0);
	must("rm huge.raw");
}

static void a_request_outside_the_rules_is_refused(void **state)
{
	struct block *block;
	uint8_t buf[1024];

	(void)state;
	must("qemu-img create -q -f qcow2 small.qcow2 4k");
	block = open_disk("small.qcow2");
	assert_int_equal(disk_read(block, buf, 4096, 512), -EINVAL);
	assert_int_equal(disk_read(block, buf, 3584, 1024), -EINVAL);
	assert_int_equal(disk_read(block, buf, 100, 512), -EINVAL);
	assert_int_equal(disk_read(block, buf, 0, 100), -EINVAL);
	assert_int_equal(disk_write(block, buf, UINT64_MAX - 511, 512),
			 -EINVAL);
	assert_int_equal(disk_read(block, buf, 4096, 0), 0);
	assert_int_equal(block_close(block), 0);
	assert_int_equal(try_open("small.qcow2", BLOCK_QCOW2, true, &block), 0);
	assert_int_equal(disk_write(block, buf, 0, 512), -EROFS);
	assert_int_equal(request(block, BLOCK_DISCARD, NULL, 0, 512, false),
			 -EROFS);
	assert_int_equal(disk_flush(block), 0);
	assert_int_equal(block_close(block), 0);
}

#define T(test) cmocka_unit_test(test)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(what_is_no_disk_is_refused_in_one_line),
		T(a_feature_that_is_not_supported_is_named),
		T(a_data_file_is_found_by_the_rules_for_backing_files),
		T(an_entry_of_a_data_file_that_is_elsewhere_is_damage),
		T(subclusters_below_a_sector_are_refused),
		T(a_corrupt_image_opens_read_only),
		T(qemu_cannot_write_what_is_open_here),
		T(what_qemu_has_open_cannot_be_written_here),
		T(whoever_looks_without_a_lock_writes_with_one),
		T(a_backing_file_is_locked_for_reading),
		T(a_backing_file_outside_the_folder_needs_permission),
		T(an_image_on_a_device_has_no_folder_of_its_own),
		T(a_backing_file_is_a_plain_local_file_of_a_stated_format),
		T(a_chain_that_comes_back_to_itself_is_refused),
		T(a_deep_chain_is_read_to_its_end),
		T(a_chain_without_end_is_refused),
		T(a_raw_disk_is_its_files_bytes),
		T(the_largest_file_is_a_disk),
		T(a_request_outside_the_rules_is_refused),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, disk_folder_make,
				      disk_folder_remove);
}
