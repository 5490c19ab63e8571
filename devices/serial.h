/*
 * A 16550A UART, as the PC's first serial port (National Semiconductor
 * PC16550D, June 1995; section numbers refer to it).
 *
 * The line's speed is not modelled: a byte written to THR has left at once
 * while the console has room, and THRE stays clear while it has not. Received
 * bytes wait in the console until the guest shows that it listens (RTS,
 * polling of LSR, or the receive interrupt for a while), so that what is piped
 * into kvist is not lost in the FIFO resets of a booting kernel.
 *
 * Owned by the machine. Registers: vCPU threads by the bus; input and room
 * come on the main thread; both under dev.lock.
 */
#ifndef KVIST_DEVICES_SERIAL_H
#define KVIST_DEVICES_SERIAL_H

#include "devices/console.h"
#include "kvm/bus.h"
#include "kvm/irq.h"

#include <stdbool.h>
#include <stdint.h>

#define SERIAL_PORTS 8  /* the size of its one range */
#define SERIAL_FIFO  16 /* bytes */

struct serial {
	struct device dev;
	struct irq_line line;
	struct console *console; /* borrowed */
	struct console_client client;

	uint8_t ier, lcr, mcr, scratch, dll, dlm;
	uint8_t fcr;     /* FIFO enable and trigger; the reset bits fall back */
	uint8_t msr;     /* with its delta bits */
	uint8_t overrun; /* LSR.OE or 0 */

	uint8_t rx[SERIAL_FIFO];       /* a queue: the oldest first */
	uint8_t rx_error[SERIAL_FIFO]; /* LSR bits that came with the byte */
	uint8_t rx_count;

	bool thre;       /* the THRE interrupt is pending */
	bool timeout;    /* the character timeout is pending */
	bool error_seen; /* LSR has shown the oldest byte's error */
	bool refused;    /* the console holds bytes for us */
	uint8_t polls;   /* reads of LSR in a row, with nothing to send */
	uint8_t waited;  /* ticks since the receive interrupt was turned on */
};

/* The port, after power-on, connected to @console and on pin @gsi. */
void serial_init(struct serial *serial, struct irqchip *chip, uint32_t gsi,
		 struct console *console);
/* Before console_close(). */
void serial_fini(struct serial *serial);

#endif
