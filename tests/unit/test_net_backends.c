/*
 * Networks without a tap: a cable between two guests, and passt's protocol.
 */
#include "net_frames.h"
#include "said.h"

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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

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
static void an_end_without_a_free_descriptor_fails_and_goes_on(void **state)
{
	struct rlimit limit, none;
	struct net_backend *ends[2];
	char name[32];
	uint8_t fill;
	int fd;

	(void)state;
	snprintf(name, sizeof(name), "none-%d", getpid());
	assert_int_equal(net_pair_open(name, &ends[0]), 0);
	assert_int_equal(net_pair_open(name, &ends[1]), 0);
	fd = dup(ends[0]->fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ (rlim_t)fd, limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(frame_take(ends[0], &fill), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(frame_take(ends[0], &fill), -EAGAIN);
	assert_int_equal(frame_send(ends[0], 1, 100), 100);
	assert_int_equal(frame_take(ends[1], &fill), 100);
	close(fd);
	net_close(ends[0]);
	net_close(ends[1]);
}

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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_ends_of_a_name_are_a_cable),
		cmocka_unit_test(an_end_of_a_cable_outlives_the_other),
		cmocka_unit_test(
			an_end_without_a_free_descriptor_fails_and_goes_on),
		cmocka_unit_test(an_end_that_cannot_join_another_is_given_up),
		cmocka_unit_test(frames_for_passt_are_behind_their_length),
		cmocka_unit_test(frames_that_are_none_do_not_keep_the_worker),
		cmocka_unit_test(
			a_slow_passt_makes_frames_wait_and_none_is_cut),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
