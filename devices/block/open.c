/*
 * block_open(): from a path to a stack of layers.
 *
 * The image the user names may be any regular file or block device. What an
 * image names as its backing file is hostile input: a local path, opened
 * read-only, only below the image's own folder or the one the user allowed,
 * of a stated format, no file twice, and no deeper than CHAIN_MAX.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/allowed.h"
#include "devices/block/engine.h"
#include "devices/block/layers.h"
#include "devices/block/lock.h"
#include "util/checked.h"
#include "util/log.h"

/* Each layer costs a descriptor and, in a read that falls through all of
 * them, about 2 KiB of stack. */
#define CHAIN_MAX 200

struct chain {
	const struct block_options *options;
	struct engine *engine; /* or NULL */
	/* The identities of the layers opened so far, outermost first. */
	struct {
		dev_t dev;
		ino_t ino;
	} seen[CHAIN_MAX];
	int depth;
	int top;        /* the depth of the image that the user named */
	bool looking;   /* nothing will be read: see block_look_below() */
	unsigned disks; /* files of the chain, without data files */
};

static int open_layer(struct chain *chain, struct host_file *file,
		      const char *path, enum block_format format,
		      bool read_only, struct block **block);

/* True when the image that the user named is a block device. */
static bool is_on_device(const struct chain *chain)
{
	return chain->depth && !chain->seen[0].dev;
}

/* Refuses what is no disk, and a file that the chain holds already. */
static int chain_enter(struct chain *chain, const char *path, int fd)
{
	struct stat st;
	bool device;

	if (fstat(fd, &st)) {
		log_err("disk %s: %s", path, strerror(errno));
		return -errno;
	}
	device = S_ISBLK(st.st_mode);
	if (!device && !S_ISREG(st.st_mode)) {
		log_err("disk %s: is %s; a disk must be a regular file or a "
			"block device",
			path,
			S_ISDIR(st.st_mode) ? "a directory" : "a special file");
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	}
	if (chain->depth == CHAIN_MAX) {
		log_err("disk %s: more than %d backing files below each other; "
			"flatten the chain with kvist img convert",
			chain->options->path, CHAIN_MAX);
		return -ELOOP;
	}
	for (int i = 0; i < chain->depth; i++) {
		if (chain->seen[i].dev == (device ? 0 : st.st_dev) &&
		    chain->seen[i].ino == (device ? st.st_rdev : st.st_ino)) {
			log_err("disk %s: the chain of backing files comes "
				"back to %s; set another one with kvist img "
				"rebase -u",
				chain->options->path, path);
			return -ELOOP;
		}
	}
	chain->seen[chain->depth].dev = device ? 0 : st.st_dev;
	chain->seen[chain->depth].ino = device ? st.st_rdev : st.st_ino;
	chain->depth++;
	return 0;
}

/* Nobody writes without a lock, whatever the options say. */
static int lock_layer(const struct block_options *options, const char *path,
		      int fd, bool read_only)
{
	int err = options->unlocked && read_only ? 0
						 : image_lock(fd, !read_only);

	if (err == -EOPNOTSUPP) {
		log_warn("disk %s: its file system has no locks; make sure "
			 "that nobody else uses the image",
			 path);
		return 0;
	}
	if (err == -EBUSY)
		log_err("disk %s: the image is in use%s; end the other user "
			"(a guest or qemu-img), or %s",
			path, read_only ? " for writing" : "",
			options->if_busy ? options->if_busy
			: read_only      ? "wait for it"
					 : "share it read-only with ,readonly");
	else if (err)
		log_err("disk %s: cannot lock the image: %s", path,
			strerror(-err));
	return err;
}

/* Backing files go through the page cache, which their users share. */
static struct host_file *make_file(const struct chain *chain, int fd,
				   const char *path, bool top)
{
	enum block_cache cache = chain->options->cache;
	struct host_file_how how = {
		.engine = chain->engine,
		.direct = cache == BLOCK_CACHE_NONE && top,
		.unsafe = cache == BLOCK_CACHE_UNSAFE,
	};
	bool direct;
	struct host_file *file = host_file_create_how(fd, &how, &direct);

	if (!file)
		log_err("disk %s: out of memory", path);
	else if (how.direct && !direct)
		log_warn("disk %s: its file system cannot go past the page "
			 "cache in units of a sector (O_DIRECT): cache=none is "
			 "cache=writeback here",
			 path);
	return file;
}

/* Enters, locks and opens a descriptor as a layer; owns @fd in every case. */
static int open_fd(struct chain *chain, int fd, const char *path,
		   enum block_format format, bool read_only,
		   struct block **block)
{
	struct host_file *file = NULL;
	int err = chain_enter(chain, path, fd);

