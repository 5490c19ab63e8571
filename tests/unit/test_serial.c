/*
 * The serial port, register by register: each case is a list of accesses, and
 * what a PC16550D answers.
 */
#include "devices/serial.h"

#include <linux/serial_reg.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum op { END, READ, WRITE, IRQ, TYPE, HELD, BREAK, TICK, SENT };

struct step {
	enum op op;
	unsigned reg;
	unsigned value; /* written or expected; bytes taken of TYPE */
	const char *text;
};

#define R(reg, value)                                                          \
	{                                                                      \
		READ, reg, value, NULL                                         \
	}
#define W(reg, value)                                                          \
	{                                                                      \
		WRITE, reg, value, NULL                                        \
	}
#define LINE(level)                                                            \
	{                                                                      \
		IRQ, 0, level, NULL                                            \
	}
#define TYPED(text, n)                                                         \
	{                                                                      \
		TYPE, 0, n, text                                               \
	} /* n of its bytes are taken */
#define RESUMED(yes)                                                           \
	{                                                                      \
		HELD, 0, yes, NULL                                             \
	}
#define SENT_TEXT(text)                                                        \
	{                                                                      \
		SENT, 0, 0, text                                               \
	}
#define SEND_BREAK                                                             \
	{                                                                      \
		BREAK, 0, 0, NULL                                              \
	}
#define TICKS(n)                                                               \
	{                                                                      \
		TICK, 0, n, NULL                                               \
	}
#define EMPTY         (UART_LSR_THRE | UART_LSR_TEMT)
#define FIFO(trigger) W(UART_FCR, UART_FCR_ENABLE_FIFO | (trigger))
#define LISTEN        W(UART_MCR, UART_MCR_RTS)

struct scene {
	const char *name;
	struct step steps[40];
};

