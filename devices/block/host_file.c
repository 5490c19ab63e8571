#include "devices/block/host_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/engine.h"
#include "util/checked.h"
#include "util/clock.h"
#include "util/iov.h"

/* Aligned for the host when it goes past its page cache: a disk's sector, and
 * what any kernel takes as a buffer. */
#define DIRECT_ALIGN  512
#define DIRECT_BUFFER 4096
/* Requests this large are not worth an aligned copy: the page cache, then. */
#define BOUNCE_MAX    (64u << 20)

/* Writes of at most AT_ONCE_MAX bytes to the page cache are done at once. That
 * is less work than to use the engine: on many file systems even io_uring wakes
 * a thread for them. A write that took AT_ONCE_NS had to wait, for a page to be
 * read or others to be written back: for SLOW_NS the engine does them. */
#define AT_ONCE_MAX (64u << 10)
#define AT_ONCE_NS  500000
#define SLOW_NS     100000000

/* In .bss: among the constants its zeros would take room in the program. */
const uint8_t host_zeros[HOST_ZEROS_LEN]
	__attribute__((aligned(HOST_ZEROS_LEN), section(".bss.host_zeros")));

struct plain_file {
	struct host_file file;
	int fd;
	int direct_fd; /* the same with O_DIRECT, or -1 */
	struct engine *engine;
	bool unsafe;
	uint64_t slow_until; /* writes are slow; CLOCK_MONOTONIC, in ns */
};

static struct plain_file *to_plain(struct host_file *file)
{
	return container_of(file, struct plain_file, file);
}

static int plain_fd(struct host_file *file)
{
	return to_plain(file)->fd;
}

static bool aligned(const struct iovec *iov, int iovcnt, uint64_t offset)
{
	uint64_t bits = offset;

	for (int i = 0; i < iovcnt; i++)
		bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
	return bits % DIRECT_ALIGN == 0;
}

/* What is not aligned goes through the page cache here. The kernel keeps that
 * consistent with direct I/O if one follows the other. At the same time, as by
 * plain_submit(), the two touch different pages. */
static int sync_fd(struct host_file *file, const struct iovec *iov, int iovcnt,
		   uint64_t offset)
{
	const struct plain_file *plain = to_plain(file);

	return plain->direct_fd >= 0 && aligned(iov, iovcnt, offset)
		       ? plain->direct_fd
		       : plain->fd;
}

static ssize_t plain_preadv(struct host_file *file, const struct iovec *iov,
			    int iovcnt, uint64_t offset)
{
	ssize_t n =
		preadv(sync_fd(file, iov, iovcnt, offset), iov, iovcnt, offset);

	return n < 0 ? -errno : n;
}

static ssize_t plain_pwritev(struct host_file *file, const struct iovec *iov,
			     int iovcnt, uint64_t offset)
{
	ssize_t n = pwritev(sync_fd(file, iov, iovcnt, offset), iov, iovcnt,
			    offset);

	return n < 0 ? -errno : n;
}

static int plain_sync(struct host_file *file)
{
	if (to_plain(file)->unsafe)
		return 0;
	return fdatasync(plain_fd(file)) ? -errno : 0;
}

static int plain_punch(struct host_file *file, uint64_t offset, uint64_t length)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	return fallocate(plain_fd(file), mode, offset, length) ? -errno : 0;
}

static int plain_allocate(struct host_file *file, uint64_t offset,
			  uint64_t length)
{
	return fallocate(plain_fd(file), 0, offset, length) ? -errno : 0;
}

/* The file that @fd has open, opened once more. */
static int open_again(int fd, int flags)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return open(self, flags | O_CLOEXEC);
}

/*
 * ext4 takes a file that was cut to nothing for one that replaces another, and
 * has the next close of it write out all there is by then: the longer half of
 * making an image that nobody wants to be durable. So the next close is one of
 * a descriptor that is of no use otherwise.
 */
static int plain_truncate(struct host_file *file, uint64_t size)
{
	int fd = plain_fd(file), other;

	if (ftruncate(fd, size))
		return -errno;
	other = size ? -1 : open_again(fd, O_RDONLY);
	if (other >= 0)
		close(other);
	return 0;
}

static int plain_size(struct host_file *file, uint64_t *size)
{
	struct stat st;

	if (fstat(plain_fd(file), &st))
		return -errno;
	if (S_ISBLK(st.st_mode))
		return ioctl(plain_fd(file), BLKGETSIZE64, size) ? -errno : 0;
	*size = st.st_size;
	return 0;
}

static int plain_used(struct host_file *file, uint64_t *bytes)
{
	struct stat st;

	if (fstat(plain_fd(file), &st))
		return -errno;
	if (S_ISBLK(st.st_mode))
		return plain_size(file, bytes);
	*bytes = st.st_blocks * 512ull;
	return 0;
}

static int plain_look(struct host_file *file, uint64_t offset, bool *hole,
		      uint64_t *length)
{
	int fd = plain_fd(file);
	off_t end = lseek(fd, offset, SEEK_DATA);

	*hole = end != (off_t)offset;
	/* No data any more: a hole up to the end. */
	if (end < 0 && errno == ENXIO)
		end = lseek(fd, 0, SEEK_END);
	else if (end == (off_t)offset)
		end = lseek(fd, offset, SEEK_HOLE);
	if (end < 0)
		return -errno;
	*length = end - offset;
	return 0;
}

