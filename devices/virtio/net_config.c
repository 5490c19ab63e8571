/*
 * What a network card offers, and which of it a driver's choice leaves to the
 * backend.
 */
#include "devices/virtio/net_parts.h"

#include <string.h>

/* Which features let the driver leave to the backend what it can do, and the
 * other way round. */
static const struct {
	unsigned host, guest, offload;
} offloads[] = {
	{ VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM },
	{ VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4 },
	{ VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6 },
	{ VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN },
	{ VIRTIO_NET_F_HOST_USO, VIRTIO_NET_F_GUEST_USO4, TUN_F_USO4 },
	{ VIRTIO_NET_F_HOST_USO, VIRTIO_NET_F_GUEST_USO6, TUN_F_USO6 },
};

/* What the backend may leave undone: TUN_F_* bits. */
static unsigned guest_offloads(const struct virtio_net *net)
{
	unsigned flags = 0;

	for (size_t i = 0; i < ARRAY_SIZE(offloads); i++) {
		if (net->control.offloads & NET_FEATURE(offloads[i].guest))
			flags |= offloads[i].offload;
	}
	/* What depends on what: 5.1.3.1. Taps know both kinds of UDP
	 * segments, or none. */
	if (!(flags & (TUN_F_TSO4 | TUN_F_TSO6)))
		flags &= ~TUN_F_TSO_ECN;
	if (~flags & (TUN_F_USO4 | TUN_F_USO6))
		flags &= ~(TUN_F_USO4 | TUN_F_USO6);
	return flags & TUN_F_CSUM ? flags : 0;
}

int net_offloads_set(struct virtio_net *net)
{
	struct net_backend *backend = net->pairs[0].backend;

	return backend->ops->set_offloads(backend, guest_offloads(net));
}

void net_config_init(struct virtio_net *net)
{
	static const unsigned features[] = {
		VIRTIO_NET_F_MAC,           VIRTIO_NET_F_STATUS,
		VIRTIO_NET_F_MTU,           VIRTIO_NET_F_MRG_RXBUF,
		VIRTIO_NET_F_CTRL_VQ,       VIRTIO_NET_F_CTRL_RX,
		VIRTIO_NET_F_CTRL_RX_EXTRA, VIRTIO_NET_F_CTRL_VLAN,
		VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_GUEST_ANNOUNCE,
	};
	struct virtio_device *virtio = &net->virtio;
	const struct net_backend *backend = net->pairs[0].backend;
	struct virtio_net_config config = {
		.status = htole16(VIRTIO_NET_S_LINK_UP),
		.max_virtqueue_pairs = htole16(net->nr_pairs),
		.mtu = htole16(backend->mtu > UINT16_MAX ? UINT16_MAX
							 : backend->mtu),
	};

	memcpy(config.mac, net->mac, NET_MAC);
	virtio->config_len = offsetof(struct virtio_net_config, speed);
	if (backend->steers && net->nr_pairs > 1) {
		config.rss_max_key_size = NET_RSS_KEY;
		config.rss_max_indirection_table_length =
			htole16(NET_RSS_TABLE);
		config.supported_hash_types = htole32(NET_RSS_TYPES);
		virtio->config_len = sizeof(config);
		virtio->offered |= NET_FEATURE(VIRTIO_NET_F_RSS);
	}
	memcpy(virtio->config, &config, virtio->config_len);
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		virtio->offered |= NET_FEATURE(features[i]);
	if (net->nr_pairs > 1)
		virtio->offered |= NET_FEATURE(VIRTIO_NET_F_MQ);
	for (size_t i = 0; i < ARRAY_SIZE(offloads); i++) {
		if (backend->offloads & offloads[i].offload)
			virtio->offered |= NET_FEATURE(offloads[i].host) |
					   NET_FEATURE(offloads[i].guest);
	}
	if (backend->offloads & TUN_F_CSUM)
		virtio->offered |=
			NET_FEATURE(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
}
