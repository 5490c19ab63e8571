/*
 * The virtio devices of a machine: disks, network cards and the source of
 * random numbers, made and attached in this order.
 */
#include "devices/net/netif.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/virtio_mmio.h"
#include "devices/virtio/virtio_pci.h"
#include "machine.h"
#include "machine_parts.h"
#include "util/checked.h"
#include "util/log.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

/* Device d has PCI slot d + 1, or window d of virtio-mmio; the firmware tables
 * say the same. */
static int machine_attach(struct machine *m, struct virtio_device *virtio)
{
	int d = m->nr_virtio;
	int err;

	if (m->config->transport == TRANSPORT_PCI)
		err = virtio_pci_attach(virtio, &m->pci, d + 1,
					PLATFORM_INTX_FIRST +
						(d + 1) % PLATFORM_INTX_COUNT);
	else
		err = virtio_mmio_attach(
			virtio, &m->vm.mmio,
			PLATFORM_VIRTIO_MMIO + d * PLATFORM_VIRTIO_MMIO_STEP,
			&m->vm.irqs,
			PLATFORM_INTX_FIRST + d % PLATFORM_INTX_COUNT);
	if (err) {
		err = machine_stage_failed(virtio->name, EXIT_CODE_INTERNAL,
					   err);
		virtio_destroy(virtio);
		return err;
	}
	m->virtio[m->nr_virtio++] = virtio;
	return 0;
}

/* More queues than that only cost: one worker serves all of a disk's. */
#define DISK_QUEUES 4

static int machine_add_disk(struct machine *m, int i)
{
	const struct disk_config *disk = &m->config->disks[i];
	struct virtio_blk_options options = disk->device;
	uint64_t cpus = m->config->cpus;
	struct virtio_device *virtio;
	struct block *block;
	char name[VIRTIO_NAME_MAX];
	int err;

	snprintf(name, sizeof(name), "blk%d", i);
	err = block_open(&disk->image, &block);
	if (err)
		return machine_code(EXIT_CODE_INPUT, err);
	/* Past the page cache the host's disk gets guest memory as it is: a few
	 * large pieces are quicker than many pages. */
	if (disk->image.cache == BLOCK_CACHE_NONE)
		madvise(m->memory.host, m->memory.size, MADV_HUGEPAGE);
	options.stopped = machine_disk_stops;
	options.stopped_arg = m;
	if (!options.serial)
		options.serial = name;
	if (!options.queues)
		options.queues = cpus < DISK_QUEUES ? cpus : DISK_QUEUES;
	err = virtio_blk_create(name, block, &options, &m->memory, &virtio);
	if (err) {
		block_close(block);
		return machine_stage_failed(name, EXIT_CODE_HOST, err);
	}
	return machine_attach(m, virtio);
}

/* The most pairs of queues of a card for which the user names no number. */
#define NET_QUEUES_AUTO 4

/* Something about the host's interfaces has changed: perhaps a cable. */
static void machine_links_changed(struct watch *watch, uint32_t events)
{
	struct machine *m = container_of(watch, struct machine, links);

	(void)events;
	netif_watch_clear(watch->fd);
	for (int i = 0; i < m->nr_virtio; i++) {
		if (m->virtio[i]->id == VIRTIO_ID_NET)
			virtio_net_check_link(m->virtio[i]);
	}
}

/* Failure is not fatal: the guest only misses that its cable is pulled. */
static void machine_watch_links(struct machine *m)
{
	int err;

	m->links = (struct watch){ .fd = netif_watch(),
				   .ready = machine_links_changed };
	err = m->links.fd < 0 ? m->links.fd
			      : loop_add(&m->loop, &m->links, EPOLLIN);
	if (err)
		log_warn("cannot watch the host's network interfaces: %s",
			 strerror(-err));
}

static const char *vhost_error(int err)
{
	switch (err) {
	case -ENOENT:
	case -ENXIO:
	case -ENODEV:
		return "missing: modprobe vhost_net, or say vhost=auto";
	case -EACCES:
		return "no right to open it: run as root, or: chgrp kvm "
		       "/dev/vhost-net && chmod 0660 /dev/vhost-net";
	default:
		return strerror(-err);
	}
}

/* With "auto" a failure is no error. */
static int machine_use_vhost(const struct net_options *options,
			     struct virtio_device *virtio)
{
	int err;

	if (options->vhost == NET_VHOST_OFF)
		return 0;
	err = virtio_net_vhost(virtio);
	if (!err)
		return 0;
	if (options->vhost == NET_VHOST_AUTO) {
		log_info("%s: without vhost-net: %s", virtio->name,
			 err == -EOPNOTSUPP
				 ? "it carries only a tap's frames, without "
				   "rate= and pcap="
				 : strerror(-err));
		return 0;
	}
	log_err("%s: vhost=on: /dev/vhost-net: %s", virtio->name,
		vhost_error(err));
	return err;
}

static int machine_add_net(struct machine *m, int i)
{
	struct net_options options = m->config->nets[i];
	struct virtio_device *virtio;
	struct net_backend *net;
	unsigned cpus = m->vm.nr_vcpus;
	char name[VIRTIO_NAME_MAX];
	uint8_t mac[NET_MAC];
	int err;

	snprintf(name, sizeof(name), "net%d", i);
	if (options.has_mac)
		memcpy(mac, options.mac, NET_MAC);
	else
		net_mac_derive(m->config->identity, name, mac);
	options.queues_auto = cpus < NET_QUEUES_AUTO ? cpus : NET_QUEUES_AUTO;
	err = net_open(&options, &net);
	if (err)
		return EXIT_CODE_HOST;
	err = virtio_net_create(name, net, mac, &m->memory, &virtio);
	if (err) {
		net_close(net);
		return machine_stage_failed(name, EXIT_CODE_HOST, err);
	}
	if (machine_use_vhost(&options, virtio)) {
		virtio_destroy(virtio);
		return EXIT_CODE_HOST;
	}
	return machine_attach(m, virtio);
}

static int machine_add_rng(struct machine *m)
{
	struct virtio_device *virtio;
	int err = virtio_rng_create("rng0", &m->memory, &virtio);

	if (err)
		return machine_stage_failed("rng0", EXIT_CODE_HOST, err);
	return machine_attach(m, virtio);
}

void machine_remove_devices(struct machine *m)
{
	if (m->links.fd >= 0)
		close(m->links.fd);
	while (m->nr_virtio)
		virtio_destroy(m->virtio[--m->nr_virtio]);
}

int machine_add_devices(struct machine *m)
{
	int err = 0;

	m->links.fd = -1;
	for (int i = 0; i < m->config->nr_disks && !err; i++)
		err = machine_add_disk(m, i);
	for (int i = 0; i < m->config->nr_nets && !err; i++)
		err = machine_add_net(m, i);
	if (!err && m->config->nr_nets)
		machine_watch_links(m);
	if (!err)
		err = machine_add_rng(m);
	if (err)
		machine_remove_devices(m);
	return err;
}
