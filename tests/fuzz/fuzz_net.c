/*
 * What a driver says to a network card: commands on the control queue, which
 * must leave the card's state within its bounds, and headers of frames, of
 * which only such as were negotiated may pass.
 */
#include "devices/virtio/net_parts.h"
#include "util/bytes.h"

#include <assert.h>
#include <string.h>

#define PAIRS 4

static const uint8_t mac[NET_MAC] = { 2, 0, 0, 0, 0, 1 };

static void check_control(const struct net_control *control)
{
	assert(control->pairs >= 1 && control->pairs <= PAIRS);
	assert(!(control->offloads & ~control->features));
	assert(!(control->offloads & ~NET_GUEST_OFFLOADS));
	assert(control->filter.unicast.count <= NET_TABLE_MAX);
	assert(control->filter.multicast.count <= NET_TABLE_MAX);
	assert(!(control->filter.mac[0] & 1));
}

static void check_header(struct virtio_net_hdr_v1 header, uint64_t features,
			 uint32_t len)
{
	if (!net_header_check(&header, features, len))
		return;
	assert(!(header.flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM));
	if (header.flags) {
		assert(features & NET_FEATURE(VIRTIO_NET_F_CSUM));
		assert((uint64_t)header.csum_start + header.csum_offset + 2 <=
		       len);
	}
	if (header.gso_type) {
		assert(header.flags && header.gso_size);
		assert(header.hdr_len <= len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* Features, then a header and the length of its frame, then commands, each
 * with its length and how much more it claims to have. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct virtio_net_hdr_v1 header;
	static struct sock_filter program[NET_PROGRAM_MAX];
	static struct bpf_insn steering[NET_RSS_PROGRAM_MAX];
	struct net_control control;
	uint64_t features;

	if (len < 8 + NET_HEADER + 4)
		return 0;
	features = get_le64(bytes);
	memcpy(&header, bytes + 8, NET_HEADER);
	check_header(header, features, get_le32(bytes + 8 + NET_HEADER));
	bytes += 8 + NET_HEADER + 4;
	len -= 8 + NET_HEADER + 4;
	net_control_init(&control, features, PAIRS, mac);
	while (len >= 4) {
		size_t n = get_le16(bytes) % (NET_COMMAND_MAX + 1);
		uint64_t more = get_le16(bytes + 2);
		uint8_t frame[NET_FILTER_BYTES] = { 0 };
		enum net_effect effect;

		bytes += 4;
		len -= 4;
		if (n > len)
			n = len;
		net_control_apply(&control, bytes, n,
				  n == NET_COMMAND_MAX ? n + more : n, &effect);
		check_control(&control);
		memcpy(frame, bytes, n < sizeof(frame) ? n : sizeof(frame));
		net_filter_accepts(&control.filter, frame);
		assert(net_rss_program(&control.rss, steering) <=
		       NET_RSS_PROGRAM_MAX);
		assert(net_filter_program(&control.filter, program) <=
		       NET_PROGRAM_MAX);
		bytes += n;
		len -= n;
	}
	return 0;
}
