/*
 * Disks of a running machine: one that stops it, and those that go on again or
 * get another size.
 */
#include "machine.h"
#include "machine_parts.h"

#include "devices/virtio/blk.h"
#include "util/checked.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Calls @act for each disk; true if it was true for one of them. */
static bool each_disk(struct machine *m, bool (*act)(struct virtio_device *))
{
	bool any = false;

	for (int i = 0; i < m->nr_virtio; i++)
		if (m->virtio[i]->id == VIRTIO_ID_BLOCK)
			any |= act(m->virtio[i]);
	return any;
}

/* A disk holds a request that the host could not do. A reset of the guest may
 * have come first, and then nothing is held any more. */
static void machine_disk_stopped(struct watch *watch, uint32_t events)
{
	struct machine *m = container_of(watch, struct machine, disk_stopped);
	eventfd_t count;

	(void)events;
	eventfd_read(watch->fd, &count);
	if (each_disk(m, virtio_blk_holds)) {
		vm_stop(&m->vm);
		m->paused = true;
	}
}

static bool retry(struct virtio_device *virtio)
{
	virtio_blk_retry(virtio);
	return true;
}

void machine_retry_disks(struct machine *m)
{
	if (!m->paused)
		return;
	m->paused = false;
	each_disk(m, retry);
	if (__atomic_load_n(&m->vm.end, __ATOMIC_ACQUIRE) == END_NONE)
		vm_start(&m->vm);
}

static bool resize(struct virtio_device *virtio)
{
	return !virtio_blk_resize(virtio, 0);
}

void machine_resize_disks(struct machine *m)
{
	each_disk(m, resize);
}

void machine_disk_stops(void *machine)
{
	struct machine *m = machine;

	eventfd_write(m->disk_stopped.fd, 1);
}

int machine_watch_disks(struct machine *m)
{
	int err;

	m->disk_stopped = (struct watch){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.ready = machine_disk_stopped,
	};
	if (m->disk_stopped.fd < 0)
		return machine_stage_failed("eventfd", EXIT_CODE_HOST, -errno);
	err = loop_add(&m->loop, &m->disk_stopped, EPOLLIN);
	if (!err)
		return 0;
	close(m->disk_stopped.fd);
	return machine_stage_failed("event loop", EXIT_CODE_HOST, err);
}

void machine_ignore_disks(struct machine *m)
{
	close(m->disk_stopped.fd);
}