static const struct scene scenes[] = {
	{ "after power-on nothing is pending and the line is idle",
	  { R(UART_IER, 0), R(UART_IIR, UART_IIR_NO_INT), R(UART_LCR, 0),
	    R(UART_MCR, 0), R(UART_LSR, EMPTY),
	    R(UART_MSR, UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS),
	    LINE(0) } },
	{ "the scratch register keeps a byte",
	  { W(UART_SCR, 0xa5), R(UART_SCR, 0xa5), W(UART_SCR, 0x5a),
	    R(UART_SCR, 0x5a) } },
	{ "the divisor is behind DLAB and leaves the data registers alone",
	  { W(UART_IER, 0x05), W(UART_LCR, UART_LCR_DLAB | 3),
	    W(UART_DLL, 0x34), W(UART_DLM, 0x12), R(UART_DLL, 0x34),
	    R(UART_DLM, 0x12), W(UART_LCR, 3), R(UART_IER, 0x05),
	    R(UART_LCR, 3), SENT_TEXT("") } },
	{ "reserved bits of IER and MCR read as zero",
	  { W(UART_IER, 0xf0), R(UART_IER, 0), W(UART_MCR, 0xe0),
	    R(UART_MCR, 0) } },
	{ "IIR shows the FIFOs, and only enabled ones",
	  { FIFO(0), R(UART_IIR, 0xc1), W(UART_FCR, 0),
	    R(UART_IIR, UART_IIR_NO_INT) } },
	{ "FCR bits without the enable bit are ignored",
	  { FIFO(0), LISTEN, TYPED("a", 1), W(UART_FCR, 0x80),
	    R(UART_IIR, UART_IIR_NO_INT) } },
	{ "a byte written to THR goes out, and THR is empty again",
	  { W(UART_TX, 'h'), R(UART_LSR, EMPTY), W(UART_TX, 'i'),
	    SENT_TEXT("hi"), LINE(0) } },
	{ "turning the THRE interrupt on while THR is empty raises it",
	  { W(UART_IER, UART_IER_THRI), LINE(1), R(UART_IIR, UART_IIR_THRI),
	    LINE(0), R(UART_IIR, UART_IIR_NO_INT) } },
	{ "the THRE interrupt comes again when it is turned off and on",
	  { W(UART_IER, UART_IER_THRI), R(UART_IIR, UART_IIR_THRI),
	    W(UART_IER, UART_IER_THRI), LINE(0), W(UART_IER, 0),
	    W(UART_IER, UART_IER_THRI), LINE(1), R(UART_IIR, UART_IIR_THRI) } },
	{ "turning another interrupt on does not repeat the THRE interrupt",
	  { W(UART_IER, UART_IER_THRI), R(UART_IIR, UART_IIR_THRI),
	    W(UART_IER, UART_IER_THRI | UART_IER_RDI), LINE(0) } },
	{ "writing THR raises the THRE interrupt once it is empty",
	  { W(UART_IER, UART_IER_THRI), R(UART_IIR, UART_IIR_THRI),
	    W(UART_TX, 'x'), LINE(1), R(UART_IIR, UART_IIR_THRI), LINE(0) } },
	{ "reading IIR for another source leaves THRE pending",
	  { LISTEN, W(UART_IER, UART_IER_THRI | UART_IER_RDI), TYPED("a", 1),
	    R(UART_IIR, UART_IIR_RDI), R(UART_RX, 'a'),
	    R(UART_IIR, UART_IIR_THRI), R(UART_IIR, UART_IIR_NO_INT) } },
	{ "without FIFOs one byte is taken and interrupts",
	  { LISTEN, W(UART_IER, UART_IER_RDI), TYPED("ab", 1), LINE(1),
	    R(UART_LSR, EMPTY | UART_LSR_DR), R(UART_IIR, UART_IIR_RDI),
	    RESUMED(0), R(UART_RX, 'a'), RESUMED(1), LINE(0),
	    R(UART_LSR, EMPTY) } },
	{ "an empty RBR keeps the last byte",
	  { LISTEN, TYPED("a", 1), R(UART_RX, 'a'), R(UART_RX, 'a'),
	    R(UART_LSR, EMPTY) } },
	{ "below the trigger a burst is announced by the timeout",
	  { FIFO(UART_FCR_TRIGGER_8), LISTEN, W(UART_IER, UART_IER_RDI),
	    TYPED("abc", 3), LINE(1), R(UART_IIR, 0xc0 | UART_IIR_RX_TIMEOUT),
	    R(UART_RX, 'a'), LINE(0), R(UART_IIR, 0xc1), TICKS(1), LINE(1),
	    R(UART_IIR, 0xc0 | UART_IIR_RX_TIMEOUT), R(UART_RX, 'b'),
	    R(UART_RX, 'c'), TICKS(1), LINE(0) } },
	{ "at the trigger the data interrupt comes, and goes below it",
	  { FIFO(UART_FCR_TRIGGER_4), LISTEN, W(UART_IER, UART_IER_RDI),
	    TYPED("abcd", 4), R(UART_IIR, 0xc0 | UART_IIR_RDI), R(UART_RX, 'a'),
	    R(UART_IIR, 0xc1), LINE(0) } },
	{ "the FIFO takes 16 bytes and then asks for the rest",
	  { FIFO(UART_FCR_TRIGGER_14), LISTEN, TYPED("0123456789abcdefXYZ", 16),
	    R(UART_RX, '0'), RESUMED(0), R(UART_LSR, EMPTY | UART_LSR_DR) } },
	{ "input waits until the guest listens: RTS",
	  { FIFO(0), TYPED("a", 0), R(UART_LSR, EMPTY), RESUMED(0), LISTEN,
	    RESUMED(1), TYPED("a", 1), R(UART_RX, 'a') } },
	{ "input waits until the guest listens: the interrupt, for a while",
	  { TYPED("a", 0), W(UART_IER, UART_IER_RDI), RESUMED(0), TICKS(49),
	    RESUMED(0), TYPED("a", 0), TICKS(1), RESUMED(1), TYPED("a", 1),
	    R(UART_IIR, UART_IIR_RDI), R(UART_RX, 'a'), TYPED("b", 1) } },
	{ "turning the FIFOs on after the interrupt drops no input",
	  { TYPED("ab", 0), W(UART_IER, UART_IER_RDI), TICKS(40),
	    TYPED("ab", 0), FIFO(0), TICKS(49), RESUMED(0), LISTEN, RESUMED(1),
	    TYPED("ab", 2), R(UART_RX, 'a'), R(UART_RX, 'b') } },
	{ "input waits until the guest listens: polling",
	  { TYPED("a", 0), R(UART_LSR, EMPTY), R(UART_LSR, EMPTY),
	    R(UART_LSR, EMPTY), R(UART_LSR, EMPTY), R(UART_LSR, EMPTY),
	    R(UART_LSR, EMPTY), R(UART_LSR, EMPTY), RESUMED(0),
	    R(UART_LSR, EMPTY), RESUMED(1), TYPED("a", 1),
	    R(UART_LSR, EMPTY | UART_LSR_DR), R(UART_RX, 'a') } },
	{ "waiting for room before each byte is not polling for input",
	  { TYPED("a", 0), R(UART_LSR, EMPTY), W(UART_TX, '1'),
	    R(UART_LSR, EMPTY), W(UART_TX, '2'), R(UART_LSR, EMPTY),
	    W(UART_TX, '3'), R(UART_LSR, EMPTY), W(UART_TX, '4'),
	    R(UART_LSR, EMPTY), W(UART_TX, '5'), R(UART_LSR, EMPTY),
	    W(UART_TX, '6'), R(UART_LSR, EMPTY), W(UART_TX, '7'),
	    R(UART_LSR, EMPTY), W(UART_TX, '8'), R(UART_LSR, EMPTY),
	    RESUMED(0) } },
	{ "clearing the receive FIFO drops what is in it",
	  { FIFO(0), LISTEN, TYPED("abc", 3), FIFO(UART_FCR_CLEAR_RCVR),
	    R(UART_LSR, EMPTY), R(UART_IIR, 0xc1) } },
	{ "turning the FIFOs off drops what is in them",
	  { FIFO(0), LISTEN, TYPED("abc", 3), W(UART_FCR, 0),
	    R(UART_LSR, EMPTY) } },
	{ "clearing the transmit FIFO takes nothing back",
	  { FIFO(0), W(UART_TX, 'a'), FIFO(UART_FCR_CLEAR_XMIT), SENT_TEXT("a"),
	    R(UART_LSR, EMPTY) } },
	{ "in loopback THR comes back in RBR and nothing goes out",
	  { W(UART_MCR, UART_MCR_LOOP), W(UART_IER, UART_IER_RDI),
	    W(UART_TX, 0x42), LINE(1), R(UART_LSR, EMPTY | UART_LSR_DR),
	    R(UART_RX, 0x42), LINE(0), SENT_TEXT("") } },
	{ "in loopback the line is not heard",
	  { W(UART_MCR, UART_MCR_LOOP | UART_MCR_RTS), TYPED("a", 0),
	    RESUMED(0), LISTEN, RESUMED(1) } },
	{ "in loopback a second byte overruns RBR",
	  { W(UART_MCR, UART_MCR_LOOP), W(UART_TX, 'a'), W(UART_TX, 'b'),
	    R(UART_LSR, EMPTY | UART_LSR_DR | UART_LSR_OE),
	    R(UART_LSR, EMPTY | UART_LSR_DR), R(UART_RX, 'b') } },
	{ "in loopback the 17th byte overruns the FIFO, which keeps the 16",
	  { FIFO(0),
	    W(UART_MCR, UART_MCR_LOOP),
	    W(UART_IER, UART_IER_RLSI),
	    W(UART_TX, '0'),
	    W(UART_TX, '1'),
	    W(UART_TX, '2'),
	    W(UART_TX, '3'),
	    W(UART_TX, '4'),
	    W(UART_TX, '5'),
	    W(UART_TX, '6'),
	    W(UART_TX, '7'),
	    W(UART_TX, '8'),
	    W(UART_TX, '9'),
	    W(UART_TX, 'a'),
	    W(UART_TX, 'b'),
	    W(UART_TX, 'c'),
	    W(UART_TX, 'd'),
	    W(UART_TX, 'e'),
	    W(UART_TX, 'f'),
	    LINE(0),
	    W(UART_TX, 'g'),
	    LINE(1),
	    R(UART_IIR, 0xc0 | UART_IIR_RLSI),
	    R(UART_LSR, EMPTY | UART_LSR_DR | UART_LSR_OE),
	    LINE(0),
	    R(UART_RX, '0') } },
	{ "in loopback the modem outputs come back as inputs",
	  { W(UART_MCR, UART_MCR_LOOP), R(UART_MSR, 0x0b),
	    W(UART_MCR, UART_MCR_LOOP | UART_MCR_DTR),
	    R(UART_MSR, UART_MSR_DSR | UART_MSR_DDSR),
	    W(UART_MCR, UART_MCR_LOOP | UART_MCR_RTS),
	    R(UART_MSR, UART_MSR_CTS | UART_MSR_DCTS | UART_MSR_DDSR),
	    W(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2),
	    R(UART_MSR, UART_MSR_DCD | UART_MSR_DDCD | UART_MSR_DCTS),
	    R(UART_MSR, UART_MSR_DCD) } },
	{ "the end of a ring counts, its start does not",
	  { W(UART_MCR, UART_MCR_LOOP), R(UART_MSR, 0x0b),
	    W(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1),
	    R(UART_MSR, UART_MSR_RI), W(UART_MCR, UART_MCR_LOOP),
	    R(UART_MSR, UART_MSR_TERI) } },
	{ "a modem line that changes interrupts until MSR is read",
	  { W(UART_IER, UART_IER_MSI), W(UART_MCR, UART_MCR_LOOP), LINE(1),
	    R(UART_IIR, UART_IIR_MSI), LINE(1), R(UART_MSR, 0x0b), LINE(0) } },
	{ "sources come in the order of their priority",
	  { W(UART_MCR, UART_MCR_LOOP), W(UART_TX, 'a'), W(UART_TX, 'b'),
	    W(UART_IER, 0x0f), R(UART_IIR, UART_IIR_RLSI),
	    R(UART_LSR, EMPTY | UART_LSR_DR | UART_LSR_OE),
	    R(UART_IIR, UART_IIR_RDI), R(UART_RX, 'b'),
	    R(UART_IIR, UART_IIR_THRI), R(UART_IIR, UART_IIR_MSI),
	    R(UART_MSR, 0x0b), R(UART_IIR, UART_IIR_NO_INT), LINE(0) } },
	{ "a break is a zero byte with an error, which LSR shows once",
	  { LISTEN, W(UART_IER, UART_IER_RLSI), SEND_BREAK, LINE(1),
	    R(UART_IIR, UART_IIR_RLSI),
	    R(UART_LSR, EMPTY | UART_LSR_DR | UART_LSR_BI | UART_LSR_FE),
	    LINE(0), R(UART_RX, 0), R(UART_LSR, EMPTY) } },
	{ "an error in the FIFO shows when its byte comes to the front",
	  { FIFO(0), LISTEN, TYPED("a", 1), SEND_BREAK,
	    R(UART_LSR, EMPTY | UART_LSR_DR | UART_LSR_FIFOE), R(UART_RX, 'a'),
	    R(UART_LSR, EMPTY | UART_LSR_DR | UART_LSR_BI | UART_LSR_FE |
				UART_LSR_FIFOE) } },
	{ "LSR and MSR ignore writes",
	  { W(UART_LSR, 0), W(UART_MSR, 0), R(UART_LSR, EMPTY),
	    R(UART_MSR, 0xb0) } },
};

