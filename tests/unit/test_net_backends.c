/*
 * Networks without a tap: a cable between two guests, passt's protocol, and
 * the file that shows what passed.
 */
#include "said.h"

#include "devices/net/capture.h"
#include "devices/net/net.h"
#include "devices/net/pair.h"
#include "devices/net/passt.h"
#include "util/bytes.h"
#include "util/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static char folder[] = "/tmp/kvist-net-XXXXXX";

static int folder_make(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
	(void)state;
	return rmdir(folder);
}

static const char *in_folder(char path[64], const char *name)
{
	snprintf(path, 64, "%s/%s", folder, name);
	return path;
}

/* A frame with its header: @size bytes in all, each @fill. */
static ssize_t frame_send(struct net_backend *net, uint8_t fill, size_t size)
{
	static uint8_t header[NET_HEADER], frame[70000];
	struct iovec iov[3] = { { header, 5 },
				{ header + 5, NET_HEADER - 5 },
				{ frame, size - NET_HEADER } };

	memset(frame, fill, sizeof(frame));
	return net->ops->send(net, iov, 3);
}

/* Its length and what it is made of, or -errno. */
static ssize_t frame_take(struct net_backend *net, uint8_t *fill)
{
	static uint8_t frame[70000];
	struct iovec iov[2] = { { frame, 20 },
				{ frame + 20, sizeof(frame) - 20 } };
	ssize_t n;

	memset(frame, 0xee, sizeof(frame));
	n = net->ops->receive(net, iov, 2);
	for (ssize_t i = 0; i < NET_HEADER && n > 0; i++)
		assert_int_equal(frame[i], 0);
	*fill = n > NET_HEADER ? frame[NET_HEADER] : 0;
	for (ssize_t i = NET_HEADER; i < n; i++)
		assert_int_equal(frame[i], *fill);
	return n;
}

static bool readable(const struct net_backend *net)
{
	struct pollfd ready = { net->fd, POLLIN, 0 };

	return poll(&ready, 1, 0) == 1;
}

static void two_ends_of_a_name_are_a_cable(void **state)
{
	struct net_backend *a, *b, *c;
	char name[32];
	uint8_t fill;
	int fd;

	(void)state;
	snprintf(name, sizeof(name), "test-%d", getpid());
	assert_int_equal(net_pair_open(name, &a), 0);
	fd = a->fd;
	/* Nobody is there: it is lost, as on a cable that hangs in the air. */
	assert_int_equal(frame_send(a, 1, 100), 100);
	assert_int_equal(frame_take(a, &fill), -EAGAIN);
	assert_int_equal(net_pair_open(name, &b), 0);
	assert_true(readable(a));
	assert_int_equal(frame_take(a, &fill), -EAGAIN);
	assert_int_equal(frame_send(a, 2, 100), 100);
	assert_int_equal(frame_take(b, &fill), 100);
	assert_int_equal(fill, 2);
	assert_int_equal(frame_send(b, 3, 65000), 65000);
	assert_int_equal(frame_take(a, &fill), 65000);
	assert_int_equal(frame_take(a, &fill), -EAGAIN);
	/* A third one waits until there is room. */
	assert_int_equal(net_pair_open(name, &c), 0);
	assert_int_equal(frame_send(c, 4, 64), 64);
	assert_false(readable(a));
	net_close(b);
	assert_true(readable(a));
	assert_int_equal(frame_take(a, &fill), -EAGAIN);
	assert_int_equal(frame_take(a, &fill), 64);
	assert_int_equal(fill, 4);
	assert_int_equal(a->fd, fd);
	net_close(a);
	net_close(c);
}

static void an_end_of_a_cable_outlives_the_other(void **state)
{
	struct net_backend *ends[2];
	char name[32];
	uint8_t fill;

	(void)state;
	snprintf(name, sizeof(name), "again-%d", getpid());
	assert_int_equal(net_pair_open(name, &ends[0]), 0);
	assert_int_equal(net_pair_open(name, &ends[1]), 0);
	/* Whichever of the two goes and comes back, the one who listens or
	 * the one who connected. */
	for (int i = 0; i < 6; i++) {
		struct net_backend *stays = ends[1 - i % 2];

		net_close(ends[i % 2]);
		assert_int_equal(frame_take(stays, &fill), -EAGAIN);
		assert_int_equal(frame_send(stays, 1, 100), 100);
		assert_int_equal(net_pair_open(name, &ends[i % 2]), 0);
		assert_int_equal(frame_send(ends[i % 2], 7, 60), 60);
		for (int j = 0; j < 3 && frame_take(stays, &fill) != 60; j++)
			;
		assert_int_equal(fill, 7);
		assert_int_equal(frame_send(stays, 8, 61), 61);
		assert_int_equal(frame_take(ends[i % 2], &fill), 61);
	}
	net_close(ends[0]);
	net_close(ends[1]);
	assert_int_equal(net_pair_open("a name that is longer than the hundred "
				       "and eight bytes which an address of a "
				       "unix socket may have in all, or so",
				       &ends[0]),
			 -ENAMETOOLONG);
}