	if (!err)
		err = lock_layer(chain->options, path, fd, read_only);
	if (err) {
		close(fd);
		return err;
	}
	file = make_file(chain, fd, path, chain->depth == 1);
	if (!file) {
		close(fd);
		return -ENOMEM;
	}
	err = open_layer(chain, file, path, format, read_only, block);
	if (err)
		file->ops->close(file);
	return err;
}

/* "nbd:...", "json:{...}", "https://...": QEMU's rule is a colon before the
 * first slash. */
static bool names_protocol(const char *name)
{
	size_t plain = strcspn(name, ":/");

	return name[plain] == ':';
}

/* Refuses such a name where the image says it, of its @what. */
static int check_name(const char *image, const char *what, const char *name)
{
	if (!names_protocol(name))
		return 0;
	log_err("disk %s: its %s is \"%.60s\": only a local file can be one; "
		"put ./ before a name with a colon",
		image, what, name);
	return -EINVAL;
}

static int backing_format(const char *path, const char *name,
			  const char *format, enum block_format *out)
{
	if (!strcmp(format, "qcow2")) {
		*out = BLOCK_QCOW2;
		return 0;
	}
	if (!strcmp(format, "raw")) {
		*out = BLOCK_RAW;
		return 0;
	}
	if (*format)
		log_err("disk %s: its backing file %s has the format %.20s, "
			"which is not supported; convert it with qemu-img "
			"convert -O qcow2",
			path, name, format);
	else
		log_err("disk %s: it does not say which format its backing "
			"file has; say so with: kvist img rebase -u -F qcow2 "
			"-b %s %s (or -F raw)",
			path, name, path);
	return -EINVAL;
}

/* *@backing stays NULL where there is none, and on an error. */
static int open_backing(struct chain *chain, const char *image,
			struct block *block, struct block **backing)
{
	bool write = chain->disks == chain->options->writable_below;
	struct block_options options = *chain->options;
	unsigned level = chain->disks - 1;
	struct block_below said = { 0 };
	const char *name = qcow2_backing_name(block);
	const char *format_name = qcow2_backing_format(block);
	enum block_format format = BLOCK_RAW;
	char *path;
	int fd, err;

	if (level < BLOCK_BELOW)
		said = options.below[level];
	if (said.format)
		format_name = said.format;
	if (said.path) {
		name = said.path;
		options.backing_dir = "/"; /* it is the user's word */
	}
	if (!name || !*name || (chain->looking && names_protocol(name)))
		return 0;
	if (!said.path && check_name(image, "backing file", name))
		return -EINVAL;
	/* A file of an unknown format can still be looked for. */
	if (!chain->looking || !strcmp(format_name, "qcow2")) {
		err = backing_format(image, name, format_name, &format);
		if (err)
			return err;
	}
	path = said.path ? strdup(name) : image_beside(image, name);
	if (!path) {
		log_err("disk %s: out of memory", image);
		return -ENOMEM;
	}
	/* It is written to only when the user commits to it. */
	fd = image_open_allowed(&options, is_on_device(chain), path,
				"backing file", write ? O_RDWR : O_RDONLY,
				true);
	err = fd < 0 ? fd : open_fd(chain, fd, path, format, !write, backing);
	if (err)
		*backing = NULL;
	free(path);
	return err;
}

/* Enters and locks a descriptor, which it owns in every case, as an external
 * data file. */
static int open_data_fd(struct chain *chain, int fd, const char *path,
			bool read_only, struct host_file **file)
{
	int err = chain_enter(chain, path, fd);

	if (!err)
		err = lock_layer(chain->options, path, fd, read_only);
	if (!err) {
		/* The image that names it was entered before it. */
		*file = make_file(chain, fd, path, chain->depth == 2);
		if (*file)
			return 0;
		err = -ENOMEM;
	}
	close(fd);
	return err;
}

/* The external data file, by the rules for backing files, and a stricter one
 * where it is written to. *@file stays NULL where there is none. */
static int open_data(struct chain *chain, const char *image, bool read_only,
		     struct block *block, struct host_file **file)
{
	struct block_options options = *chain->options;
	const char *name = qcow2_data_name(block);
	const char *said = chain->disks == 1 ? options.data_path : NULL;
	char *path;
	int fd;

	if (said && !name) {
		log_err("disk %s: has no external data file", image);
		return -EINVAL;
	}
	if (!name || (chain->looking && !*name))
		return 0;
	if (said) {
		options.backing_dir = "/"; /* it is the user's word */
	} else if (!*name) {
		log_err("disk %s: it keeps its data in an external data file "
			"but does not name it; name it: kvist img amend "
			"--image-opts -o data_file=FILE driver=qcow2,"
			"file.filename=%s,data-file.filename=FILE",
			image, image);
		return -EINVAL;
	} else if (check_name(image, "data file", name)) {
		return -EINVAL;
	}
	path = said ? strdup(said) : image_beside(image, name);
	if (!path) {
		log_err("disk %s: out of memory", image);
		return -ENOMEM;
	}
	fd = image_open_allowed(&options, is_on_device(chain), path,
				"data file", read_only ? O_RDONLY : O_RDWR,
				read_only || options.data_is_ours);
	block->data_name = path;
	return fd < 0 ? fd : open_data_fd(chain, fd, path, read_only, file);
}

