#include "kvm/irq.h"

#include "kvm/kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* GSIs 0..15 reach a PIC; all but GSI 2 the IOAPIC, GSI 0 at its pin 2. */
#define PIC_PINS     16
#define FIXED_ROUTES (PIC_PINS + IRQ_PINS)

static void route_pin(struct kvm_irq_routing *routing, uint32_t gsi,
		      uint32_t chip, uint32_t pin)
{
	routing->entries[routing->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = { .irqchip = chip, .pin = pin },
	};
}

/* As on a PC: KVM itself would start with the PIT on pin 0 of the IOAPIC. */
static void route_pins(struct kvm_irq_routing *routing)
{
	for (uint32_t gsi = 0; gsi < IRQ_PINS; gsi++) {
		if (gsi < PIC_PINS)
			route_pin(routing, gsi,
				  gsi < 8 ? KVM_IRQCHIP_PIC_MASTER
					  : KVM_IRQCHIP_PIC_SLAVE,
				  gsi % 8);
		if (gsi == 0)
			route_pin(routing, gsi, KVM_IRQCHIP_IOAPIC, 2);
		else if (gsi != 2)
			route_pin(routing, gsi, KVM_IRQCHIP_IOAPIC, gsi);
	}
}

int irqchip_create(struct irqchip *chip, int vm_fd)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	int err;

	*chip = (struct irqchip){ .vm_fd = vm_fd };
	chip->routing =
		calloc(1, sizeof(*chip->routing) +
				  (FIXED_ROUTES + IRQ_MSI_MAX) *
					  sizeof(chip->routing->entries[0]));
	if (!chip->routing)
		return -ENOMEM;
	route_pins(chip->routing);
	chip->nr_pins = chip->routing->nr;
	err = kvm_ioctl_value(vm_fd, KVM_CREATE_IRQCHIP, 0);
	if (!err)
		err = kvm_ioctl(vm_fd, KVM_CREATE_PIT2, &pit);
	if (!err)
		err = kvm_ioctl(vm_fd, KVM_SET_GSI_ROUTING, chip->routing);
	if (err) {
		free(chip->routing);
		return err;
	}
	pthread_mutex_init(&chip->lock, NULL);
	return 0;
}

void irqchip_destroy(struct irqchip *chip)
{
	free(chip->routing);
}

struct irq_line irq_line(struct irqchip *chip, uint32_t gsi)
{
	return (struct irq_line){ .chip = chip, .gsi = gsi };
}

void irq_line_set(struct irq_line *line, bool level)
{
	struct irqchip *chip = line->chip;
	unsigned *asserted = &chip->asserted[line->gsi];
	struct kvm_irq_level irq = { .irq = line->gsi, .level = level };

	pthread_mutex_lock(&chip->lock);
	if (level != line->level) {
		line->level = level;
		*asserted += level ? 1 : -1;
		/* The first to hold the pin raises it, the last lowers it. */
		if (*asserted == (level ? 1 : 0))
			kvm_ioctl(chip->vm_fd, KVM_IRQ_LINE, &irq);
	}
	pthread_mutex_unlock(&chip->lock);
}

int irq_msi_init(struct irqchip *chip, struct irq_msi *msi)
{
	if (chip->nr_msis == IRQ_MSI_MAX)
		return -ENOSPC;
	*msi = (struct irq_msi){ .chip = chip };
	msi->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (msi->fd < 0)
		return -errno;
	msi->gsi = IRQ_PINS + chip->nr_msis++;
	chip->routing->entries[chip->routing->nr++] =
		(struct kvm_irq_routing_entry){ .gsi = msi->gsi,
						.type = KVM_IRQ_ROUTING_MSI };
	return 0;
}

void irq_msi_fini(struct irq_msi *msi)
{
	/* KVM detaches an irqfd whose eventfd is closed, in its own time; to
	 * ask for it would wait milliseconds. */
	close(msi->fd);
}

static int irq_msi_attach(struct irq_msi *msi)
{
	struct kvm_irqfd irqfd = { .fd = msi->fd, .gsi = msi->gsi };
	int err;

	if (msi->routed)
		return 0;
	err = kvm_ioctl(msi->chip->vm_fd, KVM_IRQFD, &irqfd);
	msi->routed = !err;
	return err;
}

int irq_msi_route(struct irq_msi *msi, uint64_t address, uint32_t data)
{
	struct irqchip *chip = msi->chip;
	struct kvm_irq_routing *routing = chip->routing;
	uint32_t at = chip->nr_pins + msi->gsi - IRQ_PINS;
	int err = 0;

	pthread_mutex_lock(&chip->lock);
	if (msi->address != address || msi->data != data) {
		routing->entries[at].u.msi.address_lo = (uint32_t)address;
		routing->entries[at].u.msi.address_hi = address >> 32;
		routing->entries[at].u.msi.data = data;
		err = kvm_ioctl(chip->vm_fd, KVM_SET_GSI_ROUTING, routing);
		msi->address = err ? 0 : address; /* 0: none, so retry */
		msi->data = data;
	}
	pthread_mutex_unlock(&chip->lock);
	return err ? err : irq_msi_attach(msi);
}

void irq_msi_signal(const struct irq_msi *msi)
{
	/* Fails only with 2^64 - 2 signals pending: nothing is lost. */
	eventfd_write(msi->fd, 1);
}
