#include "devices/virtio/ring.h"

#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Alignments: virtio 1.2, 2.7. */
#define DESC_ALIGN   16
#define DRIVER_ALIGN 2
#define DEVICE_ALIGN 4

/* Both rings end with an event index, whether it is used or not. */
static uint16_t *used_event(const struct ring *ring)
{
	return &ring->avail->ring[ring->size];
}

static uint16_t *avail_event(const struct ring *ring)
{
	return (uint16_t *)(void *)&ring->used->ring[ring->size];
}

static void *part(const struct ring *ring, uint64_t gpa, uint64_t align,
		  uint64_t len)
{
	return gpa % align ? NULL : memory_at(ring->memory, gpa, len);
}

int ring_start(struct ring *ring, const struct ring_config *config)
{
	uint64_t size = config->size;

	if (!is_power_of_two(size) || size > RING_SIZE_MAX ||
	    config->desc % DESC_ALIGN || config->driver % DRIVER_ALIGN ||
	    config->device % DEVICE_ALIGN)
		return -EINVAL;
	ring->size = size;
	ring->desc = part(ring, config->desc, DESC_ALIGN,
			  size * sizeof(*ring->desc));
	ring->avail = part(ring, config->driver, DRIVER_ALIGN,
			   sizeof(*ring->avail) +
				   (size + 1) * sizeof(ring->avail->ring[0]));
	ring->used =
		part(ring, config->device, DEVICE_ALIGN,
		     sizeof(*ring->used) + size * sizeof(ring->used->ring[0]) +
			     sizeof(uint16_t));
	if (!ring->desc || !ring->avail || !ring->used)
		return -EFAULT;
	ring->indirect = config->indirect;
	ring->event_idx = config->event_idx;
	ring->next_avail = 0;
	ring->next_used = 0;
	ring->published = 0;
	ring->generation++;
	ring->broken = false;
	return 0;
}

void ring_stop(struct ring *ring)
{
	ring->generation++;
	ring->broken = true;
}

static int ring_break(struct ring *ring, const char *why)
{
	ring->broken = true;
	log_guest(&ring->error, "%s: queue %u: %s; the driver must reset it",
		  ring->name, ring->index, why);
	return -EPROTO;
}

/* Where the descriptors of a chain are read from: the ring's own table, or
 * the one an indirect descriptor points to. */
struct walk {
	uint64_t table; /* guest physical, when indirect */
	uint32_t len;   /* descriptors in the table */
	bool indirect;
	uint32_t hops; /* descriptors read, of both tables */
	bool writing;  /* a writable one was seen */
	uint64_t bytes;
};

/* R2: the only reading of descriptor @i; volatile, so that the compiler does
 * not read it again where the copy is used. */
static bool desc_copy(const struct ring *ring, const struct walk *walk,
		      uint32_t i, struct vring_desc *desc)
{
	const volatile struct vring_desc *from = &ring->desc[i];

	if (walk->indirect)
		return memory_read(ring->memory,
				   walk->table + i * sizeof(*desc), desc,
				   sizeof(*desc));
	desc->addr = from->addr;
	desc->len = from->len;
	desc->flags = from->flags;
	desc->next = from->next;
	return true;
}

/* virtio 1.2, 2.7.5.3. NULL, or what is wrong. */
static const char *walk_indirect(const struct ring *ring, struct walk *walk,
				 const struct vring_desc *desc)
{
	if (!ring->indirect)
		return "indirect descriptor that was not negotiated";
	if (walk->indirect)
		return "indirect descriptor in an indirect table";
	if (desc->flags & VRING_DESC_F_NEXT)
		return "indirect descriptor with a next one";
	if (!desc->len || desc->len % sizeof(*desc))
		return "indirect table of a wrong length";
	/* A wrap would read RAM the driver did not name. */
	if (desc->addr + desc->len < desc->addr)
		return "indirect table outside RAM";
	walk->indirect = true;
	walk->table = desc->addr;
	walk->len = desc->len / sizeof(*desc);
	return NULL;
}

/* Adds the bytes of one descriptor to the chain. */
static const char *chain_add(const struct ring *ring, struct walk *walk,
			     struct ring_chain *chain,
			     const struct vring_desc *desc)
{
	int used = chain->readable + chain->writable;
	bool write = desc->flags & VRING_DESC_F_WRITE;
	int n;

	if (walk->writing && !write)
		return "readable descriptor after a writable one";
	walk->writing = write;
	walk->bytes += desc->len;
	if (walk->bytes > UINT32_MAX)
		return "chain of 4 GiB or more";
	/* A length of 0 is legal, adds nothing, and may have any address. */
	n = memory_iov(ring->memory, desc->addr, desc->len, chain->iov + used,
		       chain->max - used);
	if (n < 0)
		return n == -EFAULT ? "descriptor outside RAM"
				    : "chain of too many pieces";
	if (write) {
		chain->writable += n;
		chain->write_bytes += desc->len;
	} else {
		chain->readable += n;
		chain->read_bytes += desc->len;
	}
	return NULL;
}

