#include "kvm/bus.h"

#include "kvm/kvm.h"
#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

void device_init(struct device *dev, const char *name,
		 const struct device_ops *ops, unsigned widths)
{
	*dev = (struct device){ .name = name, .ops = ops, .widths = widths };
	pthread_mutex_init(&dev->lock, NULL);
}

void device_fini(struct device *dev)
{
	pthread_mutex_destroy(&dev->lock);
}

void bus_init(struct bus *bus, const char *name, int vm_fd, bool ports)
{
	*bus = (struct bus){ .name = name, .vm_fd = vm_fd, .ports = ports };
	pthread_mutex_init(&bus->lock, NULL);
}

/* The row for range @number of @dev: the one it had, or a new one at the end of
 * the table. NULL if the table is full or the row has another size. Locked. */
static struct bus_range *bus_row(struct bus *bus, struct device *dev,
				 unsigned number, uint64_t size)
{
	struct bus_range *row = bus->table;

	for (; row < bus->table + bus->count; row++) {
		if (row->dev == dev && row->number == number)
			return row->size == size ? row : NULL;
	}
	if (bus->count == BUS_MAX)
		return NULL;
	*row = (struct bus_range){ BUS_NOWHERE, size, dev, number };
	/* Pairs with the acquire of bus_find(): the row, then its count. */
	__atomic_store_n(&bus->count, bus->count + 1, __ATOMIC_RELEASE);
	return row;
}

int bus_add(struct bus *bus, struct device *dev, unsigned number, uint64_t base,
	    uint64_t size)
{
	struct bus_range *row;
	int err = 0;

	if (!size || base + size < base)
		return -EINVAL;
	pthread_mutex_lock(&bus->lock);
	for (uint32_t i = 0; i < bus->count; i++) {
		const struct bus_range *other = &bus->table[i];

		if (other->base != BUS_NOWHERE &&
		    ranges_overlap(base, size, other->base, other->size))
			err = -EEXIST;
	}
	if (!err) {
		row = bus_row(bus, dev, number, size);
		if (row)
			__atomic_store_n(&row->base, base, __ATOMIC_RELEASE);
		else
			err = -ENOSPC;
	}
	pthread_mutex_unlock(&bus->lock);
	return err;
}

void bus_remove(struct bus *bus, uint64_t base)
{
	pthread_mutex_lock(&bus->lock);
	for (uint32_t i = 0; i < bus->count; i++) {
		if (bus->table[i].base == base)
			__atomic_store_n(&bus->table[i].base, BUS_NOWHERE,
					 __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&bus->lock);
}

void bus_reset(struct bus *bus)
{
	for (uint32_t i = 0; i < bus->count; i++) {
		struct device *dev = bus->table[i].dev;
		uint32_t first = 0;

		while (bus->table[first].dev != dev)
			first++;
		/* A device with several ranges is reset at the first. */
		if (first < i || !dev->ops->reset)
			continue;
		pthread_mutex_lock(&dev->lock);
		dev->ops->reset(dev);
		pthread_mutex_unlock(&dev->lock);
	}
}

int bus_ioeventfd(struct bus *bus, uint64_t addr, unsigned len, int fd,
		  const uint32_t *match, bool assign)
{
	struct kvm_ioeventfd request = {
		.datamatch = match ? *match : 0,
		.addr = addr,
		.len = len,
		.fd = fd,
		.flags = (match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
			 (bus->ports ? KVM_IOEVENTFD_FLAG_PIO : 0) |
			 (assign ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	return kvm_ioctl(bus->vm_fd, KVM_IOEVENTFD, &request);
}

/* The range that holds @addr and its base at that moment, or NULL. */
static const struct bus_range *bus_find(const struct bus *bus, uint64_t addr,
					uint64_t *base)
{
	uint32_t count = __atomic_load_n(&bus->count, __ATOMIC_ACQUIRE);

	for (uint32_t i = 0; i < count; i++) {
		*base = __atomic_load_n(&bus->table[i].base, __ATOMIC_ACQUIRE);
		if (addr >= *base && addr - *base < bus->table[i].size)
			return &bus->table[i];
	}
	return NULL;
}

/* KVM cuts what crosses a page: three bytes, or seven, do occur. */
static bool range_allows(const struct bus_range *range, uint64_t offset,
			 unsigned len)
{
	return is_power_of_two(len) && (range->dev->widths & len) &&
	       len <= range->size - offset;
}

static void device_access(struct device *dev, unsigned range, uint64_t offset,
			  uint8_t *data, unsigned len, bool is_write)
{
	uint64_t value = 0;

	pthread_mutex_lock(&dev->lock);
	if (is_write) {
		memcpy(&value, data, len);
		dev->ops->write(dev, range, offset, len, value);
	} else {
		value = dev->ops->read(dev, range, offset, len);
		memcpy(data, &value, len);
	}
	pthread_mutex_unlock(&dev->lock);
}

void bus_access(struct bus *bus, uint64_t addr, uint8_t *data, unsigned len,
		bool is_write)
{
	uint64_t base, value = 0;
	const struct bus_range *range = bus_find(bus, addr, &base);
	struct device *dev = range ? range->dev : NULL;

	if (!is_write)
		memset(data, 0xff, len); /* unless a device answers */
	/* No warning without a device: kernels probe for what is absent. */
	if (dev && range_allows(range, addr - base, len))
		device_access(dev, range->number, addr - base, data, len,
			      is_write);
	else if (dev)
		log_guest(&dev->bad_access,
			  "%s: guest %s of %u bytes at %s 0x%" PRIx64
			  " is not allowed",
			  dev->name, is_write ? "write" : "read", len,
			  bus->name, addr);
	/* As many digits as the access was wide. */
	memcpy(&value, data, len);
	log_trace("%s: %s %s 0x%" PRIx64 ": 0x%0*" PRIx64,
		  dev ? dev->name : "nobody", is_write ? "write" : "read",
		  bus->name, addr, (int)len * 2, value);
}
