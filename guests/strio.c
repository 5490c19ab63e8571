/*
 * String I/O: count elements of one port, from and to moving addresses, in
 * both directions, across pages, in all widths.
 */
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"

#define SERIAL  0x3f8
#define SCRATCH 0x3ff
#define NOTHING 0x900 /* no device has this port */

#define BUFFER ((uint8_t *)BUFFERS)

static void out_backwards(uint16_t port, const void *from, size_t count)
{
	__asm__ volatile("std; rep outsb; cld"
			 : "+S"(from), "+c"(count)
			 : "d"(port)
			 : "memory");
}

static void in_backwards(uint16_t port, void *to, size_t count)
{
	__asm__ volatile("std; rep insb; cld"
			 : "+D"(to), "+c"(count)
			 : "d"(port)
			 : "memory");
}

static void insw(uint16_t port, void *to, size_t count)
{
	__asm__ volatile("rep insw"
			 : "+D"(to), "+c"(count)
			 : "d"(port)
			 : "memory");
}

static void insl(uint16_t port, void *to, size_t count)
{
	__asm__ volatile("rep insl"
			 : "+D"(to), "+c"(count)
			 : "d"(port)
			 : "memory");
}

static void outsl(uint16_t port, const void *from, size_t count)
{
	__asm__ volatile("rep outsl"
			 : "+S"(from), "+c"(count)
			 : "d"(port)
			 : "memory");
}

static void expect(const uint8_t *at, size_t count, uint8_t value,
		   const char *what)
{
	for (size_t i = 0; i < count; i++)
		CHECK_EQ(at[i], value, what);
}

int guest_main(void)
{
	static const char text[] = "one port, many bytes\n";
	uint8_t *edge = BUFFER + 4096 - 10;
	char reversed[sizeof(text)];

	print("rep outsb:\n");
	outsb(SERIAL, text, sizeof(text) - 1);
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		reversed[i] = text[sizeof(text) - 2 - i];
	out_backwards(SERIAL, reversed + sizeof(text) - 2, sizeof(text) - 1);
	/* The text across a page boundary. */
	memcpy(edge, text, sizeof(text));
	outsb(SERIAL, edge, sizeof(text) - 1);

	/* The last byte written is what a register keeps. */
	outsb(SCRATCH, "\x11\x22\x33", 3);
	CHECK_EQ(inb(SCRATCH), 0x33, "the last of three bytes");
	memset(BUFFER, 0, 0x4000);
	insb(SCRATCH, edge, 300);
	expect(edge, 300, 0x33, "rep insb across pages");
	expect(edge + 300, 16, 0, "what follows rep insb");
	expect(edge - 16, 16, 0, "what precedes rep insb");
	in_backwards(SCRATCH, BUFFER + 0x3000, 20);
	expect(BUFFER + 0x3000 - 19, 20, 0x33, "rep insb backwards");
	expect(BUFFER + 0x3001, 8, 0, "what is above rep insb backwards");

	outsb(SCRATCH, "\x44", 0);
	CHECK_EQ(inb(SCRATCH), 0x33, "rep outsb of nothing");

	memset(BUFFER, 0, 0x4000);
	insw(NOTHING, edge, 100);
	expect(edge, 200, 0xff, "rep insw of no device");
	expect(edge + 200, 16, 0, "what follows rep insw");
	insl(NOTHING, BUFFER + 0x2000, 1500);
	expect(BUFFER + 0x2000, 6000, 0xff, "rep insl of no device");
	expect(BUFFER + 0x2000 + 6000, 16, 0, "what follows rep insl");
	outsl(NOTHING, BUFFER, 3000);
	print("strio: ok\n");
	return 0;
}
