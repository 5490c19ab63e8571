#include "devices/virtio/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int vhost_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

static int share_memory(int fd, const struct memory *memory)
{
	union {
		struct vhost_memory table;
		char room[sizeof(struct vhost_memory) +
			  MEMORY_REGIONS * sizeof(struct vhost_memory_region)];
	} all = { .table.nregions = memory->nr_regions };

	for (int i = 0; i < memory->nr_regions; i++)
		all.table.regions[i] = (struct vhost_memory_region){
			.guest_phys_addr = memory->regions[i].start,
			.memory_size = memory->regions[i].size,
			.userspace_addr = (uintptr_t)memory->regions[i].host,
		};
	return vhost_ioctl(fd, VHOST_SET_MEM_TABLE, &all);
}

int vhost_open(const struct memory *memory)
{
	int fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = vhost_ioctl(fd, VHOST_SET_OWNER, NULL);
	if (!err)
		err = share_memory(fd, memory);
	if (!err)
		return fd;
	close(fd);
	return err;
}

int vhost_features(int fd, uint64_t features)
{
	/* Segments and checksums are between the driver and the tap. */
	features &= 1ull << VIRTIO_F_VERSION_1 |
		    1ull << VIRTIO_NET_F_MRG_RXBUF |
		    1ull << VIRTIO_RING_F_INDIRECT_DESC |
		    1ull << VIRTIO_RING_F_EVENT_IDX;
	return vhost_ioctl(fd, VHOST_SET_FEATURES, &features);
}

static int set_backend(int fd, unsigned index, int tap_fd)
{
	struct vhost_vring_file file = { .index = index, .fd = tap_fd };

	return vhost_ioctl(fd, VHOST_NET_SET_BACKEND, &file);
}

static int set_file(int fd, unsigned long request, unsigned index, int file_fd)
{
	struct vhost_vring_file file = { .index = index, .fd = file_fd };

	return vhost_ioctl(fd, request, &file);
}

static int set_state(int fd, unsigned long request, unsigned index,
		     unsigned num)
{
	struct vhost_vring_state state = { .index = index, .num = num };

	return vhost_ioctl(fd, request, &state);
}

int vhost_ring_start(int fd, unsigned index, const struct ring *ring,
		     int kick_fd, int err_fd, int tap_fd)
{
	struct vhost_vring_addr addr = {
		.index = index,
		.desc_user_addr = (uintptr_t)ring->desc,
		.used_user_addr = (uintptr_t)ring->used,
		.avail_user_addr = (uintptr_t)ring->avail,
	};
	int err = set_state(fd, VHOST_SET_VRING_NUM, index, ring->size);

	if (!err)
		err = set_state(fd, VHOST_SET_VRING_BASE, index,
				ring->next_avail);
	if (!err)
		err = vhost_ioctl(fd, VHOST_SET_VRING_ADDR, &addr);
	if (!err)
		err = set_file(fd, VHOST_SET_VRING_ERR, index, err_fd);
	if (!err)
		err = set_file(fd, VHOST_SET_VRING_KICK, index, kick_fd);
	if (!err)
		err = set_backend(fd, index, tap_fd);
	if (err)
		set_file(fd, VHOST_SET_VRING_KICK, index, VHOST_FILE_UNBIND);
	return err;
}

int vhost_ring_stop(int fd, unsigned index, struct ring *ring)
{
	struct vhost_vring_state state = { .index = index };
	int err = set_backend(fd, index, VHOST_FILE_UNBIND);

	set_file(fd, VHOST_SET_VRING_KICK, index, VHOST_FILE_UNBIND);
	if (!err)
		err = vhost_ioctl(fd, VHOST_GET_VRING_BASE, &state);
	if (!err)
		ring_moved(ring, state.num);
	return err;
}

int vhost_ring_call(int fd, unsigned index, int call_fd)
{
	return set_file(fd, VHOST_SET_VRING_CALL, index, call_fd);
}
