#include "devices/serial.h"

#include "util/checked.h"

#include <linux/serial_reg.h>
#include <string.h>

/*
 * S1: the interrupt line is high exactly while serial_iir() names a source;
 *     every function that changes its inputs ends with irq_update().
 * S2: the rx queue holds at most 16 bytes, or one with the FIFOs off.
 * S3: `thre` is never set while the console has no room.
 * S4: when the console was refused a byte, serial_resume() follows once the
 *     queue is empty and the guest listens.
 */

#define IER_MASK (UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI)
#define MCR_MASK                                                               \
	(UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_OUT1 | UART_MCR_RTS |        \
	 UART_MCR_DTR)
#define MSR_ON    (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS)
#define IIR_FIFOS 0xc0 /* both FIFOs are on */

/* A driver that waits for room finds it at the first or second reading; one
 * that reads LSR this often waits for input. */
#define POLLS 8

/* A tenth of a second, in ticks of the console. */
#define WAITS (100000000u / CONSOLE_BATCH_NS)

static struct serial *from_device(struct device *dev)
{
	return container_of(dev, struct serial, dev);
}

static struct serial *from_client(struct console_client *client)
{
	return container_of(client, struct serial, client);
}

static bool fifos_on(const struct serial *serial)
{
	return serial->fcr & UART_FCR_ENABLE_FIFO;
}

static unsigned rx_capacity(const struct serial *serial)
{
	return fifos_on(serial) ? SERIAL_FIFO : 1;
}

static unsigned rx_trigger(const struct serial *serial)
{
	static const uint8_t level[] = { 1, 4, 8, 14 };

	return fifos_on(serial) ? level[serial->fcr >> 6] : 1;
}

/* What IIR says: the pending source of highest priority (table 4). */
static uint8_t serial_iir(const struct serial *serial)
{
	uint8_t fifos = fifos_on(serial) ? IIR_FIFOS : 0;
	bool error = serial->overrun ||
		     (serial->rx_count && serial->rx_error[0] &&
		      !serial->error_seen);

	if ((serial->ier & UART_IER_RLSI) && error)
		return fifos | UART_IIR_RLSI;
	if ((serial->ier & UART_IER_RDI) &&
	    serial->rx_count >= rx_trigger(serial))
		return fifos | UART_IIR_RDI;
	if ((serial->ier & UART_IER_RDI) && serial->timeout)
		return fifos | UART_IIR_RX_TIMEOUT;
	if ((serial->ier & UART_IER_THRI) && serial->thre)
		return fifos | UART_IIR_THRI;
	if ((serial->ier & UART_IER_MSI) && (serial->msr & UART_MSR_ANY_DELTA))
		return fifos | UART_IIR_MSI;
	return fifos | UART_IIR_NO_INT;
}

static void irq_update(struct serial *serial)
{
	bool level = !(serial_iir(serial) & UART_IIR_NO_INT);

	if (level != serial->line.level)
		irq_line_set(&serial->line, level);
}

/*
 * True when input would be heard. RTS says so, and a driver raises it when its
 * set-up is done. One that never does is heard by its polling, or by its
 * receive interrupt once that has been on for a while: Linux turns it on before
 * the FIFOs, whose turning on drops what has come.
 */
static bool listening(const struct serial *serial)
{
	if (serial->mcr & UART_MCR_LOOP)
		return false;
	return (serial->mcr & UART_MCR_RTS) || serial->polls >= POLLS ||
	       ((serial->ier & UART_IER_RDI) && serial->waited >= WAITS);
}

/* Counts ticks while input waits for nothing but them. */
static void wait_tick(struct serial *serial)
{
	if (serial->refused && (serial->ier & UART_IER_RDI) &&
	    serial->waited < WAITS)
		console_tick(serial->console);
}

/* The receive interrupt was turned on, or the FIFOs changed. */
static void wait_anew(struct serial *serial)
{
	serial->waited = 0;
	wait_tick(serial);
}

static void serial_resume(struct serial *serial)
{
	if (!serial->refused || serial->rx_count || !listening(serial))
		return;
	serial->refused = false;
	console_resume(serial->console);
}

/* One byte arrives; a full queue keeps what it has (8.6.2: overrun). */
static void rx_push(struct serial *serial, uint8_t byte, uint8_t error)
{
	if (serial->rx_count == rx_capacity(serial)) {
		serial->overrun = UART_LSR_OE;
		if (fifos_on(serial))
			return;
		serial->rx_count = 0; /* RBR itself is overwritten */
	}
	if (!serial->rx_count)
		serial->error_seen = false;
	serial->rx[serial->rx_count] = byte;
	serial->rx_error[serial->rx_count] = error;
	serial->rx_count++;
}

