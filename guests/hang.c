/*
 * Never ends by itself: halted, or with option spin, busy.
 */
#include "guests/lib/lib.h"

int guest_main(void)
{
	print("waiting\n");
	while (option("spin"))
		cpu_pause();
	for (;;)
		__asm__ volatile("cli; hlt");
}
