/*
 * The file that shows what passed a card.
 */
#include "net_frames.h"
#include "said.h"

#include "devices/net/capture.h"
#include "devices/net/pair.h"
#include "util/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <signal.h>
#include <sys/stat.h>

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
/* All that a reader of @fd gets at once, to @text. */
static size_t drain(int fd, uint8_t *text, size_t max)
{
	size_t have = 0;
	ssize_t n;

	while ((n = read(fd, text + have, max - have)) > 0)
		have += n;
	return have;
}

static void a_reader_that_stops_misses_frames_and_holds_up_none(void **state)
{
	static uint8_t text[4 << 20];
	struct net_backend *ends[2], *net;
	const uint8_t *at = text, *body;
	char path[64], said_text[512];
	size_t len, seen[2] = { 0, 0 };
	struct said said;
	uint8_t fill;
	int reader;

	(void)state;
	in_folder(path, "slow");
	assert_int_equal(mkfifo(path, 0600), 0);
	reader = open(path, O_RDONLY | O_NONBLOCK);
	assert_int_equal(net_pair(ends), 0);
	net = ends[0];
	assert_int_equal(capture_open(path, &net), 0);
	/* More than any pipe holds, of a length that no pipe holds evenly. */
	said = said_begin();
	for (int i = 0; i < 40; i++) {
		assert_int_equal(frame_send(net, 1, 60001), 60001);
		assert_int_equal(frame_take(ends[1], &fill), 60001);
	}
	said_end(said, said_text, sizeof(said_text));
	assert_non_null(strstr(said_text, "frames are missing"));
	assert_null(strstr(strstr(said_text, "missing") + 1, "missing"));
	len = drain(reader, text, sizeof(text));
	/* Now there is room: first for the end of the one that was cut. */
	assert_int_equal(frame_send(net, 2, 100), 100);
	len += drain(reader, text + len, sizeof(text) - len);
	assert_int_equal(block_next(&at, text + len, &body), 0x0a0d0d0a);
	assert_int_equal(block_next(&at, text + len, &body), 1);
	while (at < text + len) {
		assert_int_equal(block_next(&at, text + len, &body), 6);
		seen[get_le32(body + 16) == 100 - NET_HEADER]++;
	}
	assert_in_range(seen[0], 1, 39);
	assert_int_equal(seen[1], 1);
	net_close(net);
	net_close(ends[1]);
	close(reader);
	unlink(path);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_capture_has_each_frame_that_passed),
		cmocka_unit_test(two_captures_do_not_share_a_file),
		cmocka_unit_test(
			a_full_disk_ends_the_capture_and_not_the_network),
		cmocka_unit_test(
			a_reader_that_stops_misses_frames_and_holds_up_none),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