struct rig {
	struct loop loop;
	struct irqchip chip;
	struct console console;
	struct serial serial;
	struct bus bus;
};

static void rig_open(struct rig *rig)
{
	struct console_options options = { CONSOLE_FILE, "/dev/null" };

	/* No virtual machine behind it: the line's level says it all. */
	rig->chip = (struct irqchip){ .vm_fd = -1 };
	pthread_mutex_init(&rig->chip.lock, NULL);
	assert_int_equal(loop_init(&rig->loop), 0);
	assert_int_equal(
		console_open(&rig->console, &rig->loop, NULL, &options), 0);
	serial_init(&rig->serial, &rig->chip, 4, &rig->console);
	bus_init(&rig->bus, "port", -1, true);
	assert_int_equal(bus_add(&rig->bus, &rig->serial.dev, 0, 0x3f8, 8), 0);
}

static void rig_close(struct rig *rig)
{
	serial_fini(&rig->serial);
	console_close(&rig->console);
	loop_fini(&rig->loop);
	pthread_mutex_destroy(&rig->chip.lock);
}

static unsigned rig_read(struct rig *rig, unsigned reg)
{
	uint8_t data;

	bus_access(&rig->bus, 0x3f8 + reg, &data, 1, false);
	return data;
}

static void rig_write(struct rig *rig, unsigned reg, uint8_t data)
{
	bus_access(&rig->bus, 0x3f8 + reg, &data, 1, true);
}

