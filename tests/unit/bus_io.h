/*
 * What a vCPU does to a bus, little endian and up to eight bytes, and what
 * becomes of an interrupt line, for tests.
 */
#ifndef KVIST_TESTS_BUS_IO_H
#define KVIST_TESTS_BUS_IO_H

#include "kvm/bus.h"
#include "kvm/irq.h"
#include "util/bytes.h"

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

static inline bool line_is_raised(struct irqchip *irqs, unsigned gsi)
{
	bool high;

	pthread_mutex_lock(&irqs->lock);
	high = irqs->asserted[gsi];
	pthread_mutex_unlock(&irqs->lock);
	return high;
}

#endif