static void rx_clear(struct serial *serial)
{
	serial->rx_count = 0;
	serial->timeout = false;
	serial_resume(serial);
}

static uint8_t rbr_read(struct serial *serial)
{
	uint8_t byte = serial->rx[0];

	if (!serial->rx_count)
		return byte; /* the register keeps what it had */
	serial->rx_count--;
	memmove(serial->rx, serial->rx + 1, serial->rx_count);
	memmove(serial->rx_error, serial->rx_error + 1, serial->rx_count);
	if (!serial->rx_count)
		serial->rx[0] = byte;
	serial->error_seen = false;
	/* The timeout starts anew with each reading; it matters only if bytes
	 * stay behind. */
	serial->timeout = false;
	if (serial->rx_count && fifos_on(serial))
		console_tick(serial->console);
	serial_resume(serial);
	return byte;
}

static uint8_t lsr_read(struct serial *serial)
{
	uint8_t lsr = serial->overrun;

	if (serial->rx_count) {
		lsr |= UART_LSR_DR;
		if (!serial->error_seen)
			lsr |= serial->rx_error[0];
		for (unsigned i = 0; fifos_on(serial) && i < serial->rx_count;
		     i++) {
			if (serial->rx_error[i])
				lsr |= UART_LSR_FIFOE;
		}
	}
	if (console_ready(serial->console)) {
		lsr |= UART_LSR_THRE | UART_LSR_TEMT;
		if (serial->polls < POLLS && ++serial->polls == POLLS)
			serial_resume(serial);
	}
	serial->overrun = 0;
	serial->error_seen = true;
	return lsr;
}

/* The delta bits say what changed since MSR was last read (8.8). */
static void msr_set(struct serial *serial, uint8_t lines)
{
	uint8_t change = (serial->msr ^ lines) & 0xf0;

	if (change & UART_MSR_RI) {
		/* TERI: only the trailing edge counts. */
		if (lines & UART_MSR_RI)
			change &= ~UART_MSR_RI;
	}
	serial->msr = lines | (serial->msr & UART_MSR_ANY_DELTA) | change >> 4;
}

