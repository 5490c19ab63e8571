/*
 * What the subcommands of `kvist img` share. They take the command lines of
 * qemu-img 7.2, print what it prints and end with its exit codes: 1 for any
 * error that has no code of its own. Main thread.
 */
#ifndef KVIST_CLI_IMG_H
#define KVIST_CLI_IMG_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/block/block.h"
#include "devices/block/host_file.h"

#define IMG_ERROR 1

/* Each gets its own name as argv[0], and returns the exit code. */
int img_bench(int argc, char **argv);
int img_check(int argc, char **argv);
int img_compare(int argc, char **argv);
int img_convert(int argc, char **argv);
int img_create(int argc, char **argv);
int img_info(int argc, char **argv);
int img_map(int argc, char **argv);
int img_amend(int argc, char **argv);
int img_commit(int argc, char **argv);
int img_measure(int argc, char **argv);
int img_rebase(int argc, char **argv);
int img_resize(int argc, char **argv);
int img_snapshot(int argc, char **argv);

#define IMG_SECRETS 8

/* What every command takes: --object, which gives secrets, and --image-opts.
 * Does not move while they are used. */
struct img_common {
	struct img_secret {
		const char *id, *file;
		char path[32]; /* of one in memory: /proc/self/fd/N */
	} secrets[IMG_SECRETS];
	int nr_secrets;
	bool image_opts;
	bool writes; /* to the image: set before img_source() */
};

/*
 * The next option of getopt_long(), which takes them in any order, joined and
 * shortened, as qemu-img does; -1 at the end. One that is unknown or lacks its
 * value is logged, and '?' returned; so is what is wrong with a common one.
 * @letters begins with ':'; --help ('h'), --force-share ('U', where that is a
 * letter) and the common ones are not among @names, of which there may be 11.
 */
int img_option(int argc, char **argv, const char *letters,
	       const struct option *names, struct img_common *common);

/* img_source.c: takes what stands behind --object, which is cut up in place. 0,
 * or -EINVAL, logged. */
int img_add_secret(struct img_common *common, char *list);
/* The file with the secret called @id, for @image, borrowed; NULL, logged. */
const char *img_secret(const struct img_common *common, const char *image,
		       const char *id);

/* The path that a name stands for, which may begin with "file:"; borrowed. NULL
 * for other protocols, logged. */
const char *img_path(const char *name);

/*
 * The image that an argument names, by its path, by json:{...}, or with
 * --image-opts by a list, both of which are cut up in place: sets of *options
 * what is said there, and *format, if it is NULL because -f was not given. 0,
 * or -EINVAL, logged.
 */
int img_source(const struct img_common *common, char *text,
	       struct block_options *options, const char **format);
/* img_opts.c: the same for a list, or for JSON. */
int img_list(const struct img_common *common, char *list,
	     struct block_options *options, const char **format);
int img_json(const struct img_common *common, char *json,
	     struct block_options *options, const char **format);
/* Whether that option may be given for an image that is open: it changes no
 * result. */
bool img_may_change(const char *name, const char *value);

/* Logs what is wrong with the command line. Always IMG_ERROR. */
int img_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "1.5G" as bytes: suffixes b K M G T P E, powers of 1024; or "0x200". 0,
 * -EINVAL, or -ERANGE above INT64_MAX; nothing is logged. */
int img_parse_size(const char *text, uint64_t *size);

/* The same of @what, which is at most @max. 0 or -EINVAL, logged. */
int img_take_size(const char *text, const char *what, uint64_t max,
		  uint64_t *size);

/* The format called @name, or -EINVAL and a line that names @path. */
int img_format(const char *path, const char *name, enum block_format *format);

/* Sets options->format: the format called @name, or for NULL what the file at
 * options->path looks like. Takes no lock; block_open() does. */
int img_find_format(struct block_options *options, const char *name);

/* Opens what img_source() found: 0 or -errno, logged. */
int img_open(struct block_options *options, const char *format,
	     struct block **disk);

/* Advice if somebody else writes to the image (to read it), or uses it. */
static inline const char *img_if_busy(bool read_only)
{
	return read_only ? "look at it as it is with -U" : "wait for it";
}

/* img_resize.c: whether the space that a disk grows by is allocated at once,
 * and how. */
struct img_growth {
	bool placed;
	enum block_space space;
};

/* off, metadata, falloc or full: 0, or -EINVAL, logged. */
int img_parse_growth(const char *text, struct img_growth *growth);

/* Gives a disk another size, a multiple of BLOCK_SECTOR: 0 or -errno, logged.
 */
int img_set_size(struct block *disk, uint64_t size,
		 const struct img_growth *growth);

/* --output=human|json. 0, or -EINVAL, logged. */
int img_output(const char *text, bool *json);

/* True for a cache mode of QEMU's tools; else false, after a message. */
bool img_cache_known(const char *mode);

/* The disk becomes what it was in a snapshot of the image at @path: @text,
 * which is cut up, is its ID or name, or snapshot.id=ID,snapshot.name=NAME with
 * one of them or both. 0 or -errno, logged. */
int img_snapshot_view(struct block *block, const char *path, char *text);

/* How far it is, in percent, on a line that the next one replaces. */
void img_progress(double percent);

/* The list of an image's snapshots, if it has any. */
struct image_info;
void img_print_snapshots(const struct image_info *info);

/* What only its format knows: "Format specific information". */
void img_print_specific(const struct image_info *info);

/* img_luks.c: how an image is encrypted. */
struct luks_header;
struct json;
void img_print_luks(const struct luks_header *luks);
void img_json_luks(struct json *json, const struct luks_header *luks);

/* img_bitmaps.c: the bitmaps of a disk, which go with a copy of it. Checks that
 * those of @from can be copied (inconsistent ones are skipped or an error);
 * that @to can have bitmaps of a disk of @size bytes; and copies them. 0 or
 * -errno, logged. */
int img_check_bitmaps(struct block *from, bool skip_broken);
int img_take_bitmaps(struct block *to, uint64_t size);
int img_copy_bitmaps(struct block *from, struct block *to);
/* How much room they take in clusters of that size, inconsistent ones too: 0 or
 * -errno, logged. */
int img_measure_bitmaps(struct block *from, uint64_t cluster_size,
			uint64_t *bytes);

/* -T [enable=]PATTERN,events=FILE,file=FILE: is checked and has no effect, as
 * there is nothing to be traced. 0, or -EINVAL, logged. */
int img_trace(char *list);

/* Prints the help; always 0. */
int img_help(void);

/* True when both names lead to one file. */
bool img_same_file(const char *a, const char *b);

/*
 * Opens and locks an image that exists, as a reader or a writer, or with
 * @share under no lock. 0 or -errno, logged.
 */
int img_open_file(const char *path, bool writer, bool share,
		  struct host_file **file);

/* Locks what was opened as @path, a regular file or block device. 0 or
 * -errno, logged. */
int img_lock(const char *path, int fd, bool writer);

#endif
