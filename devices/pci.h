/*
 * A PCI bus: one host bridge, bus 0, and functions with configuration space,
 * one memory BAR that may be moved, INTA and MSI-X.
 *
 * The host belongs to the machine; a function is embedded in the state of the
 * device that it is. Two ways lead to configuration space, as on a PC: the
 * ports 0xcf8 and 0xcfc, and ECAM (PCI Local Bus 3.0, 3.2.2.3.2; PCI Express
 * 5.0, 7.2.2). vCPU threads come in through the buses.
 *
 * Locks, in the order in which they may be taken:
 *   1. the host's device.lock (or that of its ECAM): the address latch only
 *   2. a function's device.lock: its configuration space and registers
 *   3. host->decode_lock: who decodes which addresses
 *   4. function->intx_lock; the locks of the bus and of the irqchip
 * A worker takes intx_lock and the irqchip's lock, never one above them.
 */
#ifndef KVIST_PCI_H
#define KVIST_PCI_H

#include "kvm/bus.h"
#include "kvm/irq.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define PCI_SLOTS       32    /* of bus 0; slot 0 is the host bridge */
#define PCI_CONFIG_SIZE 256   /* of a function: it is conventional PCI */
#define PCI_MSIX_MAX    64    /* vectors of one function */
#define PCI_NO_PIN      (~0u) /* a gsi: the function has no interrupt */

struct pci_function;

struct pci_ops {
	/* As device_ops, for accesses within the BAR outside the MSI-X table;
	 * function->dev.lock held. */
	uint64_t (*read)(struct pci_function *fn, uint64_t offset,
			 unsigned len);
	void (*write)(struct pci_function *fn, uint64_t offset, unsigned len,
		      uint64_t value);
	/* Configuration space just before a read and just after a write of
	 * [offset, offset + len), for windows into the device. May be NULL.
	 * function->dev.lock held. */
	void (*config_read)(struct pci_function *fn, unsigned offset,
			    unsigned len);
	void (*config_write)(struct pci_function *fn, unsigned offset,
			     unsigned len);
	/* The BAR answers at @base from now on, or no longer does: the moment
	 * to move ioeventfds. host->decode_lock held: nothing above it may be
	 * taken. May be NULL. */
	void (*decoded)(struct pci_function *fn, uint64_t base, bool on);
	/* True while the device asserts INTA (its ISR is not 0): a worker may
	 * ask. May be NULL. */
	bool (*intx)(struct pci_function *fn);
	/* MSI-X vector @vector was masked or unmasked, by itself or with the
	 * others. As read() and write(). May be NULL. */
	void (*vector)(struct pci_function *fn, unsigned vector);
	/* Back to the state after power-on; configuration space, BAR and MSI-X
	 * follow by themselves. As device_ops.reset(). May be NULL. */
	void (*reset)(struct pci_function *fn);
};

struct pci_msix_entry {
	uint64_t address;
	uint32_t data;
	uint32_t control; /* bit 0: masked */
	bool masked;      /* atomic: by that, by the function, or off */
	bool pending;     /* atomic: raised while masked */
	struct irq_msi msi;
};

/* What a function is; offsets and sizes of the MSI-X table within the BAR. */
struct pci_identity {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code; /* 24 bits: class, subclass, interface */
	uint8_t revision;
	uint32_t bar_size; /* a power of two >= 16, or 0: no BAR */
	uint16_t vectors;  /* of MSI-X, 0: none */
	uint32_t msix_table, msix_pba;
};

struct pci_function {
	struct device dev; /* its lock guards all except what is marked */
	const struct pci_ops *ops;
	struct pci_host *host; /* borrowed */
	unsigned slot;
	struct pci_identity id;

	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE]; /* mask of the bits guests change */
	uint8_t initial[PCI_CONFIG_SIZE];  /* after a reset */
	unsigned next_cap, last_cap;       /* where capabilities are added */

	/* Where the BAR answers: under host->decode_lock. */
	uint64_t bar_wanted; /* the address of the register */
	bool bar_enabled;    /* memory decoding is on in the command register */
	bool bar_decoded;    /* P1: true only if [bar_at, +size) is ours */
	uint64_t bar_at;
	struct guest_error bar_error;

	struct irq_line line;
	pthread_mutex_t intx_lock; /* orders looking and setting the line */
	bool intx_disabled;        /* atomic: the command register's bit */

	unsigned msix_cap;             /* offset of the capability, or 0 */
	bool msix_enabled;             /* atomic: workers ask */
	struct pci_msix_entry *vector; /* id.vectors of them; msi is shared */
};

