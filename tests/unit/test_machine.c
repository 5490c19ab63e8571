/*
 * A whole machine on the real /dev/kvm, with a guest of a few bytes.
 */
#include "unit.h"

#include "machine.h"
#include "util/exit_code.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A boot sector that resets the machine once, and ends with 0 after that: RAM
 * remembers. */
static const uint8_t resets_once[] = {
	0x80, 0x3e, 0x00, 0x90, 0x01, /* cmpb $1, 0x9000 */
	0x74, 0x0b,                   /* je 1f */
	0xc6, 0x06, 0x00, 0x90, 0x01, /* movb $1, 0x9000 */
	0xb0, 0xfe,                   /* mov $0xfe, %al */
	0xe6, 0x64,                   /* out %al, $0x64 */
	0xeb, 0xfe,                   /* jmp . */
	0xb0, 0x00,                   /* 1: mov $0, %al */
	0xe6, 0xf4,                   /* out %al, $0xf4 */
	0xeb, 0xfe,                   /* jmp . */
};

/* As if a disk had stopped the vCPUs just when one of them asked for it. */
static void a_reset_ends_a_pause(void **state)
{
	uint8_t sector[512] = { [510] = 0x55, 0xaa };
	char path[] = "/tmp/kvist-sector-XXXXXX";
	struct machine_config config = {
		.name = "kvist",
		.identity = "kvist",
		.kernel = path,
		.memory = 1 << 20,
		.cpus = 1,
		.console.kind = CONSOLE_NONE,
		.timeout = 10,
	};
	struct machine *m = calloc(1, sizeof(*m));
	int fd, code;

	(void)state;
	need_kvm();
	fd = mkstemp(path);
	memcpy(sector, resets_once, sizeof(resets_once));
	assert_int_equal(write(fd, sector, sizeof(sector)), sizeof(sector));
	close(fd);
	code = machine_create(m, &config);
	unlink(path);
	assert_int_equal(code, EXIT_CODE_OK);
	m->paused = true;
	machine_run(m);
	assert_int_equal(machine_exit_code(m), EXIT_CODE_OK);
	assert_false(m->paused);
	machine_destroy(m);
	free(m);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_reset_ends_a_pause),
};

UNIT_MAIN(tests)
