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
	memset(bus, 0, sizeof(*bus));
	bus->name = name;
	bus->vm_fd = vm_fd;
	bus->ports = ports;
	pthread_mutex_init(&bus->lock, NULL);
}

void bus_fini(struct bus *bus)
{
	pthread_mutex_destroy(&bus->lock);
}

/*
 * The table is read without a lock while a BAR moves, so its words are atomic
 * and a sequence count says when they belong together: it is odd during a
 * change, and a reader that saw it odd or changed looks again. A reader that
 * acquires a word of a change has acquired the odd count before it as well.
 * Changes are a few dozen in the life of a guest, and each takes nanoseconds.
 */
static uint64_t word_read(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static struct bus_range range_read(const struct bus_range *from)
{
	return (struct bus_range){
		.base = word_read(&from->base),
		.size = word_read(&from->size),
		.dev = __atomic_load_n(&from->dev, __ATOMIC_ACQUIRE),
		.number = word_read(&from->number),
	};
}

static void range_write(struct bus_range *to, struct bus_range range)
{
	__atomic_store_n(&to->base, range.base, __ATOMIC_RELEASE);
	__atomic_store_n(&to->size, range.size, __ATOMIC_RELEASE);
	__atomic_store_n(&to->dev, range.dev, __ATOMIC_RELEASE);
	__atomic_store_n(&to->number, range.number, __ATOMIC_RELEASE);
}

/* Before and after every change of the table, with bus->lock held. */
static void change_begin(struct bus *bus)
{
	__atomic_store_n(&bus->sequence, bus->sequence + 1, __ATOMIC_RELEASE);
}

static void change_end(struct bus *bus)
{
	/* Pairs with the acquire of bus_find(): the words, then even. */
	__atomic_store_n(&bus->sequence, bus->sequence + 1, __ATOMIC_RELEASE);
}

int bus_add(struct bus *bus, struct device *dev, unsigned number, uint64_t base,
	    uint64_t size)
{
	struct bus_range range = { base, size, dev, number };
	uint32_t at = 0;
	int err = 0;

	if (!size || base + size - 1 < base)
		return -EINVAL;
	pthread_mutex_lock(&bus->lock);
	while (at < bus->count && bus->table[at].base < base)
		at++;
	if (bus->count == BUS_MAX)
		err = -ENOSPC;
	else if (at > 0 &&
		 bus->table[at - 1].base + bus->table[at - 1].size - 1 >= base)
		err = -EEXIST;
	else if (at < bus->count && bus->table[at].base <= base + size - 1)
		err = -EEXIST;
	if (!err) {
		change_begin(bus);
		for (uint32_t i = bus->count; i > at; i--)
			range_write(&bus->table[i], bus->table[i - 1]);
		range_write(&bus->table[at], range);
		__atomic_store_n(&bus->count, bus->count + 1, __ATOMIC_RELEASE);
		change_end(bus);
	}
	pthread_mutex_unlock(&bus->lock);
	return err;
}

void bus_remove(struct bus *bus, uint64_t base)
{
	uint32_t at = 0;

	pthread_mutex_lock(&bus->lock);
	while (at < bus->count && bus->table[at].base != base)
		at++;
	if (at < bus->count) {
		change_begin(bus);
		for (uint32_t i = at; i + 1 < bus->count; i++)
			range_write(&bus->table[i], bus->table[i + 1]);
		__atomic_store_n(&bus->count, bus->count - 1, __ATOMIC_RELEASE);
		change_end(bus);
	}
	pthread_mutex_unlock(&bus->lock);
}

int bus_notify(struct bus *bus, uint64_t addr, unsigned len, int fd,
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

/* The last range that starts at or below @addr, from one reading of the
 * table that may be torn; dev is NULL when there is none. */
static struct bus_range table_search(const struct bus *bus, uint64_t addr)
{
	uint32_t low = 0;
	uint32_t high = __atomic_load_n(&bus->count, __ATOMIC_ACQUIRE);

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (word_read(&bus->table[mid].base) <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low ? range_read(&bus->table[low - 1]) : (struct bus_range){ 0 };
}

static struct bus_range bus_find(const struct bus *bus, uint64_t addr)
{
	struct bus_range range;
	uint32_t before, after;

	do {
		before = __atomic_load_n(&bus->sequence, __ATOMIC_ACQUIRE);
		range = table_search(bus, addr);
		after = __atomic_load_n(&bus->sequence, __ATOMIC_RELAXED);
	} while (before != after || (before & 1));
	return range;
}

void bus_access(struct bus *bus, uint64_t addr, uint8_t *data, unsigned len,
		bool is_write)
{
	struct bus_range range = bus_find(bus, addr);
	struct device *dev = range.dev;
	uint64_t offset = addr - range.base;
	uint64_t value = 0;

	if (!dev || offset >= range.size) {
		/* Probing for what is absent is what kernels do: no message. */
		__atomic_fetch_add(&bus->unclaimed.count, 1, __ATOMIC_RELAXED);
		if (!is_write)
			memset(data, 0xff, len);
		return;
	}
	if (!(dev->widths & len) || len > range.size - offset) {
		log_guest(&dev->bad_access,
			  "%s: guest %s of %u bytes at %s 0x%" PRIx64
			  " is not allowed",
			  dev->name, is_write ? "write" : "read", len,
			  bus->name, addr);
		if (!is_write)
			memset(data, 0xff, len);
		return;
	}
	if (is_write)
		memcpy(&value, data, len);
	pthread_mutex_lock(&dev->lock);
	if (is_write)
		dev->ops->write(dev, range.number, offset, len, value);
	else
		value = dev->ops->read(dev, range.number, offset, len);
	pthread_mutex_unlock(&dev->lock);
	if (!is_write)
		memcpy(data, &value, len);
}
