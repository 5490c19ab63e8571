/*
 * What a vCPU does to a bus, little endian and up to eight bytes, and what
 * becomes of an interrupt line, for tests.
 */
#ifndef KVIST_TESTS_BUS_IO_H
#define KVIST_TESTS_BUS_IO_H

#include "kvm/bus.h"
#include "kvm/irq.h"
#include "util/bytes.h"

#include <stdlib.h>

static inline uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned len)
{
	uint8_t data[8] = { 0 };

	bus_access(bus, addr, data, len, false);
	return get_le64(data);
}

static inline void bus_write(struct bus *bus, uint64_t addr, unsigned len,
			     uint64_t value)
{
	uint8_t data[8];

	put_le64(data, value);
	bus_access(bus, addr, data, len, true);
}

/* Interrupts of a machine without KVM: eventfds stay unread, and so tell what
 * was signalled. Its routing is the caller's to free. */
static inline void irqs_init(struct irqchip *irqs)
{
	*irqs = (struct irqchip){ .vm_fd = -1 };
	pthread_mutex_init(&irqs->lock, NULL);
	irqs->routing =
		calloc(1, sizeof(*irqs->routing) +
				  300 * sizeof(irqs->routing->entries[0]));
}

static inline bool line_is_raised(struct irqchip *irqs, unsigned gsi)
{
	bool high;

	pthread_mutex_lock(&irqs->lock);
	high = irqs->asserted[gsi];
	pthread_mutex_unlock(&irqs->lock);
	return high;
}

#endif
