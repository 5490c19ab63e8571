/*
 * A card over real networks whose other end goes, or whose tap does.
 */
#include "net_world.h"
#include "wire.h"

#include "devices/net/pair.h"
#include "devices/net/passt.h"

#include <stddef.h>
#include <sys/un.h>

#define FRAMES 32 /* more than any socket takes */

static struct sockaddr_un name_of_ours(const char *folder, socklen_t *len)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int n = snprintf(address.sun_path + !*folder,
			 sizeof(address.sun_path) - 1, "%skvist/%u/ends-%d",
			 folder, geteuid(), getpid());

	*len = offsetof(struct sockaddr_un, sun_path) + !*folder + n;
	return address;
}

static struct net_backend *pair_end(int *peer)
{
	socklen_t len;
	struct sockaddr_un address = name_of_ours("", &len);
	struct net_backend *net;

	assert_int_equal(
		net_pair_open(strrchr(address.sun_path + 1, '/') + 1, &net), 0);
	*peer = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(*peer, (struct sockaddr *)&address, len), 0);
	return net;
}

static struct net_backend *passt_end(int *peer)
{
	char path[] = "/tmp/kvist-ends-XXXXXX";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct net_backend *net;

	assert_non_null(mkdtemp(path));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)),
			 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(passt_open(address.sun_path, &net), 0);
	*peer = accept(fd, NULL, NULL);
	assert_true(*peer >= 0);
	close(fd);
	unlink(address.sun_path);
	rmdir(path);
	return net;
}

static void card_over(struct bench *bench, struct net_backend *net)
{
	static const uint8_t mac[NET_MAC] = { 2, 0, 0, 0, 0, 1 };
	struct virtio_device *virtio;

	log_set_level(LOG_ERR);
	bench_memory(bench);
	assert_int_equal(
		virtio_net_create("net0", net, mac, &bench->memory, &virtio),
		0);
	bench_attach(bench, virtio);
	bench_up(bench, FEATURES, FRAMES);
}

static void frames_do_not_wait_for_an_end_that_has_gone(void **state)
{
	static const struct segment frame = { BENCH_DATA + 0x80000, 60000,
					      false };
	static const struct {
		struct net_backend *(*end)(int *peer);
		int receives; /* buffers */
		bool empty;   /* it ends with an empty message, and stays */
	} cases[] = {
		{ pair_end, 4, false },
		{ pair_end, 4, true },
		{ passt_end, 4, false },
		{ passt_end, 0, false },
	};
	static const uint8_t hello[60];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vring_used_elem elem;
		struct bench bench;
		int peer, back = 0;

		card_over(&bench, cases[i].end(&peer));
		rx_give(&bench, cases[i].receives, 2048);
		/* A cable is one once its first frame has come. */
		if (cases[i].end == pair_end) {
			assert_int_equal(write(peer, hello, 60), 60);
			assert_int_equal(rx_wait(&bench), 60);
		}
		for (int k = 0; k < FRAMES; k++)
			driver_add(&bench.queues[TX], &frame, 1);
		virtio_notify(bench.virtio, TX);
		assert_true(driver_wait(&bench.queues[TX], &elem));
		usleep(5000);
		while (back < FRAMES - 1 &&
		       driver_take(&bench.queues[TX], &elem))
			back++;
		assert_in_range(back, 0, FRAMES - 2);
		if (cases[i].empty)
			assert_int_equal(send(peer, hello, 0, 0), 0);
		else
			shutdown(peer, SHUT_RDWR);
		for (; back < FRAMES - 1; back++)
			assert_true(driver_wait(&bench.queues[TX], &elem));
		close(peer);
		bench_end(&bench);
	}
}

static void a_driver_starts_after_its_tap_has_gone(void **state)
{
	static const struct segment frame = { BENCH_DATA + 0x80000, 100,
					      false };
	struct net_options options = { .kind = NET_TAP, .ifname = "goes" };

	(void)state;
	need_namespace();
	for (unsigned runs = 0; runs < 2; runs++) {
		struct vring_used_elem elem;
		struct net_backend *net;
		struct bench bench;

		options.queues = 1 + runs;
		tap_make("goes",
			 IFF_TAP | IFF_NO_PI | IFF_VNET_HDR |
				 (runs ? IFF_MULTI_QUEUE : 0),
			 0);
		assert_int_equal(net_open(&options, &net), 0);
		card_over(&bench, net);
		/* It goes while a driver runs, or while none does. */
		if (!runs)
			virtio_status_write(bench.virtio, 0);
		assert_int_equal(system("ip link del goes"), 0);
		bench_up(&bench, FEATURES, SIZE);
		assert_true(bench.virtio->running);
		rx_give(&bench, 1, 2048);
		driver_add(&bench.queues[TX], &frame, 1);
		virtio_notify(bench.virtio, TX);
		assert_true(driver_wait(&bench.queues[TX], &elem));
		assert_true(bench_reaches(&bench.config_interrupts, 1));
		assert_int_equal(virtio_config_read(bench.virtio, 6, 2), 0);
		bench_end(&bench);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(frames_do_not_wait_for_an_end_that_has_gone),
	cmocka_unit_test(a_driver_starts_after_its_tap_has_gone),
};

NAMESPACE_MAIN(tests, namespace_enter)