static const char *chain_walk(const struct ring *ring, struct ring_chain *chain)
{
	struct walk walk = { .len = ring->size };
	struct vring_desc desc;
	uint32_t next = chain->head;
	const char *wrong = NULL;

	do {
		if (next >= walk.len)
			return "descriptor number beyond the table";
		if (!desc_copy(ring, &walk, next, &desc))
			return "indirect table outside RAM";
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			wrong = walk_indirect(ring, &walk, &desc);
			desc.flags = VRING_DESC_F_NEXT;
			next = 0;
			continue;
		}
		/* The hops also end a chain that is a loop. */
		if (++walk.hops > ring->size)
			return "chain longer than the queue";
		wrong = chain_add(ring, &walk, chain, &desc);
		next = desc.next;
	} while (!wrong && (desc.flags & VRING_DESC_F_NEXT));
	return wrong;
}

int ring_pop(struct ring *ring, struct ring_chain *chain)
{
	uint16_t pending;
	const char *wrong;

	if (ring->broken)
		return 0;
	/* Pairs with the driver's release of avail.idx (virtio 1.2, 2.7.13.3):
	 * the element and its descriptors are seen no older than the index. */
	pending = __atomic_load_n(&ring->avail->idx, __ATOMIC_ACQUIRE) -
		  ring->next_avail;
	if (!pending)
		return 0;
	if (pending > ring->size)
		return ring_break(ring, "avail.idx further ahead than the "
					"queue is long");
	chain->readable = 0;
	chain->writable = 0;
	chain->read_bytes = 0;
	chain->write_bytes = 0;
	chain->generation = ring->generation;
	chain->head = __atomic_load_n(
		&ring->avail->ring[ring->next_avail % ring->size],
		__ATOMIC_RELAXED);
	wrong = chain_walk(ring, chain);
	if (wrong)
		return ring_break(ring, wrong);
	ring->next_avail++;
	return 1;
}

void ring_moved(struct ring *ring, uint16_t next_avail)
{
	if (ring->broken)
		return;
	ring->next_avail = next_avail;
	ring->next_used = __atomic_load_n(&ring->used->idx, __ATOMIC_SEQ_CST);
	ring->published = ring->next_used;
}

void ring_unpop(struct ring *ring, unsigned count)
{
	ring->next_avail -= count;
}

void ring_push(struct ring *ring, const struct ring_chain *chain,
	       uint32_t written)
{
	if (ring->broken || chain->generation != ring->generation)
		return;
	ring->used->ring[ring->next_used % ring->size] =
		(struct vring_used_elem){ chain->head, written };
	ring->next_used++;
}

bool ring_publish_to(struct ring *ring, uint16_t next_used)
{
	uint16_t old = ring->published;
	uint16_t event, flags;

	if (ring->broken || old == next_used)
		return false;
	/*
	 * The release half pairs with the driver's acquire of used.idx (virtio
	 * 1.2, 2.7.8): it must see the elements before the index that announces
	 * them. The rest of the order is against the load below: the driver
	 * asks for an interrupt and then looks at used.idx, we move used.idx
	 * and then look whether it asked; one of the two sees the other.
	 */
	__atomic_store_n(&ring->used->idx, next_used, __ATOMIC_SEQ_CST);
	ring->published = next_used;
	if (ring->event_idx) {
		event = __atomic_load_n(used_event(ring), __ATOMIC_SEQ_CST);
		return vring_need_event(event, ring->published, old);
	}
	flags = __atomic_load_n(&ring->avail->flags, __ATOMIC_SEQ_CST);
	return !(flags & VRING_AVAIL_F_NO_INTERRUPT);
}

uint16_t ring_quiet(const struct ring *ring)
{
	uint16_t event;

	if (ring->broken || !ring->event_idx)
		return ring->next_used;
	/* The interrupt is for the element with this index. */
	event = __atomic_load_n(used_event(ring), __ATOMIC_RELAXED);
	return vring_need_event(event, ring->next_used, ring->published)
		       ? event
		       : ring->next_used;
}

bool ring_waiting(const struct ring *ring)
{
	return !ring->broken &&
	       __atomic_load_n(&ring->avail->idx, __ATOMIC_RELAXED) !=
		       ring->next_avail;
}

void ring_notify_off(struct ring *ring)
{
	/* With event indexes an old avail_event does the same. */
	if (!ring->broken && !ring->event_idx)
		__atomic_store_n(&ring->used->flags, VRING_USED_F_NO_NOTIFY,
				 __ATOMIC_RELAXED);
}

bool ring_notify_on(struct ring *ring)
{
	if (ring->broken)
		return false;
	if (ring->event_idx)
		__atomic_store_n(avail_event(ring), ring->next_avail,
				 __ATOMIC_SEQ_CST);
	else
		__atomic_store_n(&ring->used->flags, 0, __ATOMIC_SEQ_CST);
	/* The same handshake as in ring_publish(), the other way round: what
	 * came before the driver could see our wish came without a notify. */
	return __atomic_load_n(&ring->avail->idx, __ATOMIC_SEQ_CST) !=
	       ring->next_avail;
}
