/*
 * `kvist img bench`: a number of requests of one size, some of them in flight
 * at a time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cli/img.h"
#include "devices/block/block.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/clock.h"
#include "util/log.h"

#define HUGE_PAGE (2u << 20)

struct bench {
	struct block_options options;
	uint64_t count, depth, size, step, offset, pattern, flush_interval;
	bool write, drain;
	bool through; /* each write is made durable */

	struct block *block;
	struct slot *slots, *free;
	uint8_t *buffers;
	uint64_t left;      /* requests not submitted yet */
	uint64_t in_flight; /* with flushes */
	bool due;           /* a flush, before the next request */
	int err;
};

/* One request that may be in flight. */
struct slot {
	struct block_request request;
	struct iovec iov;
	struct bench *bench;
	struct slot *next;
};

static void finished(struct block_request *request, int err)
{
	struct slot *slot = container_of(request, struct slot, request);
	struct bench *b = slot->bench;

	if (!err && b->through && request->op == BLOCK_WRITE) {
		*request = (struct block_request){ .op = BLOCK_FLUSH,
						   .done = finished };
		block_submit(b->block, request);
		return;
	}
	if (err && !b->err) {
		log_err("Failed request: %s", strerror(-err));
		b->err = err;
	}
	b->in_flight--;
	slot->next = b->free;
	b->free = slot;
}

static void submit(struct bench *b, enum block_op op)
{
	struct slot *slot = b->free;

	b->free = slot->next;
	slot->request = (struct block_request){ .op = op, .done = finished };
	b->in_flight++;
	if (op != BLOCK_FLUSH) {
		slot->request.iov = &slot->iov;
		slot->request.iovcnt = 1;
		slot->request.offset = b->offset;
		slot->request.length = b->size;
		b->offset = (b->offset + b->step) % b->block->size;
		b->left--;
		b->due = b->flush_interval &&
			 (b->count - b->left) % b->flush_interval == 0;
	}
	block_submit(b->block, &slot->request);
}

/* Submits what may be in flight now. */
static void fill(struct bench *b)
{
	while (!b->err && b->free && (b->left || b->due)) {
		if (!b->due) {
			if (b->in_flight >= b->depth)
				return;
			submit(b, b->write ? BLOCK_WRITE : BLOCK_READ);
			continue;
		}
		/* The last requests need none. */
		if (b->drain && b->in_flight)
			return;
		b->due = false;
		submit(b, BLOCK_FLUSH);
		if (b->drain)
			return;
	}
}

static void run(struct bench *b)
{
	do {
		fill(b);
		if (b->in_flight)
			block_wait(b->block);
	} while (b->in_flight || (!b->err && (b->left || b->due)));
}

static int prepare(struct bench *b)
{
	uint64_t slots = b->depth + 1; /* and a flush */

	b->slots = calloc(slots, sizeof(*b->slots));
	if (!b->slots || posix_memalign((void **)&b->buffers, HUGE_PAGE,
					b->depth * b->size)) {
		log_err("out of memory");
		return -ENOMEM;
	}
	/* The host's disk takes a request in as many pieces as its memory has,
	 * and only a limited number of pieces at a time. */
	madvise(b->buffers, b->depth * b->size, MADV_HUGEPAGE);
	memset(b->buffers, (int)b->pattern, b->depth * b->size);
	for (uint64_t i = 0; i < slots; i++) {
		struct slot *slot = &b->slots[i];
		/* A flush moves nothing, so no two requests share one. */
		uint64_t at = (i < b->depth ? i : 0) * b->size;

		slot->iov.iov_base = b->buffers + at;
		slot->iov.iov_len = b->size;
		slot->bench = b;
		slot->next = b->free;
		b->free = slot;
	}
	b->left = b->count;
	return 0;
}

static int measure(struct bench *b)
{
	int err = block_open(&b->options, &b->block), closed;
	uint64_t begin;

	if (err)
		return err;
	err = prepare(b);
	if (!err) {
		printf("Sending %llu %s requests, %llu bytes each, %llu in "
		       "parallel (starting at offset %llu, step size %llu)\n",
		       (unsigned long long)b->count,
		       b->write ? "write" : "read", (unsigned long long)b->size,
		       (unsigned long long)b->depth,
		       (unsigned long long)b->offset,
		       (unsigned long long)b->step);
		if (b->flush_interval)
			printf("Sending flush every %llu requests\n",
			       (unsigned long long)b->flush_interval);
		begin = clock_ns(CLOCK_MONOTONIC);
		run(b);
		err = b->err;
		if (!err)
			printf("Run completed in %3.3f seconds.\n",
			       (double)(clock_ns(CLOCK_MONOTONIC) - begin) /
				       1e9);
	}
	closed = block_close(b->block);
	free(b->slots);
	free(b->buffers);
	return err ? err : closed;
}

