/*
 * A bus turns an address into a device: one for ports, one for MMIO.
 *
 * Owned by the vm. Accesses come from any vCPU thread and look the address up
 * without a lock, in a small table whose rows are never taken away: a range
 * that moves only changes its base. The bus then takes the device's lock
 * around its operation, so device code is written as if there were one thread.
 * Ranges never overlap.
 */
#ifndef KVIST_KVM_BUS_H
#define KVIST_KVM_BUS_H

#include "util/log.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct device;

struct device_ops {
	/*
	 * An access of @len (1, 2, 4 or 8) bytes at @offset within the
	 * device's range number @range, wholly inside that range and of a
	 * width the device declared. Values are little endian and zero
	 * extended. Called with device->lock held, on a vCPU thread.
	 */
	uint64_t (*read)(struct device *dev, unsigned range, uint64_t offset,
			 unsigned len);
	void (*write)(struct device *dev, unsigned range, uint64_t offset,
		      unsigned len, uint64_t value);
	/* Back to the state after power-on; all vCPUs stand still. May be
	 * NULL. Called on the main thread with device->lock held. */
	void (*reset)(struct device *dev);
};

/* Embedded in the state of each device, which owns it. */
struct device {
	const char *name; /* borrowed; for messages */
	const struct device_ops *ops;
	uint8_t widths; /* allowed access widths, or'ed: 1|2|4|8 */
	pthread_mutex_t lock;
	struct guest_error bad_access;
};

void device_init(struct device *dev, const char *name,
		 const struct device_ops *ops, unsigned widths);
void device_fini(struct device *dev);

#define BUS_MAX     128 /* ranges; more is a bug of ours: there is a bound */
#define BUS_NOWHERE UINT64_MAX

/* A row: all but base is fixed once the row is counted. */
struct bus_range {
	uint64_t base; /* atomic; BUS_NOWHERE while the range is not decoded */
	uint64_t size;
	struct device *dev; /* borrowed until the bus ends */
	unsigned number;    /* which of the device's ranges */
};

struct bus {
	const char *name;     /* "port" or "address": for messages */
	int vm_fd;            /* borrowed; for bus_ioeventfd() */
	bool ports;           /* the port space, else MMIO */
	pthread_mutex_t lock; /* one writer at a time */
	uint32_t count;       /* atomic; rows in use */
	struct bus_range table[BUS_MAX];
};

void bus_init(struct bus *bus, const char *name, int vm_fd, bool ports);

/*
 * Decodes [base, base+size) as range @number of @dev; a range that was removed
 * comes back this way, at any base but with the size it had. 0; -EEXIST when
 * another range overlaps; -EINVAL when it is empty or wraps; -ENOSPC when the
 * table is full, or the range came back with another size. Any thread.
 */
int bus_add(struct bus *bus, struct device *dev, unsigned number, uint64_t base,
	    uint64_t size);

/* Stops decoding the range at @base. An access that already found it may still
 * be on its way into the device: devices outlive the vCPUs. Any thread. */
void bus_remove(struct bus *bus, uint64_t base);

/* Every device on the bus back to the state after power-on. Stopped vm. */
void bus_reset(struct bus *bus);

/*
 * A guest write of @len bytes (1, 2, 4, 8, or 0 for any) to @addr signals the
 * eventfd @fd inside the kernel and never reaches bus_access(); with @match,
 * only a write of that value does. @assign false takes the same request back.
 * 0 or -errno. Any thread.
 */
int bus_ioeventfd(struct bus *bus, uint64_t addr, unsigned len, int fd,
		  const uint32_t *match, bool assign);

/*
 * One guest access of 1 to 8 bytes at @addr; @data is little endian. Reads that
 * no device answers (nothing there, a width it does not allow, an access
 * across its end) give all ones, and such writes are dropped. Every access is
 * traced, with the name of the device that answered. vCPU threads.
 */
void bus_access(struct bus *bus, uint64_t addr, uint8_t *data, unsigned len,
		bool is_write);

#endif
