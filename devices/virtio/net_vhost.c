/*
 * A network card whose frames the kernel carries. The worker starts and stops
 * the kernel's service of a ring and passes interrupts on that cannot go
 * straight to KVM; the control queue stays its own.
 */
#include "devices/virtio/net_parts.h"

#include "devices/virtio/vhost.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Where the worker watches what the kernel signals: behind the taps. */
static unsigned call_backend(const struct virtio_net *net, unsigned queue)
{
	return net->nr_pairs + queue;
}

static unsigned err_backend(const struct virtio_net *net)
{
	return 3 * net->nr_pairs;
}

static int open_all(struct virtio_net *net)
{
	struct virtio_device *virtio = &net->virtio;

	for (unsigned i = 0; i < net->nr_pairs; i++) {
		struct net_pair *pair = &net->pairs[i];

		if (!pair->backend->kernel_may_carry)
			return -EOPNOTSUPP;
		pair->vhost_fd = vhost_open(virtio->memory);
		if (pair->vhost_fd < 0)
			return pair->vhost_fd;
	}
	for (unsigned i = net->nr_pairs; i <= err_backend(net); i++) {
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

		if (fd < 0)
			return -errno;
		virtio_watch(virtio, fd);
	}
	return 0;
}

int virtio_net_vhost(struct virtio_device *virtio)
{
	struct virtio_net *net =
		container_of(virtio, struct virtio_net, virtio);
	unsigned watched = virtio->nr_watched;
	int err = open_all(net);

	if (err) {
		net_vhost_fini(net);
		virtio_unwatch(virtio, watched);
		return err;
	}
	net->vhost = true;
	if (!net_vhost_filters(net))
		virtio->offered &= ~NET_FEATURE(VIRTIO_NET_F_CTRL_VLAN);
	return 0;
}

void net_vhost_fini(struct virtio_net *net)
{
	for (unsigned i = 0; i < net->nr_pairs; i++) {
		if (net->pairs[i].vhost_fd >= 0)
			close(net->pairs[i].vhost_fd);
		net->pairs[i].vhost_fd = -1;
	}
}

/*
 * The vCPU that masks a vector and the worker that starts a ring may both come
 * here; the lock orders asking the transport and telling the kernel, so that
 * the last one has seen how things are.
 */
void net_vhost_call(struct virtio_net *net, unsigned queue)
{
	struct virtio_device *virtio = &net->virtio;
	struct net_pair *pair = &net->pairs[queue / 2];
	int fd = -1;

	pthread_mutex_lock(&net->call_lock);
	if (virtio->queues[queue].in_kernel) {
		if (virtio->transport_ops->call_fd)
			fd = virtio->transport_ops->call_fd(virtio, queue);
		if (fd < 0) /* masked, or no message: by way of the worker */
			fd = virtio->watched[call_backend(net, queue)].fd;
		vhost_ring_call(pair->vhost_fd, queue % 2, fd);
	}
	pthread_mutex_unlock(&net->call_lock);
}

static void set_in_kernel(struct virtio_net *net, unsigned queue, bool on)
{
	pthread_mutex_lock(&net->call_lock);
	net->virtio.queues[queue].in_kernel = on;
	pthread_mutex_unlock(&net->call_lock);
}

bool net_vhost_start(struct virtio_net *net, unsigned queue)
{
	struct virtio_device *virtio = &net->virtio;
	struct net_pair *pair = &net->pairs[queue / 2];
	struct virtio_queue *from = &virtio->queues[queue];
	int err = 0;

	if (from->in_kernel)
		return true;
	if (!virtio->queues[queue ^ 1].in_kernel)
		err = vhost_features(pair->vhost_fd, virtio->features);
	if (!err) {
		set_in_kernel(net, queue, true);
		net_vhost_call(net, queue);
		err = vhost_ring_start(pair->vhost_fd, queue % 2, &from->ring,
				       from->kick_fd,
				       virtio->watched[err_backend(net)].fd,
				       pair->backend->fd);
	}
	if (err) {
		set_in_kernel(net, queue, false);
		net->vhost = false;
		log_warn("%s: queue %u: vhost-net: %s; kvist carries the "
			 "frames itself",
			 virtio->name, queue, strerror(-err));
		return false;
	}
	*net_events(net, queue / 2) = 0;
	/* What the driver gave before is looked at, too. */
	eventfd_write(from->kick_fd, 1);
	return true;
}

void net_vhost_stop(struct virtio_net *net, unsigned queue)
{
	struct virtio_device *virtio = &net->virtio;
	struct net_pair *pair = &net->pairs[queue / 2];
	int call_fd = virtio->watched[call_backend(net, queue)].fd;
	eventfd_t count;
	int err;

	if (!virtio->queues[queue].in_kernel)
		return;
	err = vhost_ring_stop(pair->vhost_fd, queue % 2, net_ring(net, queue));
	if (err) {
		log_err("%s: queue %u: vhost-net: %s", virtio->name, queue,
			strerror(-err));
		virtio_needs_reset(virtio);
	}
	set_in_kernel(net, queue, false);
	vhost_ring_call(pair->vhost_fd, queue % 2, -1);
	if (!eventfd_read(call_fd, &count))
		virtio_interrupt(virtio, queue);
}

bool net_vhost_ready(struct virtio_net *net, unsigned backend)
{
	struct virtio_device *virtio = &net->virtio;
	eventfd_t count;

	if (backend < net->nr_pairs)
		return false;
	if (eventfd_read(virtio->watched[backend].fd, &count))
		return true;
	if (backend == err_backend(net)) {
		log_guest(&net->bad_ring,
			  "%s: vhost-net finds a ring broken; the driver must "
			  "reset it",
			  virtio->name);
		virtio_needs_reset(virtio);
	} else {
		virtio_interrupt(virtio, backend - net->nr_pairs);
	}
	return true;
}

bool net_vhost_filters(const struct virtio_net *net)
{
	return net->pairs[0].vhost_fd >= 0 && net->pairs[0].backend->ours;
}

void net_vhost_filter(struct virtio_net *net, const struct net_filter *filter)
{
	struct net_backend *backend = net->pairs[0].backend;
	struct sock_filter code[NET_PROGRAM_MAX];
	struct sock_fprog program = { .filter = code };

	if (!net_vhost_filters(net))
		return;
	if (filter)
		program.len = net_filter_program(filter, code);
	backend->ops->set_filter(backend, &program);
}