/* Where the machine puts its host bridge. */
struct pci_layout {
	uint16_t address_port, data_port; /* 4 ports each */
	uint64_t ecam;                    /* 1 MiB: bus 0 */
	uint64_t window, window_size;     /* of BARs; below 4 GiB */
};

struct pci_host {
	struct device dev;  /* the ports; its reset() resets the whole bus */
	struct device ecam; /* has a lock of its own, and no state */
	struct bus *ports, *mmio; /* borrowed */
	struct irqchip *irqs;     /* borrowed */
	struct pci_layout layout;
	uint32_t address;       /* the latch at 0xcf8 */
	struct device *control; /* of port 0xcf9, borrowed, or NULL */
	pthread_mutex_t decode_lock;
	uint64_t next_bar; /* where the next function's BAR is put */
	struct pci_function *slots[PCI_SLOTS]; /* borrowed; fixed at start */
	struct pci_function bridge;            /* slot 0 */
};

/*
 * Adds the host bridge to both buses. @control is the device of the reset
 * control register: a one-byte access to port 0xcf9 lies inside the address
 * port's range, so the host passes it on as (range 0, offset 0, length 1); may
 * be NULL. 0 or -errno. Main thread, before the guest runs.
 */
int pci_host_init(struct pci_host *host, struct bus *ports, struct bus *mmio,
		  struct irqchip *irqs, const struct pci_layout *layout,
		  struct device *control);
/* After every function has been removed, and the vCPUs have ended. */
void pci_host_fini(struct pci_host *host);

/*
 * Puts a function into @slot (1..31) with its configuration space, a place for
 * its BAR within the window (not decoded until the guest turns memory decoding
 * on, as after a firmware that left it off), and INTA on @gsi. @id is copied.
 * 0; -EBUSY when the slot is taken; -ENOSPC when the window is full; -errno.
 * Main thread, before the guest runs.
 */
int pci_function_init(struct pci_function *fn, struct pci_host *host,
		      unsigned slot, const char *name,
		      const struct pci_identity *id, const struct pci_ops *ops,
		      uint32_t gsi);
void pci_function_fini(struct pci_function *fn);

/*
 * Appends a capability of @len bytes whose first byte is its id; the second
 * becomes the link. @writable (or NULL) marks the bits the guest may change.
 * The offset of the capability. Between init and the start of the guest.
 */
unsigned pci_capability(struct pci_function *fn, const void *bytes,
			unsigned len, const void *writable);

/*
 * For the host, with fn->dev.lock held: @len bytes of configuration space at
 * @offset. Beyond its end reads give 0 and writes do nothing.
 */
uint32_t pci_config_read(struct pci_function *fn, unsigned offset,
			 unsigned len);
void pci_config_write(struct pci_function *fn, unsigned offset, unsigned len,
		      uint32_t value);

/* Re-evaluates INTA after the answer of ops->intx() may have changed. Any
 * thread. */
void pci_intx_update(struct pci_function *fn);

/* Raises MSI-X vector @vector, or leaves it pending while it is masked. False
 * when MSI-X is off: the caller uses INTA. Vectors beyond the table are
 * dropped. Any thread. */
bool pci_msix_raise(struct pci_function *fn, uint16_t vector);
/* The eventfd that raises it without us; -1 while it is masked, when MSI-X is
 * off, or when there is no such vector. Any thread. */
int pci_msix_fd(struct pci_function *fn, uint16_t vector);

/*
 * pci_msix.c, for pci_function.c: the capability and the vectors; the table
 * and the pending bits as they appear in the BAR (false: @offset is in
 * neither); and what a write to the capability's control register changes.
 */
int pci_msix_init(struct pci_function *fn, struct irqchip *irqs);
void pci_msix_fini(struct pci_function *fn);
void pci_msix_reset(struct pci_function *fn);
bool pci_msix_read(struct pci_function *fn, uint64_t offset, unsigned len,
		   uint64_t *value);
bool pci_msix_write(struct pci_function *fn, uint64_t offset, unsigned len,
		    uint64_t value);
void pci_msix_control(struct pci_function *fn);

#endif
