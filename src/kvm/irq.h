/*
 * Interrupts: wires into the in-kernel PICs, IOAPIC and local APICs.
 *
 * The irqchip belongs to the vm, which lends lines and messages to devices.
 * Raising is for any thread. Two kinds, as PCI has two:
 *
 *   irq_line  a pin of the IOAPIC (GSI 0..23), level triggered by
 *             KVM_IRQ_LINE;
 *   irq_msi   a message (MSI, MSI-X), which reaches the guest by an irqfd: the
 *             raising thread writes an eventfd and needs no ioctl of KVM's.
 */
#ifndef KVIST_KVM_IRQ_H
#define KVIST_KVM_IRQ_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define IRQ_PINS    24   /* of the IOAPIC */
#define IRQ_MSI_MAX 1024 /* messages that may be routed at once */

struct irqchip {
	int vm_fd; /* borrowed */
	pthread_mutex_t lock;
	struct kvm_irq_routing *routing; /* pins first, then messages */
	uint32_t nr_pins, nr_msis;       /* its entries of each kind */
	unsigned asserted[IRQ_PINS];     /* how many lines hold each pin high */
};

struct irq_line {
	struct irqchip *chip;
	uint32_t gsi;
	bool level; /* under chip->lock */
};

struct irq_msi {
	struct irqchip *chip;
	int fd;       /* the eventfd behind the irqfd, or -1 */
	uint32_t gsi; /* IRQ_PINS + slot */
	uint64_t address;
	uint32_t data;
	bool routed; /* the irqfd is attached */
};

/* The in-kernel PICs, IOAPIC, and PIT of the virtual machine @vm_fd, with the
 * default routing. 0 or -errno. */
int irqchip_create(struct irqchip *chip, int vm_fd);
void irqchip_destroy(struct irqchip *chip);
/* A line on pin @gsi. Several lines may share a pin: it is high while any of
 * them is. irq_line_set() enters KVM only when the pin changes. */
struct irq_line irq_line(struct irqchip *chip, uint32_t gsi);
void irq_line_set(struct irq_line *line, bool level);

/* A new message with its eventfd; not yet routed. Messages live as long as the
 * irqchip. 0, -ENOSPC or -errno. Main thread, before the guest runs. */
int irq_msi_init(struct irqchip *chip, struct irq_msi *msi);
void irq_msi_fini(struct irq_msi *msi);

/*
 * Points @msi at @address and @data (PCI 3.0, 6.8.1) and attaches the irqfd; a
 * call that changes neither costs nothing. A hostile address does no harm: KVM
 * delivers the message to the APICs or drops it. The device's own lock held. 0
 * or -errno.
 */
int irq_msi_route(struct irq_msi *msi, uint64_t address, uint32_t data);
/* Raises the interrupt. Any thread. */
void irq_msi_signal(const struct irq_msi *msi);

#endif