/* A user who names a key believes that the disk is encrypted. */
static int not_encrypted(const char *path)
{
	log_err("disk %s: is not an encrypted qcow2 image, but key-file= was "
		"given; leave that out, or encrypt the image: kvist img "
		"convert -O qcow2 -o key-file=FILE",
		path);
	return -EINVAL;
}

static int open_layer(struct chain *chain, struct host_file *file,
		      const char *path, enum block_format format,
		      bool read_only, struct block **block)
{
	const char *key_file = chain->options->key_file;
	bool top = chain->depth == chain->top;
	struct block *backing = NULL;
	struct host_file *data = NULL;
	int err;

	chain->disks++;
	if (format == BLOCK_RAW)
		return top && key_file
			       ? not_encrypted(path)
			       : raw_open(file, path, read_only,
					  top ? &chain->options->slice : NULL,
					  block);
	err = qcow2_open(file, path, read_only, block);
	if (err)
		return err;
	if (qcow2_is_encrypted(*block) && !chain->looking)
		err = qcow2_unlock(*block, key_file);
	else if (top && key_file)
		err = not_encrypted(path);
	if (!err && top && chain->options->l2_cache)
		err = qcow2_set_l2_cache(*block, chain->options->l2_cache);
	if (!err)
		err = open_data(chain, path, read_only, *block, &data);
	qcow2_set_data(*block, data);
	if (!err && !chain->options->no_backing)
		err = open_backing(chain, path, *block, &backing);
	qcow2_set_backing(*block, backing);
	if (err)
		qcow2_abandon(*block);
	return err;
}

int block_look_below(struct block *block, bool unlocked)
{
	/* Whatever they are, only their headers are read. */
	struct block_options options = { .path = block->name,
					 .unlocked = unlocked,
					 .backing_dir = "/" };
	struct chain *chain = calloc(1, sizeof(*chain));
	struct block *backing = NULL;
	struct host_file *data = NULL;
	int err;

	if (!chain) {
		log_err("disk %s: out of memory", options.path);
		return -ENOMEM;
	}
	chain->options = &options;
	chain->disks = 1; /* the image itself */
	chain->looking = true;
	err = open_data(chain, options.path, true, block, &data);
	if (!err)
		err = open_backing(chain, options.path, block, &backing);
	if (backing)
		block_close(backing);
	if (data)
		data->ops->close(data);
	free(chain);
	return err;
}

int block_open_file(const struct block_options *options, struct host_file *file,
		    struct block **block)
{
	struct chain *chain = calloc(1, sizeof(*chain));
	int err;

	if (!chain) {
		log_err("disk %s: out of memory", options->path);
		return -ENOMEM;
	}
	chain->options = options;
	err = open_layer(chain, file, options->path, options->format,
			 options->read_only, block);
	free(chain);
	return err;
}

static int make_engine(const struct block_options *options,
		       struct engine **engine)
{
	enum block_io io = options->io;
	int err = engine_create(&io, engine);

	if (err)
		log_err("disk %s: cannot set up its I/O: %s", options->path,
			strerror(-err));
	else if (options->io == BLOCK_IO_URING && io != BLOCK_IO_URING)
		log_warn("disk %s: the host does not allow io_uring (see "
			 "sysctl kernel.io_uring_disabled); threads do the I/O",
			 options->path);
	return err;
}

static const char *advice(int err)
{
	switch (err) {
	case -EISDIR:
		return "; a disk must be a regular file or a block device";
	case -EACCES:
	case -EROFS:
	case -EPERM:
		return "; to use it without writing say ,readonly";
	case -ENOENT:
		return "; check the path, or make it with kvist img create";
	}
	return "";
}

int block_open(const struct block_options *options, struct block **block)
{
	int mode = options->read_only ? O_RDONLY : O_RDWR;
	/* O_NONBLOCK: a FIFO is refused below, not waited for. */
	int fd = open(options->path, mode | O_CLOEXEC | O_NONBLOCK);
	struct chain *chain;
	int err;

	if (fd < 0) {
		err = -errno;
		log_err("disk %s: %s%s", options->path, strerror(-err),
			advice(err));
		return err;
	}
	chain = calloc(1, sizeof(*chain));
	if (!chain) {
		close(fd);
		log_err("disk %s: out of memory", options->path);
		return -ENOMEM;
	}
	chain->options = options;
	chain->top = 1;
	err = make_engine(options, &chain->engine);
	if (err)
		close(fd);
	else
		err = open_fd(chain, fd, options->path, options->format,
			      options->read_only, block);
	engine_put(chain->engine);
	free(chain);
	return err;
}
