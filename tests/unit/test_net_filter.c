#include "unit.h"

#include "devices/virtio/net_control.h"
#include "devices/virtio/net_features.h"
#include "util/bytes.h"
#include "util/checked.h"

#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define F(name) NET_FEATURE(VIRTIO_NET_F_##name)
#define ALL                                                                    \
	(F(CTRL_VQ) | F(CTRL_RX) | F(CTRL_RX_EXTRA) | F(CTRL_VLAN) |           \
	 F(CTRL_MAC_ADDR))
#define PAIRS 4

static const uint8_t own[NET_MAC] = { 2, 0, 0, 0, 0, 1 };

static bool apply(struct net_control *control, const uint8_t *bytes, size_t len)
{
	enum net_effect effect;

	return net_control_apply(control, bytes, len, len, &effect);
}
#define APPLY(control, ...)                                                    \
	assert_true(apply(control, (const uint8_t[]){ __VA_ARGS__ },           \
			  sizeof((const uint8_t[]){ __VA_ARGS__ })))

/* One of each kind of frame, and which of them pass: a letter each. */
static const struct {
	char letter;
	uint8_t frame[NET_FILTER_BYTES];
} frames[] = {
	{ 'o', { 2, 0, 0, 0, 0, 1 } },    /* our own */
	{ 'u', { 2, 0, 0, 0, 0, 7 } },    /* in the table */
	{ 'x', { 2, 0, 0, 0, 0, 8 } },    /* another's */
	{ 'm', { 1, 0, 0x5e, 0, 0, 1 } }, /* in the table */
	{ 'n', { 1, 0, 0x5e, 0, 0, 2 } }, /* another group */
	{ 'b', { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } },
	/* Our own, in VLAN 5, in VLAN 6, and with a priority only. */
	{ '5', { 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x81, 0, 0xe0, 5 } },
	{ '6', { 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 6 } },
	{ '0', { 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x81, 0, 0xe0, 0 } },
};

/* The filter's program, run by the kernel: where datagrams arrive. */
struct judge {
	int in, out;
	bool all; /* there is no program */
};

static void judge_init(struct judge *judge, const struct net_filter *filter)
{
	struct sock_filter code[NET_PROGRAM_MAX];
	struct sock_fprog program = { .filter = code };
	int fds[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds), 0);
	*judge = (struct judge){ .in = fds[0], .out = fds[1] };
	program.len = net_filter_program(filter, code);
	judge->all = !program.len;
	if (program.len)
		assert_int_equal(setsockopt(judge->out, SOL_SOCKET,
					    SO_ATTACH_FILTER, &program,
					    sizeof(program)),
				 0);
}

static bool judge_accepts(struct judge *judge, const uint8_t *frame)
{
	uint8_t got[NET_FILTER_BYTES];

	assert_int_equal(send(judge->in, frame, NET_FILTER_BYTES, 0),
			 NET_FILTER_BYTES);
	if (recv(judge->out, got, sizeof(got), 0) != sizeof(got))
		return false;
	assert_memory_equal(got, frame, sizeof(got));
	return true;
}

static void judge_fini(struct judge *judge)
{
	close(judge->in);
	close(judge->out);
}

/* What passes, and the kernel says so, too. */
static void passes(const struct net_control *control, const char *letters)
{
	struct judge judge;
	char got[ARRAY_SIZE(frames) + 1] = "";
	size_t n = 0;

	judge_init(&judge, &control->filter);
	assert_int_equal(judge.all, control->filter.promisc);
	for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
		bool pass =
			net_filter_accepts(&control->filter, frames[i].frame);

		if (judge_accepts(&judge, frames[i].frame) != pass)
			fail_msg("frame %c: the kernel: %d", frames[i].letter,
				 !pass);
		if (pass)
			got[n++] = frames[i].letter;
	}
	assert_string_equal(got, letters);
	judge_fini(&judge);
}

static void the_filter_lets_in_what_it_was_told(void **state)
{
	struct net_control control;

	(void)state;
	net_control_init(&control, ALL, PAIRS, own);
	passes(&control, "ouxmnb560");
	APPLY(&control, 0, 0, 0); /* no longer promiscuous */
	passes(&control, "ob0");
	APPLY(&control, 2, 0, 5, 0); /* VLAN 5 */
	passes(&control, "ob50");
	APPLY(&control, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 7, 1, 0, 0, 0, 1, 0,
	      0x5e, 0, 0, 1);
	passes(&control, "oumb50");
	APPLY(&control, 0, 1, 1); /* all multicasts */
	passes(&control, "oumnb50");
	APPLY(&control, 0, 3, 1); /* none */
	passes(&control, "oub50");
	APPLY(&control, 0, 2, 1); /* all unicasts */
	passes(&control, "ouxb50");
	APPLY(&control, 0, 4, 1); /* none */
	passes(&control, "b");
	APPLY(&control, 0, 5, 1); /* no broadcasts either */
	passes(&control, "");
	APPLY(&control, 0, 0, 1);
	passes(&control, "ouxmnb560");
	net_control_init(&control, ALL, PAIRS, own);
	APPLY(&control, 0, 0, 0);
	APPLY(&control, 1, 1, 2, 0, 0, 0, 0, 8); /* another MAC */
	APPLY(&control, 2, 0, 6, 0);
	APPLY(&control, 2, 1, 6, 0); /* VLAN 6, and not */
	passes(&control, "xb");
}