static bool step_holds(struct rig *rig, const struct step *step)
{
	struct console_client *client = &rig->serial.client;
	const char *text = step->text;
	bool resumed;

	switch (step->op) {
	case READ:
		return rig_read(rig, step->reg) == step->value;
	case WRITE:
		rig_write(rig, step->reg, step->value);
		return true;
	case IRQ:
		return rig->serial.line.level == step->value;
	case TYPE:
		return client->input(client, (const uint8_t *)text,
				     strlen(text)) == step->value;
	case HELD:
		resumed = rig->console.resume;
		rig->console.resume = false;
		return resumed == step->value;
	case BREAK:
		client->send_break(client);
		return true;
	case TICK:
		for (unsigned i = 0; i < step->value; i++) {
			bool wanted = rig->console.want_tick;

			rig->console.want_tick = false;
			if (wanted)
				client->tick(client);
		}
		return true;
	case SENT:
		return rig->console.tail == strlen(text) &&
		       !memcmp(rig->console.ring, text, strlen(text));
	case END:
		break;
	}
	return false;
}

static void every_access_answers_as_the_datasheet_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		const struct step *steps = scenes[i].steps;
		struct rig rig;

		rig_open(&rig);
		for (int n = 0; steps[n].op; n++) {
			if (!step_holds(&rig, &steps[n]))
				fail_msg("%s: step %d", scenes[i].name, n + 1);
		}
		rig_close(&rig);
	}
}

