/*
 * The UART as a driver sees it (16550A data sheet): registers, loopback, FIFO,
 * and interrupts. Options: echo reads a line by interrupts and prints it;
 * bytes=N reads N bytes and prints their sum.
 */
#include "guests/lib/acpi.h"
#include "guests/lib/cpu.h"
#include "guests/lib/lib.h"

#define BASE 0x3f8
#define DATA (BASE + 0)
#define IER  (BASE + 1)
#define IIR  (BASE + 2)
#define FCR  (BASE + 2)
#define LCR  (BASE + 3)
#define MCR  (BASE + 4)
#define LSR  (BASE + 5)
#define MSR  (BASE + 6)
#define SCR  (BASE + 7)

#define IER_RX    1
#define IER_TX    2
#define IER_LINE  4
#define IER_MODEM 8

#define IIR_NONE  1
#define IIR_MODEM 0
#define IIR_TX    2
#define IIR_RX    4
#define IIR_LINE  6
#define IIR_IDLE  0xc /* data waits, and no more comes */

#define LSR_READY   1
#define LSR_OVERRUN 2
#define LSR_EMPTY   0x60 /* holding register and transmitter */

#define MCR_OUT2 8
#define MCR_LOOP 0x10

#define FIFO        16
#define VECTOR_UART 52

static volatile int interrupts, tx_interrupts;
static volatile uint32_t received;
static char line[256];

static uint8_t cause(void)
{
	return inb(IIR) & 15;
}

static void drain(void)
{
	for (int i = 0; i < 2 * FIFO && inb(LSR) & LSR_READY; i++)
		inb(DATA);
}

static void test_registers(void)
{
	for (int i = 0; i < 256; i += 51) {
		outb(SCR, (uint8_t)i);
		CHECK_EQ(inb(SCR), i, "scratch register");
	}
	outb(IER, 0);
	outb(LCR, 0x83);
	outb(DATA, 0x34);
	outb(IER, 0x12);
	CHECK_EQ(inb(DATA), 0x34, "divisor, low byte");
	CHECK_EQ(inb(IER), 0x12, "divisor, high byte");
	outb(DATA, 1);
	outb(IER, 0);
	outb(LCR, 3);
	CHECK_EQ(inb(LCR), 3, "line control");
	CHECK_EQ(inb(IER), 0, "interrupt enable after the divisor is hidden");
	outb(IER, 0xff);
	CHECK_EQ(inb(IER), 0x0f, "bits of interrupt enable");
	outb(IER, 0);
	outb(MCR, 0xe0 | MCR_OUT2);
	CHECK_EQ(inb(MCR), MCR_OUT2, "bits of modem control");
	CHECK_EQ(inb(IIR) & 0xc0, 0, "FIFO bits with the FIFO off");
}