/* Some of few addresses and VLANs, so that frames often meet them. */
static void frame_random(uint8_t frame[NET_FILTER_BYTES])
{
	static const uint16_t types[] = { ETH_P_IP, ETH_P_8021Q, ETH_P_8021AD };

	memset(frame, rand() % 8 ? 0 : 0xff, NET_MAC);
	if (!frame[0]) {
		frame[0] = rand() % 4;
		frame[1] = rand() % 2 ? 0xfe : 0;
		frame[2] = rand() % 2 ? 0xfd : 0;
		frame[5] = rand() % 4;
	}
	put_be16(frame + 2 * NET_MAC, types[rand() % ARRAY_SIZE(types)]);
	put_be16(frame + 2 * NET_MAC + 2, rand() & 0xf07f);
}

static void list_random(struct net_addresses *list)
{
	uint8_t frame[NET_FILTER_BYTES];

	list->all = rand() % 8 == 0;
	list->count = list->all ? 0 : rand() % 6;
	for (uint32_t i = 0; i < list->count; i++) {
		frame_random(frame);
		memcpy(list->mac[i], frame, NET_MAC);
	}
}

static void the_kernel_accepts_what_the_card_does(void **state)
{
	uint8_t frame[NET_FILTER_BYTES];
	unsigned accepted = 0;

	(void)state;
	for (int i = 0; i < 200; i++) {
		struct net_filter filter = {
			.allmulti = rand() % 8 == 0,
			.alluni = rand() % 8 == 0,
			.nomulti = rand() % 8 == 0,
			.nouni = rand() % 8 == 0,
			.nobcast = rand() % 4 == 0,
			.mac = { 2, 0, 0, 0, 0, 1 },
			.vlan_filter = rand() % 4,
			.vlans = { rand(), 0, rand(), [127] = ~0u },
		};
		struct judge judge;

		list_random(&filter.unicast);
		list_random(&filter.multicast);
		judge_init(&judge, &filter);
		for (int j = 0; j < 200; j++) {
			bool pass;

			frame_random(frame);
			pass = net_filter_accepts(&filter, frame);
			assert_int_equal(judge_accepts(&judge, frame), pass);
			accepted += pass;
		}
		judge_fini(&judge);
	}
	assert_in_range(accepted, 200 * 200 / 8, 200 * 200 * 7 / 8);
}

static void the_longest_program_fits_into_the_kernel(void **state)
{
	struct net_filter filter = { .vlan_filter = true };
	struct judge judge;

	(void)state;
	memset(filter.vlans, 0xff, sizeof(filter.vlans));
	filter.unicast.count = filter.multicast.count = NET_TABLE_MAX;
	for (int i = 0; i < NET_TABLE_MAX; i++) {
		memset(filter.unicast.mac[i], 0xfe, NET_MAC);
		memset(filter.multicast.mac[i], 0xfd, NET_MAC);
	}
	judge_init(&judge, &filter);
	assert_true(judge_accepts(&judge, filter.unicast.mac[0]));
	assert_false(judge_accepts(&judge, frames[0].frame));
	judge_fini(&judge);
}

static void without_a_vlan_filter_all_vlans_pass(void **state)
{
	struct net_control control;

	(void)state;
	net_control_init(&control, ALL & ~F(CTRL_VLAN), PAIRS, own);
	APPLY(&control, 0, 0, 0);
	passes(&control, "ob560");
}

/* A command with two lists of @unicast and @multicast addresses; its length. */
static size_t make_table(uint8_t *bytes, uint32_t unicast, uint32_t multicast)
{
	const uint32_t counts[] = { unicast, multicast };
	uint8_t *at = bytes;

	*at++ = VIRTIO_NET_CTRL_MAC;
	*at++ = VIRTIO_NET_CTRL_MAC_TABLE_SET;
	for (int list = 0; list < 2; list++) {
		memcpy(at, &counts[list], 4);
		at += 4;
		for (uint32_t i = 0; i < counts[list]; i++, at += NET_MAC)
			memcpy(at, (uint8_t[]){ 2 - list, 9, 9, 9, i >> 8, i },
			       NET_MAC);
	}
	return at - bytes;
}

static void a_table_too_long_to_keep_lets_all_of_its_kind_in(void **state)
{
	static const struct {
		uint32_t unicast, multicast;
		const char *passes;
	} cases[] = {
		{ NET_TABLE_MAX, NET_TABLE_MAX, "ob0" },
		{ NET_TABLE_MAX + 1, 0, "ouxb0" },
		{ 0, NET_TABLE_MAX + 1, "omnb0" },
		{ 300, 0, "ouxmnb0" }, /* and no telling what follows */
		{ 3, 3000, "omnb0" },
	};
	static uint8_t bytes[20000];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t len =
			make_table(bytes, cases[i].unicast, cases[i].multicast);
		enum net_effect effect;
		struct net_control control;

		net_control_init(&control, ALL, PAIRS, own);
		APPLY(&control, 0, 0, 0);
		assert_true(net_control_apply(
			&control, bytes,
			len < NET_COMMAND_MAX ? len : NET_COMMAND_MAX, len,
			&effect));
		passes(&control, cases[i].passes);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(the_filter_lets_in_what_it_was_told),
	cmocka_unit_test(the_kernel_accepts_what_the_card_does),
	cmocka_unit_test(the_longest_program_fits_into_the_kernel),
	cmocka_unit_test(without_a_vlan_filter_all_vlans_pass),
	cmocka_unit_test(a_table_too_long_to_keep_lets_all_of_its_kind_in),
};

UNIT_MAIN(tests)