/* Somebody listens, but takes nobody: there is no cable to wait for. */
static void an_end_that_cannot_join_another_is_given_up(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fds[2], peer;
	struct net_backend *net;
	socklen_t len;
	uint8_t fill;

	(void)state;
	for (int i = 0; i < 2; i++)
		fds[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	len = offsetof(struct sockaddr_un, sun_path) + 1 +
	      snprintf(address.sun_path + 1, 100, "kvist/%u/full-%d", geteuid(),
		       getpid());
	assert_int_equal(bind(fds[0], (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(fds[0], 0), 0);
	assert_int_equal(
		net_pair_open(strrchr(address.sun_path + 1, '/') + 1, &net), 0);
	peer = accept(fds[0], NULL, NULL);
	assert_int_equal(connect(fds[1], (struct sockaddr *)&address, len), 0);
	assert_int_equal(frame_take(net, &fill), -EAGAIN);
	close(peer);
	assert_int_equal(frame_take(net, &fill), -ENOTCONN);
	assert_int_equal(frame_send(net, 1, 100), 100);
	net_close(net);
	close(fds[0]);
	close(fds[1]);
}

/* passt's place: its end of the connection. */
static int passt_play(struct net_backend **net)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), peer;
	char path[64];

	in_folder(path, "passt");
	assert_int_equal(passt_open(path, net), -ENOENT);
	memcpy(address.sun_path, path, strlen(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	assert_int_equal(passt_open(path, net), -ECONNREFUSED);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(passt_open(path, net), 0);
	peer = accept(fd, NULL, NULL);
	assert_true(peer >= 0);
	close(fd);
	unlink(path);
	return peer;
}

static void frames_for_passt_are_behind_their_length(void **state)
{
	uint8_t text[2048], fill;
	struct net_backend *net;
	int peer = passt_play(&net);

	(void)state;
	assert_int_equal(net->offloads, 0);
	assert_int_equal(frame_send(net, 0x55, NET_HEADER + 60),
			 NET_HEADER + 60);
	assert_int_equal(recv(peer, text, sizeof(text), 0), 64);
	assert_memory_equal(text, "\0\0\0\x3c\x55\x55", 6);
	assert_int_equal(frame_send(net, 0, NET_HEADER + 13), -EMSGSIZE);
	assert_int_equal(frame_send(net, 0, NET_HEADER + 65539), -EMSGSIZE);

	/* As they come, in whatever pieces. */
	assert_int_equal(frame_take(net, &fill), -EAGAIN);
	for (int i = 0; i < 3; i++) {
		memset(text, 0x61 + i, sizeof(text));
		put_be32(text, 100 + i);
		for (int cut = 1; cut <= 103; cut += 102) {
			assert_int_equal(send(peer, text, cut, 0), cut);
			if (cut == 1)
				assert_int_equal(frame_take(net, &fill),
						 -EAGAIN);
			memmove(text, text + cut, sizeof(text) - cut);
		}
		if (i)
			assert_int_equal(send(peer, text, i, 0), i);
		assert_int_equal(frame_take(net, &fill), NET_HEADER + 100 + i);
		assert_int_equal(fill, 0x61 + i);
	}
	/* Several at once; one too short for Ethernet is none. */
	memset(text, 0x42, sizeof(text));
	put_be32(text, 20);
	put_be32(text + 24, 13);
	put_be32(text + 41, 30);
	assert_int_equal(send(peer, text, 75, 0), 75);
	assert_int_equal(frame_take(net, &fill), NET_HEADER + 20);
	assert_int_equal(frame_take(net, &fill), NET_HEADER + 30);
	assert_int_equal(frame_take(net, &fill), -EAGAIN);
	/* A length that no frame has: it is not passt, or no longer. */
	put_be32(text, 65539);
	assert_int_equal(send(peer, text, 4, 0), 4);
	assert_int_equal(frame_take(net, &fill), -ECONNRESET);
	close(peer);
	net_close(net);
}

static void frames_that_are_none_do_not_keep_the_worker(void **state)
{
	static const uint8_t zeros[4096];
	struct net_backend *net;
	int peer = passt_play(&net), left = 0, calls = 0;
	uint8_t fill;

	(void)state;
	while (send(peer, zeros, sizeof(zeros), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(frame_take(net, &fill), -EAGAIN);
	assert_int_equal(ioctl(net->fd, FIONREAD, &left), 0);
	assert_true(left > 0);
	/* All of it is read by and by. */
	for (; left > 0 && calls < 100; calls++) {
		assert_int_equal(frame_take(net, &fill), -EAGAIN);
		assert_int_equal(ioctl(net->fd, FIONREAD, &left), 0);
	}
	assert_int_equal(left, 0);
	close(peer);
	net_close(net);
}

static void a_slow_passt_makes_frames_wait_and_none_is_cut(void **state)
{
	static uint8_t text[70000];
	struct net_backend *net;
	int peer = passt_play(&net), sent = 0;
	size_t have = 0;

	(void)state;
	while (frame_send(net, sent, NET_HEADER + 65000) > 0)
		sent++;
	assert_int_equal(frame_send(net, sent, NET_HEADER + 65000), -EAGAIN);
	assert_in_range(sent, 1, 100);
	for (int i = 0; i < sent; i++) {
		for (have = 0; have < 65004;) {
			ssize_t n = recv(peer, text + have, 65004 - have, 0);

			assert_true(n > 0);
			have += n;
		}
		assert_int_equal(get_be32(text), 65000);
		assert_int_equal(text[4], i);
		assert_int_equal(text[65003], i);
	}
	assert_true(frame_send(net, 0, NET_HEADER + 65000) > 0);
	close(peer);
	assert_int_equal(frame_send(net, 0, NET_HEADER + 60), -EPIPE);
	net_close(net);
}

/* The next block of the file: its type; its body to *body. */
static uint32_t block_next(const uint8_t **at, const uint8_t *end,
			   const uint8_t **body)
{
	uint32_t type = get_le32(*at), len = get_le32(*at + 4);

	assert_true(len % 4 == 0 && len <= (size_t)(end - *at));
	assert_int_equal(get_le32(*at + len - 4), len);
	*body = *at + 8;
	*at += len;
	return type;
}

static void a_capture_has_each_frame_that_passed(void **state)
{
	static uint8_t text[100000];
	struct virtio_net_hdr_v1 header = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.gso_size = 1448,
	};
	struct net_backend *ends[2], *net;
	uint8_t frame[3000] = { 1, 2, 3 }, fill;
	struct iovec iov[2] = { { &header, sizeof(header) },
				{ frame, sizeof(frame) } };
	const uint8_t *at = text, *body, *options;
	char path[64];
	ssize_t size;
	int fd;

	(void)state;
	in_folder(path, "file.pcapng");
	assert_int_equal(net_pair(ends), 0);
	net = ends[0];
	assert_int_equal(capture_open(path, &net), 0);
	assert_ptr_not_equal(net, ends[0]);
	assert_int_equal(net->fd, ends[0]->fd);
	assert_int_equal(net->mtu, ends[0]->mtu);
	assert_int_equal(frame_take(net, &fill), -EAGAIN);
	assert_int_equal(frame_send(net, 0x11, NET_HEADER + 61),
			 NET_HEADER + 61);
	assert_int_equal(frame_send(ends[1], 0x22, NET_HEADER + 64),
			 NET_HEADER + 64);
	assert_int_equal(frame_take(net, &fill), NET_HEADER + 64);
	assert_int_equal(net->ops->send(net, iov, 2), 3012);
	/* All of it is there before anything is closed. */
	fd = open(path, O_RDONLY);
	size = read(fd, text, sizeof(text));
	close(fd);
	assert_int_equal(block_next(&at, text + size, &body), 0x0a0d0d0a);
	assert_int_equal(get_le32(body), 0x1a2b3c4d);
	assert_int_equal(block_next(&at, text + size, &body), 1);
	assert_memory_equal(body + 8, "\x02\0\x05\0pair0\0\0\0\x09\0\x01\0\x09",
			    17);
	assert_int_equal(block_next(&at, text + size, &body), 6);
	assert_int_equal(get_le32(body + 12), 61);
	assert_int_equal(get_le32(body + 16), 61);
	assert_int_equal(body[20 + 60], 0x11);
	/* Sent, and no more to say. */
	assert_memory_equal(body + 20 + 64, "\x02\0\x04\0\x02\0\0\0\0\0\0\0",
			    12);
	assert_int_equal(block_next(&at, text + size, &body), 6);
	assert_memory_equal(body + 20 + 64, "\x02\0\x04\0\x01\0\0\0\0\0\0\0",
			    12);
	assert_int_equal(block_next(&at, text + size, &body), 6);
	assert_int_equal(get_le32(body + 16), 3000);
	assert_memory_equal(body + 20, frame, 3000);
	options = body + 20 + 3000 + 8;
	assert_int_equal(get_le16(options), 1);
	assert_memory_equal(options + 4,
			    "to be cut into segments of 1448 bytes",
			    get_le16(options + 2));
	assert_ptr_equal(at, text + size);
	net_close(net);
	net_close(ends[1]);
	unlink(path);
}

static void two_captures_do_not_share_a_file(void **state)
{
	struct net_backend *ends[2], *net, *other;
	struct stat before, after;
	char path[64], text[512];
	struct said said;

	(void)state;
	in_folder(path, "shared");
	assert_int_equal(net_pair(ends), 0);
	net = ends[0];
	other = ends[1];
	assert_int_equal(capture_open(path, &net), 0);
	assert_int_equal(frame_send(net, 1, 80), 80);
	assert_int_equal(stat(path, &before), 0);
	said = said_begin();
	assert_int_equal(capture_open(path, &other), -EBUSY);
	said_end(said, text, sizeof(text));
	assert_non_null(strstr(text, "give each its own file"));
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(after.st_size, before.st_size);
	net_close(net);
	/* Now it is free, and begins anew; a device is for all. */
	assert_int_equal(capture_open(path, &other), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_size < before.st_size);
	assert_int_equal(capture_open("/dev/null", &other), 0);
	assert_int_equal(capture_open("/dev/null", &other), 0);
	net_close(other);
	unlink(path);
}

static void a_full_disk_ends_the_capture_and_not_the_network(void **state)
{
	struct net_backend *ends[2], *net;
	int err, reader, passed = 0;
	char path[64], text[512];
	struct said said;
	uint8_t fill;

	(void)state;
	/* The head of the file fits into no full disk, either. */
	assert_int_equal(net_pair(ends), 0);
	net = ends[0];
	said = said_begin();
	err = capture_open("/dev/full", &net);
	said_end(said, text, sizeof(text));
	assert_int_equal(err, -ENOSPC);
	assert_non_null(strstr(text, "/dev/full: cannot write it"));
	assert_ptr_equal(net, ends[0]);
	/* A pipe whose reader goes: writing fails from then on. */
	in_folder(path, "pipe");
	assert_int_equal(mkfifo(path, 0600), 0);
	reader = open(path, O_RDONLY | O_NONBLOCK);
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(capture_open(path, &net), 0);
	close(reader);
	said = said_begin();
	for (int i = 0; i < 3; i++)
		passed += frame_send(net, 1, 80) == 80 &&
			  frame_take(ends[1], &fill) == 80;
	said_end(said, text, sizeof(text));
	assert_int_equal(passed, 3);
	assert_non_null(strstr(text, "it ends here, the network goes on"));
	assert_null(strstr(strstr(text, "ends here") + 1, "ends here"));
	net_close(net);
	net_close(ends[1]);
	unlink(path);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_ends_of_a_name_are_a_cable),
		cmocka_unit_test(an_end_of_a_cable_outlives_the_other),
		cmocka_unit_test(an_end_that_cannot_join_another_is_given_up),
		cmocka_unit_test(frames_for_passt_are_behind_their_length),
		cmocka_unit_test(frames_that_are_none_do_not_keep_the_worker),
		cmocka_unit_test(
			a_slow_passt_makes_frames_wait_and_none_is_cut),
		cmocka_unit_test(a_capture_has_each_frame_that_passed),
		cmocka_unit_test(two_captures_do_not_share_a_file),
		cmocka_unit_test(
			a_full_disk_ends_the_capture_and_not_the_network),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
