/*
 * Any sequence of accesses to the PC's old devices (serial port, clock, power,
 * reset, exit port), mixed with typed input and the passing of time: the
 * devices stay up, keep their invariants, and a reset brings them back.
 */
#include "devices/debug_exit.h"
#include "devices/power.h"
#include "devices/reset.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "firmware/platform.h"

#include <assert.h>
#include <linux/serial_reg.h>
#include <stdlib.h>
#include <string.h>

struct machine {
	struct loop loop;
	struct irqchip irqs;
	struct bus ports;
	struct end_wire wire;
	struct console console;
	struct serial serial;
	struct rtc rtc;
	struct power power;
	struct reset reset;
	struct debug_exit dbg;
};

/* In 2023. Each input begins there: the clock ends with the year 2255. */
#define START 1700000000000000000

static uint64_t now;

static int64_t wall_clock(const struct rtc *rtc)
{
	(void)rtc;
	return (int64_t)now;
}

static uint64_t power_clock(const struct power *power)
{
	(void)power;
	return now;
}

static void end_ignore(struct end_wire *wire, enum end end, uint32_t value)
{
	(void)wire, (void)end, (void)value;
}

static void machine_init(struct machine *m)
{
	static const struct console_options options = { CONSOLE_FILE,
							"/dev/null" };

	m->irqs.vm_fd = -1;
	m->wire.request = end_ignore;
	pthread_mutex_init(&m->irqs.lock, NULL);
	bus_init(&m->ports, "port", -1, true);
	now = START;
	if (loop_init(&m->loop) ||
	    console_open(&m->console, &m->loop, &m->wire, &options) ||
	    rtc_init(&m->rtc, &m->irqs, PLATFORM_RTC_IRQ, &m->loop))
		abort();
	serial_init(&m->serial, &m->irqs, PLATFORM_SERIAL_IRQ, &m->console);
	power_init(&m->power, &m->irqs, PLATFORM_SCI_IRQ, &m->wire);
	reset_init(&m->reset, &m->wire);
	debug_exit_init(&m->dbg, &m->wire);
	m->rtc.now = wall_clock;
	m->power.now = power_clock;
	bus_add(&m->ports, &m->serial.dev, 0, 0, SERIAL_PORTS);
	bus_add(&m->ports, &m->rtc.dev, 0, 8, RTC_PORTS);
	bus_add(&m->ports, &m->power.dev, POWER_EVENT, 16, 4);
	bus_add(&m->ports, &m->power.dev, POWER_CONTROL, 20, 2);
	bus_add(&m->ports, &m->power.dev, POWER_TIMER, 24, 4);
	bus_add(&m->ports, &m->reset.dev, RESET_CONTROL, 28, 1);
	bus_add(&m->ports, &m->reset.dev, RESET_KEYBOARD, 29, 1);
	bus_add(&m->ports, &m->dbg.dev, 0, 32, DEBUG_EXIT_PORTS);
}

/* What an input says: 4 bytes an event. */
struct step {
	uint8_t what;
	uint8_t port;
	uint16_t value;
};

static void step_do(struct machine *m, const struct step *step)
{
	struct console_client *client = &m->serial.client;
	uint8_t data[8];

	memset(data, step->value, sizeof(data));
	data[1] = step->value >> 8;
	switch (step->what >> 4) {
	case 0:
		assert(client->input(client, data, step->value % 9) <= 8);
		break;
	case 1:
		client->send_break(client);
		break;
	case 2:
		client->tick(client);
		break;
	case 3: /* someone reads all the output */
		console_end(&m->console);
		client->room(client);
		break;
	case 4: /* up to three hours */
		now += step->value * 167772160ull;
		m->rtc.timer.ready(&m->rtc.timer, 0);
		break;
	case 5: /* up to a second */
		now += step->value * 15259u;
		break;
	case 6:
		power_button(&m->power);
		break;
	case 7:
		bus_reset(&m->ports);
		break;
	default:
		bus_access(&m->ports, step->port % 40, data,
			   1u << (step->what & 3), step->what & 4);
		break;
	}
}

static void invariants_check(struct machine *m)
{
	const struct serial *serial = &m->serial;
	uint8_t c = m->rtc.cmos[12], b = m->rtc.cmos[11];

	assert(serial->rx_count <=
	       (serial->fcr & UART_FCR_ENABLE_FIFO ? SERIAL_FIFO : 1));
	assert(!serial->ier || !serial->rx_count ||
	       !(serial->ier & UART_IER_RDI) || serial->line.level ||
	       (serial->fcr & UART_FCR_ENABLE_FIFO));
	assert(serial->ier || !serial->line.level);
	assert(m->rtc.line.level == !!(b & c & 0x70));
	assert(m->power.sci.level == !!(m->power.status & m->power.enable));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct machine m;
	static uint8_t cmos[sizeof(m.rtc.cmos)];
	uint8_t lsr;

	if (!m.console.loop) {
		log_set_level(LOG_ERR);
		machine_init(&m);
		memcpy(cmos, m.rtc.cmos, sizeof(cmos));
	}
	/* What the clock's battery keeps over a reset is not the next
	 * input's. */
	now = START;
	m.rtc.offset = 0;
	m.rtc.checked = START;
	m.rtc.index = 0;
	memcpy(m.rtc.cmos, cmos, sizeof(cmos));
	for (; len >= sizeof(struct step);
	     bytes += sizeof(struct step), len -= sizeof(struct step)) {
		struct step step;

		memcpy(&step, bytes, sizeof(step));
		step_do(&m, &step);
		invariants_check(&m);
	}
	console_end(&m.console);
	bus_reset(&m.ports);
	invariants_check(&m);
	bus_access(&m.ports, UART_LSR, &lsr, 1, false);
	assert(lsr == (UART_LSR_THRE | UART_LSR_TEMT));
	return 0;
}