static int set_cache(struct bench *b, const char *mode)
{
	if (!img_cache_known(mode))
		return -EINVAL;
	b->through = among("writethrough directsync", mode);
	b->options.cache = among("none off directsync", mode) ? BLOCK_CACHE_NONE
			   : !strcmp(mode, "unsafe") ? BLOCK_CACHE_UNSAFE
						     : BLOCK_CACHE_WRITEBACK;
	return 0;
}

static int set_aio(struct block_options *options, const char *text)
{
	if (!among("threads native io_uring", text)) {
		log_err("Invalid aio option: %s", text);
		return -EINVAL;
	}
	options->io = strcmp(text, "threads") ? BLOCK_IO_URING
					      : BLOCK_IO_THREADS;
	return 0;
}

static int set_number(const char *text, const char *what, uint64_t max,
		      uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 0);
	if (*text >= '0' && *text <= '9' && !*end && !errno && *number <= max)
		return 0;
	log_err("Invalid %s specified", what);
	return -EINVAL;
}

enum { OPT_PATTERN = 256, OPT_FLUSH_INTERVAL, OPT_NO_DRAIN };

static int set(struct bench *b, int option, const char **format)
{
	switch (option) {
	case 'c':
		return set_number(optarg, "request count", INT32_MAX,
				  &b->count);
	case 'd':
		return set_number(optarg, "queue depth", 65536, &b->depth);
	case 'f':
		*format = optarg;
		return 0;
	case 'i':
		return set_aio(&b->options, optarg);
	case 'n':
		b->options.io = BLOCK_IO_URING;
		return 0;
	case 'o':
		return img_take_size(optarg, "offset", INT64_MAX, &b->offset);
	case 'q': /* as in qemu-img, there is nothing it would silence */
		return 0;
	case 's':
		return img_take_size(optarg, "buffer size", INT32_MAX,
				     &b->size);
	case 'S':
		return img_take_size(optarg, "step_size", INT32_MAX, &b->step);
	case 't':
		return set_cache(b, optarg);
	case 'U':
		b->options.unlocked = true;
		return 0;
	case 'w':
		b->write = true;
		return 0;
	case OPT_PATTERN:
		return set_number(optarg, "pattern byte", 255, &b->pattern);
	case OPT_FLUSH_INTERVAL:
		return set_number(optarg, "flush interval", INT32_MAX,
				  &b->flush_interval);
	case OPT_NO_DRAIN:
		b->drain = false;
		return 0;
	}
	return -EINVAL;
}

static int check(const struct bench *b)
{
	if (!b->write && b->flush_interval)
		log_err("--flush-interval is only available in write tests");
	else if (b->flush_interval && b->flush_interval < b->depth)
		log_err("Flush interval can't be smaller than depth");
	else if (b->write && b->options.unlocked)
		log_err("%s: -U is for reading only; leave out -w",
			b->options.path);
	else if (!b->depth)
		log_err("Invalid queue depth specified");
	else if (!b->size || b->size % BLOCK_SECTOR || b->step % BLOCK_SECTOR ||
		 b->offset % BLOCK_SECTOR)
		log_err("buffer size, step size and offset must be multiples "
			"of %d bytes",
			BLOCK_SECTOR);
	else
		return 0;
	return -EINVAL;
}

int img_bench(int argc, char **argv)
{
	static const struct option names[] = {
		{ "pattern", required_argument, NULL, OPT_PATTERN },
		{ "flush-interval", required_argument, NULL,
		  OPT_FLUSH_INTERVAL },
		{ "no-drain", no_argument, NULL, OPT_NO_DRAIN },
		{ 0 },
	};
	struct bench b = { .count = 75000,
			   .depth = 64,
			   .size = 4096,
			   .drain = true,
			   .options.io = BLOCK_IO_AUTO };
	struct img_common common = { 0 };
	const char *format = NULL;
	int c;

	while ((c = img_option(argc, argv, ":hc:d:f:ni:o:qs:S:t:wU", names,
			       &common)) != -1) {
		if (c == 'h')
			return img_help();
		if (c == '?' || set(&b, c, &format))
			return IMG_ERROR;
	}
	if (optind != argc - 1)
		return img_usage("Expecting one image file name");
	if (!b.step)
		b.step = b.size;
	common.writes = b.write;
	b.options.read_only = !b.write;
	if (img_source(&common, argv[optind], &b.options, &format))
		return IMG_ERROR;
	if (check(&b) || img_find_format(&b.options, format))
		return IMG_ERROR;
	return measure(&b) ? IMG_ERROR : 0;
}
