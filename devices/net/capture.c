#include "devices/net/capture.h"

#include "devices/net/pcapng.h"
#include "util/bytes.h"
#include "util/checked.h"
#include "util/clock.h"
#include "util/iov.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* What comes while a reader sleeps. More no user may have by default. */
#define PIPE_BYTES (1 << 20)

/* The file, which all queues of a network share: one worker serves them. */
struct tape {
	const char *path; /* borrowed */
	struct pcapng out;
	int users;
	bool slow;   /* its reader, so that frames are missing; logged */
	bool broken; /* it cannot be written any more; logged */
};

struct capture {
	struct net_backend net;
	struct net_backend *below; /* owned */
	struct tape *tape;
};

static struct capture *from_net(struct net_backend *net)
{
	return container_of(net, struct capture, net);
}

/* What is not as on a wire, or NULL. */
static const char *comment_on(const struct virtio_net_hdr_v1 *header,
			      char text[100])
{
	if (header->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		snprintf(text, 100, "to be cut into segments of %u bytes",
			 get_le16(&header->gso_size));
	else if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		snprintf(text, 100, "the checksum is left to the receiver");
	else
		return NULL;
	return text;
}

/* @n bytes, header included, have passed. */
static void record(struct capture *capture, enum pcapng_direction direction,
		   const struct iovec *iov, int iovcnt, ssize_t n)
{
	struct virtio_net_hdr_v1 header = { 0 };
	struct tape *tape = capture->tape;
	char text[100];
	int err;

	if (tape->broken || n <= NET_HEADER)
		return;
	iov_copy_out(iov, iovcnt, 0, &header, sizeof(header));
	err = pcapng_frame(&tape->out, clock_ns(CLOCK_REALTIME), direction, iov,
			   iovcnt, NET_HEADER, n - NET_HEADER,
			   comment_on(&header, text));
	if (!err)
		return;
	if (err == -EAGAIN) {
		if (!tape->slow)
			log_warn("net pcap=%s: its reader is slow: frames are "
				 "missing",
				 tape->path);
		tape->slow = true;
		return;
	}
	log_err("net pcap=%s: %s; it ends here, the network goes on",
		tape->path, strerror(-err));
	tape->broken = true;
}

static ssize_t capture_send(struct net_backend *net, const struct iovec *iov,
			    int iovcnt)
{
	struct capture *capture = from_net(net);
	ssize_t n = capture->below->ops->send(capture->below, iov, iovcnt);

	if (n > 0)
		record(capture, PCAPNG_SENT, iov, iovcnt, n);
	return n;
}

static ssize_t capture_receive(struct net_backend *net, const struct iovec *iov,
			       int iovcnt)
{
	struct capture *capture = from_net(net);
	ssize_t n = capture->below->ops->receive(capture->below, iov, iovcnt);

	if (n > 0)
		record(capture, PCAPNG_RECEIVED, iov, iovcnt, n);
	return n;
}

static int capture_set_offloads(struct net_backend *net, unsigned flags)
{
	struct net_backend *below = from_net(net)->below;

	return below->ops->set_offloads(below, flags);
}

static int capture_set_steering(struct net_backend *net,
				const struct bpf_insn *program, unsigned len)
{
	struct net_backend *below = from_net(net)->below;

	return below->ops->set_steering(below, program, len);
}

static int capture_enable(struct net_backend *net, bool on)
{
	struct net_backend *below = from_net(net)->below;

	return below->ops->enable ? below->ops->enable(below, on) : 0;
}

static bool capture_link(struct net_backend *net)
{
	struct net_backend *below = from_net(net)->below;

	return !below->ops->link || below->ops->link(below);
}

static void tape_close(struct tape *tape)
{
	pcapng_end(&tape->out);
	free(tape);
}

static void capture_close(struct net_backend *net)
{
	struct capture *capture = from_net(net);

	if (capture->below)
		capture->below->ops->close(capture->below);
	if (!--capture->tape->users) {
		tape_close(capture->tape);
	}
	free(capture);
}

static const struct net_ops capture_ops = {
	.send = capture_send,
	.receive = capture_receive,
	.set_offloads = capture_set_offloads,
	.set_steering = capture_set_steering,
	.enable = capture_enable,
	.link = capture_link,
	.close = capture_close,
};

/* A file is one card's alone, and keeps what another is writing to it; a pipe
 * or a device may have many writers, and a reader for whom no one waits. */
static int tape_begin(struct tape *tape, const char *name)
{
	int fd = tape->out.fd;
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISREG(st.st_mode)) {
		if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
			return -EBUSY;
		if (ftruncate(fd, 0))
			return -errno;
	} else {
		fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES);
		if (fcntl(fd, F_SETFL, O_NONBLOCK))
			return -errno;
	}
	return pcapng_begin(&tape->out, name);
}

static struct tape *tape_open(const char *path, const char *name)
{
	struct tape *tape = calloc(1, sizeof(*tape));
	int err = tape ? 0 : -ENOMEM;

	if (!err) {
		tape->path = path;
		tape->out.fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		err = tape->out.fd < 0 ? -errno : tape_begin(tape, name);
		if (err && tape->out.fd >= 0)
			pcapng_end(&tape->out);
	}
	if (!err)
		return tape;
	log_err("net pcap=%s: cannot write it: %s", path,
		err == -EBUSY ? "another card does: give each its own file"
			      : strerror(-err));
	free(tape);
	errno = -err;
	return NULL;
}

/* One queue's, on top of a chain that is not the queues' own any more. */
static struct net_backend *wrap(struct tape *tape, struct net_backend *below)
{
	struct capture *capture = calloc(1, sizeof(*capture));

	if (!capture)
		return NULL;
	capture->net = *below;
	capture->net.ops = &capture_ops;
	/* The kernel would carry the frames past us. */
	capture->net.kernel_may_carry = false;
	capture->net.next = NULL;
	capture->below = below;
	capture->tape = tape;
	tape->users++;
	return &capture->net;
}

int capture_open(const char *path, struct net_backend **net)
{
	struct net_backend *first = NULL, **end = &first;
	struct tape *tape = tape_open(path, (*net)->name);

	if (!tape)
		return -errno;
	for (struct net_backend *at = *net; at; at = at->next) {
		*end = wrap(tape, at);
		if (!*end)
			goto no_memory;
		end = &(*end)->next;
	}
	*net = first;
	return 0;
no_memory:
	log_err("net pcap=%s: %s", path, strerror(ENOMEM));
	if (!first) {
		tape_close(tape);
	}
	for (struct net_backend *at = first; at; at = at->next)
		from_net(at)->below = NULL;
	net_close(first);
	return -ENOMEM;
}