static void test_loopback_modem(void)
{
	static const struct {
		uint8_t mcr, msr;
	} wires[] = {
		{ 1, 0x20 }, /* DTR to DSR */
		{ 2, 0x10 }, /* RTS to CTS */
		{ 4, 0x40 }, /* OUT1 to RI */
		{ 8, 0x80 }, /* OUT2 to DCD */
		{ 15, 0xf0 }, { 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(wires); i++) {
		outb(MCR, MCR_LOOP | wires[i].mcr);
		CHECK_EQ(inb(MSR) & 0xf0, wires[i].msr,
			 "modem status in loopback");
	}
	outb(IER, IER_MODEM);
	outb(MCR, MCR_LOOP | 2);
	CHECK_EQ(cause(), IIR_MODEM, "cause after CTS changed");
	CHECK_EQ(inb(MSR), 0x11, "modem status: CTS, and that it changed");
	CHECK_EQ(inb(MSR), 0x10, "reading the modem status clears changes");
	CHECK_EQ(cause(), IIR_NONE, "cause after the modem status was read");
	outb(IER, 0);
}

static void test_loopback_data(void)
{
	outb(FCR, 0);
	outb(MCR, MCR_LOOP);
	drain();
	outb(DATA, 'x');
	CHECK(WAIT_FOR(inb(LSR) & LSR_READY), "a byte comes back in loopback");
	outb(IER, IER_RX);
	CHECK_EQ(cause(), IIR_RX, "cause with a byte received");
	CHECK_EQ(inb(DATA), 'x', "the byte that came back");
	CHECK_EQ(cause(), IIR_NONE, "cause after the byte was read");
	outb(IER, 0);
	outb(DATA, 'a');
	CHECK(WAIT_FOR(inb(LSR) & LSR_READY), "a byte comes back in loopback");
	outb(DATA, 'b');
	CHECK(WAIT_FOR(inb(LSR) & LSR_OVERRUN), "an overrun without FIFO");
	drain();
}

static void test_fifo(void)
{
	outb(FCR, 7); /* on, both cleared, trigger at 1 */
	CHECK_EQ(inb(IIR) & 0xc0, 0xc0, "FIFO bits with the FIFO on");
	outb(MCR, MCR_LOOP);
	for (int i = 0; i < FIFO; i++) {
		outb(DATA, (uint8_t)(0x40 + i));
		CHECK(WAIT_FOR(inb(LSR) & 0x20), "room to send");
	}
	CHECK(WAIT_FOR((inb(LSR) & LSR_EMPTY) == LSR_EMPTY), "all is sent");
	CHECK(!(inb(LSR) & LSR_OVERRUN), "16 bytes fit into the FIFO");
	outb(IER, IER_LINE | IER_RX);
	outb(DATA, 0x7f);
	CHECK(WAIT_FOR(cause() == IIR_LINE), "the 17th byte is an overrun");
	CHECK(inb(LSR) & LSR_OVERRUN, "line status tells of the overrun");
	CHECK(!(inb(LSR) & LSR_OVERRUN), "reading it clears it");
	CHECK(cause() == IIR_RX || cause() == IIR_IDLE, "bytes wait");
	for (int i = 0; i < FIFO; i++)
		CHECK_EQ(inb(DATA), 0x40 + i, "bytes of the FIFO, in order");
	CHECK(!(inb(LSR) & LSR_READY), "the FIFO is empty");
	outb(IER, 0);
	outb(DATA, 'z');
	CHECK(WAIT_FOR(inb(LSR) & LSR_READY), "a byte in the FIFO");
	outb(FCR, 3);
	CHECK(!(inb(LSR) & LSR_READY), "FCR bit 1 clears the FIFO");
	outb(MCR, MCR_OUT2);
}

static void uart_interrupt(struct trap *trap)
{
	(void)trap;
	interrupts++;
	for (int i = 0; i < 64; i++) {
		uint8_t why = cause();

		if (why == IIR_NONE)
			break;
		if (why == IIR_TX)
			tx_interrupts++;
		else if (why == IIR_RX || why == IIR_IDLE)
			while (inb(LSR) & LSR_READY && received < sizeof(line))
				line[received++] = (char)inb(DATA);
		else
			inb(why == IIR_LINE ? LSR : MSR);
	}
	apic_write(APIC_EOI, 0);
}

static void test_interrupts(void)
{
	acpi_init();
	apic_init();
	pic_init(VECTOR_FIRST, 0);
	trap_set(VECTOR_UART, uart_interrupt);
	ioapic_route(4, VECTOR_UART, false);
	outb(MCR, MCR_OUT2);
	outb(IER, 0);
	inb(IIR);

	/* An empty transmitter tells so as soon as it may. */
	__asm__ volatile("sti");
	outb(IER, IER_TX);
	CHECK(WAIT_FOR(tx_interrupts == 1), "THRE interrupt when enabled");
	outb(DATA, '.');
	CHECK(WAIT_FOR(tx_interrupts == 2), "THRE interrupt after a byte");
	outb(IER, 0);
	outb(IER, IER_TX);
	CHECK(WAIT_FOR(tx_interrupts == 3), "THRE interrupt, enabled anew");
	outb(IER, 0);
	__asm__ volatile("cli");
	outb(IER, IER_TX);
	CHECK_EQ(cause(), IIR_TX, "cause: transmitter empty");
	CHECK_EQ(cause(), IIR_NONE, "reading the cause clears THRE");
	outb(IER, 0);
	__asm__ volatile("sti; nop; cli");
	print("\n");
}

static bool has_line(void)
{
	return received && line[received - 1] == '\n';
}

/* Longer than the others wait: someone types. */
static void echo(void)
{
	print("ready\n");
	outb(IER, IER_RX);
	__asm__ volatile("sti");
	CHECK(WAIT_FOR_MS(has_line(), 8000), "a line arrives");
	__asm__ volatile("cli");
	outb(IER, 0);
	print("got: ");
	for (uint32_t i = 0; i < received; i++)
		print("%c", line[i]);
}

static void sum(uint64_t bytes)
{
	uint64_t total = 0;

	print("ready\n");
	for (uint64_t i = 0; i < bytes; i++) {
		if (!(inb(LSR) & LSR_READY) &&
		    !WAIT_FOR_MS(inb(LSR) & LSR_READY, 8000))
			fail("%s:%d only %lu bytes of %lu came", __FILE__,
			     __LINE__, i, bytes);
		total += inb(DATA);
	}
	CHECK(!(inb(LSR) & LSR_OVERRUN), "no input is lost");
	print("sum: %lu\n", total);
}

int guest_main(void)
{
	if (option("bytes")) {
		outb(FCR, 1);
		sum(option_number("bytes", 0));
		return 0;
	}
	if (!option("echo")) {
		test_registers();
		test_loopback_modem();
		test_loopback_data();
		test_fifo();
	}
	test_interrupts();
	if (option("echo"))
		echo();
	print("serial: ok\n");
	return 0;
}