static void wide_accesses_are_refused(void **state)
{
	uint8_t data[4] = { 0 };
	struct rig rig;

	(void)state;
	log_set_level(LOG_ERR);
	rig_open(&rig);
	bus_access(&rig.bus, 0x3f8, data, 2, true);
	bus_access(&rig.bus, 0x3f8, data, 4, true);
	assert_int_equal(rig.console.tail, 0);
	bus_access(&rig.bus, 0x3fd, data, 2, false);
	assert_int_equal(data[0], 0xff);
	rig_close(&rig);
	log_set_level(LOG_WARN);
}

static void a_full_console_makes_the_guest_wait_and_loses_nothing(void **state)
{
	struct rig rig;
	unsigned sent = 0;

	(void)state;
	rig_open(&rig);
	/* As a driver does: 16 bytes for each THRE. */
	while (rig_read(&rig, UART_LSR) & UART_LSR_THRE) {
		for (int i = 0; i < 16; i++)
			rig_write(&rig, UART_TX, sent++);
	}
	assert_int_equal(sent, CONSOLE_RING);
	assert_int_equal(rig.console.tail, CONSOLE_RING);
	rig_write(&rig, UART_IER, UART_IER_THRI);
	assert_false(rig.serial.line.level);
	/* Someone reads: the interrupt says so. */
	console_end(&rig.console);
	assert_true(rig.serial.line.level);
	assert_int_equal(rig_read(&rig, UART_IIR), UART_IIR_THRI);
	assert_int_equal(rig_read(&rig, UART_LSR), EMPTY);
	rig_close(&rig);
}

static void a_reset_puts_everything_back(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig);
	rig_write(&rig, UART_MCR, UART_MCR_RTS);
	rig_write(&rig, UART_FCR, UART_FCR_ENABLE_FIFO);
	rig_write(&rig, UART_IER, 0x0f);
	rig.serial.client.input(&rig.serial.client, (const uint8_t *)"ab", 2);
	assert_true(rig.serial.line.level);
	rig.serial.dev.ops->reset(&rig.serial.dev);
	assert_false(rig.serial.line.level);
	assert_int_equal(rig_read(&rig, UART_LSR), EMPTY);
	assert_int_equal(rig_read(&rig, UART_IIR), UART_IIR_NO_INT);
	assert_int_equal(rig_read(&rig, UART_IER), 0);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_access_answers_as_the_datasheet_says),
		cmocka_unit_test(wide_accesses_are_refused),
		cmocka_unit_test(
			a_full_console_makes_the_guest_wait_and_loses_nothing),
		cmocka_unit_test(a_reset_puts_everything_back),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