static void plain_close(struct host_file *file)
{
	struct plain_file *plain = to_plain(file);

	engine_put(plain->engine);
	if (plain->direct_fd >= 0)
		close(plain->direct_fd);
	close(plain->fd);
	free(plain);
}

/* Direct I/O takes no other memory; the guest's may begin anywhere. */
static bool bounce(struct host_io *io)
{
	if (io->length > BOUNCE_MAX)
		return false;
	if (posix_memalign(&io->bounce, DIRECT_BUFFER, io->length)) {
		io->bounce = NULL;
		return false;
	}
	if (io->op == HOST_WRITE)
		iov_copy_out(io->iov, io->iovcnt, 0, io->bounce, io->length);
	io->bounce_iov =
		(struct iovec){ .iov_base = io->bounce, .iov_len = io->length };
	return true;
}

/* Where there is no engine, and for what takes no time. */
static void finish_now(struct host_io *io)
{
	io->done(io, host_io_now(io));
}

/* Copies a write to the page cache; false where the engine should. */
static bool write_at_once(struct plain_file *plain, struct host_io *io)
{
	uint64_t begin, end;

	if (io->op != HOST_WRITE || io->direct || io->length > AT_ONCE_MAX)
		return false;
	begin = clock_ns(CLOCK_MONOTONIC);
	if (begin < plain->slow_until)
		return false;
	io->result = plain_pwritev(io->file, io->iov, io->iovcnt, io->offset);
	end = clock_ns(CLOCK_MONOTONIC);
	if (end - begin > AT_ONCE_NS)
		plain->slow_until = end + SLOW_NS;
	return true;
}

static void plain_submit(struct host_file *file, struct host_io *io)
{
	struct plain_file *plain = to_plain(file);
	bool moves = io->op == HOST_READ || io->op == HOST_WRITE;

	io->direct = moves && plain->engine && plain->direct_fd >= 0 &&
		     !io->cached &&
		     (aligned(io->iov, io->iovcnt, io->offset) || bounce(io));
	io->fd = io->direct ? plain->direct_fd : plain->fd;
	if (!plain->engine || (io->op == HOST_SYNC && plain->unsafe))
		finish_now(io);
	else if (write_at_once(plain, io))
		host_io_finish(io);
	else
		plain->engine->ops->submit(plain->engine, io);
}

static void plain_kick(struct host_file *file)
{
	struct engine *engine = to_plain(file)->engine;

	if (engine)
		engine->ops->kick(engine);
}

static void plain_reap(struct host_file *file)
{
	struct engine *engine = to_plain(file)->engine;

	if (engine)
		engine->ops->reap(engine);
}

static bool plain_wait(struct host_file *file)
{
	struct engine *engine = to_plain(file)->engine;

	if (!engine || !engine->ops->wait)
		return false;
	engine->ops->wait(engine);
	return true;
}

static int plain_event_fd(struct host_file *file)
{
	const struct engine *engine = to_plain(file)->engine;

	return engine ? engine->event_fd : -1;
}

static const struct host_file_ops plain_ops = {
	.preadv = plain_preadv,
	.pwritev = plain_pwritev,
	.sync = plain_sync,
	.punch = plain_punch,
	.allocate = plain_allocate,
	.truncate = plain_truncate,
	.size = plain_size,
	.used = plain_used,
	.look = plain_look,
	.close = plain_close,
	.submit = plain_submit,
	.kick = plain_kick,
	.reap = plain_reap,
	.event_fd = plain_event_fd,
	.wait = plain_wait,
};

/* The same file once more, past the page cache; -1 where that cannot be, or
 * not in units of a sector. */
static int open_direct(int fd)
{
	int direct, flags = fcntl(fd, F_GETFL);
	void *buffer = NULL;

	direct = open_again(fd, (flags & O_ACCMODE) | O_DIRECT);
	if (direct < 0)
		return -1;
	if (posix_memalign(&buffer, DIRECT_BUFFER, DIRECT_ALIGN) ||
	    pread(direct, (char *)buffer, DIRECT_ALIGN, DIRECT_ALIGN) < 0) {
		close(direct);
		direct = -1;
	}
	free(buffer);
	return direct;
}

struct host_file *host_file_create_how(int fd, const struct host_file_how *how,
				       bool *direct)
{
	struct plain_file *plain = calloc(1, sizeof(*plain));

	if (!plain)
		return NULL;
	plain->file.ops = &plain_ops;
	plain->fd = fd;
	plain->direct_fd = how->direct ? open_direct(fd) : -1;
	plain->engine = how->engine;
	if (plain->engine)
		plain->engine->users++;
	plain->unsafe = how->unsafe;
	*direct = plain->direct_fd >= 0;
	return &plain->file;
}

struct host_file *host_file_create(int fd)
{
	static const struct host_file_how how;
	bool direct;

	return host_file_create_how(fd, &how, &direct);
}

int host_look(struct host_file *file, uint64_t offset, uint64_t length,
	      bool *hole, uint64_t *alike)
{
	uint64_t size;
	int err = file->ops->size(file, &size);

	*hole = !err && offset >= size;
	*alike = *hole || size - offset > length ? length : size - offset;
	if (err || *hole || !file->ops->look)
		return err;
	err = file->ops->look(file, offset, hole, &size);
	/* Where the host cannot tell, all is data; so is what changes while it
	 * is looked at. */
	if (err || !size)
		*hole = false;
	else if (size < *alike)
		*alike = size;
	return 0;
}
