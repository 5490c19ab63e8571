/*
 * Ends with a code: value=N, written with width=1, 2 or 4 bytes.
 */
#include "guests/lib/lib.h"

int guest_main(void)
{
	uint32_t value = (uint32_t)option_number("value", 0);

	switch (option_number("width", 4)) {
	case 1:
		outb(0xf4, (uint8_t)value);
		break;
	case 2:
		outw(0xf4, (uint16_t)value);
		break;
	default:
		outl(0xf4, value);
	}
	for (;;)
		__asm__ volatile("cli; hlt");
}
