/*
 * Split virtqueues from the driver's side (virtio 1.2, 2.7).
 */
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"
#include "guests/lib/virtio.h"

static uint64_t arena = QUEUES;

static uint64_t allocate(uint64_t size)
{
	uint64_t at = arena;

	arena = (at + size + 4095) & ~4095ul;
	CHECK(arena <= QUEUES_END, "room for the queues");
	memset((void *)at, 0, size);
	return at;
}

void vq_forget(void)
{
	arena = QUEUES;
}

void vq_init(struct virtqueue *vq, struct virtio *dev, int index, uint16_t size)
{
	uint16_t max;
	uint64_t n;

	virtio_select(dev, (uint16_t)index);
	max = virtio_queue_max(dev);
	CHECK(max, "the queue exists");
	if (!size)
		size = max < VQ_MAX ? max : VQ_MAX;
	n = size;
	*vq = (struct virtqueue){
		.dev = dev,
		.index = index,
		.size = size,
		.event_idx = dev->features >> VIRTIO_RING_F_EVENT_IDX & 1,
		.desc = (void *)allocate(16 * n),
		.avail = (void *)allocate(6 + 2 * n),
		.used = (void *)allocate(6 + 8 * n),
	};
	virtio_queue_size(dev, size);
	virtio_queue_addresses(dev, (uint64_t)vq->desc, (uint64_t)vq->avail,
			       (uint64_t)vq->used);
	vq->notify_at = virtio_notify_address(dev, (uint16_t)index);
	virtio_queue_ready(dev, true);
	CHECK(virtio_queue_is_ready(dev), "the queue is ready");
}

void vq_publish(struct virtqueue *vq, uint16_t head)
{
	uint16_t index = vq->avail->idx;

	vq->avail->ring[index & (vq->size - 1)] = head;
	barrier(); /* the entry before the index that announces it */
	*(volatile uint16_t *)&vq->avail->idx = (uint16_t)(index + 1);
}

static void fill(struct vring_desc *table, uint16_t size, uint16_t first,
		 const struct vq_buffer *buffers, int count)
{
	for (int i = 0; i < count; i++) {
		uint16_t at = (uint16_t)((first + i) & (size - 1));

		table[at] = (struct vring_desc){
			.addr = buffers[i].address,
			.len = buffers[i].length,
			.flags = buffers[i].writable ? VRING_DESC_F_WRITE : 0,
			.next = (uint16_t)((at + 1) & (size - 1)),
		};
		if (i + 1 < count)
			table[at].flags |= VRING_DESC_F_NEXT;
	}
}

uint16_t vq_add(struct virtqueue *vq, const struct vq_buffer *buffers,
		int count)
{
	uint16_t head = vq->next;

	fill(vq->desc, vq->size, head, buffers, count);
	vq->next = (uint16_t)((head + count) & (vq->size - 1));
	vq_publish(vq, head);
	return head;
}

uint16_t vq_add_indirect(struct virtqueue *vq, struct vring_desc *table,
			 const struct vq_buffer *buffers, int count)
{
	uint16_t head = vq->next;

	fill(table, 0x8000, 0, buffers, count);
	vq->desc[head] = (struct vring_desc){
		.addr = (uint64_t)table,
		.len = (uint32_t)count * 16,
		.flags = VRING_DESC_F_INDIRECT,
	};
	vq->next = (uint16_t)((head + 1) & (vq->size - 1));
	vq_publish(vq, head);
	return head;
}

void vq_notify(struct virtqueue *vq)
{
	if (vq->dev->pci)
		write16(vq->notify_at, (uint16_t)vq->index);
	else
		write32(vq->notify_at, (uint32_t)vq->index);
}

bool vq_kick(struct virtqueue *vq)
{
	uint16_t old = vq->kicked, now = vq->avail->idx;
	bool needed;

	memory_fence(); /* the index is out before the wish is read */
	vq->kicked = now;
	if (vq->event_idx)
		needed = vring_need_event(
			*(volatile uint16_t *)&vq->used->ring[vq->size], now,
			old);
	else
		needed = !(*(volatile uint16_t *)&vq->used->flags &
			   VRING_USED_F_NO_NOTIFY);
	if (needed)
		vq_notify(vq);
	return needed;
}

bool vq_pending(const struct virtqueue *vq)
{
	return *(volatile uint16_t *)&vq->used->idx != vq->last_used;
}

bool vq_take(struct virtqueue *vq, uint32_t *head, uint32_t *length)
{
	struct vring_used_elem *element;

	if (!vq_pending(vq) && !WAIT_FOR(vq_pending(vq)))
		return false;
	barrier();
	element = &vq->used->ring[vq->last_used++ & (vq->size - 1)];
	if (head)
		*head = element->id;
	if (length)
		*length = element->len;
	return true;
}