static void mcr_write(struct serial *serial, uint8_t value)
{
	uint8_t lines = MSR_ON;

	serial->mcr = value & MCR_MASK;
	if (serial->mcr & UART_MCR_LOOP) {
		lines = (value & UART_MCR_RTS ? UART_MSR_CTS : 0) |
			(value & UART_MCR_DTR ? UART_MSR_DSR : 0) |
			(value & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
			(value & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
	}
	msr_set(serial, lines);
	serial_resume(serial);
}

static void fcr_write(struct serial *serial, uint8_t value)
{
	bool toggled = (value ^ serial->fcr) & UART_FCR_ENABLE_FIFO;

	/* The transmitter is always empty as seen from here: nothing to clear
	 * for UART_FCR_CLEAR_XMIT. */
	if (!(value & UART_FCR_ENABLE_FIFO))
		value = 0; /* the other bits need it in the same write (8.4) */
	serial->fcr = value & (UART_FCR_ENABLE_FIFO | UART_FCR_DMA_SELECT |
			       UART_FCR_TRIGGER_MASK);
	if (toggled || (value & UART_FCR_CLEAR_RCVR))
		rx_clear(serial);
	wait_anew(serial);
}

static void thr_write(struct serial *serial, uint8_t byte)
{
	serial->polls = 0;
	if (serial->mcr & UART_MCR_LOOP) {
		rx_push(serial, byte, 0);
		serial->timeout = fifos_on(serial);
	} else {
		console_put(serial->console, byte);
	}
	/* Written, and at once empty again (S3). */
	serial->thre = console_ready(serial->console);
}

static void ier_write(struct serial *serial, uint8_t value)
{
	uint8_t raised = value & ~serial->ier;

	serial->ier = value & IER_MASK;
	/* Turning it on while THR is empty interrupts at once: drivers probe
	 * for this. */
	if ((raised & UART_IER_THRI) && console_ready(serial->console))
		serial->thre = true;
	if (raised & UART_IER_RDI)
		wait_anew(serial);
}

static uint64_t serial_read(struct device *dev, unsigned range, uint64_t offset,
			    unsigned len)
{
	struct serial *serial = from_device(dev);
	bool dlab = serial->lcr & UART_LCR_DLAB;
	uint8_t value = 0;

	(void)range, (void)len;
	if (offset != UART_LSR)
		serial->polls = 0;
	switch (offset) {
	case UART_RX:
		value = dlab ? serial->dll : rbr_read(serial);
		break;
	case UART_IER:
		value = dlab ? serial->dlm : serial->ier;
		break;
	case UART_IIR:
		value = serial_iir(serial);
		if ((value & UART_IIR_ID) == UART_IIR_THRI)
			serial->thre = false;
		break;
	case UART_LCR:
		value = serial->lcr;
		break;
	case UART_MCR:
		value = serial->mcr;
		break;
	case UART_LSR:
		value = lsr_read(serial);
		break;
	case UART_MSR:
		value = serial->msr;
		serial->msr &= ~UART_MSR_ANY_DELTA;
		break;
	case UART_SCR:
		value = serial->scratch;
		break;
	}
	irq_update(serial);
	return value;
}

static void serial_write(struct device *dev, unsigned range, uint64_t offset,
			 unsigned len, uint64_t value)
{
	struct serial *serial = from_device(dev);
	bool dlab = serial->lcr & UART_LCR_DLAB;

	(void)range, (void)len;
	switch (offset) {
	case UART_TX:
		if (dlab)
			serial->dll = value;
		else
			thr_write(serial, value);
		break;
	case UART_IER:
		if (dlab)
			serial->dlm = value;
		else
			ier_write(serial, value);
		break;
	case UART_FCR:
		fcr_write(serial, value);
		break;
	case UART_LCR:
		serial->lcr = value;
		break;
	case UART_MCR:
		mcr_write(serial, value);
		break;
	case UART_SCR:
		serial->scratch = value;
		break;
	}
	irq_update(serial);
}

static void serial_reset(struct device *dev)
{
	struct serial *serial = from_device(dev);

	serial->ier = 0;
	serial->lcr = 0;
	serial->mcr = 0;
	serial->scratch = 0;
	serial->dll = 12; /* 9600 baud; the datasheet leaves it open */
	serial->dlm = 0;
	serial->fcr = 0;
	serial->msr = MSR_ON;
	serial->overrun = 0;
	serial->polls = 0;
	serial->waited = 0;
	serial->thre = false;
	serial->rx[0] = 0;
	rx_clear(serial);
	irq_update(serial);
}

static const struct device_ops serial_ops = {
	.read = serial_read,
	.write = serial_write,
	.reset = serial_reset,
};

static size_t serial_input(struct console_client *client, const uint8_t *bytes,
			   size_t len)
{
	struct serial *serial = from_client(client);
	size_t taken = 0;

	pthread_mutex_lock(&serial->dev.lock);
	while (taken < len && listening(serial) &&
	       serial->rx_count < rx_capacity(serial))
		rx_push(serial, bytes[taken++], 0);
	serial->refused = taken < len;
	wait_tick(serial);
	/* The line is silent after a burst, and that is what a timeout means:
	 * no need to let the four character times pass. */
	if (taken && fifos_on(serial))
		serial->timeout = true;
	irq_update(serial);
	pthread_mutex_unlock(&serial->dev.lock);
	return taken;
}

static void serial_break(struct console_client *client)
{
	struct serial *serial = from_client(client);

	pthread_mutex_lock(&serial->dev.lock);
	if (!(serial->mcr & UART_MCR_LOOP)) {
		rx_push(serial, 0, UART_LSR_BI | UART_LSR_FE);
		serial->timeout = fifos_on(serial);
	}
	irq_update(serial);
	pthread_mutex_unlock(&serial->dev.lock);
}

static void serial_room(struct console_client *client)
{
	struct serial *serial = from_client(client);

	pthread_mutex_lock(&serial->dev.lock);
	if (console_ready(serial->console))
		serial->thre = true;
	irq_update(serial);
	pthread_mutex_unlock(&serial->dev.lock);
}

/* Time has passed: for the character timeout (bytes stayed in the FIFO and no
 * one came), and for a guest that may be listening. */
static void serial_tick(struct console_client *client)
{
	struct serial *serial = from_client(client);

	pthread_mutex_lock(&serial->dev.lock);
	if (serial->rx_count && fifos_on(serial))
		serial->timeout = true;
	if (serial->waited < WAITS && (serial->ier & UART_IER_RDI)) {
		serial->waited++;
		wait_tick(serial);
		serial_resume(serial);
	}
	irq_update(serial);
	pthread_mutex_unlock(&serial->dev.lock);
}

void serial_init(struct serial *serial, struct irqchip *chip, uint32_t gsi,
		 struct console *console)
{
	*serial = (struct serial){
		.console = console,
		.line = irq_line(chip, gsi),
		.client = {
			.input = serial_input,
			.send_break = serial_break,
			.room = serial_room,
			.tick = serial_tick,
		},
	};
	device_init(&serial->dev, "serial", &serial_ops, 1);
	serial_reset(&serial->dev);
	console_attach(console, &serial->client);
}

void serial_fini(struct serial *serial)
{
	console_attach(serial->console, NULL);
	device_fini(&serial->dev);
}
