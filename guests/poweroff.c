/*
 * ACPI S5, as the DSDT and the FADT say.
 */
#include "guests/lib/acpi.h"
#include "guests/lib/lib.h"

int guest_main(void)
{
	acpi_init();
	CHECK(acpi.found, "ACPI tables are found");
	CHECK(acpi.s5, "the DSDT has _S5_");
	CHECK(acpi.pm1_control, "the FADT has PM1a_CNT");
	print("powering off\n");
	acpi_poweroff();
	clock_spin(clock_ms(1000));
	fail("%s:%d still running a second after S5", __FILE__, __LINE__);
}
